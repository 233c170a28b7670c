"""A hostile peer of a CURVE relay: what it changes, repeats or leaves out reaches nobody, and others go on."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.curve_peer import CurvePeer, key_pair
from support.relays import BareRelay
from support.waiting import wait_until
from support.zmtp_peer import frame, greeting, message, ready

from zproxy.procfs import descriptor_count

KEYS = key_pair()
Open = Callable[[], CurvePeer]

FLOOD = 1000
HANDSHAKE_MS = 1500

HELLO_FIELDS = {"name": 3, "version": 6, "padding": 40, "key": 90, "nonce": 115, "box": 150}
INITIATE_FIELDS = {"name": 3, "cookie": 50, "nonce": 108, "tag": 120, "key": 140, "vouch": 200, "properties": -3}


@pytest.fixture
def relay() -> Iterator[BareRelay]:
    with BareRelay(keys=KEYS) as relay:
        yield relay


@pytest.fixture
def opened(relay: BareRelay) -> Iterator[Open]:
    """Opens peers at the frontend; closed after the test."""
    made: list[CurvePeer] = []

    def connect() -> CurvePeer:
        made.append(CurvePeer(relay.frontend, KEYS[0]))
        return made[-1]

    yield connect
    for peer in made:
        peer.close()


def flipped(place: int) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        changed = bytearray(body)
        changed[place] ^= 0x10
        return bytes(changed)

    return change


def assert_nothing_came_in(relay: BareRelay) -> None:
    def refused() -> int:
        stats = relay.stats()
        return stats["refused_forged"] + stats["refused_malformed"]

    assert wait_until(refused, "it is refused") == 1
    stats = relay.stats()
    assert (stats["frontend_connections"], stats["requests_in"]) == (0, 0)


@pytest.mark.parametrize("field", HELLO_FIELDS)
def test_a_hello_changed_anywhere_is_refused(relay: BareRelay, opened: Open, field: str) -> None:
    peer = opened()
    peer.greet()
    peer.hello(flipped(HELLO_FIELDS[field]))
    assert_nothing_came_in(relay)


@pytest.mark.parametrize("field", INITIATE_FIELDS)
def test_an_initiate_changed_anywhere_is_refused(relay: BareRelay, opened: Open, field: str) -> None:
    peer = opened()
    peer.greet()
    peer.hello()
    peer.initiate(change=flipped(INITIATE_FIELDS[field]))
    assert_nothing_came_in(relay)


@pytest.mark.parametrize("said", [ready("DEALER"), frame(b"message"), message(b"a", b"b"), frame(b"", command=True)])
def test_what_is_said_in_place_of_hello_is_refused(relay: BareRelay, opened: Open, said: bytes) -> None:
    peer = opened()
    peer.greet()
    peer.peer.send(said)
    assert_nothing_came_in(relay)


def test_what_is_said_behind_initiate_without_waiting_is_refused(relay: BareRelay, opened: Open) -> None:
    peer = opened()
    peer.greet()
    peer.hello()
    peer.peer.send(frame(b"\x08INITIATE" + bytes(300), command=True) + message(b"more"))
    assert_nothing_came_in(relay)


@pytest.mark.parametrize("size", [1, 300, 5000, 200_000])
def test_a_changed_message_ends_the_connection_and_what_came_before_is_served(
    relay: BareRelay, opened: Open, size: int
) -> None:
    peer = opened()
    peer.shake_hands()
    wire = bytearray(peer.closed(b"good") + peer.closed(os.urandom(size)))
    wire[-1] ^= 1
    peer.peer.send(bytes(wire))
    relay.wait_for("closed_forged")
    stats = relay.stats()
    assert stats["requests_in"] == 1
    assert stats["closed_malformed"] == 0


def test_a_message_that_is_sent_again_ends_the_connection(relay: BareRelay, opened: Open) -> None:
    peer = opened()
    peer.shake_hands()
    wire = peer.closed(b"once")
    peer.peer.send(wire + wire)
    relay.wait_for("closed_forged")
    assert relay.stats()["requests_in"] == 1


def test_messages_out_of_order_end_the_connection(relay: BareRelay, opened: Open) -> None:
    peer = opened()
    peer.shake_hands()
    first, second = peer.closed(b"first"), peer.closed(b"second")
    peer.peer.send(second + first)
    relay.wait_for("closed_forged")
    assert relay.stats()["requests_in"] == 1


def test_a_message_of_another_connection_ends_this_one(relay: BareRelay, opened: Open) -> None:
    one, other = opened(), opened()
    one.shake_hands()
    other.shake_hands()
    other.peer.send(one.closed(b"taken along"))
    relay.wait_for("closed_forged")
    assert relay.stats()["requests_in"] == 0


@pytest.mark.parametrize(
    "said", [message(b"bare"), frame(b"\x04PING\0\0", command=True), frame(b"\x05ERROR\0", command=True)]
)
def test_a_word_outside_of_boxes_ends_the_connection(relay: BareRelay, opened: Open, said: bytes) -> None:
    peer = opened()
    peer.shake_hands()
    peer.peer.send(said)
    relay.wait_for("closed_forged")
    assert relay.stats()["requests_in"] == 0


def test_a_message_above_the_limit_is_refused_before_it_is_all_there(relay: BareRelay, opened: Open) -> None:
    peer = opened()
    peer.shake_hands()
    peer.peer.send(peer.closed(bytes((1 << 20) + 1))[:100_000])
    peer.peer.read_error()
    assert (relay.stats()["closed_too_large"], relay.stats()["requests_in"]) == (1, 0)


def test_a_flood_of_slow_handshakes_keeps_nobody_out_and_comes_to_its_end() -> None:
    """A third has said half a greeting, a third a greeting, and a third HELLO, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2 * FLOOD + 500), hard), hard))
    with BareRelay(keys=KEYS, handshake_ms=HANDSHAKE_MS) as relay, ExitStack() as opened:
        descriptors = descriptor_count(os.getpid())

        def connected() -> CurvePeer:
            peer = CurvePeer(relay.frontend, KEYS[0])
            opened.callback(peer.close)
            return peer

        for number in range(FLOOD):
            peer = connected()
            peer.peer.send(greeting(mechanism=b"CURVE")[: 32 if number % 3 == 0 else None])
            if number % 3 == 2:
                peer.hello()
        wait_until(lambda: relay.stats()["connections_accepted"] == FLOOD, "the flood is in")
        good = connected()
        good.shake_hands()
        good.peer.send(good.closed(b"served"))
        relay.wait_for("requests_in")
        wait_until(lambda: relay.stats()["refused_handshake_timeout"] == FLOOD, "the flood is sent away", 15)
        good.peer.send(good.closed(b"served again"))
        relay.wait_for("requests_in", 2)
        assert (relay.stats()["handshaking"], relay.stats()["frontend_connections"]) == (0, 1)
        opened.close()
        relay.wait_for("connections_closed", FLOOD + 1)
        assert descriptor_count(os.getpid()) == descriptors
