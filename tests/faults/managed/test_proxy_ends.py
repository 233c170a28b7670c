"""Rows 6 and 23 under managed load: the proxy is killed, or told to end, once or twice, and comes back."""

from __future__ import annotations

import signal
from collections import defaultdict
from pathlib import Path

import pytest
from support.commands import RunningProxy
from support.fault_report import FaultReport, sizes
from support.load import Load
from support.proxies import MortalProxy, assert_counters_balance
from support.waiting import wait_until


@sizes(600)
def test_a_proxy_killed_and_started_again_loses_nothing_that_is_resent(
    mortal_proxy: MortalProxy, load: Load, fault_report: FaultReport, requests: int
) -> None:
    for _ in range(2):
        load.master(mortal_proxy.backend, concurrency=4)
    first, second = (load.node(mortal_proxy.frontend, requests // 2) for _ in range(2))
    kills = max(2, requests // 3000)
    for number in range(kills):
        first.wait_answered((number + 1) * first.requests // (kills + 1))
        load.fault()
        mortal_proxy.die()
        mortal_proxy.come_back()
    load.wait_done()
    found = load.judge()
    assert not found.errors
    assert first.stats()["resent"] + second.stats()["resent"] > 0
    fault_report.add(6, "proxy killed, started again", load, found)


@pytest.mark.parametrize(("signals", "work_ms"), [(1, 2), (2, 20)], ids=["once", "twice"])
@sizes(800)
def test_a_proxy_told_to_end_under_load_answers_all_it_accepted(
    load: Load, fault_report: FaultReport, tmp_path: Path, requests: int, signals: int, work_ms: int
) -> None:
    ends = max(1, requests // 6000)
    proxy = RunningProxy(_folder(tmp_path, 0))
    ports = ["--frontend", proxy.frontend, "--backend", proxy.backend]
    for _ in range(2):
        load.master(proxy.backend, concurrency=4)
    first, _ = (load.node(proxy.frontend, requests // 2, work_ms=work_ms, window=64) for _ in range(2))
    for number in range(ends):
        with proxy:
            first.wait_answered((number + 1) * first.requests // (ends + 1))
            load.fault()
            for _ in range(signals):
                proxy.signal(signal.SIGTERM)
                proxy.wait_for("stopping")  # or the next one would be one with it
            assert proxy.wait() == 0
            _assert_all_answered(proxy)
        proxy = RunningProxy(_folder(tmp_path, number + 1), *ports, endpoints=False)
    with proxy:
        load.wait_done()
        proxy.totals()
        _assert_all_answered(proxy)
    found = load.judge()
    assert not found.errors, "what a second signal ended is asked for again, by the node itself"
    fault_report.add(23, f"SIGTERM under load, {'twice' if signals == 2 else 'once'}", load, found)


@pytest.mark.parametrize("comes_back", [True, False], ids=["anew", "never"])
def test_what_a_lost_proxy_had_begun_is_not_told_as_never_begun(
    mortal_proxy: MortalProxy, load: Load, comes_back: bool
) -> None:
    master = load.master(mortal_proxy.backend, concurrency=4)
    node = load.node(mortal_proxy.frontend, 8, window=8, work_ms=5000, options={"timeout": 1.5})
    wait_until(lambda: len(load.records().executions) == 4, "four are begun")
    master.kill()
    mortal_proxy.die()
    if comes_back:
        mortal_proxy.come_back()
    node.wait_done()
    found = load.judge()
    assert (found.recovered, found.replies) == (4, 0)
    if not comes_back:
        mortal_proxy.come_back()


def _folder(parent: Path, number: int) -> Path:
    made = parent / str(number)
    made.mkdir()
    return made


def _assert_all_answered(proxy: RunningProxy) -> None:
    """By its totals, which name what is not 0."""
    totals = proxy.log("totals")[-1]
    counters: defaultdict[str, int] = defaultdict(int, {name: n for name, n in totals.items() if isinstance(n, int)})
    assert_counters_balance(counters)
    assert counters["managed_live"] == 0
