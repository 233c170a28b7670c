"""Report: what was measured, as tables for people and as plain data for files."""

from __future__ import annotations

import os
import platform
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from zproxy import __version__, libzmq
from zproxy.loadgen.cases import Row
from zproxy.loadgen.pairs import Book, Outcome
from zproxy.loadgen.programs import RIVAL, ZPROXY
from zproxy.loadgen.session import Figures

TITLES_WIDTH = 120  # columns from which the rows are explained
LEAST_WIDTH = 80  # a narrower terminal breaks the lines, and cuts no figure off
PLAIN_WIDTH = 130  # of a file or a pipe
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def console() -> Console:
    """Standard output; with room for all columns where no terminal limits it."""
    found = Console()
    return Console(width=max(found.width, LEAST_WIDTH) if found.is_terminal else PLAIN_WIDTH)


def machine() -> dict[str, Any]:
    """What the figures depend on besides the programs."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libzmq": libzmq.version(),
        "zproxy": __version__,
    }


def quantity(value: float | None, unit: str) -> str:
    """Three digits, with a prefix where the unit is a count: "1.38 M/s", "52.1 µs", "40.1 ms"."""
    if value is None:
        return "–"
    if unit == "bytes":
        return f"{value / (1 << 20):.0f} MiB"
    if unit == "messages/s":
        for factor, prefix in PREFIXES:
            if value >= factor:
                return f"{value / factor:.3g} {prefix}/s"
        return f"{value:.3g} /s"
    if unit == "µs" and value >= 10_000:
        return f"{value / 1000:.3g} ms"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def target_text(row: Row) -> str:
    return "–" if row.target is None else f"{'≥' if row.is_at_least else '≤'} {row.target:g}"


def verdict_text(outcome: Outcome) -> str:
    if outcome.row.target is None:
        return ""
    return "[green]met[/]" if outcome.is_met else "[red]missed[/]"


def ratio_tables(outcomes: list[Outcome], with_titles: bool) -> list[Table]:
    """One for each two sides that were compared."""
    rivals = dict.fromkeys(outcome.row.case.sides for outcome in outcomes)
    return [
        ratio_table(both, [each for each in outcomes if each.row.case.sides == both], with_titles) for both in rivals
    ]


def ratio_table(sides: tuple[str, str], outcomes: list[Outcome], with_titles: bool) -> Table:
    """The median of the pairs, its target, the spread, and the figures behind it."""
    table = Table(title=f"{' / '.join(sides)}, median of pairs", box=SIMPLE)
    for heading in ("row", *(["what"] if with_titles else []), "over"):
        table.add_column(heading, no_wrap=True)
    for heading in ("median", "target", "", "spread", *sides):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        row = outcome.row
        table.add_row(
            *(row.name, *([row.title] if with_titles else []), outcome.transport),
            *(f"[bold]{outcome.median:.2f}[/]", target_text(row), verdict_text(outcome)),
            f"{min(outcome.ratios):.2f}–{max(outcome.ratios):.2f}",
            *(quantity(value, row.unit) for value in (outcome.own, outcome.rival)),
        )
    return table


def beside_table(book: Book) -> Table:
    """The other programs, for orientation."""
    programs = list(dict.fromkeys(beside.program for beside in book.beside))
    table = Table(title=f"beside them, over {book.plan.transports[0]}", box=SIMPLE)
    for heading in ("row", ZPROXY, RIVAL, *programs):
        table.add_column(heading, justify="left" if heading == "row" else "right", no_wrap=True)
    for outcome in book.outcomes():
        if outcome.transport == book.plan.transports[0] and outcome.row.case.programs == (ZPROXY, RIVAL):
            others = [book.beside_of(outcome.row, program) for program in programs]
            values = [quantity(value, outcome.row.unit) for value in (outcome.own, outcome.rival, *others)]
            table.add_row(outcome.row.name, *values)
    return table


def print_book(book: Book, console: Console) -> None:
    """Tables, then what was left out or failed."""
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()), highlight=False)
    if book.pairs:
        for table in ratio_tables(book.outcomes(), with_titles=console.width >= TITLES_WIDTH):
            console.print(table)
    if book.beside:
        console.print(beside_table(book))
    for remark in book.remarks:
        console.print(remark, style="yellow", markup=False)
    for failure in dict.fromkeys(book.failures):  # of every pair again, most often
        console.print(f"failed: {failure}", style="red", markup=False)


def print_figures(figures: Figures, clients: int, window: int, console: Console) -> None:
    """One run through a proxy that has no rival here."""
    console.print(
        f"{quantity(figures.messages_per_s, 'messages/s')}, {quantity(figures.megabytes_per_s, 'MB/s')} one way: "
        f"{figures.messages} messages of {figures.size} bytes in {figures.seconds:.3g} s, "
        f"{clients} client{'s' * (clients > 1)}, {window} under way each",
        highlight=False,
    )


def print_round_trips(figures: Figures, console: Console) -> None:
    """One client with one message at a time."""
    p50, p99 = (quantity(value, "µs") for value in (figures.rtt_p50_us, figures.rtt_p99_us))
    console.print(f"round trip p50 {p50}, p99 {p99}: {figures.messages} one at a time", highlight=False)


def plain(book: Book) -> dict[str, Any]:
    """Everything measured, for msgspec's JSON."""
    return {
        "machine": machine(),
        "rows": [
            {
                "row": outcome.row.name,
                "transport": outcome.transport,
                "title": outcome.row.title,
                "unit": outcome.row.unit,
                "target": target_text(outcome.row),
                "median": outcome.median,
                "ratios": outcome.ratios,
                "is_met": outcome.is_met,
                **dict(zip(outcome.row.case.sides, (outcome.own, outcome.rival), strict=True)),
            }
            for outcome in book.outcomes()
        ],
        "pairs": book.pairs,
        "beside": book.beside,
        "left_out": book.remarks,
        "failed": book.failures,
    }
