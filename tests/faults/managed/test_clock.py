"""Row 22: the wall clock jumps by an hour, in the proxy, its nodes and its masters. Nothing ends early, or late."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from support.commands import RunningProxy
from support.fault_report import FaultReport, sizes
from support.load import Load
from support.proxies import HostedProxy
from support.wall_clock import COMPILER, WallClock

Host = Callable[..., HostedProxy]

HOUR = 3600
NEAR = 600  # seconds that no test takes

pytestmark = pytest.mark.skipif(COMPILER is None, reason="the clock is moved by a small library in C: install cc")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(tmp_path, monkeypatch)


def test_every_process_of_these_tests_sees_the_clock_jump(clock: WallClock, load: Load, tmp_path: Path) -> None:
    with RunningProxy(tmp_path) as proxy:
        master = load.master(proxy.backend)
        node = load.node(proxy.frontend, 1)
        load.wait_done()
        for hours in (1, -1):
            clock.jump(hours * HOUR)
            for told in (master.wall_clock(), node.wall_clock()):
                assert abs(told - time.time() - hours * HOUR) < NEAR
        totals = proxy.totals()
    logged = datetime.fromisoformat(totals["time"].replace("Z", "+00:00")).timestamp()
    assert abs(logged - time.time() + HOUR) < NEAR
    load.judge()


@sizes(600)
def test_a_wall_clock_that_jumps_an_hour_ends_nothing_early(
    clock: WallClock, hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted()
    for _ in range(2):
        load.master(proxy.backend, concurrency=4, lease="20s")
    first, second = (load.node(proxy.frontend, requests // 2, work_ms=2) for _ in range(2))
    jumps = [1, -1, 0] * max(1, requests // 9000)
    for number, hours in enumerate(jumps):
        first.wait_answered((number + 1) * first.requests // (len(jumps) + 1))
        load.fault()
        clock.jump(hours * HOUR)
    load.wait_done()
    found = load.judge()
    stats = proxy.stats()
    assert (found.errors, found.duplicates) == ({}, 0)
    assert (stats["managed_expired"], stats["managed_leases_expired"], stats["closed_heartbeat"]) == (0, 0, 0)
    assert [node.stats()["conversations"] for node in (first, second)] == [1, 1]
    fault_report.add(22, "wall clock ± 1 h", load, found, "ended early 0")


@pytest.mark.parametrize("hours", [1, -1])
def test_what_is_due_ends_though_the_wall_clock_jumped(clock: WallClock, hosted: Host, load: Load, hours: int) -> None:
    proxy = hosted()
    for number in range(2):
        load.node(proxy.frontend, 20, service=f"nobody{number}", options={"timeout": 3.0})
    proxy.wait_for("managed_accepted", 2 * 20)
    clock.jump(hours * HOUR)
    load.wait_done()
    assert load.judge().errors == {"UnknownService": 40}
