"""`python -m tests.fuzz`: attacks every target, or those named, for so long. See CONTRIBUTING.md."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from .build import TARGETS, TEXTS, build, command, environment, has_atheris


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("targets", nargs=-1, type=click.Choice([*TARGETS, *TEXTS]))
@click.option("--seconds", type=click.FloatRange(0), default=60.0, show_default=True, help="For each target.")
@click.option("--seed", type=click.IntRange(0), help="Makes the same inputs again.  [default: the time]")
@click.option("--corpus", type=click.Path(exists=True, path_type=Path), help="Another folder, or one input alone.")
@click.option("--folder", type=click.Path(path_type=Path), help="Build there, and leave crashes there.")
def main(targets: tuple[str, ...], seconds: float, seed: int | None, corpus: Path | None, folder: Path | None) -> None:
    """A finding ends it: the report of the sanitizer, and the input's path. Exits with 1 if there is one."""
    chosen = targets or (*TARGETS, *TEXTS)
    if not has_atheris() and set(chosen) & set(TEXTS):
        click.echo("texts are left out: they need atheris (pip install 'zproxy[fuzz]'; CPython on x86-64 Linux)")
        chosen = tuple(target for target in chosen if target in TARGETS)
    program = build(folder or Path(tempfile.mkdtemp(prefix="zproxy-fuzz-")))
    seed = int(time.time()) if seed is None else seed
    click.echo(f"seed {seed}")
    commands = [command(program, target, seconds, seed, corpus) for target in chosen]
    if any([subprocess.run(each, env=environment()).returncode for each in commands]):
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m tests.fuzz")
