"""A comparison measures in alternating order, takes ratios pair by pair and never hides a run that failed."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from zproxy.errors import LoadError
from zproxy.loadgen import report
from zproxy.loadgen.cases import Case, custom_rows, rows_against, rows_named
from zproxy.loadgen.pairs import Comparison, Plan
from zproxy.loadgen.programs import IPYPARALLEL, MANAGED, NATS, PROXIES, RIVAL, ZPROXY, roles
from zproxy.loadgen.session import Figures

CASE = Case("any", 64, 10)


def figures(seconds: float) -> Figures:
    return Figures(1000, seconds, 64, None, None, 0.001 * seconds, 1 << 20)


class Bench:
    """Stands in for the processes: hands out seconds, keeps who was asked."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds = seconds
        self.asked: list[tuple[str, str]] = []
        self.loads: list[str] = []

    def measure(self, program: str, case: Case, transport: str, seconds: float) -> Figures:
        self.asked.append((program, transport))
        self.loads.append(case.name)
        taken = self.seconds[program].pop(0)
        if taken == 0:
            raise LoadError("it broke")
        return figures(taken)


def compare(bench: Bench, pair_count: int, transports: tuple[str, ...] = ("tcp",), case: Case = CASE) -> Comparison:
    plan = Plan(custom_rows(case), transports=transports, pair_count=pair_count)
    comparison = Comparison(plan, lambda what: None, bench.measure)
    comparison.run()
    return comparison


def test_the_order_of_a_pair_alternates() -> None:
    bench = Bench({ZPROXY: [1.0] * 3, RIVAL: [1.0] * 3})
    compare(bench, 3)
    assert [program for program, _ in bench.asked] == [ZPROXY, RIVAL, RIVAL, ZPROXY, ZPROXY, RIVAL]


def test_a_ratio_is_a_pairs_and_the_median_counts() -> None:
    """A machine twice as slow in one pair changes nothing; medians of each side alone would."""
    bench = Bench({ZPROXY: [1.0, 2.0, 1.0], RIVAL: [2.0, 4.0, 4.0]})
    book = compare(bench, 3).book
    messages = book.outcomes()[0]
    assert messages.ratios == pytest.approx([2.0, 2.0, 4.0])
    assert messages.median == pytest.approx(2.0)


def test_a_run_that_failed_takes_its_pair_out_and_is_told() -> None:
    bench = Bench({ZPROXY: [1.0, 0.0], RIVAL: [2.0, 2.0]})
    book = compare(bench, 2).book
    assert [len(outcome.ratios) for outcome in book.outcomes()] == [1] * len(book.outcomes())
    assert book.failures == ["any tcp zproxy: it broke"]


def test_rows_are_chosen_by_name() -> None:
    assert [row.name for row in rows_named(["rtt", "64B"])] == ["64B", "rtt"]
    with pytest.raises(ValueError, match="no row fast"):
        rows_named(["fast"])


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("64B", 1.4, 1.39), ("64B-cpu", 0.3, 0.31), ("1GiB-memory", 1.1, 1.2)]
)
def test_a_target_is_a_floor_or_a_ceiling(name: str, good: float, bad: float) -> None:
    row = rows_named([name])[0]
    assert row.is_met(good)
    assert not row.is_met(bad)


def test_a_failure_of_every_pair_is_told_once() -> None:
    broken = compare(Bench({ZPROXY: [0, 0, 0], RIVAL: [1, 1, 1]}), pair_count=3).book
    out = io.StringIO()
    report.print_book(broken, Console(file=out, width=130))
    assert len(broken.failures) == 3
    assert out.getvalue().count("failed: any tcp zproxy: it broke") == 1
    assert "median of pairs" not in out.getvalue()  # there is none


def test_a_pair_may_be_one_program_under_two_loads() -> None:
    rival = msgspec.structs.replace(CASE, name="other", programs=(MANAGED, MANAGED))
    case = msgspec.structs.replace(rival, name="any", rival=rival)
    bench = Bench({MANAGED: [1.0, 4.0, 2.0, 1.0]})
    outcome = compare(bench, 2, case=case).book.outcomes()[0]
    assert bench.loads == ["any", "other", "other", "any"]
    assert outcome.row.case.sides == ("any", "other")
    assert outcome.ratios == pytest.approx([4.0, 2.0])


def test_a_case_is_measured_only_where_its_programs_can_be() -> None:
    bench = Bench({ZPROXY: [1.0], RIVAL: [1.0]})
    compare(bench, 1, ("tcp", "ipc"), msgspec.structs.replace(CASE, transports=("tcp",)))
    assert bench.asked == [(ZPROXY, "tcp"), (RIVAL, "tcp")]


@pytest.mark.parametrize("system", [NATS, IPYPARALLEL])
def test_a_system_that_is_not_installed_is_left_out_in_words(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    bench = Bench({})
    book = compare(bench, 3, case=msgspec.structs.replace(CASE, programs=(ZPROXY, system))).book
    assert bench.asked == []
    (remark,) = book.remarks
    assert "not installed (pip install " in remark


def test_another_interpreters_zproxy_is_measured_between_the_same_ends() -> None:
    (row,) = rows_against(rows_named(["managed-cpu"]), "/elsewhere/python")
    own, other = row.case.programs
    assert own == MANAGED
    assert PROXIES[other].argv == ["/elsewhere/python", *PROXIES[MANAGED].argv[1:]]
    assert roles(other) == roles(MANAGED)
    assert row.target is None
