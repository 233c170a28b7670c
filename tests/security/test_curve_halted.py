"""A proxy that has stood still finds all that CURVE's peers did meanwhile at once: it stays just, and loses nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.curve_peer import CurvePeer, body_of, drain, key_pair
from support.processes import halted
from support.proxies import HostedProxy
from support.registries import RegistryFolder
from support.zmtp_peer import ZmtpPeer, frame, greeting, message, property_bytes

from zproxy.relay.cipher import CipherProbe
from zproxy.relay.curve import CurveProbe

CROWD = 200
STEPS = 16  # of CURVE in a turn; docs/security.md


@pytest.fixture
def folder(tmp_path: Path) -> RegistryFolder:
    return RegistryFolder(tmp_path / "registry")


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What is entered here ends with the test, the latest first."""
    with ExitStack() as stack:
        yield stack


def test_a_turn_takes_few_steps_of_handshakes_also_of_those_that_greet_and_speak_in_one(
    folder: RegistryFolder, opened: ExitStack
) -> None:
    proxy = HostedProxy(registry=str(folder.path))
    opened.callback(proxy.close)
    crowd = [CurvePeer(proxy.frontend, folder.server.public, key_pair()) for _ in range(CROWD)]
    for peer in crowd:
        opened.callback(peer.close)
    before = proxy.wait_for("handshaking", CROWD)["turns"]
    with halted(proxy.pid):
        for peer in crowd:
            hello = frame(body_of(peer.curve.begin()), command=True)
            peer.peer.send(greeting(mechanism=b"CURVE") + hello)
    for peer in crowd:
        peer.peer.read_greeting()
        peer.peer.read_command()
    assert proxy.stats()["turns"] - before >= CROWD // STEPS


def test_a_node_that_binds_may_say_much_before_it_is_let_in(folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("n1")
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}?server=n1"
    proxy = HostedProxy(registry=str(folder.path), frontend_connect=[endpoint])
    opened.callback(proxy.close)
    peer = ZmtpPeer(listener.accept()[0])
    opened.callback(peer.close)
    curve = CurveProbe(pair.public, pair.secret)
    peer.send(greeting(mechanism=b"CURVE", as_server=True))
    peer.read_greeting()
    _, welcome, _ = curve.take(peer.read_command(), b"")
    peer.send(welcome)
    initiate = peer.read_command()
    with halted(proxy.pid):
        code, ready, _ = curve.take(initiate, property_bytes("Socket-Type", b"DEALER"))
        assert code == "ok"
        cipher = CipherProbe(*curve.keys())
        for _ in range(4):
            cipher.link(message(bytes(100_000)))
        peer.send(ready + drain(cipher))
    proxy.wait_for("requests_in", 4)
    assert proxy.stats()["closed_malformed"] == 0
