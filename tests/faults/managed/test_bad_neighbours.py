"""Rows 13 to 16, 19, 20 and 28 beside managed load: whoever misbehaves harms nobody but itself."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.fault_report import IS_SOAK, FaultReport, sizes
from support.load import Load
from support.managed import ManagedPeer
from support.proxies import HostedProxy
from support.tcp_fault import FaultProxy
from support.zmtp_peer import ZmtpPeer, frame, frame_header, message

from zproxy.envelope import Envelope, Kind
from zproxy.procfs import descriptor_count

Host = Callable[..., HostedProxy]
Managed = Callable[..., ManagedPeer]
Connect = Callable[..., ZmtpPeer]
Fault = Callable[[str], FaultProxy]
Harm = Iterator[None]

KIB, MIB = 1 << 10, 1 << 20
MAX_MESSAGE, MEMORY = MIB, 64 * MIB
DESCRIPTORS = 64
STALLERS = 8


class Neighbour:
    """Somebody who does harm at a proxy, step by step."""

    def __init__(self, proxy: HostedProxy, raw_peer: Connect) -> None:
        self.proxy = proxy
        self.random = random.Random(13)
        self._connect = raw_peer

    def peer(self, side: str = "frontend", is_managed: bool = True) -> ZmtpPeer:
        """Past its handshake, and introduced by nothing."""
        made = self._connect(getattr(self.proxy, side))
        made.handshake("DEALER", is_managed=is_managed)
        return made

    def node(self) -> tuple[ZmtpPeer, dict[str, Any]]:
        """One that was accepted, and what its envelopes need."""
        peer = self.peer()
        incarnation = self.random.getrandbits(63) | 1
        conversation = Envelope.parse(peer.read_message()[0]).conversation
        same: dict[str, Any] = {"incarnation": incarnation, "conversation": conversation}
        peer.send_message(Envelope(Kind.HELLO, name=f"neighbour{incarnation}", **same).pack())
        peer.read_message()
        return peer, same

    def stranger(self) -> ZmtpPeer:
        """Connected, without a word."""
        return self._connect(self.random.choice((self.proxy.frontend, self.proxy.backend)))


def oversize(neighbour: Neighbour) -> Harm:
    """Row 13: frames above the limit, told to their sender."""
    while True:
        peer = neighbour.peer(neighbour.random.choice(("frontend", "backend")))
        peer.send(frame_header(neighbour.random.choice((MAX_MESSAGE + 1, 1 << 40, (1 << 63) - 1))))
        peer.read_error()
        peer.close()
        yield


def malformed(neighbour: Neighbour) -> Harm:
    """Row 14: envelopes with bytes changed, cut off or added, of every kind, from a node that was accepted."""
    source = neighbour.random
    while True:
        peer, same = neighbour.node()
        with suppress(ConnectionError):
            for kind in Kind:
                spoken = bytearray(Envelope(kind, service="nobody", sequence=source.getrandbits(20) + 1,
                                            remaining_ms=1000, **same).pack())  # fmt: skip
                for _ in range(source.randrange(1, 4)):
                    spoken[source.randrange(len(spoken))] = source.getrandbits(8)
                cut = source.choice((len(spoken), len(spoken), source.randrange(len(spoken))))
                peer.send(message(bytes(spoken[:cut]) + source.randbytes(source.choice((0, 0, 0, 7))), b"\x91\xc0"))
        peer.close()
        yield


def endless(neighbour: Neighbour) -> Harm:
    """Row 15: messages whose frames never end; a step sends what the connection takes at once."""
    block = frame(bytes(64), more=True) * 1000
    while True:
        peer = neighbour.peer()
        with suppress(ConnectionError):
            while True:
                peer.send_what_fits(block)
                yield
        peer.close()


def truncated(neighbour: Neighbour) -> Harm:
    """Row 16: requests for the load's own service that are cut anywhere."""
    while True:
        peer, same = neighbour.node()
        spoken = message(Envelope(Kind.REQUEST, service="work", sequence=1, remaining_ms=9000, **same).pack(),
                         b"\x91\xc0" + bytes(200))  # fmt: skip
        peer.send(spoken[: neighbour.random.randrange(1, len(spoken))])
        neighbour.random.choice((peer.close, peer.reset))()
        yield


def garbage(neighbour: Neighbour) -> Harm:
    """Row 19: what no ZeroMQ peer says."""
    while True:
        peer = neighbour.stranger()
        spoken = neighbour.random.choice((neighbour.random.randbytes(300), b"GET / HTTP/1.1\r\n\r\n", b"\xff"))
        with suppress(ConnectionError):
            peer.send(spoken)
        peer.close()
        yield


def stalled(neighbour: Neighbour) -> Harm:
    """Row 28: senders that stop half-way through messages, and are closed."""
    while True:
        peers = [neighbour.peer() for _ in range(STALLERS)]
        for peer in peers:
            peer.send(frame_header(MAX_MESSAGE) + bytes(MAX_MESSAGE // 2))
        closed = neighbour.proxy.stats()["closed_stalled"] + STALLERS
        while neighbour.proxy.stats()["closed_stalled"] < closed:
            yield
        for peer in peers:
            peer.close()


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

    load.harm_until_done(step, every_seconds=0.005)
    found = load.judge()
    stats = proxy.wait_for(counter)
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
    first.wait_answered(first.answered() + requests // 8)
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
    load.node(link.endpoint, requests // 2, "altered", window=8, options={"timeout": 3.0})
    load.node(proxy.frontend, requests // 2, "direct", window=4, work_ms=5)
    link.flip(60 * KIB if requests > IS_SOAK else 6 * KIB)
    load.wait_done()
    found = load.judge(whose={"direct"})
    assert not found.errors
    altered = link.flips()
    assert altered > 0
    fault_report.add(14, "bits flipped on another node's way", load, found, f"{altered} bits")
