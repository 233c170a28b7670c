"""CURVE with libzmq's and pyomq's sockets, unchanged, on either side and in either role."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from support.curve_peer import key_pair
from support.peers import Peers
from support.relays import BareRelay
from support.zmtp_peer import ZmtpPeer, greeting
from zmq.utils import z85

from zproxy._relay import BACKEND, FRONTEND

KEYS = key_pair()
MIB = 1 << 20
FRAMES = [
    [b"x"],
    [b"a", b"", b"b" * 255, b"c" * 256],
    [b"q" * 4000, b"r" * 100],
    [os.urandom(70_000)],
    [b"head", os.urandom(MIB - 8000), b"", os.urandom(5000)],
]


@pytest.fixture
def relay() -> Iterator[BareRelay]:
    with BareRelay(keys=KEYS, heartbeat_ms=200) as relay:
        yield relay


@pytest.fixture
def omq_peers() -> Iterator[Peers]:
    opened = Peers(pytest.importorskip("pyomq"))
    yield opened
    opened.close()


def client_keys(server: bytes = KEYS[0], encode: Any = z85.encode) -> dict[str, bytes]:
    """A socket's options for it to be a client of that server."""
    public, secret = key_pair()
    return {"curve_publickey": encode(public), "curve_secretkey": encode(secret), "curve_serverkey": encode(server)}


def exchange(client: Any, worker: Any, frames: list[bytes]) -> None:
    client.send_multipart(frames)
    routing_id, *found = worker.recv_multipart()
    assert found == frames
    worker.send_multipart([routing_id, *frames])
    assert client.recv_multipart() == frames


def test_libzmq_clients_and_workers_exchange_frames_of_any_size(relay: BareRelay, peers: Peers) -> None:
    client = peers.connect(zmq.DEALER, relay.frontend, **client_keys())
    worker = peers.connect(zmq.DEALER, relay.backend, **client_keys())
    for frames in FRAMES:
        exchange(client, worker, frames)


@pytest.mark.parametrize("kinds", [(zmq.REQ, zmq.REP), (zmq.REQ, zmq.ROUTER), (zmq.DEALER, zmq.REP)])
def test_requests_are_answered_whatever_the_sockets(relay: BareRelay, peers: Peers, kinds: tuple[int, int]) -> None:
    client = peers.connect(kinds[0], relay.frontend, **client_keys())
    worker = peers.connect(kinds[1], relay.backend, **client_keys())
    for number in range(10):
        question = [b"%d" % number] if kinds[0] == zmq.REQ else [b"", b"%d" % number]
        client.send_multipart(question)
        found = worker.recv_multipart()
        assert found[-1] == b"%d" % number
        worker.send_multipart(found)
        assert client.recv_multipart() == question


def test_pyomq_exchanges_frames_with_libzmq(relay: BareRelay, peers: Peers, omq_peers: Peers) -> None:
    client = omq_peers.connect(zmq.DEALER, relay.frontend, **client_keys())
    worker = peers.connect(zmq.DEALER, relay.backend, **client_keys())
    for frames in FRAMES:
        exchange(client, worker, frames)


def test_pyomq_serves_libzmq(relay: BareRelay, peers: Peers, omq_peers: Peers) -> None:
    client = peers.connect(zmq.DEALER, relay.frontend, **client_keys())
    worker = omq_peers.connect(zmq.DEALER, relay.backend, **client_keys())
    for frames in FRAMES:
        exchange(client, worker, frames)


def bound_server(peers: Peers, kind: int) -> tuple[Any, tuple[str, int], bytes]:
    """A socket that binds as a CURVE server, where, and its public key."""
    public, secret = key_pair()
    server = peers.bind(kind, "tcp://127.0.0.1:0", curve_server=True, curve_secretkey=z85.encode(secret))
    host, _, port = server.last_endpoint.decode().rpartition("/")[2].rpartition(":")
    return server, (host, int(port)), public


def test_the_relay_is_the_client_of_workers_that_bind(peers: Peers) -> None:
    relay = BareRelay(keys=KEYS)
    worker, address, key = bound_server(peers, zmq.DEALER)
    relay.connect_out(BACKEND, address, key)
    with relay:
        client = peers.connect(zmq.DEALER, relay.frontend, **client_keys())
        for frames in FRAMES:
            exchange(client, worker, frames)


def test_the_relay_is_the_client_of_nodes_that_bind_and_speak_at_once(peers: Peers) -> None:
    relay = BareRelay(keys=KEYS)
    client, address, key = bound_server(peers, zmq.DEALER)
    relay.connect_out(FRONTEND, address, key)
    with relay:
        worker = peers.connect(zmq.DEALER, relay.backend, **client_keys())
        for number in range(20):
            client.send(b"%d" % number)
        for number in range(20):
            routing_id, found = worker.recv_multipart()
            assert found == b"%d" % number
            worker.send_multipart([routing_id, b"seen"])
            assert client.recv() == b"seen"


def test_a_server_with_another_key_is_not_spoken_to(peers: Peers) -> None:
    relay = BareRelay(keys=KEYS)
    _, address, _ = bound_server(peers, zmq.DEALER)
    relay.connect_out(BACKEND, address, key_pair()[0])
    with relay:
        relay.wait_for("connections_closed", 2)
        assert relay.stats()["backend_connections"] == 0


def test_many_messages_stay_in_order(relay: BareRelay, peers: Peers) -> None:
    client = peers.connect(zmq.DEALER, relay.frontend, **client_keys())
    worker = peers.connect(zmq.DEALER, relay.backend, **client_keys())
    for number in range(3000):
        client.send(b"%d" % number)
    for number in range(3000):
        routing_id, found = worker.recv_multipart()
        assert found == b"%d" % number
        worker.send_multipart([routing_id, found])
    assert [client.recv() for _ in range(3000)] == [b"%d" % number for number in range(3000)]


def test_silent_peers_answer_pings_in_boxes(relay: BareRelay, peers: Peers) -> None:
    peers.connect(zmq.DEALER, relay.frontend, **client_keys())
    relay.wait_for("pongs_in", 3)
    assert relay.stats()["closed_heartbeat"] == 0


def test_a_peer_that_speaks_another_mechanism_is_refused_with_a_word(relay: BareRelay) -> None:
    with BareRelay() as plain:
        for refusing, mechanism in ((relay, b"NULL"), (relay, b"PLAIN"), (plain, b"CURVE")):
            before = refusing.stats()["refused_mechanism"]
            peer = ZmtpPeer.connect(refusing.frontend)
            peer.send(greeting(mechanism=mechanism))
            peer.read_error()
            peer.close()
            refusing.wait_for("refused_mechanism", before + 1)


def test_a_client_with_another_servers_key_reaches_nothing(relay: BareRelay, peers: Peers) -> None:
    client = peers.connect(zmq.DEALER, relay.frontend, **client_keys(key_pair()[0]))
    client.send(b"for nobody")
    relay.wait_for("refused_forged")
    stats = relay.stats()
    assert (stats["frontend_connections"], stats["requests_in"]) == (0, 0)
    assert {event.reason for event in relay.events()} == {"forged"}
