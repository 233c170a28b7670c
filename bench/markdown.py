"""Markdown: what was measured, as the tables of docs/benchmarks.md have it."""

from __future__ import annotations

from collections.abc import Iterable

from bench.redelivery import HEADINGS, Waits, columns
from zproxy.loadgen.pairs import Book, Outcome
from zproxy.loadgen.report import quantity, target_text


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def heading(names: Iterable[str]) -> list[str]:
    """The first two lines of a table."""
    cells = list(names)
    return [line(cells), f"|{'---|' * len(cells)}"]


def ratio_line(outcome: Outcome) -> str:
    row = outcome.row
    figures = (quantity(value, row.unit) for value in (outcome.own, outcome.rival))
    spread = f"{min(outcome.ratios):.2f}–{max(outcome.ratios):.2f}"
    return line(
        [f"`{row.name}`", row.title, outcome.transport, f"**{outcome.median:.2f}**", target_text(row), spread, *figures]
    )


def ratio_lines(book: Book) -> list[str]:
    """A table for each two sides that were compared."""
    found: list[str] = []
    outcomes = book.outcomes()
    for sides in dict.fromkeys(outcome.row.case.sides for outcome in outcomes):
        found += ["", *heading(["row", "what", "over", "ratio", "target", "spread", *sides])]
        found += [ratio_line(outcome) for outcome in outcomes if outcome.row.case.sides == sides]
    return found


def waits_lines(all_waits: list[Waits]) -> list[str]:
    return ["", *heading(HEADINGS), *(line(columns(waits)) for waits in all_waits)] if all_waits else []
