"""Row 27: a second proxy on an endpoint refuses to start, and the first does not notice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import LOCAL, ProxyProcess
from support.waiting import wait_until

Start = Callable[..., ProxyProcess]


def assert_serves(proxy: ProxyProcess, transport: str, peers: Peers) -> None:
    with EchoWorkers(proxy.endpoint("backend", "tcp")):
        client = peers.connect(zmq.REQ, proxy.endpoint("frontend", transport))
        client.send(b"hello")
        assert client.recv() == b"hello"


def started(frontend: str) -> ProxyProcess:
    return ProxyProcess("zproxy", frontend=[frontend], backend=[LOCAL])


def refused(frontend: str) -> str:
    """What a second proxy on this endpoint says before it ends with exit code 2."""
    second = started(frontend)
    assert wait_until(lambda: second.process.poll() is not None, "the second has ended", 15)
    said = second.log
    code = second.process.returncode
    second.kill()
    assert code == 2, said
    return said


def test_a_second_proxy_on_a_port_refuses_to_start(peers: Peers) -> None:
    first = started(LOCAL)
    said = refused(first.frontend)
    assert len(said.strip().splitlines()) == 1, said
    assert first.frontend.removeprefix("tcp://") in said
    assert_serves(first, "tcp", peers)
    assert first.stop() == 0


def test_a_second_proxy_on_an_ipc_path_refuses_to_start(peers: Peers, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    first = started(endpoint)
    first.endpoints("frontend")
    said = refused(endpoint)
    assert len(said.strip().splitlines()) == 1, said
    assert str(tmp_path) in said
    assert_serves(first, "ipc", peers)
    assert first.stop() == 0


def test_a_proxy_takes_over_the_ipc_path_of_one_that_was_killed(peers: Peers, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    first = started(endpoint)
    first.endpoints("frontend")
    first.kill()
    assert os.path.exists(f"{tmp_path}/frontend")
    second = started(endpoint)
    assert_serves(second, "ipc", peers)
    assert second.stop() == 0


def test_a_port_is_free_again_when_its_proxy_has_stopped(peers: Peers) -> None:
    first = started(LOCAL)
    endpoint = first.frontend
    assert_serves(first, "tcp", peers)
    assert first.stop() == 0
    second = started(endpoint)
    assert_serves(second, "tcp", peers)
    assert second.stop() == 0
