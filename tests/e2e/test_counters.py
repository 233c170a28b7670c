"""zproxy counts what it does; every message is accounted for exactly once, in every snapshot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq
from support.managed import ManagedPeer
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer

from zproxy.envelope import Kind

Host = Callable[..., HostedProxy]
Managed = Callable[..., ManagedPeer]
Connect = Callable[..., ZmtpPeer]

CONTENT = b"\x92\xc0\x90"
MIB = 1 << 20


def test_messages_are_counted_on_their_way(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node")
    with EchoWorkers(proxy.backend):
        for _ in range(100):
            client.send(b"0123456789")
        for _ in range(100):
            client.recv()
        stats = proxy.stats()
    assert [stats[name] for name in ("requests_in", "requests_out", "replies_in", "replies_out")] == [100] * 4
    wire, with_routing_id = 100 * (2 + 10), 100 * (2 + 10 + 2 + len(b"node"))
    assert (stats["requests_in_bytes"], stats["replies_out_bytes"]) == (wire, wire)
    assert (stats["requests_out_bytes"], stats["replies_in_bytes"]) == (with_routing_id, with_routing_id)


def test_the_books_balance_in_every_snapshot_under_load(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    clients = [peers.connect(zmq.DEALER, proxy.frontend) for _ in range(8)]
    with EchoWorkers(proxy.backend, count=2):
        for number in range(400):
            for client in clients:
                client.send(b"%d" % number)
            if number % 20 == 0:
                proxy.assert_books_balance()
        for client in clients:
            for _ in range(400):
                client.recv()
    stats = proxy.stats()
    assert stats["requests_in"] == stats["replies_out"] == 8 * 400


def test_the_books_of_each_service_balance_under_load_and_after_the_end(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    worker = managed(proxy.backend, "m1")
    worker.ready("sum", "product", credit=20)
    node = managed(proxy.frontend, "rank0")
    node.hello()
    for number in range(200):
        node.request("sum" if number % 2 else "product", CONTENT)
        node.request("misspelt", CONTENT, remaining_ms=1)
        if number % 20 == 19:
            for _ in range(20):
                worker.answer(worker.read(Kind.REQUEST)[0], CONTENT)
            proxy.assert_books_balance()
    node.request("sum", CONTENT)
    worker.read(Kind.REQUEST)
    proxy.wait_for("managed_expired", 200)
    proxy.begin_stop(drain_seconds=0)
    assert proxy.wait_stopped()
    proxy.assert_books_balance()
    columns = ("accepted", "delivered", "failed", "expired")
    ended = {row["name"]: tuple(row[name] for name in columns) for row in proxy.services()}
    assert ended == {"sum": (101, 100, 1, 0), "product": (100, 100, 0, 0), "": (200, 0, 0, 200)}


def test_connections_are_counted_as_they_come_and_go(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    clients = [peers.connect(zmq.DEALER, proxy.frontend) for _ in range(3)]
    worker = peers.connect(zmq.DEALER, proxy.backend)
    proxy.wait_for("frontend_connections", 3)
    assert proxy.wait_for("backend_connections", 1)["connections_accepted"] == 4
    for opened in (*clients, worker):
        opened.close()
    stats = proxy.wait_for("connections_closed", 4)
    assert (stats["frontend_connections"], stats["backend_connections"]) == (0, 0)


def test_requests_that_wait_for_a_worker_are_counted_while_they_wait(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for _ in range(10):
        client.send(bytes(1000))
    assert proxy.wait_for("waiting_requests", 10)["waiting_bytes"] >= 10 * 1000
    worker = peers.connect(zmq.DEALER, proxy.backend)
    for _ in range(10):
        worker.recv_multipart()
    stats = proxy.stats()
    assert (stats["waiting_requests"], stats["waiting_bytes"]) == (0, 0)


def test_a_reply_for_a_client_that_has_gone_is_dropped_and_counted(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"gone")
    client.send(b"and leaves")
    worker.recv_multipart()
    client.close()
    proxy.wait_for("connections_closed")
    worker.send_multipart([b"gone", b"answer"])
    worker.send_multipart([b"never known", b"answer"])
    assert proxy.wait_for("dropped_client_gone", 2)["replies_out"] == 0


@pytest.mark.parametrize("reply", [[b""], [b"", b"x"], [b"no second frame"], [bytes(256), b"x"]])
def test_a_reply_without_an_address_is_dropped_and_counted(hosted: Host, peers: Peers, reply: list[bytes]) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.REQ, proxy.frontend)
    worker.send_multipart(reply)
    client.send(b"hello")
    worker.send_multipart(worker.recv_multipart())
    assert client.recv() == b"hello"
    stats = proxy.stats()
    assert stats["dropped_unroutable"] + stats["dropped_client_gone"] == 1
    assert stats["replies_out"] == 1


def test_requests_for_a_worker_that_left_unread_go_to_another_or_are_counted(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted()
    unread = raw_peer(proxy.backend, receive_buffer_bytes=4096)
    unread.handshake("DEALER")
    proxy.wait_for("backend_connections")
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for number in range(64):
        client.send_multipart([b"%d" % number, bytes(MIB)])
    proxy.wait_for("requests_in", 16)
    unread.reset()
    proxy.wait_for("connections_closed")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    numbers = [int(worker.recv_multipart()[1])]
    while numbers[-1] != 63:
        numbers.append(int(worker.recv_multipart()[1]))
    assert numbers == list(range(numbers[0], 64)), "re-routed requests keep their order"
    stats = proxy.stats()
    assert stats["requests_in"] == 64
    assert stats["requests_rerouted"] + stats["requests_lost"] >= 1
    assert stats["requests_out"] == 64 + stats["requests_rerouted"]


def test_memory_is_given_back_when_all_is_delivered(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for _ in range(8):
        client.send(bytes(2 * MIB))
    assert proxy.wait_for("waiting_requests", 8)["memory_bytes"] >= 16 * MIB
    with EchoWorkers(proxy.backend):
        for _ in range(8):
            client.recv()
    assert proxy.stats()["memory_bytes"] < MIB
