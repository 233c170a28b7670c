"""Rows 1 to 5 under managed load: workers that die, freeze, are slow, are killed by a request, or are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from support.fault_report import FaultReport, sizes
from support.load import Load, LoadMaster
from support.load_words import POISON
from support.managed import ManagedPeer
from support.processes import halted
from support.proxies import HostedProxy

from zproxy.envelope import Kind
from zproxy.procfs import cpu_share

Host = Callable[..., HostedProxy]
Managed = Callable[..., ManagedPeer]

CONTENT = b"\x91\xc0"
CONCURRENCY = 4
IN_FLIGHT = 2 * CONCURRENCY  # with what is prefetched
ATTEMPTS = 3  # as a service has it unless said otherwise


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


@sizes(600)
def test_what_a_frozen_worker_answers_late_reaches_nobody(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted()
    for _ in range(2):
        load.master(proxy.backend, concurrency=CONCURRENCY, lease="1s")
    first, _ = (load.node(proxy.frontend, requests // 2, work_ms=2) for _ in range(2))
    freezes = max(1, requests // 3000)
    for number in range(freezes):
        first.wait_answered((number + 1) * first.requests // (freezes + 2))
        load.fault()
        before = proxy.stats()
        with halted(load.busiest_master().pid):
            proxy.wait_for("managed_leases_expired", before["managed_leases_expired"] + 1)
        proxy.wait_for("managed_late", before["managed_late"] + 1)
    load.wait_done()
    found = load.judge()
    stats = proxy.stats()
    late, rests = stats["managed_late"], stats["managed_rests"]
    assert not found.errors
    assert late >= freezes
    figure = f"{late} late answers dropped; {rests} rests"
    fault_report.add(2, "worker frozen beyond its lease", load, found, figure)


def test_a_worker_that_stood_still_once_does_not_rest(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    frozen, other = managed(proxy.backend, "m1"), managed(proxy.backend, "m2")
    for worker, credit in ((other, 1), (frozen, IN_FLIGHT)):
        worker.ready("work", credit=credit, lease_ms=200)
    for _ in range(IN_FLIGHT + 1):
        node.request("work", CONTENT)
    stats = proxy.wait_for("managed_leases_expired", IN_FLIGHT)
    assert stats["managed_rests"] == 0


@sizes(40)
def test_a_slow_worker_that_shows_progress_keeps_what_it_has(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted()
    crew = min(256, requests // 2)
    for _ in range(2):
        load.master(proxy.backend, concurrency=crew, prefetch=0, lease="1s")
    load.node(proxy.frontend, requests, window=2 * crew, work_ms=2500, progress_ms=300)
    load.wait_done()
    found = load.judge()
    stats = proxy.stats()
    assert (found.duplicates, found.errors) == (0, {})
    assert (stats["managed_leases_expired"], stats["managed_redelivered"]) == (0, 0)
    fault_report.add(3, "worker slow, showing progress", load, found, "2.5 leases long each, none taken away")


@sizes(600)
def test_a_poison_request_ends_at_the_cap(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    """Who shares a worker with it may be taken for one too, unless its node allows it more deliveries."""
    proxy = hosted()
    masters = [load.master(proxy.backend, concurrency=CONCURRENCY) for _ in range(ATTEMPTS + 1)]
    load.node(proxy.frontend, requests // 2, "common", work_ms=2)
    load.node(proxy.frontend, requests // 2, "patient", work_ms=2, options={"retries": 50})
    count = max(2, requests // 3000)
    load.node(proxy.frontend, count, "poisoner", window=1, service=POISON)
    load.harm_until_done(lambda: _bring_back(load, masters))
    found = load.judge()
    records = load.records()
    executed = [execution.node for execution in records.executions]
    poisoned = Counter(outcome.node for outcome in records.outcomes if not outcome.is_reply)
    assert found.errors.keys() == {"PoisonRequest"}
    assert (poisoned["poisoner"], poisoned["patient"]) == (count, 0)
    assert executed.count("poisoner") == ATTEMPTS * count, "workers survive to the cap, and no more of them die"
    figure = f"{load.faults} workers killed, {poisoned['common']} bystanders ended as POISON"
    fault_report.add(4, "requests that kill their workers", load, found, figure)


@pytest.mark.xfail(strict=True, reason="what a dead worker held goes on together, the poison with its bystanders")
def test_a_bystander_outlives_the_poison_request_beside_it(hosted: Host, managed: Managed) -> None:
    """Its workers die three times, whenever they have the poison."""
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    for content in (b"\x91\xa6poison", b"\x91\xa9bystander"):
        node.request("work", content)
    proxy.wait_for("managed_waiting", 2)
    for life in range(2 * ATTEMPTS):
        if not proxy.stats()["managed_live"]:
            break
        _serve_until_death(proxy, managed(proxy.backend, f"m{life}"))
    ends = {envelope.sequence: envelope.kind for envelope, _ in (node.read() for _ in range(2))}
    assert ends == {1: Kind.ERROR, 2: Kind.REPLY}


@sizes(400)
def test_with_all_workers_gone_requests_wait_or_end_and_cost_nothing(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted()
    masters = [load.master(proxy.backend, concurrency=CONCURRENCY) for _ in range(2)]
    patient = load.node(proxy.frontend, requests // 2)
    patient.wait_answered(patient.requests // 4)
    for master in masters:
        master.kill()
    load.fault()
    load.node(proxy.frontend, requests // 2, options={"timeout": 1.0})
    stats = proxy.wait_for("managed_expired_no_worker")
    assert stats["managed_live"] <= 2 * 32, "no more than their windows"
    share = cpu_share(proxy.pid, 0.4)
    assert share < 0.1
    for master in masters:
        master.come_back()
    load.wait_done()
    found = load.judge()
    assert found.errors["NoWorker"] > 0
    assert found.errors.keys() <= {"NoWorker", "RequestTimeout"}, "the workers may come back right before a deadline"
    fault_report.add(5, "all workers gone for a while", load, found, f"{share:.1%} of a core meanwhile")


def _serve_until_death(proxy: HostedProxy, worker: ManagedPeer) -> None:
    """A worker of two at once, which answers, or dies of poison with all it has."""
    worker.ready("work", credit=2)
    lost = proxy.stats()["managed_worker_lost"]
    while proxy.stats()["managed_live"]:
        held = [worker.read(Kind.REQUEST)]
        stats = proxy.stats()
        held += [worker.read(Kind.REQUEST) for _ in range(stats["managed_live"] - stats["managed_waiting"] - 1)]
        if any(b"poison" in content for _, (content, *_) in held):
            break
        for delivery, _ in held:
            worker.answer(delivery, CONTENT)
    worker.close()
    proxy.wait_for("managed_worker_lost", lost + 1)


def _bring_back(load: Load, masters: list[LoadMaster]) -> None:
    """Those that have died."""
    for master in masters:
        if not master.is_alive:
            load.fault()
            master.come_back()
