"""Rows 11, 12 and 25 under managed load: nodes that stop reading, ask too much, or come and go."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.fault_report import FaultReport, sizes
from support.load import Load
from support.managed import ManagedPeer
from support.processes import halted
from support.proxies import HostedProxy
from support.waiting import wait_until

from zproxy.envelope import Kind
from zproxy.procfs import descriptor_count, rss_bytes

Host = Callable[..., HostedProxy]
Managed = Callable[..., ManagedPeer]

KIB, MIB = 1 << 10, 1 << 20
CONTENT = b"\x91\xc0"
MEMORY = 64 * MIB
ENDLESS = 10**9
PLACES = 64  # of all masters together


@sizes(800)
def test_a_node_that_stops_reading_keeps_only_its_own_waiting(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted(memory=MEMORY, connection_memory=MIB)
    for _ in range(2):
        load.master(proxy.backend, concurrency=4)
    sleepy = load.node(proxy.frontend, min(400, requests // 4), "sleepy", window=64, size_bytes=256 * KIB)
    other = load.node(proxy.frontend, requests, "other", window=8, work_ms=2)
    stops = max(1, requests // 10_000)
    spans = []
    for number in range(stops):
        other.wait_answered(min(other.requests, other.answered() + 1))
        begun = time.monotonic()
        sleepy.wait_answered((number + 1) * sleepy.requests // (stops + 2))
        load.fault()
        stopped = time.monotonic()
        with halted(sleepy.pid):
            other.wait_answered(min(other.requests, other.answered() + other.requests // (stops + 3)))
            assert proxy.stats()["memory_bytes"] <= MEMORY
        spans.append((begun, stopped, time.monotonic()))
    load.wait_done()
    found = load.judge()
    assert not found.errors
    before, during = (max(load.latency_p99_ms("other", *span) for span in each)
                      for each in ([span[:2] for span in spans], [span[1:] for span in spans]))  # fmt: skip
    figure = f"another node's p99 {before:.0f} ms before, {during:.0f} ms meanwhile"
    fault_report.add(11, "node that stops reading", load, found, figure)


@sizes(300, soak=9_000)
def test_a_flood_of_one_node_waits_behind_the_others(
    hosted: Host, load: Load, fault_report: FaultReport, requests: int
) -> None:
    """Nothing waits in the masters, where nobody's turn is kept. In the soak it asks four times what the others do."""
    proxy = hosted(memory=MEMORY, connection_memory=MIB)
    for _ in range(2):
        load.master(proxy.backend, concurrency=PLACES // 2, prefetch=0)
    others = [load.node(proxy.frontend, requests // 2, f"other{number}", window=8, work_ms=100) for number in range(2)]
    for node in others:
        node.wait_answered(node.requests // 4)
    started = load.fault()
    flood = load.node(proxy.frontend, ENDLESS, "flood", window=20 * PLACES, size_bytes=200, work_ms=100)
    proxy.wait_for("managed_waiting", 10 * PLACES)
    for node in others:
        node.wait_done()
    ended = time.monotonic()
    assert proxy.stats()["memory_bytes"] <= MEMORY
    flood.finish()
    flood.wait_done()
    found = load.judge()
    assert found.errors.keys() <= {"Busy"}, found.errors
    first = min(each.at for each in load.records().outcomes)
    kept = min(load.rate(node.name, started, ended) / load.rate(node.name, first, started) for node in others)
    fault_report.add(12, "flood of one node, above 10 × credit", load, found, f"others kept {kept:.0%} of their rate")


@sizes(400)
def test_peers_that_come_and_go_leave_nothing_behind(
    hosted: Host, managed: Managed, load: Load, fault_report: FaultReport, requests: int
) -> None:
    proxy = hosted(absence="0s")
    for _ in range(2):
        load.master(proxy.backend, concurrency=4)
    load.node(proxy.frontend, requests, work_ms=1).wait_answered(1)
    lives = requests // 4
    churn(proxy, managed, lives // 2)
    wait_until(lambda: proxy.stats()["frontend_connections"] <= 1, "all are gone")
    descriptors, memory = descriptor_count(proxy.pid), rss_bytes(proxy.pid)
    load.fault()
    churn(proxy, managed, lives // 2)
    load.wait_done()
    wait_until(lambda: proxy.stats()["frontend_connections"] == 0, "all are gone")
    found = load.judge()
    assert not found.errors
    assert proxy.stats()["managed_live"] == 0
    assert descriptor_count(proxy.pid) <= descriptors
    slope = (rss_bytes(proxy.pid) - memory) / (lives // 2)
    fault_report.add(25, f"{lives:,} peers that come and go", load, found, f"{slope:.0f} B a peer in the second half")


def churn(proxy: HostedProxy, managed: Managed, lives: int) -> None:
    """Nodes and workers that are accepted, and leave in one of several ways."""
    for life in range(lives):
        if life % 4 == 3:
            peer = managed(proxy.backend, f"worker{life % 100}")
            peer.ready("nothing", credit=1)
        else:
            peer = managed(proxy.frontend, f"passer-by{life}")
            peer.hello()
        if life % 4 == 0:
            peer.request("nobody", CONTENT)
        if life % 2 == 0:
            peer.send(Kind.GOODBYE)
            while peer.read()[0].kind != Kind.GOODBYE:
                pass
        peer.close()
