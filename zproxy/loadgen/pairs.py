"""Pairs: zproxy and its rival measured in turn; a ratio is always one pair's, and the median of the pairs counts.

    pair 0   zproxy, zmq.proxy      pair 1   zmq.proxy, zproxy      pair 2   zproxy, zmq.proxy …

Whatever the machine does slower or faster meanwhile touches both sides of a pair about equally, and the
alternation takes the advantage from whoever comes first. Programs beside them are measured after a pair.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from zproxy.errors import LoadError
from zproxy.loadgen.cases import GIB, Case, Row, cases_of, measure
from zproxy.loadgen.programs import RIVAL, ZPROXY, missing
from zproxy.loadgen.session import Figures
from zproxy.procfs import available_memory_bytes

Measure = Callable[[str, Case, str, float], Figures]


@dataclass
class Plan:
    """How much is measured. `beside` are programs measured `beside_count` times, over the first transport only."""

    rows: list[Row]
    transports: tuple[str, ...] = ("tcp", "ipc")
    pair_count: int = 5
    seconds: float = 1.0
    beside: tuple[str, ...] = ()
    beside_count: int = 1

    @property
    def run_count(self) -> int:
        """How many measurements it asks for."""
        cases = cases_of(self.rows)
        runs = sum(2 * len(self.transports_of(case)) for case in cases) * self.pair_count
        neighboured = sum(case.programs == (ZPROXY, RIVAL) for case in cases)
        return runs + neighboured * len(self.beside) * min(self.beside_count, self.pair_count)

    def transports_of(self, case: Case) -> list[str]:
        """Those of ours that its programs have."""
        return [transport for transport in self.transports if transport in case.transports]


@dataclass
class Pair:
    """Both sides of one comparison."""

    case: str
    transport: str
    own: Figures
    rival: Figures


@dataclass
class Beside:
    """A measurement of another program."""

    case: str
    program: str
    figures: Figures


@dataclass
class Outcome:
    """One row's ratios over one transport, with the figures behind them for orientation."""

    row: Row
    transport: str
    ratios: list[float]
    own: float  # medians
    rival: float

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool:
        return self.row.is_met(self.median)


@dataclass
class Book:
    """Everything one run has measured."""

    plan: Plan
    pairs: list[Pair] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # what was left out, and why
    failures: list[str] = field(default_factory=list)  # runs that came to nothing

    def outcomes(self) -> list[Outcome]:
        """A row a transport, where there is a pair at all."""
        found = []
        for row in self.plan.rows:
            for transport in self.plan.transports:
                pairs = [pair for pair in self.pairs if (pair.case, pair.transport) == (row.case.name, transport)]
                if pairs:
                    found.append(outcome(row, transport, pairs))
        return found

    def beside_of(self, row: Row, program: str) -> float | None:
        """The median of a row's figure for a program beside; None where it has none."""
        values = [
            row.figure(beside.figures)
            for beside in self.beside
            if (beside.case, beside.program) == (row.case.name, program)
        ]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None


def outcome(row: Row, transport: str, pairs: list[Pair]) -> Outcome:
    """A row of these pairs."""
    return Outcome(
        row,
        transport,
        [row.ratio(pair.own, pair.rival) for pair in pairs],
        statistics.median(row.value(pair.own) for pair in pairs),
        statistics.median(row.value(pair.rival) for pair in pairs),
    )


class Comparison:
    """Measures a plan; `told` hears what comes next. A run that fails is a remark, and its pair is left out."""

    def __init__(self, plan: Plan, told: Callable[[str], None], measured: Measure = measure) -> None:
        self.book = Book(plan)
        self._told = told
        self._measured = measured

    def run(self) -> Book:
        """Round by round over all cases, so that a change of the machine's mood meets all rows."""
        plan = self.book.plan
        cases = [case for case in cases_of(plan.rows) if self._are_there(case.programs) and self._has_memory_for(case)]
        programs = [program for program in plan.beside if self._is_there(program)]
        for number in range(plan.pair_count):
            for case in cases:
                for transport in plan.transports_of(case):
                    self._take_pair(case, transport, number)
                is_turn = number < plan.beside_count and case.programs == (ZPROXY, RIVAL)
                for program in programs if is_turn else ():
                    self._take_beside(case, program)
        return self.book

    def _take_pair(self, case: Case, transport: str, number: int) -> None:
        runs = tuple(zip(case.sides, case.programs, (case, case.rival or case), strict=True))
        order = runs if number % 2 == 0 else runs[::-1]
        figures = {side: self._measure(program, load, transport) for side, program, load in order}
        own, rival = (figures[side] for side in case.sides)
        if own is not None and rival is not None:
            self.book.pairs.append(Pair(case.name, transport, own, rival))

    def _take_beside(self, case: Case, program: str) -> None:
        figures = self._measure(program, case, self.book.plan.transports[0])
        if figures is not None:
            self.book.beside.append(Beside(case.name, program, figures))

    def _measure(self, program: str, case: Case, transport: str) -> Figures | None:
        self._told(f"{case.name} {transport} {program}")
        try:
            return self._measured(program, case, transport, self.book.plan.seconds)
        except LoadError as error:
            self.book.failures.append(f"{case.name} {transport} {program}: {error}")
            return None

    def _are_there(self, programs: tuple[str, str]) -> bool:
        return all([self._is_there(program) for program in dict.fromkeys(programs)])

    def _is_there(self, program: str) -> bool:
        reason = missing(program)
        if reason is not None:
            self.book.remarks.append(f"left out: {reason}")
        return reason is None

    def _has_memory_for(self, case: Case) -> bool:
        free = available_memory_bytes()
        if case.memory_bytes > free:
            needed, there = case.memory_bytes / GIB, free / GIB
            self.book.remarks.append(f"left out: {case.name} takes {needed:.0f} GiB of memory, {there:.1f} are free")
        return case.memory_bytes <= free
