"""The drawing of a connection's states in the docs is the table in the code."""

from __future__ import annotations

import re
from pathlib import Path

from zproxy.relay.connection import legal_transitions

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def documented_transitions() -> dict[str, list[str]]:
    table = ARCHITECTURE.read_text().partition("<!-- transitions -->")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([A-Z]+) \| (.+) \|$", table, re.MULTILINE)
    return {state: [] if targets == "–" else targets.split(", ") for state, targets in rows}


def test_the_documented_states_are_those_of_the_table() -> None:
    assert documented_transitions() == legal_transitions()
