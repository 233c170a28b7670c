"""Row 19: garbage at the port, old ZMTP, and a crowd that never finishes its handshake. Good peers are served."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.relays import BareRelay
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer, command, frame, greeting, ready

from zproxy.procfs import cpu_share, descriptor_count, rss_bytes

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

CROWD = 1000
HANDSHAKE_MS = 1500
SCANS = 100
GREETING = greeting()
MIB = 1 << 20


def is_served(frontend: str, backend: str, peers: Peers) -> bool:
    """Do newcomers on both sides exchange a message?"""
    worker = peers.connect(zmq.REP, backend)
    client = peers.connect(zmq.REQ, frontend)
    client.send(b"hello")
    worker.send(worker.recv())
    answer = client.recv()
    worker.close()
    client.close()
    return bool(answer == b"hello")


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_random_bytes_harm_nobody(hosted: Host, peers: Peers, raw_peer: Connect, side: str) -> None:
    proxy = hosted()
    descriptors = descriptor_count(proxy.pid)
    source = random.Random(19)
    for _ in range(200):
        peer = raw_peer(getattr(proxy, side))
        peer.send_what_fits(source.randbytes(source.randrange(1, 2000)))
        peer.close()
    stats = proxy.wait_for("connections_closed", 200)
    assert (stats["requests_in"], stats["replies_in"], stats["handshaking"]) == (0, 0, 0)
    assert (stats["memory_bytes"], descriptor_count(proxy.pid)) == (0, descriptors)
    assert is_served(proxy.frontend, proxy.backend, peers)


def test_random_bytes_after_a_good_handshake_close_their_own_connection(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(max_message=1 << 20)
    source = random.Random(20)
    for _ in range(200):
        peer = raw_peer(proxy.frontend)
        peer.handshake("DEALER")
        peer.send_what_fits(source.randbytes(source.randrange(1, 2000)))
    proxy.wait_for("closed_malformed", 150)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"good")
    client.send(b"hello")
    while worker.recv_multipart() != [b"good", b"hello"]:
        pass  # random bytes may be a message, and then are one
    assert proxy.stats()["frontend_connections"] >= 1


@pytest.mark.parametrize(
    "malformed",
    [
        b"\x08\x00",
        b"\x80\x05hello",
        b"\x05\x01x",  # a command that has more
        b"\x06" + b"\xff" * 8,
        frame(b"", command=True),
        frame(b"\x04PING\x00", command=True),
        frame(b"\x09PING", command=True),
        frame(bytes(100_000), command=True),
    ],
)
def test_malformed_frames_close_their_own_connection_only(
    hosted: Host, peers: Peers, raw_peer: Connect, malformed: bytes
) -> None:
    proxy = hosted()
    client = peers.connect(zmq.REQ, proxy.frontend)
    offender = raw_peer(proxy.frontend)
    offender.handshake("DEALER")
    offender.send(malformed)
    offender.read_error()
    offender.close()
    stats = proxy.wait_for("connections_closed")
    assert stats["closed_malformed"] + stats["closed_too_large"] == 1
    with EchoWorkers(proxy.backend):
        client.send(b"hello")
        assert client.recv() == b"hello"


@pytest.mark.parametrize("malformed", [frame(b"", command=True), command(b"PING"), b"\x80\x05hello"])
def test_a_worker_that_turns_malformed_while_it_reads_nothing_keeps_no_request(
    hosted: Host, peers: Peers, raw_peer: Connect, malformed: bytes
) -> None:
    proxy = hosted()
    offender = raw_peer(proxy.backend, receive_buffer_bytes=4096)
    offender.handshake("DEALER")
    client = peers.connect(zmq.DEALER, proxy.frontend, sndhwm=0, rcvhwm=0)
    for _ in range(20_000):
        client.send(bytes(1024))
    proxy.wait_for("requests_in", 20_000)
    offender.send(malformed)
    stats = proxy.wait_for("closed_malformed")
    assert stats["requests_rerouted"] >= 100, "its outbox held a quarter of a MiB"
    assert stats["requests_lost"] <= 1
    with EchoWorkers(proxy.backend):
        for _ in range(stats["waiting_requests"]):
            assert client.recv() == bytes(1024)
    assert proxy.wait_for("connections_closed", 2)["waiting_requests"] == 0


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_a_port_scan_and_a_browser_get_nothing_and_cost_nothing(hosted: Host, raw_peer: Connect, side: str) -> None:
    """Of all we would say they hear a greeting at most, and no ERROR: a browser would take it for an answer."""
    proxy = hosted()
    endpoint = getattr(proxy, side)

    def visit() -> None:
        for number in range(SCANS):
            scan, browser = raw_peer(endpoint), raw_peer(endpoint)
            (scan.close if number % 2 else scan.reset)()
            browser.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            heard = browser.read_until_closed()
            assert len(heard) <= len(GREETING) and GREETING.startswith(heard[:10]), heard
            browser.close()

    visit()
    proxy.wait_for("connections_closed", 2 * SCANS)
    descriptors, memory = descriptor_count(proxy.pid), rss_bytes(proxy.pid)
    visit()
    stats = proxy.wait_for("connections_closed", 4 * SCANS)
    assert (stats["connections_accepted"], stats["refused_malformed"]) == (4 * SCANS, 2 * SCANS)
    assert (stats["handshaking"], stats["memory_bytes"], stats[f"{side}_connections"]) == (0, 0, 0)
    assert descriptor_count(proxy.pid) == descriptors
    assert rss_bytes(proxy.pid) - memory < MIB


def test_a_crowd_that_never_finishes_its_handshake_keeps_nobody_out(peers: Peers, raw_peer: Connect) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * CROWD + 500), hard), hard))
    with BareRelay(handshake_ms=HANDSHAKE_MS) as relay:
        for number in range(CROWD):
            raw_peer(relay.frontend).send(greeting()[: number % 64])
        wait_until(lambda: relay.stats()["connections_accepted"] == CROWD, "the crowd is in")
        assert is_served(relay.frontend, relay.backend, peers)
        wait_until(lambda: relay.stats()["refused_handshake_timeout"] == CROWD, "the crowd is sent away", 15)
        assert relay.stats()["handshaking"] == 0
        assert is_served(relay.frontend, relay.backend, peers)


def test_refused_peers_that_are_held_cost_little(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    before = rss_bytes(proxy.pid)
    holder = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-1")
    proxy.wait_for("frontend_connections")
    for _ in range(200):
        raw_peer(proxy.frontend).send(greeting() + ready("DEALER", {"Identity": b"\0not yours"}))
    proxy.wait_for("refused_routing_id", 200)
    assert cpu_share(proxy.pid, 0.3) < 0.2
    assert rss_bytes(proxy.pid) - before < 16 << 20
    with EchoWorkers(proxy.backend):
        holder.send(b"hello")
        assert holder.recv() == b"hello"
