"""Rows 13 to 16, 19, 20 and 28 beside managed load: whoever misbehaves harms nobody but itself."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest
from support.fault_report import IS_SOAK, FaultReport, sizes
from support.load import Load
from support.neighbours import (
    MAX_MESSAGE,
    MIB,
    Connect,
    Harm,
    Neighbour,
    endless,
    garbage,
    malformed,
    oversize,
    stalled,
    truncated,
)
from support.proxies import HostedProxy
from support.tcp_fault import FaultProxy

from zproxy.procfs import descriptor_count

Host = Callable[..., HostedProxy]
Fault = Callable[[str], FaultProxy]

KIB = 1 << 10
MEMORY = 64 * MIB
DESCRIPTORS = 64


COUNTED: dict[Callable[[Neighbour], Harm], tuple[int, str, str]] = {
    oversize: (13, "frames above the limit", "closed_too_large"),
    malformed: (14, "malformed envelopes", "managed_refused_malformed"),
    endless: (15, "messages without end", "closed_too_large"),
    truncated: (16, "messages cut anywhere", "truncated_messages"),
    garbage: (19, "garbage at both ports", "refused_malformed"),
    stalled: (28, "8 senders stalled half-way", "closed_stalled"),
}


@pytest.mark.parametrize("harm", COUNTED)
@sizes(300)
def test_a_bad_neighbour_harms_nobody_but_itself(
    hosted: Host,
    raw_peer: Connect,
    load: Load,
    fault_report: FaultReport,
    requests: int,
    harm: Callable[[Neighbour], Harm],
) -> None:
    proxy = hosted(max_message=MAX_MESSAGE, memory=MEMORY, stall="0.5s", absence="0s")
    for _ in range(2):
        load.master(proxy.backend, concurrency=2)
    for _ in range(2):
        load.node(proxy.frontend, requests // 2, window=4, work_ms=5)
    number, fault, counter = COUNTED[harm]
    steps = harm(Neighbour(proxy, raw_peer))

    def step() -> None:
        load.fault()
        next(steps)

    load.harm_until_done(step, every_seconds=0.005, has_shown=lambda: proxy.stats()[counter] > 0)
    found, stats = load.judge(), proxy.stats()
    assert (found.errors, found.duplicates) == ({}, 0), "the others do not notice"
    assert stats["memory_bytes"] <= MEMORY
    assert [node.stats()["conversations"] for node in load.nodes] == [1, 1]
    fault_report.add(number, fault, load, found, f"{counter} {stats[counter]:,}")


@sizes(300)
def test_without_descriptors_those_who_are_there_are_served(
    hosted: Host, raw_peer: Connect, load: Load, fault_report: FaultReport, requests: int
) -> None:
    """Row 20. Its crowd goes in the middle, and a latecomer is served."""
    proxy = hosted()
    for _ in range(2):
        load.master(proxy.backend, concurrency=2)
    first = load.node(proxy.frontend, requests // 2, window=4, work_ms=5)
    first.wait_answered(1)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    load.fault()
    crowd = [raw_peer(proxy.frontend) for _ in range(2 * DESCRIPTORS)]
    proxy.wait_for("accept_failures")
    assert descriptor_count(proxy.pid) <= DESCRIPTORS
    latecomer = load.node(proxy.frontend, requests // 2, window=4, work_ms=5)
    first.wait_answered(min(first.requests, first.answered() + requests // 8))
    for peer in crowd:
        peer.close()
    latecomer.wait_answered(1)
    load.wait_done()
    found = load.judge()
    assert not found.errors
    fault_report.add(20, "no descriptors for a while", load, found, f"{2 * DESCRIPTORS} newcomers for {DESCRIPTORS}")


@sizes(300)
def test_bits_that_flip_on_one_nodes_way_harm_no_other_node(
    hosted: Host, faulty: Fault, load: Load, fault_report: FaultReport, requests: int
) -> None:
    """Nothing of ZMTP shows it: what is altered may pass, end in an error or close the connection, but it ends."""
    proxy = hosted(absence="0s")
    link = faulty(proxy.frontend)
    for _ in range(2):
        load.master(proxy.backend, concurrency=2)
    link.flip(60 * KIB if requests > IS_SOAK else 6 * KIB)
    load.node(link.endpoint, requests // 2, "altered", window=8, options={"timeout": 3.0})
    load.node(proxy.frontend, requests // 2, "direct", window=4, work_ms=5)
    load.wait_done()
    found = load.judge(whose={"direct"})
    assert not found.errors
    altered = link.flips()
    assert altered > 0
    fault_report.add(14, "bits flipped on another node's way", load, found, f"{altered} bits")
