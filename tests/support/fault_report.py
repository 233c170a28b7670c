"""The table that a soak of the fault tests ends with (docs/faults.md has one), and the sizes of a row."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from support.fault_oracle import Judgement
from support.load import Load

SOAK_REQUESTS = 30_000
IS_SOAK = 10_000  # more requests: the row takes the time its faults take in full
HEAD = (
    "| row | fault | injected | requests | replies | other outcomes | lost | unexpected | twice | duplicates "
    "| recovered | open then, answered after | took | figure |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


class Row(NamedTuple):
    """One run of one row of the matrix."""

    number: int
    fault: str
    injected: int
    found: Judgement
    recovery_seconds: float
    seconds: float
    figure: str

    def line(self) -> str:
        found = self.found
        others = ", ".join(f"{count:,} {name}" for name, count in sorted(found.errors.items())) or "–"
        counts = [len(found.lost), len(found.unexpected), len(found.delivered_twice), found.duplicates, found.recovered]
        recovery = f"{self.recovery_seconds:.2f} s" if self.recovery_seconds else "–"
        cells = [self.number, self.fault, self.injected, f"{found.accepted:,}", f"{found.replies:,}", others]
        cells += [*(f"{count:,}" for count in counts), recovery, f"{self.seconds:.0f} s", self.figure or "–"]
        return f"| {' | '.join(map(str, cells))} |"


class FaultReport:
    """Collects rows as tests end."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, number: int, fault: str, load: Load, found: Judgement, figure: str = "") -> None:
        self._rows.append(Row(number, fault, load.faults, found, load.recovery_seconds(), load.seconds, figure))

    def table(self) -> str:
        """Markdown, by the matrix's numbers; empty without rows."""
        return "\n".join([HEAD, *(row.line() for row in sorted(self._rows, key=lambda row: row.number))])

    def __len__(self) -> int:
        return len(self._rows)


def sizes(suite: int, soak: int = SOAK_REQUESTS) -> pytest.MarkDecorator:
    """A scenario twice: with so many `requests` in the suite, and with more in the soak."""
    long = pytest.param(soak, id="soak", marks=pytest.mark.soak)
    return pytest.mark.parametrize("requests", [pytest.param(suite, id="suite"), long])
