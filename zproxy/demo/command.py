"""The command: what `zproxy demo` does, from a plan to an exit code."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from zproxy.demo import corpus, plot, view
from zproxy.demo.plan import Plan
from zproxy.demo.run import Run, verdict
from zproxy.demo.supervisor import Failure, Supervisor
from zproxy.processes import Interrupted

FAILED = 1

NEXT = """\
Next:
  zproxy demo --nodes 8 --steps 1000 --plot loss.png
  zproxy demo --steps 10000, and kill -9 one of its processes meanwhile
  zproxy run, then zproxy echo in a second terminal: a proxy and a worker for sockets of your own
"""


def perform(plan: Plan, picture: Path | None) -> int:
    """Trains, checks, tells; the exit code. What cannot work is said before anything is started.

    Raises CorpusError, PlotError.
    """
    out, err = Console(), Console(stderr=True)
    corpus.read()
    if picture is not None:
        plot.require(picture)
    try:
        run = Supervisor(plan, view.choose(out)).execute()
    except Failure as error:
        say(err, f"zproxy demo: {error}; all other processes were ended")
        return FAILED
    except Interrupted as error:
        say(err, f"zproxy demo: ended by {error}, with all processes")
        return error.exit_code
    code = conclude(run, out)
    if picture is not None:
        plot.draw(picture, run.losses, f"zproxy demo: {plan.in_words()}")
        say(out, f"plot: {picture}")
    return code


def conclude(run: Run, out: Console) -> int:
    """Says what came of it; the exit code."""
    traffic = run.traffic
    say(out, "")
    if traffic is not None:
        say(
            out,
            f"{run.plan.in_words()} in {run.trained_s:.1f} s: {traffic.messages:,} messages,"
            f" {traffic.wire_bytes / 1e6:,.0f} MB through the proxy, {traffic.dropped} lost or dropped",
        )
    checks = verdict(run)
    for check in checks:
        say(out, f"{'ok    ' if check.holds else 'FAILED'} {check.text}")
    if not all(check.holds for check in checks):
        return FAILED
    say(out, f"\n{NEXT}")
    return 0


def say(console: Console, text: str) -> None:
    """Text as it is; broken between words on a terminal, and nowhere else."""
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)
