"""docs/operations.md says what the program does: its tables have the program's rows, no more and no fewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from zproxy.config import OPTIONS, Option
from zproxy.counters import COUNTER_HELP, COUNTER_NAMES, GAUGE_HELP, GAUGE_NAMES
from zproxy.entries import CLOSINGS, REFUSALS
from zproxy.status import WORKER_STATES, Node, Service, Status, Worker

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def table(name: str) -> list[str]:
    """Rows of the table behind its marker, without the two lines of its head."""
    behind = OPERATIONS.split(f"<!-- {name} -->\n")[1]
    rows = behind.split("\n\n")[0].splitlines()
    return rows[2:]


def row_of(option: Option) -> str:
    shape = option.kind.shape.replace("|", r"\|")
    return f"| `{f'{option.flag} {shape}'.strip()}` | {option.default} | {option.help} |"


def named(rows: list[str]) -> list[str]:
    """What stands in code quotes in the first cell of each row."""
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]


def test_the_options_are_those_of_the_table_they_are_made_from() -> None:
    assert table("options") == [row_of(option) for option in OPTIONS]


def test_every_counter_and_gauge_is_explained() -> None:
    counters = zip(COUNTER_NAMES, sorted(COUNTER_HELP), strict=True)
    gauges = zip(GAUGE_NAMES, sorted(GAUGE_HELP), strict=True)
    assert table("counters") == [f"| `{name}` | {COUNTER_HELP[counter]} |" for name, counter in counters]
    assert table("gauges") == [f"| `{name}` | {GAUGE_HELP[gauge]} |" for name, gauge in gauges]


def test_every_refusal_and_every_closing_has_its_advice() -> None:
    assert named(table("refusals")) == list(REFUSALS)
    assert named(table("closings")) == ["eof", "reset", "stop", *CLOSINGS]


def fields(struct: Any) -> list[str]:
    return [field.name for field in msgspec.structs.fields(struct)]


def test_every_field_of_the_status_is_explained() -> None:
    rows = table("status")
    assert named(rows) == fields(Status)
    for name, struct in (("services", Service), ("workers", Worker), ("nodes", Node)):
        (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
        assert re.findall(r"`(\w+)`", row)[1:] == fields(struct)


def test_every_state_of_a_worker_is_explained() -> None:
    assert named(table("states")) == list(WORKER_STATES)
