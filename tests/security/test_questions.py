"""Who asks to come in waits for the answer, and only for that."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq
from support.curve_peer import CurvePeer, key_pair
from support.peers import Peers
from support.relays import BareRelay
from support.zmtp_peer import ZmtpPeer, greeting, message, ready
from zmq.utils import z85

from zproxy._relay import BACKEND, FRONTEND

KEYS, NODE = key_pair(), key_pair()
REFUSALS = ("unknown_key", "expired", "wrong_role", "wrong_user", "denied")


@pytest.fixture
def relay() -> Iterator[BareRelay]:
    with BareRelay(keys=KEYS, asks=True, handshake_ms=30_000) as relay:
        yield relay


@pytest.fixture
def plain() -> Iterator[BareRelay]:
    with BareRelay(asks=True) as relay:
        yield relay


def dial(peers: Peers, endpoint: str) -> zmq.Socket[bytes]:
    public, secret = NODE
    dialled: zmq.Socket[bytes] = peers.connect(
        zmq.DEALER, endpoint, curve_publickey=z85.encode(public), curve_secretkey=z85.encode(secret),
        curve_serverkey=z85.encode(KEYS[0]), routing_id=b"node-1",
    )  # fmt: skip
    return dialled


def test_the_question_says_who_it_is(relay: BareRelay, peers: Peers) -> None:
    client = dial(peers, relay.frontend)
    client.send(b"hello")
    question = relay.question()
    assert (question.key, question.side, question.routing_id, question.uid) == (NODE[0], FRONTEND, b"node-1", -1)
    assert not question.is_managed
    assert relay.stats()["requests_in"] == 0
    relay.relay.answer(question.tag)
    relay.wait_for("requests_in")


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_is_counted_and_told(relay: BareRelay, reason: str) -> None:
    peer = CurvePeer(relay.frontend, KEYS[0], NODE)
    peer.greet()
    peer.hello()
    peer.initiate()
    relay.relay.answer(relay.question().tag, reason)
    relay.wait_for(f"refused_{reason}")
    peer.close()
    assert relay.stats()["frontend_connections"] == 0
    assert [event.reason for event in relay.events()] == [reason]


def test_a_refusal_is_silent_and_the_connection_ends_a_moment_later(relay: BareRelay) -> None:
    peer = CurvePeer(relay.frontend, KEYS[0], NODE)
    peer.greet()
    peer.hello()
    peer.initiate()
    relay.relay.answer(relay.question().tag, "unknown_key")
    assert peer.peer.read_until_closed() == b""
    peer.close()


def test_nobody_waits_for_an_answer_for_ever(peers: Peers) -> None:
    with BareRelay(keys=KEYS, asks=True, handshake_ms=2000) as relay:
        dial(peers, relay.frontend)
        relay.question()
        relay.wait_for("refused_handshake_timeout")


def test_an_answer_to_one_who_has_gone_is_nobodys(relay: BareRelay) -> None:
    peer = CurvePeer(relay.frontend, KEYS[0], NODE)
    peer.greet()
    peer.hello()
    peer.initiate()
    question = relay.question()
    peer.close()
    relay.wait_for("connections_closed")
    relay.relay.answer(question.tag)
    assert relay.stats()["frontend_connections"] == 0


def test_a_key_that_is_revoked_ends_its_connections_at_once(relay: BareRelay, peers: Peers) -> None:
    dial(peers, relay.frontend)
    relay.relay.answer(relay.question().tag)
    relay.wait_for("frontend_connections")
    relay.relay.revoke(key_pair()[0])
    relay.relay.revoke(NODE[0])
    relay.wait_for("closed_revoked")
    assert relay.stats()["frontend_connections"] == 0


def test_who_is_revoked_while_it_waits_does_not_come_in(relay: BareRelay, peers: Peers) -> None:
    dial(peers, relay.frontend)
    question = relay.question()
    relay.relay.revoke(NODE[0])
    relay.wait_for("closed_revoked")
    relay.relay.answer(question.tag)
    assert relay.stats()["frontend_connections"] == 0


def test_peers_without_keys_are_asked_about_too(plain: BareRelay, peers: Peers) -> None:
    client, worker = peers.connect(zmq.REQ, plain.frontend), peers.connect(zmq.REP, plain.backend)
    sides = set()
    for _ in range(2):
        question = plain.question()
        assert question.key == b""
        sides.add(question.side)
        plain.relay.answer(question.tag)
    assert sides == {FRONTEND, BACKEND}
    client.send(b"question")
    assert worker.recv() == b"question"
    worker.send(b"answer")
    assert client.recv() == b"answer"


def test_who_speaks_on_before_it_was_let_in_is_refused(plain: BareRelay) -> None:
    peer = ZmtpPeer.connect(plain.frontend)
    peer.send(greeting() + ready("DEALER") + message(b"already"))
    peer.read_greeting()
    peer.read_until_closed()
    peer.close()
    assert plain.stats()["requests_in"] == 0


def test_a_crowd_is_let_in_by_one_who_answers(relay: BareRelay, peers: Peers) -> None:
    done = threading.Event()

    def answer_all() -> None:
        while not done.is_set():
            for question in relay.relay.questions(50):
                relay.relay.answer(question.tag)

    answering = threading.Thread(target=answer_all)
    answering.start()
    try:
        for _ in range(100):
            public, secret = key_pair()
            peers.connect(
                zmq.DEALER, relay.frontend, curve_publickey=z85.encode(public), curve_secretkey=z85.encode(secret),
                curve_serverkey=z85.encode(KEYS[0]),
            )  # fmt: skip
        relay.wait_for("frontend_connections", 100)
    finally:
        done.set()
        answering.join()
