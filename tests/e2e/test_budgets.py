"""Memory is budgeted in bytes: who is over budget is not read, or loses replies, counted; others do not notice."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest
import zmq
from support.peers import Peers
from support.proxies import HostedProxy
from support.waiting import wait_until, wait_while_steady
from support.zmtp_peer import ERROR, ConnectionClosed, ZmtpPeer, frame_header, greeting, message, ping, ready

from zproxy.procfs import cpu_share, peak_rss_bytes, rss_bytes

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

KIB, MIB = 1 << 10, 1 << 20
IDLE_CONNECTIONS = 1000


def push_until_stuck(peer: ZmtpPeer, block: bytes, steady_seconds: float = 0.5) -> int:
    """Bytes the connection took before it took no more."""
    taken = 0

    def push() -> int:
        nonlocal taken
        while sent := peer.send_what_fits(block[taken % len(block) :]):
            taken += sent
        return taken

    return wait_while_steady(push, steady_seconds)


def exchange(client: Any, worker: Any) -> None:
    client.send(b"hello")
    routing_id, body = worker.recv_multipart()
    worker.send_multipart([routing_id, body])
    assert client.recv() == b"hello"


def test_without_a_worker_a_client_is_read_up_to_its_budget(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    push_until_stuck(client, message(bytes(10_000)))
    stats = proxy.stats()
    assert MIB - 10_100 <= stats["waiting_bytes"] <= MIB + 64 * KIB + 10_100
    assert stats["paused_connections"] == 1


def test_a_paused_client_costs_no_cpu(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    for _ in range(3):
        client = raw_peer(proxy.frontend)
        client.handshake("DEALER")
        push_until_stuck(client, message(bytes(10_000)))
    assert proxy.stats()["paused_connections"] == 3
    assert cpu_share(proxy.pid, 0.5) < 0.1


def test_a_paused_client_goes_on_when_a_worker_comes(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    client = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    client.handshake("DEALER", b"eager")
    bodies = [b"%06d" % number + bytes(10_000) for number in range(3000)]
    spoken = b"".join(message(body) for body in bodies)
    taken = push_until_stuck(client, spoken)
    assert taken < len(spoken)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    for number in range(3000):
        while taken < len(spoken) and (sent := client.send_what_fits(spoken[taken : taken + MIB])):
            taken += sent
        assert worker.recv_multipart()[1] == bodies[number]
    assert proxy.stats()["paused_connections"] == 0


def test_a_paused_client_that_resets_is_seen_at_once(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    push_until_stuck(client, message(bytes(10_000)))
    client.reset()
    assert proxy.wait_for("connections_closed")["paused_connections"] == 0


def test_a_client_below_its_budget_has_its_pings_answered_while_it_waits(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    client.send_message(b"waits for a worker")
    client.send(ping(b"alive?"))
    assert client.read_command() == b"\x04PONGalive?"
    assert proxy.stats()["waiting_requests"] == 1


def test_a_connection_may_exceed_its_budget_by_one_message(hosted: Host, peers: Peers) -> None:
    proxy = hosted(connection_memory=MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    body = bytes(8 * MIB)
    client.send(body)
    routing_id, seen = worker.recv_multipart()
    assert seen == body
    worker.send_multipart([routing_id, seen])
    assert client.recv() == body


def test_what_a_paused_client_sent_before_it_left_is_delivered(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER", b"left")
    spoken = message(bytes(10_000))
    whole = push_until_stuck(client, spoken) // len(spoken)
    assert whole * len(spoken) > 2 * MIB, "more than its budget lies in the sockets"
    client.close()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    for _ in range(whole):
        assert worker.recv_multipart() == [b"left", bytes(10_000)]
    assert proxy.wait_for("connections_closed")["requests_in"] == whole


def test_tiny_requests_are_charged_for_what_they_cost(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    push_until_stuck(client, message(b"") * 10_000)
    assert proxy.stats()["memory_bytes"] <= 4 * MIB


def test_pings_of_a_peer_that_reads_no_pongs_cost_no_more_than_its_budget(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(connection_memory=MIB)
    flooder = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    flooder.handshake("DEALER")
    block = ping(b"0123456789abcdef") * 10_000
    for _ in range(40):
        if not flooder.send_what_fits(block):
            break
        wait_while_steady(lambda: proxy.stats()["pings_in"], steady_seconds=0.02)
    assert proxy.stats()["memory_bytes"] <= 2 * MIB
    worker = peers.connect(zmq.DEALER, proxy.backend)
    exchange(peers.connect(zmq.DEALER, proxy.frontend), worker)


def test_a_slow_reader_loses_replies_counted_and_nobody_else_notices(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(connection_memory=MIB, memory=64 * MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    slow = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    slow.handshake("DEALER", b"slow")
    other = peers.connect(zmq.DEALER, proxy.frontend)
    proxy.wait_for("frontend_connections", 2)
    sent = 0

    def push() -> int:
        nonlocal sent
        for number in range(sent, sent + 40):
            worker.send_multipart([b"slow", b"%d" % number, bytes(64 * KIB)])
        sent += 40
        exchange(other, worker)
        return proxy.stats()["dropped_slow_reader"]

    wait_until(push, "replies dropped")
    stats = proxy.wait_for("replies_in", sent + sent // 40)
    kept = sent - stats["dropped_slow_reader"]
    numbers = [int(slow.read_message()[0]) for _ in range(kept)]
    assert numbers == sorted(set(numbers))
    exchange(other, worker)
    worker.send_multipart([b"slow", b"again"])
    assert slow.read_message() == [b"again"]


def test_a_client_that_takes_nothing_for_a_second_keeps_to_its_budget(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(connection_memory=MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    raw_peer(proxy.frontend, receive_buffer_bytes=4096).handshake("DEALER", b"slow")
    for _ in range(16):  # the system's own buffers take up to 4 MiB of it
        worker.send_multipart([b"slow", bytes(MIB)])

    before = proxy.wait_for("replies_in", 16)["memory_bytes"]

    def trickle() -> int:
        worker.send_multipart([b"slow", b"x"])
        return proxy.stats()["dropped_slow_reader"]

    wait_until(trickle, "a reply dropped")
    assert proxy.stats()["memory_bytes"] < before + MIB


def test_a_client_that_reads_may_have_more_than_its_budget_on_the_way(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(connection_memory=MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    client.handshake("DEALER", b"node")
    for number in range(4):
        worker.send_multipart([b"node", b"%d" % number, bytes(16 * MIB)])
    received = [client.read_message() for _ in range(4)]
    assert [int(number) for number, _ in received] == [0, 1, 2, 3]
    assert proxy.stats()["dropped_slow_reader"] == 0


def test_a_frame_above_max_message_is_refused_by_its_header(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(max_message=MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    client.send(frame_header(MIB + 1))
    client.read_error()
    stats = proxy.wait_for("closed_too_large")
    assert stats["memory_bytes"] < MIB
    exchange(peers.connect(zmq.DEALER, proxy.frontend), worker)


def test_a_message_of_exactly_max_message_passes(hosted: Host, peers: Peers) -> None:
    proxy = hosted(max_message=MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    client.send(bytes(MIB))
    assert len(worker.recv_multipart()[1]) == MIB


def test_a_libzmq_client_above_max_message_is_refused_once(hosted: Host, peers: Peers) -> None:
    proxy = hosted(max_message=MIB)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    client.send(bytes(2 * MIB))
    proxy.wait_for("closed_too_large")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    exchange(peers.connect(zmq.DEALER, proxy.frontend), worker)
    assert proxy.stats()["closed_too_large"] == 1


def test_a_declared_length_costs_no_memory(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    before = rss_bytes(proxy.pid)
    for _ in range(20):
        client = raw_peer(proxy.frontend)
        client.handshake("DEALER")
        client.send(frame_header(1 << 30) + b"only the beginning")
        client.wait_taken()
    proxy.wait_for("frontend_connections", 20)
    assert proxy.stats()["memory_bytes"] <= 20 * MIB
    assert rss_bytes(proxy.pid) - before < 24 * MIB


def test_all_together_stay_within_the_memory_of_the_relay(hosted: Host, raw_peer: Connect) -> None:
    limit = 16 * MIB
    proxy = hosted(memory=limit, connection_memory=8 * MIB, max_message=4 * MIB)
    before = rss_bytes(proxy.pid)
    for _ in range(6):
        client = raw_peer(proxy.frontend)
        client.handshake("DEALER")
        push_until_stuck(client, message(bytes(100_000)), steady_seconds=0.1)
    stats = proxy.stats()
    assert stats["memory_bytes"] <= limit + 4 * MIB
    assert stats["waiting_bytes"] <= limit + 4 * MIB
    assert peak_rss_bytes(proxy.pid) - before < 2 * limit


@pytest.mark.timeout(60)
def test_a_thousand_idle_connections_cost_at_most_32_kib_each_and_no_cpu(hosted: Host, raw_peer: Connect) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    proxy = hosted()
    before = rss_bytes(proxy.pid)
    clients = [raw_peer(proxy.frontend) for _ in range(IDLE_CONNECTIONS)]
    for client in clients:
        client.send(greeting() + ready("DEALER"))
    proxy.wait_for("frontend_connections", IDLE_CONNECTIONS)
    assert (rss_bytes(proxy.pid) - before) / IDLE_CONNECTIONS <= 32 * KIB
    assert cpu_share(proxy.pid, 0.5) < 0.1


def test_an_idle_proxy_costs_no_cpu_after_traffic(hosted: Host, peers: Peers) -> None:
    proxy = hosted(spin="auto")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for _ in range(500):
        exchange(client, worker)
    assert cpu_share(proxy.pid, 0.5) < 0.1


def test_a_refused_sender_is_told_and_then_closed_though_it_does_nothing(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(max_message=MIB)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    client.send(frame_header(1 << 40))
    assert client.read_command().startswith(ERROR)
    with pytest.raises(ConnectionClosed):
        client.read_frame()
