"""Peers that bind while the proxy connects, several endpoints a side, IPv6: zmq.proxy and zproxy alike."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
import zmq
from support.peers import Peers
from support.proxies import LOCAL, ProxyProcess

Start = Callable[..., ProxyProcess]


def free_endpoint(transport: str) -> str:
    """An endpoint nobody is bound to yet."""
    if transport == "ipc":
        return f"ipc://{tempfile.mkdtemp(prefix='zproxy-ipc-')}/peer"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        return f"tcp://127.0.0.1:{holder.getsockname()[1]}"


def ask(client: Any, worker: Any, body: bytes) -> tuple[bytes, bytes]:
    """What the worker sees of a request, and what the client gets for it: the same with "re: " before it."""
    client.send(body)
    routing_id, seen = worker.recv_multipart()
    worker.send_multipart([routing_id, b"re: " + seen])
    return seen, client.recv()


def wait_until_it_may_send(bound: Any) -> None:
    """Until the proxy has connected: a bound DEALER without a peer takes no message."""
    assert bound.poll(10_000, zmq.POLLOUT)


def test_the_proxy_connects_to_a_worker_that_is_there(start_proxy: Start, peers: Peers, transport: str) -> None:
    endpoint = free_endpoint(transport)
    worker = peers.bind(zmq.DEALER, endpoint)
    proxy = start_proxy(backend=(), backend_connect=[endpoint])
    client = peers.connect(zmq.DEALER, proxy.frontend)
    assert ask(client, worker, b"hello") == (b"hello", b"re: hello")


def test_the_proxy_connects_to_a_worker_that_comes_later(start_proxy: Start, peers: Peers, transport: str) -> None:
    endpoint = free_endpoint(transport)
    proxy = start_proxy(backend=(), backend_connect=[endpoint])
    client = peers.connect(zmq.DEALER, proxy.frontend)
    client.send_multipart([b"", b"early"])
    worker = peers.bind(zmq.REP, endpoint)
    assert worker.recv() == b"early"
    worker.send(b"in time")
    assert client.recv_multipart() == [b"", b"in time"]


def test_the_proxy_connects_to_a_client_that_is_there(start_proxy: Start, peers: Peers, transport: str) -> None:
    endpoint = free_endpoint(transport)
    client = peers.bind(zmq.DEALER, endpoint, routing_id=b"bound client")
    proxy = start_proxy(frontend=(), frontend_connect=[endpoint])
    client.send(b"hello")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    assert worker.recv_multipart() == [b"bound client", b"hello"]
    worker.send_multipart([b"bound client", b"welcome"])
    assert client.recv() == b"welcome"


def test_the_proxy_connects_to_a_client_that_comes_later(start_proxy: Start, peers: Peers, transport: str) -> None:
    endpoint = free_endpoint(transport)
    proxy = start_proxy(frontend=(), frontend_connect=[endpoint])
    worker = peers.connect(zmq.REP, proxy.backend)
    client = peers.bind(zmq.REQ, endpoint)
    client.send(b"hello")
    assert worker.recv() == b"hello"
    worker.send(b"welcome")
    assert client.recv() == b"welcome"


def test_the_proxy_connects_on_both_sides(start_proxy: Start, peers: Peers, transport: str) -> None:
    to_client, to_worker = free_endpoint(transport), free_endpoint(transport)
    start_proxy(frontend=(), backend=(), frontend_connect=[to_client], backend_connect=[to_worker])
    client = peers.bind(zmq.DEALER, to_client)
    worker = peers.bind(zmq.DEALER, to_worker)
    for number in range(20):
        assert ask(client, worker, b"%d" % number) == (b"%d" % number, b"re: %d" % number)


def test_the_proxy_comes_back_to_a_worker_that_restarts(start_proxy: Start, peers: Peers, transport: str) -> None:
    endpoint = free_endpoint(transport)
    proxy = start_proxy(backend=(), backend_connect=[endpoint])
    client = peers.connect(zmq.DEALER, proxy.frontend)
    for life in range(3):
        worker = peers.bind(zmq.DEALER, endpoint)
        wait_until_it_may_send(worker)
        assert ask(client, worker, b"life %d" % life) == (b"life %d" % life, b"re: life %d" % life)
        worker.close()


def test_the_proxy_comes_back_to_a_client_that_restarts(start_proxy: Start, peers: Peers, transport: str) -> None:
    endpoint = free_endpoint(transport)
    proxy = start_proxy(frontend=(), frontend_connect=[endpoint])
    worker = peers.connect(zmq.DEALER, proxy.backend)
    for life in range(3):
        client = peers.bind(zmq.DEALER, endpoint, routing_id=b"bound client")
        assert ask(client, worker, b"life %d" % life) == (b"life %d" % life, b"re: life %d" % life)
        client.close()


def test_bound_and_connected_workers_share_the_work(start_proxy: Start, peers: Peers) -> None:
    bound_at = free_endpoint("tcp")
    bound = peers.bind(zmq.DEALER, bound_at)
    proxy = start_proxy(backend_connect=[bound_at])
    connected = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    unserved = {bound, connected}
    for number in range(1000):
        client.send(b"%d" % number)
        unserved -= {worker for worker in (bound, connected) if worker.poll(5)}
        if not unserved:
            break
    assert not unserved


@pytest.mark.parametrize("worker_transport", ["tcp", "ipc"])
def test_every_endpoint_of_a_side_serves(start_proxy: Start, peers: Peers, worker_transport: str) -> None:
    proxy = start_proxy(
        frontend=[LOCAL, LOCAL, free_endpoint("ipc"), free_endpoint("ipc")],
        backend=[LOCAL, free_endpoint("ipc")],
    )
    assert len(set(proxy.endpoints("frontend"))) == 4
    worker = peers.connect(zmq.DEALER, proxy.endpoint("backend", worker_transport))
    for endpoint in proxy.endpoints("frontend"):
        client = peers.connect(zmq.DEALER, endpoint)
        assert ask(client, worker, endpoint.encode())[1] == b"re: " + endpoint.encode()


def test_one_client_may_use_several_endpoints(start_proxy: Start, peers: Peers) -> None:
    proxy = start_proxy(frontend=[LOCAL, LOCAL])
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, *proxy.endpoints("frontend"))
    for number in range(20):
        assert ask(client, worker, b"%d" % number) == (b"%d" % number, b"re: %d" % number)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6_endpoints_are_written_in_brackets(start_proxy: Start, peers: Peers) -> None:
    proxy = start_proxy(frontend=["tcp://[::1]:0"], backend=["tcp://[::1]:0"])
    assert proxy.frontend.startswith("tcp://[::1]:")
    worker = peers.connect(zmq.DEALER, proxy.backend, ipv6=1)
    client = peers.connect(zmq.DEALER, proxy.frontend, ipv6=1)
    assert ask(client, worker, b"hello") == (b"hello", b"re: hello")
