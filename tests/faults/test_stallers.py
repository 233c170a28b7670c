"""Row 28: eight senders stop half-way through large messages. The others are served, the stallers are closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, frame, frame_header

from zproxy.procfs import peak_rss_bytes, rss_bytes

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

MIB, GIB = 1 << 20, 1 << 30
STALLERS = 8


def send_half(peer: ZmtpPeer, size: int) -> None:
    """Half of a message, then nothing more. Ends early when the proxy closes."""
    block = bytes(min(size // 2, MIB))
    try:
        peer.send(frame_header(size))
        for _ in range(size // 2 // len(block)):
            peer.send(block)
    except (ConnectionError, TimeoutError):
        pass


def closed_beside_a_served_client(
    hosted: Host, peers: Peers, raw_peer: Connect, *, size: int, memory: int, stall_seconds: float
) -> int:
    """How many stallers were closed while another client was served all the time, in any size.

    `memory` is less than the stallers would fill.
    """
    proxy = hosted(memory=memory, max_message=size, connection_memory=size, stall=stall_seconds)
    client = peers.connect(zmq.DEALER, proxy.frontend, rcvtimeo=300_000)
    stallers = [raw_peer(proxy.frontend) for _ in range(STALLERS)]
    for number, staller in enumerate(stallers):
        staller.handshake("DEALER", b"staller %d" % number)
    before = rss_bytes(proxy.pid)  # code that is read by now is no growth
    senders = [threading.Thread(target=send_half, args=(staller, size)) for staller in stallers]
    with EchoWorkers(proxy.backend) as workers:
        for sender in senders:
            sender.start()
        end = time.monotonic() + STALLERS * (stall_seconds + 10)
        number = 0
        while (stats := proxy.stats())["closed_stalled"] < STALLERS and time.monotonic() < end:
            number += 1
            client.send(b"%d" % number)
            assert client.recv() == b"%d" % number
            assert stats["memory_bytes"] < memory + size
        for sender in senders:
            sender.join()
        client.send(b"after")
        assert client.recv() == b"after"
    assert stats["truncated_messages"] <= STALLERS
    assert all(not routing_id.startswith(b"staller") for routing_id, *_ in workers.seen)
    assert peak_rss_bytes(proxy.pid) - before < memory + size
    assert proxy.stats()["memory_bytes"] < MIB
    return stats["closed_stalled"]


def test_senders_that_stall_half_way_are_closed_and_others_are_served(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    closed = closed_beside_a_served_client(hosted, peers, raw_peer, size=16 * MIB, memory=32 * MIB, stall_seconds=0.25)
    assert closed == STALLERS


@pytest.mark.soak
def test_senders_that_stall_half_way_through_a_gib(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    closed = closed_beside_a_served_client(hosted, peers, raw_peer, size=GIB, memory=2 * GIB, stall_seconds=5)
    assert closed == STALLERS


def test_a_worker_that_stalls_in_a_reply_is_closed_and_another_serves(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(stall=0.4)
    stalls = raw_peer(proxy.backend)
    stalls.handshake("DEALER")
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node")
    client.send(b"first")
    assert stalls.read_message() == [b"node", b"first"]
    stalls.send(frame(b"node", more=True) + frame_header(MIB) + bytes(1000))
    proxy.wait_for("closed_stalled")
    with EchoWorkers(proxy.backend):
        client.send(b"second")
        assert client.recv_multipart() == [b"second"]


def test_a_slow_sender_that_moves_on_is_not_closed(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(stall=0.3)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    slow, stalled = raw_peer(proxy.frontend), raw_peer(proxy.frontend)
    slow.handshake("DEALER", b"slow")
    size, part = MIB, 128 << 10
    slow.send(frame_header(size))
    for _ in range(size // part):
        # One that stalls measures the time: it is closed while the slow one, which moves on, is not.
        stalled = raw_peer(proxy.frontend)
        stalled.handshake("DEALER")
        stalled.send(frame_header(size) + b"x")
        slow.send(bytes(part))
        stalled.read_until_closed()
    assert worker.recv_multipart() == [b"slow", bytes(size)]


def test_a_connection_between_two_messages_never_stalls(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(stall=0.2)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    quiet, stalled = raw_peer(proxy.frontend), raw_peer(proxy.frontend)
    for peer in (quiet, stalled):
        peer.handshake("DEALER")
    quiet.send_message(b"first")
    worker.recv_multipart()
    stalled.send(frame_header(MIB))
    stalled.read_until_closed()
    quiet.send_message(b"second")
    assert worker.recv_multipart()[1] == b"second"
