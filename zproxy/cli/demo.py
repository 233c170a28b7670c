"""`zproxy demo`: a training through a proxy, watched and checked."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from zproxy.cli.options import time_between
from zproxy.demo import command
from zproxy.demo.plan import MAX_NODES, MAX_STEPS, Plan


@click.command(short_help="Train a model through a proxy, and check it.")
@click.option("--nodes", type=click.IntRange(1, MAX_NODES), default=4, show_default=True, help="Training processes.")
@click.option("--steps", type=click.IntRange(1, MAX_STEPS), default=200, show_default=True, help="Steps of SGD.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Draw the loss curve there (PNG, SVG or PDF). Needs the extra zproxy[plot].",
)
@click.option(
    "--patience",
    type=time_between(0.1, 3600),
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long a node may be silent before all is given up.",
)
def demo(nodes: int, steps: int, plot: Path | None, patience: float) -> None:
    """Train a small language model on Python's own source, by several processes through one proxy.

    Starts a proxy, a master and nodes on free ports of 127.0.0.1, and ends them all again. Exits 0 only if the
    parameters equal those of a single process on the same batches and the loss fell.
    """
    sys.exit(command.perform(Plan(nodes=nodes, steps=steps, patience_s=patience), plot))
