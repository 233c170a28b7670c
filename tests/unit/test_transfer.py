"""Transfer: what goes in at one end comes out at the other, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from support.waiting import wait_until

from zproxy.client.transfer import LargeFrame, Transfer

LARGE = 65536


@pytest.fixture
def pair() -> Iterator[tuple[Transfer, Transfer]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as one, context.socket(zmq.DEALER) as other:
        one.linger = other.linger = 0
        port = one.bind_to_random_port("tcp://127.0.0.1")
        other.connect(f"tcp://127.0.0.1:{port}")
        yield Transfer(one), Transfer(other)


@pytest.mark.parametrize(
    "message",
    [[b""], [b"head", b"", b"body"], [b"head", bytes(range(256)) * 256], [b"x" * (LARGE - 1), b"y" * LARGE]],
)
def test_a_message_arrives_frame_by_frame(pair: tuple[Transfer, Transfer], message: list[bytes]) -> None:
    one, other = pair
    wait_until(lambda: other.send(message), "the message to be taken")
    wait_until(one.is_readable, "the message")
    assert [bytes(frame) for frame in one.receive() or ()] == message
    assert one.receive() is None


def test_a_large_frame_is_a_read_only_view_that_outlives_its_message(pair: tuple[Transfer, Transfer]) -> None:
    one, other = pair
    wait_until(lambda: other.send([b"head", bytearray(b"z" * LARGE)]), "the message to be taken")
    wait_until(one.is_readable, "the message")
    message: list[Any] = one.receive() or []
    assert [type(frame) for frame in message] == [bytes, LargeFrame]
    view = memoryview(message[1])
    del message
    assert view.readonly
    assert view == b"z" * LARGE


def test_what_nobody_is_connected_for_is_not_taken() -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        assert not Transfer(socket).send([b"head", b"body"])


def test_a_closed_one_raises_as_a_closed_socket_does(pair: tuple[Transfer, Transfer]) -> None:
    one, _ = pair
    one.close()
    for touch in (one.receive, one.is_readable, lambda: one.send([b""])):
        with pytest.raises(zmq.ZMQError):
            touch()
