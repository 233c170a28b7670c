"""The tables for docs/benchmarks.md have the columns that they have there."""

from __future__ import annotations

from bench import markdown
from bench.redelivery import Waits
from zproxy.loadgen.cases import rows_named
from zproxy.loadgen.pairs import Book, Pair, Plan
from zproxy.loadgen.session import Figures


def figures(p99_us: float) -> Figures:
    return Figures(1000, 1.0, 64, None, p99_us, 0.001, 1 << 20)


def test_a_ratio_is_a_line() -> None:
    (row,) = rows_named(["slow-worker"])
    book = Book(Plan([row], transports=("tcp",)))
    book.pairs.append(Pair(row.case.name, "tcp", figures(40_000), figures(300_000)))
    _, heading, rule, line = markdown.ratio_lines(book)
    assert heading == "| row | what | over | ratio | target | spread | least_outstanding | round_robin |"
    assert rule == "|---|---|---|---|---|---|---|---|"
    assert line == f"| `slow-worker` | {row.title} | tcp | **0.13** | ≤ 0.5 | 0.13–0.13 | 40 ms | 300 ms |"


def test_a_way_of_ending_is_a_line() -> None:
    *_, line = markdown.waits_lines([Waits("socket closed", "tcp", [0.1, 0.3, 0.2], 1.0)])
    assert line == "| socket closed | tcp | 0.20 ms | ≤ 1 ms | 0.30 ms | 0.30 ms | 3 | – |"


def test_nothing_measured_is_no_table() -> None:
    assert markdown.ratio_lines(Book(Plan([]))) == markdown.waits_lines([]) == []
