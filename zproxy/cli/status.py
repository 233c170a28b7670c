"""`zproxy status`: who is there, what waits and who is behind, as a running proxy has it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from zproxy import control
from zproxy.cli.options import time_between
from zproxy.cli.proxies import control_option, end_told, only_one, parsed
from zproxy.counters import OUTCOMES
from zproxy.status import Node, Service, Status, Worker
from zproxy.units import show_size, show_time

WATCH = "2s"
LEAST_WIDTH = 80  # a narrower terminal breaks the lines, and cuts nothing off
PLAIN_WIDTH = 1000  # of a file or a pipe: a row is a line
NOTHING = "–"
FORGOTTEN = "(forgotten)"  # services that nobody offers any more, or ever did
# Counters and gauges whose first word is not that of their group.
GROUPS = {
    **dict.fromkeys(("frontend", "backend", "handshaking", "paused", "connect", "accept"), "connections"),
    **dict.fromkeys(("pooled",), "memory"),
    **dict.fromkeys(("pongs",), "pings"),
    **dict.fromkeys(("wakeups", "spins"), "turns"),
}
REASONED = ("refused", "dropped", "expired")  # of managed requests: how much of it, and why

EPILOG = """\b
Examples: the only proxy of this host and user; one of several; for a script; every two seconds
  zproxy status
  zproxy status --control /run/user/1000/zproxy/4711.sock
  zproxy status --json | jq '.nodes[] | select(.behind > 0)'
  zproxy status --watch
"""


@click.command("status", epilog=EPILOG, short_help="Show who is there, what waits and who is behind.")
@control_option
@click.option("--json", "as_json", is_flag=True, help="All of it, every counter too, as one line of JSON.")
@click.option(
    "--watch",
    type=time_between(0.1, 86400),
    is_flag=False,
    flag_value=WATCH,
    metavar="[TIME]",
    help=f"Again and again, this far apart, until Ctrl-C.  [without TIME: {WATCH}]",
)
def status(path: Path | None, as_json: bool, watch: float | None) -> None:
    """Show what a proxy that runs on this host knows: its services, workers, nodes and counters.

    Nodes are sorted by their step, whoever is furthest behind first.
    """
    chosen = only_one() if path is None else path
    look = partial(look_once, chosen, console(), as_json=as_json)
    if watch is None:
        look(is_watching=False, is_again=False)
        return
    with contextlib.suppress(KeyboardInterrupt):
        look(is_watching=True, is_again=False)
        while True:
            time.sleep(watch)
            look_again(chosen, look)


def look_once(path: Path, screen: Console, *, as_json: bool, is_watching: bool, is_again: bool) -> None:
    """Asks the proxy, and shows what it says."""
    answer = control.ask(path, "status")
    if as_json:
        click.echo(answer)
    else:
        show(parsed(answer, path), screen, is_watching=is_watching, is_again=is_again)


def look_again(path: Path, look: Callable[..., None]) -> None:
    """The same of a proxy that was there before. Raises ControlError when it has ended."""
    with end_told(path):
        look(is_watching=True, is_again=True)


# ---- on the screen ----


def console() -> Console:
    """Standard output; a row is a line where no terminal limits it."""
    found = Console(highlight=False)
    width = max(found.width, LEAST_WIDTH) if found.is_terminal else PLAIN_WIDTH
    return Console(width=width, highlight=False)


def show(of: Status, screen: Console, *, is_watching: bool, is_again: bool) -> None:
    """Prints it; while watching, in place of the last one on a terminal, else below it."""
    if screen.is_terminal and is_watching:
        screen.clear()
    elif is_again:
        click.echo()
    put(picture(of), screen)


def put(drawn: RenderableType, screen: Console) -> None:
    """Prints it; where no terminal is, without the spaces by which rich fills all lines to one width."""
    if screen.is_terminal:
        screen.print(drawn)
        return
    with screen.capture() as captured:
        screen.print(drawn)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def picture(of: Status) -> RenderableType:
    """All of it."""
    return Group(
        head(of),
        *section("services", services(of.services), "none"),
        *section("requests, by service", requests(of.services), "none"),
        *section("workers", workers(of.workers), "none that speaks the managed protocol"),
        *section("nodes", nodes(of.nodes), "none that speaks the managed protocol"),
        *section("counters that are not 0", counters({**of.gauges, **of.counters}), "none"),
    )


def head(of: Status) -> Table:
    table = grid()
    table.add_row("zproxy", Text(f"{of.version}, pid {of.pid}, up {show_time(of.uptime_ms // 1000)}"))
    for side, bound, connected in (
        ("frontend", of.frontend, of.frontend_connect),
        ("backend", of.backend, of.backend_connect),
    ):
        table.add_row(side, Text(", ".join([*bound, *(f"{endpoint} (connects)" for endpoint in connected)])))
    if of.registry:
        table.add_row("registry", Text(f"{of.registry}, generation {of.generation}"))
    elif of.is_insecure:
        table.add_row("security", Text("none: --insecure, every peer that reaches the port is trusted", "bold red"))
    return table


def section(title: str, table: Table, empty: str) -> Iterator[RenderableType]:
    """A title and its table, or that there is none."""
    yield ""
    if table.row_count:
        yield Text(title, "bold")
        yield Padding(table, (0, 0, 0, 2))  # expanded: else an empty last column takes from the first
    else:
        yield Text.assemble((title, "bold"), f": {empty}")


def grid(*headings: str, text: Iterable[str] = ()) -> Table:
    """A table without lines. The columns in `text` are folded where they must be; the others are figures."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(headings), header_style="dim")
    for heading in headings:
        is_text = heading in text
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def services(rows: Iterable[Service]) -> Table:
    table = grid("name", "workers", "waiting", "bytes", "oldest", "balance", text=("name", "balance"))
    for row in filter(has_name, rows):
        figures = (str(len(row.workers)), str(row.waiting), show_size(row.waiting_bytes), age(row.oldest_ms))
        table.add_row(row.name, *figures, want(row) or Text(row.balance))
    return table


def has_name(row: Service) -> bool:
    return bool(row.name)


def requests(rows: Iterable[Service]) -> Table:
    """What became of those that were accepted; what is 0 is left out."""
    table = grid("name", "", text=("name", ""))
    for row in rows:
        counts = {name: getattr(row, name) for name in ("accepted", *OUTCOMES, "live")}
        words = [f"{name}={count}" for name, count in counts.items() if count]
        if words:
            table.add_row(row.name or FORGOTTEN, Text(" ".join(words)))
    return table


def want(row: Service) -> Text:
    """What a service lacks."""
    if row.workers or not row.waiting:
        return Text("")
    return Text("no worker now" if row.was_offered else "never offered: is its name right?", "yellow")


def workers(rows: Iterable[Worker]) -> Table:
    table = grid(
        *("name", "address", "services", "in flight", "oldest", "settled", "seen", "state"),
        text=("name", "address", "services", "state"),
    )
    for row in rows:
        figures = (f"{row.in_flight}/{row.credit}", age(row.oldest_ms), str(row.settled), age(row.heard_ms))
        state = Text(row.state, "" if row.state in ("ready", "busy") else "yellow")
        table.add_row(row.name or NOTHING, Text(row.address), ", ".join(row.services), *figures, state)
    return table


def nodes(rows: Iterable[Node]) -> Table:
    table = grid(
        *("name", "address", "open", "waiting", "step", "behind", "done", "seen"),
        text=("name", "address"),
    )
    for row in rows:
        behind = Text(f"-{row.behind}", "yellow") if row.behind else Text("")
        step = NOTHING if row.step is None else str(row.step)
        done = NOTHING if row.progress is None else f"{row.progress:.4g}%"
        load = (str(row.open_requests), show_size(row.waiting_bytes))
        table.add_row(row.name or NOTHING, Text(row.address), *load, step, behind, done, age(row.heard_ms))
    return table


def age(milliseconds: int | None) -> str:
    """Two digits: more would change at every look."""
    return NOTHING if milliseconds is None else show_time(float(f"{milliseconds / 1000:.2g}"))


def counters(values: dict[str, int]) -> Table:
    """A line for each group: counters whose names begin alike; of refusals and the like, its reasons."""
    table = Table.grid()
    groups: dict[str, list[str]] = {}
    for counter, value in values.items():
        if value:
            shown = show_size(value) if counter.endswith("_bytes") else str(value)
            groups.setdefault(group_of(counter), []).append(f"{counter}={shown}")
    for entries in groups.values():
        table.add_row(" ".join(entries))
    return table


def group_of(counter: str) -> str:
    words = counter.split("_")
    if words[0] == "managed" and words[1] in REASONED:
        return "_".join(words[:2])
    return GROUPS.get(words[0], words[0])
