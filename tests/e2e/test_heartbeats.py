"""PING and PONG: answered always; sent, and judged, only with --heartbeat. Other commands pass by."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq
from support.peers import Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, command, frame, ping

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

HEARTBEAT = 0.2


@pytest.mark.parametrize("context", [b"", b"x", b"0123456789abcdef"])
@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_a_ping_is_answered_with_its_context(hosted: Host, raw_peer: Connect, side: str, context: bytes) -> None:
    proxy = hosted()
    peer = raw_peer(getattr(proxy, side))
    peer.handshake("ROUTER")
    peer.send(ping(context))
    assert peer.read_command() == b"\x04PONG" + context
    assert proxy.stats()["pings_in"] == 1


def test_a_pong_echoes_no_more_than_sixteen_bytes(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.handshake("DEALER")
    peer.send(ping(b"0123456789abcdef and more"))
    assert peer.read_command() == b"\x04PONG0123456789abcdef"


def test_a_libzmq_peer_that_beats_is_content(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    peers.connect(zmq.DEALER, proxy.frontend, heartbeat_ivl=50, heartbeat_timeout=500)
    proxy.wait_for("pings_in", 5)
    assert proxy.stats()["connections_closed"] == 0


@pytest.mark.parametrize("long", [False, True])
def test_commands_between_the_frames_of_a_message_leave_it_whole(
    hosted: Host, peers: Peers, raw_peer: Connect, long: bool
) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER", b"peer")
    big = b"b" * 300_000
    client.send(frame(b"first", more=True, long=long))
    client.send(ping(b"1") + frame(b"", more=True, long=long) + ping(b"2") + command(b"PONG") + frame(big, more=True))
    client.send(ping(b"3") + frame(b"last", long=long))
    assert worker.recv_multipart() == [b"peer", b"first", b"", big, b"last"]
    assert [client.read_command() for _ in range(3)] == [b"\x04PONG1", b"\x04PONG2", b"\x04PONG3"]


def test_an_unknown_command_is_passed_over(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER", b"peer")
    client.send(command(b"SUBSCRIBE", b"everything"))
    client.send_message(b"hello")
    assert worker.recv_multipart() == [b"peer", b"hello"]


def test_an_error_of_the_peer_closes_and_is_counted(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.handshake("DEALER")
    peer.send(command(b"ERROR", b"\x03bad"))
    assert peer.read_until_closed() == b"", "nothing is said to a peer that has given up"
    assert proxy.wait_for("closed_peer_error")["closed_malformed"] == 0


def test_without_heartbeat_nobody_is_pinged(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.handshake("DEALER")
    for _ in range(3):
        peer.send(ping(b"mine"))
        assert peer.read_command() == b"\x04PONGmine"
    assert proxy.stats()["pings_out"] == 0


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_a_silent_peer_is_pinged_then_closed_and_counted(hosted: Host, raw_peer: Connect, side: str) -> None:
    proxy = hosted(heartbeat=HEARTBEAT)
    peer = raw_peer(getattr(proxy, side))
    peer.handshake("ROUTER")
    assert peer.read_command().startswith(b"\x04PING")
    peer.read_until_closed()
    assert proxy.wait_for("closed_heartbeat")["pings_out"] >= 1


def test_any_byte_is_a_sign_of_life(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(heartbeat=HEARTBEAT)
    peer = raw_peer(proxy.backend)
    peer.handshake("ROUTER")
    for _ in range(5):
        assert peer.read_command().startswith(b"\x04PING")
        peer.send(command(b"PONG"))
    stats = proxy.wait_for("pongs_in", 5)
    assert (stats["closed_heartbeat"], stats["backend_connections"]) == (0, 1)


def test_a_peer_of_zmtp_3_0_is_neither_pinged_nor_judged(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(heartbeat=HEARTBEAT)
    old, new = raw_peer(proxy.frontend), raw_peer(proxy.frontend)
    old.handshake("DEALER", minor=0)
    new.handshake("DEALER")
    new.read_until_closed()
    assert proxy.wait_for("closed_heartbeat")["frontend_connections"] == 1


def test_a_peer_of_zmtp_3_0_that_pings_is_judged_like_any_other(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(heartbeat=HEARTBEAT)
    peer = raw_peer(proxy.frontend)
    peer.handshake("DEALER", minor=0)
    peer.send(ping())
    assert peer.read_command() == b"\x04PONG"
    assert peer.read_command().startswith(b"\x04PING")
    peer.read_until_closed()
    proxy.wait_for("closed_heartbeat")


def test_libzmq_peers_answer_by_themselves_and_stay(hosted: Host, peers: Peers) -> None:
    proxy = hosted(heartbeat=HEARTBEAT)
    worker = peers.connect(zmq.REP, proxy.backend)
    client = peers.connect(zmq.REQ, proxy.frontend)
    stats = proxy.wait_for("pongs_in", 6)
    assert (stats["closed_heartbeat"], stats["connections_closed"]) == (0, 0)
    client.send(b"hello")
    worker.send(worker.recv())
    assert client.recv() == b"hello"


def test_a_busy_worker_that_leaves_its_messages_unread_is_not_judged(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(heartbeat=HEARTBEAT)
    busy = raw_peer(proxy.backend)
    busy.handshake("DEALER")
    proxy.wait_for("backend_connections")
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for _ in range(600):  # above the 500 after which libzmq may have stopped reading
        client.send(b"work")
    proxy.wait_for("requests_out", 600)
    silent = raw_peer(proxy.frontend)
    silent.handshake("DEALER")
    silent.read_until_closed()
    stats = proxy.stats()
    assert (stats["closed_heartbeat"], stats["backend_connections"]) == (1, 1)
