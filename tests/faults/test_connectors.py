"""Endpoints the proxy connects to that nobody serves, or that nobody should: tried again, at no cost, for ever."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from support.peers import Peers
from support.processes import SUPPORT
from support.proxies import HostedProxy
from support.zmtp_peer import greeting, ready

from zproxy.processes import spawn
from zproxy.procfs import cpu_share

Host = Callable[..., HostedProxy]

ATTEMPTS_PER_SECOND_MAX = 50


@contextmanager
def server_that_says(words: bytes) -> Iterator[str]:
    """An endpoint that greets everyone with `words` and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(words)
            except OSError:  # the listener is closed, or a peer was faster
                if listener.fileno() < 0:
                    return

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    serving.join()


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", greeting(), greeting() + ready("DEALER")])
def test_a_peer_that_closes_is_tried_again_at_no_cost_until_a_worker_is_there(
    hosted: Host, peers: Peers, words: bytes
) -> None:
    with server_that_says(words) as endpoint:
        proxy = hosted(backend=[], backend_connect=[endpoint])
        assert cpu_share(proxy.pid, 0.5) < 0.1
        stats = proxy.wait_for("connections_closed", 2)
        assert stats["connections_connected"] + stats["connect_failures"] <= ATTEMPTS_PER_SECOND_MAX
    worker = peers.bind(zmq.REP, endpoint)
    client = peers.connect(zmq.REQ, proxy.frontend)
    client.send(b"hello")
    assert worker.recv() == b"hello"
    worker.send(b"welcome")
    assert client.recv() == b"welcome"


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_an_endpoint_nobody_is_bound_to_is_tried_again_at_no_cost(hosted: Host, tmp_path: Path, transport: str) -> None:
    endpoint = "tcp://127.0.0.1:1" if transport == "tcp" else f"ipc://{tmp_path}/nobody"
    proxy = hosted(backend=[], backend_connect=[endpoint])
    assert cpu_share(proxy.pid, 0.5) < 0.1
    stats = proxy.wait_for("connect_failures", 2)
    assert stats["connect_failures"] <= ATTEMPTS_PER_SECOND_MAX


@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0,
    reason="needs a network namespace of its own, which only root may make",
)
def test_a_connector_does_not_take_itself_for_its_peer() -> None:
    """Else a client's requests would come back to it as replies."""
    host = spawn(["unshare", "--net", sys.executable, str(SUPPORT / "lonely_host.py")], stdout=subprocess.PIPE)
    output, _ = host.communicate(timeout=20)
    assert json.loads(output)["connections_connected"] == 0
