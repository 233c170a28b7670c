"""Rows 1 to 5 under managed load: workers that die, freeze, are slow, or are killed by what they are asked."""

from __future__ import annotations

from collections.abc import Callable

from support.fault_report import FaultReport, sizes
from support.load import Load
from support.proxies import HostedProxy

Host = Callable[..., HostedProxy]

CONCURRENCY = 4
IN_FLIGHT = 2 * CONCURRENCY  # with what is prefetched


@sizes(600)
def test_workers_killed_in_their_handlers_lose_nothing(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted()
    masters = [load.master(proxy.backend, concurrency=CONCURRENCY) for _ in range(3)]
    first, _ = (load.node(proxy.frontend, requests // 2, work_ms=2) for _ in range(2))
    kills = max(2, requests // 1500)
    for number in range(kills):
        first.wait_answered((number + 1) * first.requests // (kills + 1))
        load.fault()
        masters[number % len(masters)].come_back()
    load.wait_done()
    found = load.judge()
    assert not found.errors, "what a killed worker had is served elsewhere"
    assert found.duplicates <= kills * IN_FLIGHT
    assert proxy.stats()["managed_worker_lost"] >= found.duplicates
    fault_report.add(1, "worker killed in its handler", load, found, f"duplicates ≤ {kills * IN_FLIGHT}")
