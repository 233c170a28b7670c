"""`zproxy echo` behind a proxy: messages and requests come back as they were, and it ends when told."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zmq
from support.commands import ZPROXY, refused
from support.peers import Peers
from support.proxies import ProxyProcess

from zproxy import Node
from zproxy.processes import spawn

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def echo() -> Iterator[Start]:
    """Starts `zproxy echo` and waits for its line."""
    started: list[Process] = []

    def start(*options: str, **environment: str) -> Process:
        process = spawn(
            [ZPROXY, "echo", *options],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("echo backend=")
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def relay() -> Iterator[ProxyProcess]:
    proxy = ProxyProcess("zproxy")
    proxy.endpoints("frontend")
    yield proxy
    proxy.assert_ends_well()


def end(process: Process, number: signal.Signals = signal.SIGTERM) -> str:
    """Ends it as a user would; what it printed last."""
    process.send_signal(number)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return output


@pytest.mark.parametrize("socket_type", ["dealer", "rep"])
def test_requests_come_back_as_they_were(relay: ProxyProcess, echo: Start, peers: Peers, socket_type: str) -> None:
    worker = echo("--backend", relay.backend, "--socket-type", socket_type)
    client = peers.connect(zmq.REQ, relay.frontend)
    messages = [[b"hello"], [b""], [b"many", b"", bytes(70_000), b"frames"], [bytes(3 << 20)]]
    for message in messages:
        client.send_multipart(message)
        assert client.recv_multipart() == message
    assert end(worker) == "echoed 4 messages\n"


def test_a_dealers_messages_come_back_in_order_and_are_counted(
    relay: ProxyProcess, echo: Start, peers: Peers
) -> None:
    worker = echo(ZPROXY_BACKEND=relay.backend)
    client = peers.connect(zmq.DEALER, relay.frontend, sndhwm=0, rcvhwm=0)
    for number in range(5000):
        client.send_multipart([b"%d" % number, b""])
    assert [int(client.recv_multipart()[0]) for _ in range(5000)] == list(range(5000))
    assert end(worker, signal.SIGINT) == "echoed 5000 messages\n"


def test_a_worker_that_came_before_its_proxy_serves_it(echo: Start, peers: Peers) -> None:
    first = ProxyProcess("zproxy")
    frontend, backend = first.frontend, first.backend
    assert first.stop() == 0
    worker = echo("--backend", backend)
    proxy = ProxyProcess("zproxy", frontend=[frontend], backend=[backend])
    client = peers.connect(zmq.REQ, proxy.frontend)
    client.send(b"who comes first?")
    assert client.recv() == b"who comes first?"
    assert end(worker) == "echoed 1 message\n"
    proxy.assert_ends_well()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_no_proxy_is_there(echo: Start, number: signal.Signals) -> None:
    worker = echo("--backend", "tcp://127.0.0.1:1")
    assert end(worker, number) == "echoed 0 messages\n"


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("nonsense", "write tcp://HOST:PORT"),
        ("tcp://127.0.0.1", "write tcp://HOST:PORT"),
        ("tcp://127.0.0.1:0", "name the host and the port"),
        ("tcp://*:5556", "name the host and the port"),
        ("ipc://" + "x" * 200, "choose a shorter one"),
    ],
)
def test_an_endpoint_that_cannot_be_connected_to_is_refused(backend: str, says: str) -> None:
    said = refused("echo", "--backend", backend)
    assert backend in said and says in said


# ---- as a master ----


def test_requests_come_back_with_body_and_tensors(relay: ProxyProcess, echo: Start) -> None:
    worker = echo("--backend", relay.backend, "--service", "greet", "--service", "gradients")
    with Node("node1", relay.frontend) as node:
        body = {"step": 3, "raw": b"\0", "rows": [1.5, None, [True]]}
        for service in ("greet", "gradients"):
            assert node.request(service, body).body == body
        tensors = {"w": np.arange(600_000.0).reshape(2, -1), "fortran": np.ones((2, 3), order="F"), "none": np.zeros(0)}
        reply = node.request("greet", tensors=tensors)
        assert reply.body is None and list(reply.tensors) == list(tensors)
        for name, array in tensors.items():
            np.testing.assert_array_equal(reply.tensors[name], array)
    assert end(worker) == "echoed 3 requests\n"


def test_a_star_serves_whatever_nobody_names(relay: ProxyProcess, echo: Start) -> None:
    worker = echo("--service", "*", ZPROXY_BACKEND=relay.backend)
    with Node("node1", relay.frontend) as node:
        assert node.request("anything", 1).body == 1
        node.post("something", 2, confirm=True)
    assert end(worker, signal.SIGINT) == "echoed 2 requests\n"


def test_it_is_a_master_or_a_plain_worker(relay: ProxyProcess, echo: Start, peers: Peers) -> None:
    managed = echo("--backend", relay.backend, "--service", "greet")
    plain = echo("--backend", relay.backend)
    client = peers.connect(zmq.REQ, relay.frontend)
    client.send(b"greet")
    assert client.recv() == b"greet"
    with Node("node1", relay.frontend) as node:
        assert node.request("greet", 1).body == 1
    assert (end(managed), end(plain)) == ("echoed 1 request\n", "echoed 1 message\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_master_while_no_proxy_is_there(echo: Start, number: signal.Signals) -> None:
    worker = echo("--backend", "tcp://127.0.0.1:1", "--service", "greet")
    assert end(worker, number) == "echoed 0 requests\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--service", "a b"], "bad service 'a b'"),
        (["--service", ""], "bad service ''"),
        (["--service", "a", "--service", "a"], "service 'a' has a handler already"),
        (["--service", "a", "--socket-type", "rep"], "give one of them"),
        (["--service", "a", "--backend", "nonsense"], "write tcp://HOST:PORT"),
    ],
)
def test_a_service_that_cannot_be_offered_is_refused(arguments: list[str], says: str) -> None:
    assert says in refused("echo", *arguments)
