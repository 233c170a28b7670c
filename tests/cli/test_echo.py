"""`zproxy echo` behind a proxy: every message comes back as it was, and it ends when told."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
import zmq
from support.commands import ZPROXY, refused
from support.peers import Peers
from support.proxies import ProxyProcess

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
