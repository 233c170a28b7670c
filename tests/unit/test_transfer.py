"""Transfer: what goes in at one end comes out at the other, frame by frame."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
import zmq
from support.waiting import wait_until

from zproxy.client.transfer import LargeFrame, Transfer
from zproxy.procfs import rss_bytes

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
    frame: Any = message[1]
    assert type(frame) is LargeFrame
    assert len(frame) == LARGE
    view = memoryview(cast(Any, frame))
    del message, frame
    assert view.readonly and view == b"z" * LARGE


def test_what_nobody_is_connected_for_is_not_taken() -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        assert not Transfer(socket).send([b"head", b"body"])


def test_a_closed_one_raises_as_a_closed_socket_does(pair: tuple[Transfer, Transfer]) -> None:
    one, _ = pair
    one.close()
    for touch in (one.receive, one.is_readable, lambda: one.send([b""])):
        with pytest.raises(zmq.ZMQError):
            touch()


@pytest.mark.parametrize("frames", [[b"x" * 60_000], [b"head" * 40, b"x" * 60_000], [b"head" * 40, b"x" * LARGE]])
def test_nothing_of_a_message_is_left_once_it_was_let_go(pair: tuple[Transfer, Transfer], frames: list[bytes]) -> None:
    one, other = pair
    wait_until(lambda: other.send([b""]), "the message to be taken")
    wait_until(one.receive, "the message")
    before = rss_bytes(os.getpid())
    for _ in range(20):
        assert all(other.send(frames) for _ in range(100))
        count, until = 0, time.monotonic() + 10
        while count < 100 and time.monotonic() < until:
            count += one.receive() is not None
        assert count == 100
    assert rss_bytes(os.getpid()) - before < 60 << 20  # of 120 MB that came
