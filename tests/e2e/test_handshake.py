"""Who is let in, and how the others are told: zproxy's handshake through real sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from support.peers import Peers
from support.proxies import HostedProxy
from support.relays import BareRelay
from support.waiting import wait_until
from support.zmtp_peer import ERROR, Greeting, ZmtpPeer, frame, greeting, message, ping, ready
from zmq.utils.monitor import recv_monitor_message

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]


def is_served(proxy: HostedProxy, peers: Peers) -> bool:
    """Does a newly connected client get an answer from a newly connected worker?"""
    worker = peers.connect(zmq.REP, proxy.backend)
    client = peers.connect(zmq.REQ, proxy.frontend)
    client.send(b"still there?")
    worker.send(worker.recv())
    return bool(client.recv() == b"still there?")


def refusals(proxy: HostedProxy) -> dict[str, int]:
    """Why connections were refused or closed, once one is closed."""
    stats = proxy.wait_for("connections_closed")
    return {name: count for name, count in stats.items() if count and name.startswith(("refused_", "closed_"))}


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_the_proxy_greets_first_and_in_full(hosted: Host, raw_peer: Connect, side: str) -> None:
    proxy = hosted()
    peer = raw_peer(getattr(proxy, side))
    assert peer.read_greeting() == Greeting(3, 1, "NULL", as_server=False)


@pytest.mark.parametrize(("side", "presented"), [("frontend", b"ROUTER"), ("backend", b"DEALER")])
def test_each_side_presents_its_socket_type(hosted: Host, raw_peer: Connect, side: str, presented: bytes) -> None:
    proxy = hosted()
    peer = raw_peer(getattr(proxy, side))
    assert b"\x0bSocket-Type\x00\x00\x00\x06" + presented in peer.handshake("ROUTER")


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_conversation_may_be_cut_at_any_byte(
    hosted: Host, peers: Peers, raw_peer: Connect, tmp_path: Path, kind: str
) -> None:
    proxy = hosted(frontend="tcp://127.0.0.1:0" if kind == "tcp" else f"ipc://{tmp_path}/frontend")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    proxy.wait_for("backend_connections")
    spoken = greeting() + ready("DEALER", {"Identity": b"cut", "X-Any": b"thing"}) + ping(b"p") + message(b"a", b"bc")
    for cut in range(1, len(spoken)):
        peer = raw_peer(proxy.frontend)
        peer.send(spoken[:cut])
        peer.wait_taken()
        peer.send(spoken[cut:])
        assert worker.recv_multipart() == [b"cut", b"a", b"bc"], f"cut at byte {cut}"
        peer.close()
        proxy.wait_for("connections_closed", cut)
    assert proxy.stats()["pings_in"] == len(spoken) - 1


def test_a_conversation_may_come_byte_by_byte(hosted: Host, peers: Peers, raw_peer: Connect, tmp_path: Path) -> None:
    proxy = hosted(frontend=f"ipc://{tmp_path}/frontend")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    peer = raw_peer(proxy.frontend)
    for byte in greeting() + ready("DEALER", {"Identity": b"slow"}) + message(b"", b"x" * 300):
        peer.send(bytes([byte]))
        peer.wait_taken()
    assert worker.recv_multipart() == [b"slow", b"", b"x" * 300]


def test_a_message_may_follow_the_greeting_in_one_piece(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    raw_peer(proxy.frontend).send(greeting() + ready("DEALER", {"Identity": b"hasty"}) + message(b"now"))
    assert worker.recv_multipart() == [b"hasty", b"now"]


@pytest.mark.parametrize("minor", [0, 1, 2, 255])
def test_any_minor_version_of_zmtp_3_is_welcome(hosted: Host, peers: Peers, raw_peer: Connect, minor: int) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    peer = raw_peer(proxy.frontend)
    peer.handshake("DEALER", b"peer", minor=minor)
    peer.send_message(b"hello")
    assert worker.recv_multipart() == [b"peer", b"hello"]


@pytest.mark.parametrize(
    ("side", "socket_type"),
    [("frontend", kind) for kind in ("PUB", "SUB", "XPUB", "PUSH", "PULL", "PAIR", "REP", "nonsense", "")]
    + [("backend", kind) for kind in ("PUB", "SUB", "XSUB", "PUSH", "PULL", "PAIR", "REQ", "nonsense", "")],
)
def test_a_wrong_socket_type_is_told_so_and_counted(
    hosted: Host, raw_peer: Connect, side: str, socket_type: str
) -> None:
    proxy = hosted()
    peer = raw_peer(getattr(proxy, side))
    peer.send(greeting() + ready(socket_type))
    peer.read_error()
    stats = proxy.wait_for("refused_socket_type")
    assert (stats["frontend_connections"], stats["backend_connections"]) == (0, 0)


@pytest.mark.parametrize("mechanism", [b"PLAIN", b"CURVE", b"GSSAPI", b"", b"NULLX", b"null"])
def test_another_mechanism_is_refused_and_counted(hosted: Host, raw_peer: Connect, mechanism: bytes) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.send(greeting(mechanism=mechanism))
    peer.read_greeting()
    peer.read_error()
    stats = proxy.wait_for("refused_mechanism")
    assert (stats["refused_mechanism"], stats["handshaking"], stats["frontend_connections"]) == (1, 0, 0)


def retries(monitor: Any, least: int) -> int:
    """How often a monitored socket has tried to connect again; waits until it is so often, if `least` says so."""
    count = 0
    while count < least or monitor.poll(0):
        count += recv_monitor_message(monitor)["event"] == zmq.EVENT_CONNECT_RETRIED
    return count


def test_a_curve_client_of_libzmq_gives_up_and_does_not_come_back(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    public, secret = zmq.curve_keypair()
    keys = {"curve_serverkey": public, "curve_publickey": public, "curve_secretkey": secret}
    client = peers.open(zmq.DEALER, reconnect_ivl=10, **keys)
    of_client = client.get_monitor_socket()
    client.connect(proxy.frontend)
    proxy.wait_for("connections_closed")
    # One that nobody refuses measures the time: it comes back every 10 ms.
    other = peers.open(zmq.DEALER, reconnect_ivl=10)
    of_other = other.get_monitor_socket()
    other.connect("tcp://127.0.0.1:1")
    assert retries(of_other, 20) >= 20
    assert retries(of_client, 0) == 0
    assert proxy.stats()["connections_accepted"] == 1
    assert is_served(proxy, peers)


@pytest.mark.parametrize(
    "first_words",
    [
        b"\xff" + bytes(7) + b"\x01\x7f" + b"\x01\x05" + b"\x00\x00",  # ZMTP 2.0, a DEALER
        greeting(major=2),
        greeting(major=0),
    ],
)
def test_an_older_version_is_refused_and_counted(hosted: Host, raw_peer: Connect, first_words: bytes) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.send(first_words)
    stats = proxy.wait_for("refused_version")
    assert ERROR not in peer.read_until_closed(), "a peer older than ZMTP 3 would take ERROR for a message"
    assert (stats["refused_version"], stats["frontend_connections"]) == (1, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: zproxy\r\n\r\n",
        b"\x01\x00",  # ZMTP 1.0, an anonymous peer
        bytes(64),
    ],
)
def test_a_peer_that_speaks_no_zmtp_3_is_closed_without_a_word(
    hosted: Host, peers: Peers, raw_peer: Connect, garbage: bytes
) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.send(garbage)
    assert ERROR not in peer.read_until_closed()
    assert refusals(proxy) == {"refused_malformed": 1}
    assert is_served(proxy, peers)


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"\xff" * 64, "mechanism"),  # a signature, a later version, and a mechanism nobody knows
        (greeting() + frame(b"no command"), "malformed"),
        (greeting() + frame(b"\x04PING\x00\x00", command=True), "malformed"),
        (greeting() + frame(b"\x05READY\x0bSocket-Type\x00\x00\x00\xffDEALER", command=True), "malformed"),
        (greeting() + frame(b"\x05READY\x00\x00\x00\x00\x00", command=True), "malformed"),
        (greeting() + frame(b"\x20READY", command=True), "malformed"),
        (greeting() + frame(b"", command=True), "malformed"),
        (greeting() + b"\x80\x00", "malformed"),
        (greeting() + b"\x06" + b"\xff" * 8, "malformed"),
        (greeting() + ready("DEALER", {"Identity": bytes(256)}), "malformed"),
    ],
)
def test_a_garbled_handshake_is_told_so_and_counted(
    hosted: Host, peers: Peers, raw_peer: Connect, garbage: bytes, reason: str
) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.send(garbage)
    peer.read_error()
    peer.close()
    assert refusals(proxy) == {f"refused_{reason}": 1}
    assert is_served(proxy, peers)


def test_a_peer_that_leaves_during_the_handshake_is_no_refusal(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    for spoken in (b"", greeting()[:11], greeting(), greeting() + ready("DEALER")[:9]):
        peer = raw_peer(proxy.frontend)
        peer.send(spoken)
        peer.wait_taken()
        peer.close()
    stats = proxy.wait_for("connections_closed", 4)
    assert {name: value for name, value in stats.items() if name.startswith("refused_") and value} == {}


@pytest.mark.parametrize("spoken", [b"", greeting()[:10], greeting(), greeting() + ready("DEALER")[:-1]])
def test_a_handshake_that_takes_too_long_is_refused_and_counted(raw_peer: Connect, spoken: bytes) -> None:
    with BareRelay(handshake_ms=200) as relay:
        peer = raw_peer(relay.frontend)
        peer.send(spoken)
        peer.read_until_closed()
        wait_until(lambda: relay.stats()["refused_handshake_timeout"] == 1, "refusal counted")
        reasons = [event.reason for event in relay.events() if event.kind == "refused"]
    assert reasons == ["handshake_timeout"]


def test_a_peer_that_is_late_but_in_time_is_welcome(raw_peer: Connect) -> None:
    with BareRelay(handshake_ms=30_000) as relay:
        peer = raw_peer(relay.frontend)
        peer.send(greeting()[:10])
        peer.wait_taken()
        peer.send(greeting()[10:] + ready("DEALER"))
        peer.read_greeting()
        assert peer.read_command().startswith(b"\x05READY")
