"""Rows 13 and 15: messages above the limit, in one frame or in endless many. Their sender is refused, nobody else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, frame, frame_header

from zproxy.procfs import peak_rss_bytes, rss_bytes

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

KIB, MIB = 1 << 10, 1 << 20
JOIN_SECONDS = 15


def pour(peer: ZmtpPeer, block: bytes) -> None:
    """Send the block again and again until the other side has closed."""
    with contextlib.suppress(ConnectionError):
        while True:
            peer.send(block)


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize("size", [MIB + 1, 1 << 40, (1 << 63) - 1])
def test_an_oversize_frame_closes_its_own_connection_only(
    hosted: Host, peers: Peers, raw_peer: Connect, side: str, size: int
) -> None:
    proxy = hosted(max_message=MIB)
    client = peers.connect(zmq.REQ, proxy.frontend)
    offender = raw_peer(getattr(proxy, side))
    offender.handshake("ROUTER", b"offender")
    offender.send(frame_header(size))
    offender.read_error()
    stats = proxy.wait_for("closed_too_large")
    assert (stats["requests_in"], stats["replies_in"], stats["truncated_messages"]) == (0, 0, 0)
    assert stats["memory_bytes"] < MIB, "the declared size costs nothing"
    with EchoWorkers(proxy.backend):
        client.send(b"hello")
        assert client.recv() == b"hello"
    assert proxy.stats()["closed_too_large"] == 1


def test_a_size_with_the_top_bit_set_is_malformed(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    offender = raw_peer(proxy.frontend)
    offender.handshake("DEALER")
    offender.send(frame_header(1 << 63))
    offender.read_error()
    assert proxy.wait_for("closed_malformed")["closed_too_large"] == 0


@pytest.mark.parametrize("body_bytes", [0, 200, 64 * KIB])
def test_a_message_without_end_trips_the_limit_and_others_are_served(
    hosted: Host, peers: Peers, raw_peer: Connect, body_bytes: int
) -> None:
    proxy = hosted(max_message=MIB)
    before = rss_bytes(proxy.pid)
    client = peers.connect(zmq.REQ, proxy.frontend)
    offender = raw_peer(proxy.frontend)
    offender.handshake("DEALER", b"offender")
    frames = frame(bytes(body_bytes), more=True)
    block = frames * (1 + 64 * KIB // len(frames))
    pouring = threading.Thread(target=pour, args=(offender, block), daemon=True)
    with EchoWorkers(proxy.backend) as workers:
        pouring.start()
        for number in range(50):
            client.send(b"%d" % number)
            assert client.recv() == b"%d" % number
        proxy.wait_for("closed_too_large")
        pouring.join(JOIN_SECONDS)
        assert not pouring.is_alive(), "the connection is still open"
    assert all(routing_id != b"offender" for routing_id, *_ in workers.seen)
    assert peak_rss_bytes(proxy.pid) - before < 16 * MIB


def test_an_oversize_reply_closes_the_worker_and_its_requests_go_on(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(max_message=MIB)
    bad = raw_peer(proxy.backend)
    bad.handshake("DEALER")
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node")
    client.send(b"first")
    assert bad.read_message() == [b"node", b"first"]
    bad.send(frame(b"node", more=True) + frame(b"part", more=True) + frame_header(MIB + 1))
    bad.read_error()
    with EchoWorkers(proxy.backend):
        client.send(b"second")
        assert client.recv_multipart() == [b"second"]
    assert proxy.stats()["replies_out"] == 1
