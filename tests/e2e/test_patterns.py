"""Socket patterns of plain pyzmq programs behave the same through zmq.proxy and through zproxy."""

from __future__ import annotations

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import Lane
from support.waiting import wait_until

LONGEST_ROUTING_ID = bytes(range(1, 256))


def test_req_gets_the_answer_of_rep(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.REP, proxy.backend)
    client = peers.connect(zmq.REQ, proxy.frontend)
    for number in range(10):
        client.send(b"question %d" % number)
        assert worker.recv() == b"question %d" % number
        worker.send(b"answer %d" % number)
        assert client.recv() == b"answer %d" % number


def test_a_dealer_worker_sees_the_client_and_its_empty_delimiter(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.REQ, proxy.frontend, routing_id=b"node-1")
    client.send_multipart([b"progress", b"50"])
    assert worker.recv_multipart() == [b"node-1", b"", b"progress", b"50"]
    worker.send_multipart([b"node-1", b"", b"ok"])
    assert client.recv_multipart() == [b"ok"]


def test_dealer_to_dealer_keeps_many_requests_open(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for number in range(500):
        client.send(b"%d" % number)
    for number in range(500):
        routing_id, body = worker.recv_multipart()
        assert body == b"%d" % number
        worker.send_multipart([routing_id, body])
    assert [client.recv() for _ in range(500)] == [b"%d" % number for number in range(500)]


def test_dealer_talks_to_rep_with_a_delimiter(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.REP, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    client.send_multipart([b"", b"one", b"two"])
    assert worker.recv_multipart() == [b"one", b"two"]
    worker.send_multipart([b"three", b""])
    assert client.recv_multipart() == [b"", b"three", b""]


def test_a_router_worker_sees_the_proxy_and_the_client(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.ROUTER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-2")
    client.send_multipart([b"a", b"b"])
    of_proxy, of_client, *body = worker.recv_multipart()
    assert (of_client, body) == (b"node-2", [b"a", b"b"])
    worker.send_multipart([of_proxy, of_client, b"c"])
    assert client.recv_multipart() == [b"c"]


def test_a_router_client_names_the_proxy_when_it_connects(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.ROUTER, router_mandatory=1, routing_id=b"node-3")
    client.connect_routing_id = b"proxy"
    client.connect(proxy.frontend)
    client.send_multipart([b"proxy", b"", b"hello"])
    assert worker.recv_multipart() == [b"node-3", b"", b"hello"]
    worker.send_multipart([b"node-3", b"", b"welcome"])
    assert client.recv_multipart() == [b"proxy", b"", b"welcome"]


@pytest.mark.parametrize("routing_id", [b"x", b"node 7 \xe8\x8a\x82\xe7\x82\xb9", LONGEST_ROUTING_ID])
def test_an_explicit_routing_id_arrives_as_it_is(proxy: Lane, peers: Peers, routing_id: bytes) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=routing_id)
    client.send(b"hello")
    assert worker.recv_multipart() == [routing_id, b"hello"]
    worker.send_multipart([routing_id, b"welcome"])
    assert client.recv() == b"welcome"


def test_generated_routing_ids_are_five_bytes_that_start_with_zero_and_differ(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    clients = [peers.connect(zmq.DEALER, proxy.frontend) for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    seen = {}
    for _ in clients:
        routing_id, body = worker.recv_multipart()
        seen[routing_id] = body
        worker.send_multipart([routing_id, body])
    assert len(seen) == len(clients)
    assert all(len(routing_id) == 5 and routing_id[0] == 0 for routing_id in seen)
    assert [client.recv() for client in clients] == [b"%d" % number for number in range(20)]


def test_a_routing_id_is_free_again_when_its_client_has_left(proxy: Lane, peers: Peers) -> None:
    with EchoWorkers(proxy.backend):

        def visit_is_answered() -> bool:
            client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-1")
            client.send(b"hello")
            answered = client.poll(300)
            client.close()
            return bool(answered)

        # zmq.proxy may still take the one that left for alive, and then never hears the newcomer.
        for _ in range(3):
            assert wait_until(visit_is_answered, "node-1 answered")


def test_a_probing_router_client_is_announced_by_an_empty_message(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-4", probe_router=1)
    assert worker.recv_multipart() == [b"node-4", b""]


def test_a_probing_worker_disturbs_nobody(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.ROUTER, proxy.backend, probe_router=1)
    client = peers.connect(zmq.REQ, proxy.frontend)
    client.send(b"hello")
    *route, body = worker.recv_multipart()
    worker.send_multipart([*route, body + b" yourself"])
    assert client.recv() == b"hello yourself"


def test_a_worker_may_write_to_a_client_that_has_not_asked(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-5")
    client.send(b"here I am")
    worker.recv_multipart()
    for number in range(100):
        worker.send_multipart([b"node-5", b"%d" % number])
    assert [client.recv() for _ in range(100)] == [b"%d" % number for number in range(100)]
