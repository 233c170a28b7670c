"""Bodies and tensors travel as they are, without copies where the memory allows, or are refused before they do."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import gc
import re
import uuid
import weakref
from collections import OrderedDict, namedtuple
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from support.content_strategies import DTYPES, INT_MAX, INT_MIN, arrays, bodies, tensors

from zproxy.content import ALIGNMENT_BYTES, COPIED_BELOW_BYTES, Content, pack, unpack
from zproxy.errors import MalformedContent, Unsendable


def shown(value: object) -> str:
    """A test's name, the same in every run: without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


def over_the_wire(body: object, named: Any = None, body_type: Any = Any) -> Content:
    """What comes of it where frames are libzmq's."""
    content, *frames = [zmq.Frame(bytes(frame)) for frame in pack(body, named)]
    return unpack(content, frames, body_type)


def same(sent: Any, came: Any) -> bool:
    """Equal, and of equal types all the way: True is not 1."""
    if type(sent) is not type(came):
        return False
    if isinstance(sent, dict):
        return list(sent) == list(came) and all(same(sent[key], came[key]) for key in sent)
    if isinstance(sent, list):
        return len(sent) == len(came) and all(map(same, sent, came))
    return bool(sent == came)


# ---- bodies ----


@given(bodies)
def test_a_body_comes_back_as_it_was(body: object) -> None:
    assert same(body, over_the_wire(body).body)


class Loss(enum.Enum):
    HUBER = "huber"


@dataclasses.dataclass
class Step:
    number: int
    rate: float = 0.5
    _note: str = "kept"


class Report(msgspec.Struct):
    step: Step
    loss: Loss
    tags: tuple[str, ...] = ()
    missing: int | msgspec.UnsetType = msgspec.UNSET


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (np.float32(1.5), 1.5),
        (np.int64(-3), -3),
        (np.uint64(INT_MAX), INT_MAX),
        (np.bool_(True), True),
        (np.array(7, np.int8), 7),
        ([np.float64(2.0), np.float16(0.5)], [2.0, 0.5]),
        (np.str_("text"), "text"),
        (np.bytes_(b"bytes"), b"bytes"),
        ((1, (2, 3)), [1, [2, 3]]),
        (Point(1, 2), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({np.str_("key"): 1}, {"key": 1}),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (Loss.HUBER, "huber"),
        (Step(3), {"number": 3, "rate": 0.5, "_note": "kept"}),
        (Report(Step(3), Loss.HUBER, ("a",)), {"step": vars(Step(3)), "loss": "huber", "tags": ["a"]}),
    ],
    ids=shown,
)
def test_what_has_one_plain_form_travels_as_that(body: object, expected: object) -> None:
    assert same(expected, over_the_wire(body).body)


def nested(levels: int) -> object:
    body: object = 0
    for level in range(levels):
        body = [body] if level % 2 else {"in": body}
    return body


def in_itself() -> list[object]:
    body: list[object] = []
    body.append(body)
    return body


class Vague(enum.Enum):
    SET = {1}


@dataclasses.dataclass
class WithClassVariable:
    a: int = 1
    table: Any = None


@pytest.mark.parametrize(
    ("body", "path", "remedy"),
    [
        ({1, 2}, "$", "sorted list"),
        ({"a": [0, 1, {"b": frozenset()}]}, "$.a[2].b", "sorted list"),
        (Step(decimal.Decimal(1)), "$.number", "str()"),  # type: ignore[arg-type]  # what nobody checked
        (WithClassVariable(table=[uuid.UUID(int=4)]), "$.table[0]", "str()"),
        (Report(Step(1), Loss.HUBER, ("a", 1j)), "$.tags[1]", "real and imag"),  # type: ignore[arg-type]
        ({"when": datetime.datetime(2026, 1, 1)}, "$.when", "isoformat()"),
        ([datetime.date(2026, 1, 1)], "$[0]", "isoformat()"),
        ([datetime.timedelta(1)], "$[0]", "total_seconds()"),
        (INT_MAX + 1, "$", "str()"),
        ([INT_MIN - 1], "$[0]", "str()"),
        ({"a": {1: 2}}, "$.a", "list of pairs"),
        ({"a": {None: 2}}, "$.a", "list of pairs"),
        ({Vague.SET: 1}, "$", "list of pairs"),
        (Vague.SET, "$", "sorted list"),
        (np.arange(3), "$", "tensors"),
        ({"a": np.array({}, object)}, "$.a", "tensors"),
        (np.longdouble(1), "$", "float()"),
        (np.complex64(1), "$", "real and imag"),
        (np.datetime64("2026-01-01"), "$", "plain number"),
        (np.ma.masked, "$", "tensors"),
        ([object()], "$[0]", "msgspec.Struct"),
        (lambda: 0, "$", "msgspec.Struct"),
        (Step, "$", "msgspec.Struct"),
        (range(3), "$", "msgspec.Struct"),
        (memoryview(b"abcd")[::2], "$", "msgspec.Struct"),
        (msgspec.msgpack.Ext(1, b""), "$", "msgspec.Struct"),
        (msgspec.Raw(b"\xc1"), "$", "msgspec.Struct"),
        ({"a": msgspec.UNSET}, "$.a", "msgspec.Struct"),
        ({"a": "\ud800"}, "$.a", "bytes"),
        ({"\udfff": 1}, "$", "bytes"),
        (nested(101), "$.in[0].in[0]", "flatten"),
        (in_itself(), "$[0][0]", "flatten"),
    ],
    ids=shown,
)
def test_what_cannot_travel_is_a_type_error_that_says_where_and_what_to_do(
    body: object, path: str, remedy: str
) -> None:
    with pytest.raises(TypeError) as caught:
        pack(body)
    assert isinstance(caught.value, Unsendable)
    assert caught.value.path.startswith(path) and remedy in str(caught.value)


def test_a_hundred_levels_travel() -> None:
    assert over_the_wire(nested(100)).body == nested(100)


def test_a_type_makes_the_body_one_of_it() -> None:
    report = Report(Step(3), Loss.HUBER, ("a",))
    assert over_the_wire(report, body_type=Report).body == report
    assert over_the_wire([1, 2], body_type=tuple[int, int]).body == (1, 2)


@pytest.mark.parametrize(
    ("body", "body_type", "path"),
    [
        ({"step": {"number": "3"}, "loss": "huber"}, Report, "$.step.number"),
        ({"step": {"number": 3}, "loss": "none"}, Report, "$.loss"),
        ({"step": {"number": 3}}, Report, "$"),
        ([1, "a"], list[int], "$[1]"),
        (None, int, "$"),
    ],
)
def test_a_body_of_another_type_is_malformed_and_says_where(body: object, body_type: Any, path: str) -> None:
    with pytest.raises(MalformedContent) as caught:
        over_the_wire(body, body_type=body_type)
    assert caught.value.path == path and caught.value.reason


# ---- tensors ----


def native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(array.dtype.newbyteorder("=")) if not array.dtype.isnative else array


def assert_arrived(came: np.ndarray[Any, Any], sent: np.ndarray[Any, Any]) -> None:
    sent = native(sent)
    assert (came.dtype, came.shape) == (sent.dtype, sent.shape)
    assert came.tobytes() == sent.tobytes()
    assert came.flags.aligned and not came.flags.writeable
    if came.nbytes < COPIED_BELOW_BYTES:
        assert came.ctypes.data % ALIGNMENT_BYTES == 0 or came.size == 0


@given(tensors)
def test_tensors_come_back_bit_by_bit_in_shape_and_order(named: dict[str, np.ndarray[Any, Any]]) -> None:
    came = over_the_wire(None, named).tensors
    assert list(came) == list(named)
    for name, sent in named.items():
        assert_arrived(came[name], sent)
        assert came[name].flags.c_contiguous or came[name].flags.f_contiguous


@given(arrays)
def test_contiguous_tensors_are_sent_from_their_own_memory(array: np.ndarray[Any, Any]) -> None:
    frame = pack(None, {"a": array})[1]
    contiguous = array.flags.c_contiguous or array.flags.f_contiguous
    if contiguous and array.dtype.isnative and array.size:
        assert np.shares_memory(np.frombuffer(frame, np.uint8), array)
    assert memoryview(frame).nbytes == array.nbytes


@pytest.mark.parametrize("name", sorted(DTYPES))
@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_every_dtype_arrives_small_large_and_empty(name: str, count: int) -> None:
    sent = np.zeros(count, DTYPES[name])
    assert_arrived(over_the_wire(None, {"a": sent}).tensors["a"], sent)


@pytest.mark.parametrize(
    "value",
    [1, 2.5, True, "text", b"bytes", [1, 2], [[1.5], [2]], (), np.float32(3), range(4), memoryview(b"ab")],
    ids=shown,
)
def test_a_tensor_is_whatever_numpy_makes_an_array_of(value: Any) -> None:
    assert_arrived(over_the_wire(None, {"a": value}).tensors["a"], np.asarray(value))


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (object(), "astype"),
        (None, "astype"),
        ([1, {}], "astype"),
        ([2**70], "astype"),
        ([[1], [1, 2]], "no array"),
        (np.zeros(2, [("a", "i4")]), "each field"),
        (np.zeros(2, "V3"), "docs/protocol.md"),
        (np.timedelta64(3), "unit"),
        (np.zeros(2, "M8[25s]"), "unit"),
        (np.ma.array([1, 2], mask=[False, True]), "filled()"),
    ],
    ids=shown,
)
def test_what_is_no_tensor_is_a_type_error_that_says_what_to_do(value: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=r"^tensors\['loss'\]: ") as caught:
        pack({}, {"loss": value})
    assert isinstance(caught.value, Unsendable) and remedy in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, 3, None, b"bytes"])
def test_names_are_text_of_1_to_255_bytes(name: Any) -> None:
    with pytest.raises(Unsendable, match="1 to 255 bytes"):
        pack(None, {name: 1})


def test_a_name_of_255_bytes_travels() -> None:
    assert list(over_the_wire(None, {"é" * 127 + "x": 1}).tensors) == ["é" * 127 + "x"]


def test_a_name_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(Unsendable):
        pack(None, {"\ud800": 1})


@pytest.mark.parametrize("offset", range(16))
def test_frames_at_any_address_become_aligned_arrays(offset: int) -> None:
    sent = np.arange(COPIED_BELOW_BYTES, dtype=np.float64)
    memory = bytearray(offset) + bytes(sent.data)
    frame = memoryview(memory)[offset:]
    assert_arrived(unpack(pack(None, {"a": sent})[0], [frame]).tensors["a"], sent)


def test_a_large_frame_is_not_copied_and_lives_as_long_as_its_array() -> None:
    sent = np.arange(COPIED_BELOW_BYTES, dtype=np.uint8)
    content, memory = pack(None, {"a": sent})
    frame = zmq.Frame(bytes(memory))
    came = unpack(content, [frame]).tensors["a"]
    assert np.shares_memory(came, np.frombuffer(frame.buffer, np.uint8))
    del frame
    gc.collect()
    assert_arrived(came, sent)


def test_a_small_frame_is_let_go() -> None:
    sent = np.arange(100.0)
    frame = np.frombuffer(sent.tobytes(), np.uint8)
    watched = weakref.ref(frame)
    came = unpack(pack(None, {"a": sent})[0], [frame.data]).tensors["a"]
    del frame
    gc.collect()
    assert watched() is None
    assert_arrived(came, sent)


@pytest.mark.parametrize("count", [3, COPIED_BELOW_BYTES])
def test_nobody_can_make_an_array_writeable_that_came(count: int) -> None:
    came = unpack(*(lambda frames: (frames[0], [bytearray(frames[1])]))(pack(None, {"a": np.ones(count)})))
    with pytest.raises(ValueError):
        came.tensors["a"].flags.writeable = True


@given(bodies, st.booleans())
def test_a_content_without_tensors_may_leave_the_list_out(body: object, has_list: bool) -> None:
    content = msgspec.msgpack.encode([body, []] if has_list else [body])
    came = unpack(content, [])
    assert same(body, came.body) and came.tensors == {}
