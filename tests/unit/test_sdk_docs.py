"""docs/sdk.md says what nodes and masters count, and how requests end, row by row."""

from __future__ import annotations

import re
from pathlib import Path

import zproxy
from zproxy.client.session import COUNTED
from zproxy.client.worker_session import COUNTERS, OUTCOMES
from zproxy.errors import OUTCOMES as ERRORS
from zproxy.errors import RequestError

SDK = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


def table(name: str) -> list[str]:
    """Rows of the table behind its marker, without the two lines of its head."""
    return SDK.split(f"<!-- {name} -->\n")[1].split("\n\n")[0].splitlines()[2:]


def test_every_end_of_a_request_is_explained() -> None:
    ends = {code: ended.kind.__name__ for code, ended in ERRORS.items() if ended.kind is not RequestError}
    rows = [re.findall(r"`(\w+)`", row)[:2] for row in table("node errors")]
    assert rows == [[kind, code] for code, kind in ends.items()]
    assert set(ends.values()) <= set(zproxy.__all__)


def test_every_counter_of_a_node_is_explained() -> None:
    names = [name for row in table("node counters") for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert names == [*COUNTED, "open", "dedup_ids", "dedup_ms"]


def test_every_counter_of_a_master_is_explained() -> None:
    rows = table("master counters")
    assert rows[:-1] == [f"| `{name}` | {words} |" for name, words in COUNTERS.items()]
    assert rows[-1].startswith("| `in_flight` |")


def test_the_outcomes_are_the_counters_between_those_that_the_document_names() -> None:
    names = list(COUNTERS)
    assert tuple(names[names.index("replied") : names.index("late") + 1]) == OUTCOMES
    assert re.search(r"`delivered` is the sum of `in_flight` and all from `replied` to `late`", SDK)
