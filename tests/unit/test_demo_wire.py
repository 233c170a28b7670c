"""The demo's messages: what was sent is what arrives, and what does not fit is refused, never guessed."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zproxy.demo import wire
from zproxy.demo.wire import Gradients, Hello, Message, Parameters, Refused, TensorSpec, WireError

HEADERS = [Hello("node1", "c0ffee"), Gradients("node1", 3, 2.5, 0.75), Parameters(4), Refused("too late")]
TENSORS = {
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "scalar": np.array(1.5),
    "empty": np.zeros((0, 7), np.float32),
    "turned": np.arange(12, dtype=np.float64).reshape(3, 4).T,
}


def sent(header: wire.Header, tensors: dict[str, Any] | None = None) -> list[bytes]:
    """The frames as bytes, as a socket delivers them."""
    return [bytes(frame) for frame in wire.encode(header, tensors)]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: type(header).__name__)
def test_a_message_arrives_as_it_was_sent(header: wire.Header) -> None:
    received, tensors = wire.decode(sent(header, TENSORS))
    assert received == header
    assert list(tensors) == list(TENSORS)
    for name, value in TENSORS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (value.dtype, value.shape)
        assert np.array_equal(tensors[name], value)


def test_received_tensors_are_views_that_cannot_be_written() -> None:
    frames = sent(Parameters(0), TENSORS)
    _, tensors = wire.decode(frames)
    assert np.shares_memory(tensors["matrix"], np.frombuffer(frames[1], np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        tensors["matrix"][0, 0] = 1


def test_sent_tensors_are_not_copied() -> None:
    frame = wire.encode(Parameters(0), TENSORS)[1]
    assert np.shares_memory(np.frombuffer(frame, np.uint8), TENSORS["matrix"])


def test_a_frame_that_is_not_aligned_is_copied_into_one_that_is() -> None:
    header, body = sent(Parameters(0), {"tensor": np.arange(9.0)})
    shifted = memoryview(b"." + body)[1:]
    places = [np.frombuffer(view, np.uint8).ctypes.data % 8 for view in (memoryview(body), shifted)]
    assert places[0] != places[1]
    for view in (memoryview(body), shifted):
        _, tensors = wire.decode([header, view])
        assert tensors["tensor"].flags.aligned and not tensors["tensor"].flags.writeable
        assert np.array_equal(tensors["tensor"], np.arange(9.0))


def announced(*specs: TensorSpec, header: Any = HEADERS[2]) -> bytes:
    return msgspec.msgpack.encode(Message(header, specs))


FLOATS = TensorSpec("w", "float32", (2, 3))

MALFORMED = {
    "no frames": [],
    "an empty frame": [b""],
    "no msgpack": [b"\xc1"],
    "text": [b"hello"],
    "a pickle": [pickle.dumps({"header": 1})],
    "a header of no known kind": [msgspec.msgpack.encode({"header": {"type": "Goodbye"}})],
    "a header without its fields": [msgspec.msgpack.encode({"header": {"type": "Hello"}})],
    "a field of the wrong type": [announced(header=Parameters("four"))],  # type: ignore[arg-type]
    "bytes after the header": [announced() + b"\0"],
    "a header cut short": [announced()[:-1]],
    "text that is not UTF-8": [announced(header=Refused("abc")).replace(b"abc", b"\xff\xfe\xfd")],
    "a tensor that did not come": [announced(FLOATS)],
    "a tensor nobody announced": [announced(), bytes(24)],
    "a tensor too short": [announced(FLOATS), bytes(23)],
    "a tensor too long": [announced(FLOATS), bytes(25)],
    "another dtype": [announced(TensorSpec("w", "object", (3,))), bytes(24)],
    "a dtype with a line behind it": [announced(TensorSpec("w", "float32\n", (6,))), bytes(24)],
    "a negative shape": [announced(TensorSpec("w", "float32", (-2, -3))), bytes(24)],
    "a shape beyond memory": [announced(TensorSpec("w", "float32", (1 << 32,) * 8)), bytes(24)],
    "more dimensions than numpy has": [announced(TensorSpec("w", "float32", (1,) * 99)), bytes(4)],
    "two tensors of one name": [announced(FLOATS, FLOATS), bytes(24), bytes(24)],
}


@pytest.mark.parametrize("frames", MALFORMED.values(), ids=MALFORMED)
def test_malformed_messages_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        wire.decode(frames)


def test_the_messages_beside_the_malformed_ones_are_taken() -> None:
    """Otherwise the list above could be refused for a reason of its own."""
    header, tensors = wire.decode([announced(FLOATS), bytes(24)])
    assert header == HEADERS[2]
    assert tensors["w"].shape == (2, 3)


@given(st.lists(st.binary(max_size=64), max_size=3))
def test_no_bytes_at_all_raise_anything_else(frames: list[bytes]) -> None:
    try:
        wire.decode(frames)
    except WireError:
        return
    raise AssertionError("random bytes were taken for a message")


@given(st.data())
def test_a_damaged_message_is_refused_or_still_well_formed(data: st.DataObject) -> None:
    frames = sent(Gradients("node1", 3, 2.5, 0.75), {"w": np.ones((2, 3), np.float32)})
    which = data.draw(st.integers(0, len(frames) - 1))
    place = data.draw(st.integers(0, len(frames[which]) - 1))
    damaged = bytearray(frames[which])
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    frames[which] = bytes(damaged)
    try:
        header, tensors = wire.decode(frames)
    except WireError:
        return
    assert isinstance(header, Gradients)
    assert all(value.size == 6 or value.dtype == np.float64 for value in tensors.values())
