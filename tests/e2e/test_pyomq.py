"""pyomq, an independent ZMTP engine, as client and as worker: the same through zmq.proxy and through zproxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import Lane

pyomq = pytest.importorskip("pyomq")


@pytest.fixture
def omq_peers() -> Iterator[Peers]:
    """Opens pyomq sockets, closed after the test."""
    opened = Peers(pyomq)
    yield opened
    opened.close()


def test_a_pyomq_req_is_answered_by_a_libzmq_rep(proxy: Lane, peers: Peers, omq_peers: Peers) -> None:
    worker = peers.connect(zmq.REP, proxy.backend)
    client = omq_peers.connect(pyomq.REQ, proxy.frontend)
    for number in range(20):
        client.send(b"question %d" % number)
        assert worker.recv() == b"question %d" % number
        worker.send(b"answer %d" % number)
        assert client.recv() == b"answer %d" % number


def test_a_libzmq_req_is_answered_by_a_pyomq_rep(proxy: Lane, peers: Peers, omq_peers: Peers) -> None:
    worker = omq_peers.connect(pyomq.REP, proxy.backend)
    client = peers.connect(zmq.REQ, proxy.frontend)
    for number in range(20):
        client.send(b"question %d" % number)
        assert worker.recv() == b"question %d" % number
        worker.send(b"answer %d" % number)
        assert client.recv() == b"answer %d" % number


@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000, 1 << 20])
def test_pyomq_at_both_ends_exchanges_frames_of_any_size(proxy: Lane, omq_peers: Peers, size: int) -> None:
    worker = omq_peers.connect(pyomq.DEALER, proxy.backend)
    client = omq_peers.connect(pyomq.DEALER, proxy.frontend, routing_id=b"omq-1")
    frames = [b"", b"\xa5" * size, b"last"]
    client.send_multipart(frames)
    assert worker.recv_multipart() == [b"omq-1", *frames]
    worker.send_multipart([b"omq-1", *frames])
    assert client.recv_multipart() == frames


def test_a_pyomq_router_serves_a_libzmq_dealer(proxy: Lane, peers: Peers, omq_peers: Peers) -> None:
    worker = omq_peers.connect(pyomq.ROUTER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-1")
    client.send_multipart([b"a", b"b"])
    of_proxy, *message = worker.recv_multipart()
    assert message == [b"node-1", b"a", b"b"]
    worker.send_multipart([of_proxy, b"node-1", b"c"])
    assert client.recv_multipart() == [b"c"]


def test_many_requests_of_a_pyomq_dealer_stay_in_order(proxy: Lane, omq_peers: Peers) -> None:
    client = omq_peers.connect(pyomq.DEALER, proxy.frontend)
    with EchoWorkers(proxy.backend):
        for number in range(500):
            client.send(b"%d" % number)
        assert [client.recv() for _ in range(500)] == [b"%d" % number for number in range(500)]


def test_requests_wait_for_a_pyomq_worker_that_comes_late(proxy: Lane, peers: Peers, omq_peers: Peers) -> None:
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for number in range(50):
        client.send_multipart([b"", b"%d" % number])
    worker = omq_peers.connect(pyomq.REP, proxy.backend)
    for number in range(50):
        assert worker.recv() == b"%d" % number
        worker.send(b"done")
    assert [client.recv_multipart() for _ in range(50)] == [[b"", b"done"]] * 50
