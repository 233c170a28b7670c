"""docs/sdk.md says what a master counts, row by row."""

from __future__ import annotations

import re
from pathlib import Path

from zproxy.client.worker_session import COUNTERS, OUTCOMES

SDK = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


def test_every_counter_of_a_master_is_explained() -> None:
    rows = SDK.split("<!-- master counters -->\n")[1].split("\n\n")[0].splitlines()[2:]
    assert rows[:-1] == [f"| `{name}` | {words} |" for name, words in COUNTERS.items()]
    assert rows[-1].startswith("| `in_flight` |")


def test_the_outcomes_are_the_counters_between_those_that_the_document_names() -> None:
    names = list(COUNTERS)
    assert tuple(names[names.index("replied") : names.index("late") + 1]) == OUTCOMES
    assert re.search(r"`delivered` is the sum of `in_flight` and all from `replied` to `late`", SDK)
