"""View: how a run is shown while it goes on: drawn anew in place on a terminal, else a line now and then.

Called by the supervisor, which never asks which of the two it has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zproxy.demo import chart
from zproxy.demo.run import Run

CURVE_LINES = 6
CURVE_COLUMNS = 100
LABEL_COLUMNS = 6  # the number beside the curve, and a gap
CTRL_C_COLUMNS = 3  # left free: the terminal's ^C would else begin a line of its own and spoil the picture
PLAIN_S = 2.0  # between lines of steps


class View(Protocol):
    """A context around the run; `show` as often as one likes."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None: ...

    def show(self, run: Run) -> None: ...


def choose(console: Console) -> View:
    """What suits the output."""
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class PlainView:
    """Lines of text, each once: for files, pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._named: set[str] = set()
        self._step = 0
        self._said_s = float("-inf")

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def show(self, run: Run) -> None:
        """What is new since the last time."""
        for name, pid in run.pids.items():
            if name not in self._named and (name != "proxy" or run.proxy is not None):
                self._named.add(name)
                self._say(f"{name} pid {pid}{role(name, run)}")
        is_last = run.step == run.plan.steps
        if run.step > self._step and (is_last or time.monotonic() - self._said_s >= PLAIN_S):
            self._step, self._said_s = run.step, time.monotonic()
            self._say(f"step {run.step}/{run.plan.steps} loss {run.losses[-1]:.3f} {rates(run)}".rstrip())

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


class LiveView:
    """One picture, drawn anew in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def show(self, run: Run) -> None:
        """The run as it stands."""
        console = self._live.console
        self._live.update(picture(run, console.width, console.options.ascii_only), refresh=True)


def picture(run: Run, width: int, ascii_only: bool) -> RenderableType:
    """The whole screen. The processes come last: a terminal too low for all of them still shows the rest."""
    title = Text.assemble(("zproxy demo", "bold"), f": {run.plan.in_words()}")
    curve = _curve(run, width - CTRL_C_COLUMNS, ascii_only)
    screen = Group(title, "", *curve, "", Text(rates(run), "cyan"), "", _processes(run))
    return Constrain(screen, width - CTRL_C_COLUMNS)


def rates(run: Run) -> str:
    """What passes the proxy, by its own counters; nothing until it has told them twice."""
    if not run.messages_per_s:
        return ""
    return f"{run.messages_per_s:,.0f} messages/s, {run.bytes_per_s / 1e6:,.0f} MB/s through the proxy"


def role(name: str, run: Run) -> str:
    """What a process is there for, where its name does not say it."""
    if name == "proxy" and run.proxy is not None:
        return f" frontend {run.proxy.frontend} backend {run.proxy.backend}"
    return " takes the same steps alone, for comparison" if name == "reference" else ""


def _curve(run: Run, width: int, ascii_only: bool) -> Iterator[RenderableType]:
    yield Text.assemble("loss ", (f"{run.losses[-1]:.3f}" if run.losses else "", "bold"))
    columns = min(CURVE_COLUMNS, width - LABEL_COLUMNS)
    blocks = chart.ASCII if ascii_only else chart.BLOCKS
    lines = chart.curve(run.losses, columns, CURVE_LINES, blocks) or [""] * CURVE_LINES
    bounds = {0: max(run.losses), CURVE_LINES - 1: min(run.losses)} if run.losses else {}
    for number, line in enumerate(lines):
        label = f"{bounds[number]:.2f}" if number in bounds else ""
        yield Text.assemble(f"{label:{LABEL_COLUMNS}}", (line, "green"), no_wrap=True)


def _processes(run: Run) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    for name, pid in run.pids.items():
        table.add_row(name, f"pid {pid}", _state(name, run))
    return table


def _state(name: str, run: Run) -> RenderableType:
    if name == "proxy":
        return Text(role(name, run).strip(), "dim")
    if name == "master":
        return Text(f"step {run.step}/{run.plan.steps}")
    done = run.checked_steps / run.plan.steps if name == "reference" else run.progress.get(name, 0.0)
    return ProgressBar(total=1.0, completed=done, width=None)
