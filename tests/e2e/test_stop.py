"""Stopping: what was accepted is flushed within the time, what cannot be is counted, and all is told."""

from __future__ import annotations

import signal
from collections.abc import Callable

import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy, ProxyProcess
from support.relays import BareRelay
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer, frame_header, open_socket

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

KIB, MIB = 1 << 10, 1 << 20


def is_refused(endpoint: str) -> bool:
    try:
        open_socket(endpoint).close()
    except ConnectionRefusedError:
        return True
    return False


def test_stop_delivers_every_request_that_was_accepted(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    worker = raw_peer(proxy.backend, receive_buffer_bytes=4096)
    worker.handshake("DEALER")
    proxy.wait_for("backend_connections")
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for number in range(200):
        client.send_multipart([b"%d" % number, bytes(32 * KIB)])
    proxy.wait_for("requests_in", 200)
    proxy.begin_stop(drain_seconds=20)
    assert [int(worker.read_message()[1]) for _ in range(200)] == list(range(200))
    worker.close()
    assert proxy.wait_stopped()
    stats = proxy.stats()
    assert (stats["requests_out"], stats["requests_lost"], stats["requests_undelivered"]) == (200, 0, 0)


def test_stop_delivers_every_reply_that_was_accepted(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    client.handshake("DEALER", b"slow")
    proxy.wait_for("frontend_connections")
    for number in range(200):
        worker.send_multipart([b"slow", b"%d" % number, bytes(32 * KIB)])
    proxy.wait_for("replies_in", 200)
    proxy.begin_stop(drain_seconds=20)
    assert [int(client.read_message()[0]) for _ in range(200)] == list(range(200))
    client.close()
    assert proxy.wait_stopped()
    stats = proxy.stats()
    assert (stats["replies_out"], stats["replies_lost"], stats["dropped_slow_reader"]) == (200, 0, 0)


def test_stop_counts_the_requests_nobody_could_take_and_does_not_wait(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for _ in range(7):
        client.send(b"for nobody")
    proxy.wait_for("waiting_requests", 7)
    proxy.begin_stop(drain_seconds=600)
    assert proxy.wait_stopped(10)
    stats = proxy.stats()
    assert (stats["requests_undelivered"], stats["waiting_requests"], stats["requests_out"]) == (7, 0, 0)


def test_a_drain_that_takes_too_long_ends_and_counts_the_rest(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    stuck = raw_peer(proxy.backend, receive_buffer_bytes=4096)
    stuck.handshake("DEALER")
    proxy.wait_for("backend_connections")
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for _ in range(30):
        client.send(bytes(MIB))
    proxy.wait_for("requests_in", 30)
    proxy.begin_stop(drain_seconds=0.2)
    assert proxy.wait_stopped(10)
    stats = proxy.stats()
    assert stats["requests_lost"] + stats["requests_undelivered"] > 0
    proxy.assert_books_balance()


def test_stopping_listens_no_more_and_reads_no_clients(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    worker = raw_peer(proxy.backend, receive_buffer_bytes=4096)
    worker.handshake("DEALER")
    proxy.wait_for("backend_connections")
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    for _ in range(30):
        client.send_message(bytes(MIB))
    proxy.wait_for("requests_in", 30)
    proxy.begin_stop(drain_seconds=20)
    wait_until(lambda: is_refused(proxy.frontend) and is_refused(proxy.backend), "both listeners closed")
    client.send_what_fits(b"\x00\x09too late!")
    for _ in range(30):
        worker.read_message()
    worker.close()
    assert proxy.wait_stopped()
    assert proxy.stats()["requests_in"] == 30


def test_what_a_client_sends_in_a_stop_costs_it_no_reply(hosted: Host, raw_peer: Connect) -> None:
    """Bytes left unread would turn the end into a reset, which takes what the client has not read yet."""
    proxy = hosted()
    worker = raw_peer(proxy.backend)
    worker.handshake("DEALER")
    client, stuck = raw_peer(proxy.frontend, receive_buffer_bytes=4096), raw_peer(proxy.frontend, 4096)
    client.handshake("DEALER", b"client")
    stuck.handshake("DEALER", b"stuck")
    proxy.wait_for("frontend_connections", 2)
    worker.send_message(b"client", bytes(128 * KIB))
    for _ in range(100):
        worker.send_message(b"stuck", bytes(100_000))
    proxy.wait_for("replies_in", 101)
    proxy.begin_stop(drain_seconds=20)
    wait_until(lambda: is_refused(proxy.frontend), "the drain has begun")
    client.send_message(b"in the drain")
    proxy.wait_for("paused_connections")
    stuck.close()
    wait_until(lambda: proxy.stats()["frontend_connections"] == 0, "all is written, the peers' ends are awaited")
    client.send_message(b"at the end")
    assert proxy.wait_stopped()
    assert client.read_message() == [bytes(128 * KIB)]


def test_a_large_message_that_a_stop_cuts_off_takes_no_memory(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(memory=16 * MIB)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    client.send(frame_header(200 * MIB) + bytes(100_000))
    proxy.wait_for("memory_bytes")
    worker = raw_peer(proxy.backend)  # its end is awaited, too
    worker.handshake("DEALER")
    proxy.wait_for("backend_connections")
    proxy.begin_stop()
    wait_until(lambda: proxy.stats()["frontend_connections"] == 0, "the end is near")
    sent = 0
    while sent < 64 * MIB and (taken := client.send_what_fits(bytes(MIB))):
        sent += taken
    assert proxy.stats()["memory_bytes"] < MIB


def test_an_idle_relay_stops_without_waiting_for_anything() -> None:
    stops = 0
    for _ in range(10):
        with BareRelay(handshake_ms=5000) as relay:
            relay.relay.stop(30_000)
            stops += relay.relay.join(3000)
    assert stops == 10, "stopping waits for a timer"


def test_a_stopped_proxy_keeps_its_last_figures(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    client = peers.connect(zmq.DEALER, proxy.frontend)
    with EchoWorkers(proxy.backend):
        for _ in range(50):
            client.send(b"hello")
        for _ in range(50):
            client.recv()
    client.close()
    proxy.begin_stop()
    assert proxy.wait_stopped()
    stats = proxy.stats()
    assert (stats["requests_in"], stats["replies_out"]) == (50, 50)
    assert (stats["frontend_connections"], stats["backend_connections"], stats["memory_bytes"]) == (0, 0, 0)


def test_sigterm_under_load_loses_no_accepted_request(peers: Peers) -> None:
    proxy = ProxyProcess("zproxy")
    client = peers.connect(zmq.DEALER, proxy.frontend)
    with EchoWorkers(proxy.backend) as workers:
        for number in range(2000):
            client.send(b"%d" % number)
        wait_until(lambda: workers.seen, "work under way")
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(15) == 0, proxy.log
    seen = [int(body) for _, body in workers.seen]
    assert seen == list(range(len(seen)))
    proxy.kill()
