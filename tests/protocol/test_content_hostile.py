"""Whatever comes as content is read rightly, or is MalformedContent before anything is made of it."""

from __future__ import annotations

import math
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.content_strategies import bodies, tensors

from zproxy.content import Content, pack, unpack
from zproxy.errors import MalformedContent
from zproxy.skim import DEPTH_MAX, FAULT_WORDS, body_span

FRAME = b"\0" * 24  # three float64
HUGE = (1 << 63) - 1


def content_of(entries: object, body: object = None) -> bytes:
    return msgspec.msgpack.encode([body, entries])


def refused(content: bytes, *frames: bytes, body_type: Any = Any) -> MalformedContent:
    with pytest.raises(MalformedContent) as caught:
        unpack(content, frames, body_type)
    return caught.value


# ---- the list of tensors ----


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (["a", "float64", [4]], "takes 32 bytes, 24 came"),
        (["a", "float64", [2]], "takes 16 bytes, 24 came"),
        (["a", "float64", []], "takes 8 bytes, 24 came"),
        (["a", "float64", [3, 0]], "takes 0 bytes, 24 came"),
        (["a", "float64", [-3]], ">= 0"),
        (["a", "float64", [-1, -3]], ">= 0"),
        (["a", "float64", [1 << 63]], "<="),
        (["a", "float64", [(1 << 64) - 1, 3]], "<="),
        # Their product is 24 in 64 bits.
        (["a", "float64", [1 << 62, 4, 3]], "takes"),
        (["a", "float64", [(1 << 61) + 3]], "takes"),
        (["a", "float64", [HUGE] * 64], "takes"),
        (["a", "float64", [1] * 65], "length"),
        (["a", "float64", [3.0]], "float"),
        (["a", "float64", [True] * 3], "bool"),
        (["a", "float64", ["3"]], "str"),
        (["a", "float64", "3"], "str"),
        (["a", "float64", None], "null"),
        (["a", "float64"], "length"),
        (["a", "float64", [3], "A"], "'A'"),
        (["a", "float64", [3], None], "str"),
        (["a", "float64", [3], "C", 1, 2], "length"),
        (["", "float64", [3]], "length"),
        (["x" * 256, "float64", [3]], "length"),
        (["é" * 128, "float64", [3]], "255 bytes"),
        ([1, "float64", [3]], "int"),
        ([b"a", "float64", [3]], "bytes"),
        (["a", 8, [3]], "int"),
        ("a", "str"),
        ({"name": "a"}, "object"),
        (None, "null"),
    ],
    ids=repr,
)
def test_an_entry_that_is_not_true_of_its_frame_is_malformed(entry: object, reason: str) -> None:
    assert reason.replace("null", "None") in refused(content_of([entry]), FRAME).reason


@pytest.mark.parametrize(
    "dtype",
    [
        "", "float", "double", "<f8", ">f8", "f8", "d", "object", "O", "|O", "V8", "void64", "float64 ", "Float64",
        "float8", "float24", "float4_e2m1fn_x2", "datetime64", "datetime64[25s]", "datetime64[s", "datetime64[week]",
        "timedelta64[]", "bytes", "bytes0", "bytes-8", "bytes08", "bytes99999999999999999999", "text0",
        "text2147483647", "text536870912", "bytes2147483648", "str8", "S8", "i4,f4", "numpy.float64",
        "{'names': ['a'], 'formats': ['f8']}", "__import__('os')", "\0", "bfloat16\n", "x" * 100_000,
    ],
    ids=repr,
)  # fmt: skip
def test_a_dtype_that_is_not_here_is_malformed_and_named(dtype: str) -> None:
    error = refused(content_of([["a", dtype, [0]]]), b"")
    assert error.path == "tensors['a']" and repr(dtype[:64]) in error.reason and len(error.reason) < 200


def test_two_tensors_of_one_name_are_malformed() -> None:
    entry = ["a", "float64", [3]]
    assert "one name" in refused(content_of([entry, ["b", "float64", [3]], entry]), FRAME, FRAME, FRAME).reason


@pytest.mark.parametrize("frame_count", [0, 1, 3])
def test_frames_are_as_many_as_the_list_says(frame_count: int) -> None:
    content = content_of([["a", "float64", [3]], ["b", "float64", [3]]])
    assert refused(content, *[FRAME] * frame_count).reason == f"2 are announced, {frame_count} frames came"
    assert "0 are announced" in refused(msgspec.msgpack.encode([None]), FRAME).reason


@pytest.mark.parametrize("shape", [[0, HUGE], [HUGE, 0], [HUGE, HUGE, 0], [0] * 64, [0] * 64 + [1]])
def test_an_empty_tensor_of_huge_sides_is_read_or_malformed(shape: list[int]) -> None:
    try:
        came = unpack(content_of([["a", "float64", shape]]), [b""])
    except MalformedContent:
        return
    assert came.tensors["a"].shape == tuple(shape)


def test_nothing_is_made_of_a_message_of_which_one_frame_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an array was made")

    monkeypatch.setattr("zproxy.content._tensor", never)
    refused(content_of([["a", "float64", [3]], ["b", "float64", [4]]]), FRAME, FRAME)


@pytest.mark.parametrize(
    ("dtype", "frame"), [("bool", b"\0\1\2"), ("text2", struct.pack("<6I", 65, 0, 65, 0x10FFFF, 0x110000, 0))]
)
def test_elements_that_are_none_of_their_type_are_malformed(dtype: str, frame: bytes) -> None:
    assert refused(content_of([["a", dtype, [3]]]), frame).path == "tensors['a']"


# ---- MessagePack ----


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xd4\x01\x00", "extension"),
        (b"\xd6\xff\0\0\0\0", "extension"),  # a timestamp
        (b"\xc7\x00\x05", "extension"),
        (b"\xc8\x00\x00\x05", "extension"),
        (b"\xc9\x00\x00\x00\x00\x05", "extension"),
        (b"\x91\xd8\x01" + b"\0" * 16, "extension"),
        (b"\x81\xd4\x01\x00\xc0", "extension"),
        (b"\xc1", "C1"),
        (b"\xdd\xff\xff\xff\xff", "ends inside"),
        (b"\xdf\xff\xff\xff\xff", "ends inside"),
        (b"\xdf\x80\x00\x00\x00", "ends inside"),
        (b"\xdb\xff\xff\xff\xff", "ends inside"),
        (b"\xc6\xff\xff\xff\xff", "ends inside"),
        (b"\xda\x00", "ends inside"),
        (b"\x92\xc0", "ends inside"),
        (b"\x81\xc0", "ends inside"),
        (b"\xa5abcd", "ends inside"),
        (b"\xcb\0\0\0\0\0\0\0", "ends inside"),
        (b"", "ends inside"),
        (b"\xc0\x90\xc0", "behind"),
        (b"\x91" * (DEPTH_MAX + 1) + b"\xc0", "deeper"),
        (b"\x81\xc0" * (DEPTH_MAX + 1) + b"\xc0", "deeper"),
        (b"\x91" * 1_000_000 + b"\xc0", "deeper"),
        (b"\x90" * 2 + b"\x90", "behind"),
    ],
)
def test_what_no_content_has_is_malformed(body: bytes, words: str) -> None:
    head = b"\x92" if body.startswith((b"\xc0\x90", b"\x90")) else b"\x91"
    assert words in refused(head + body).reason


@pytest.mark.parametrize("content", [b"", b"\xc0", b"\x90", b"\x93\xc0\x90\x90", b"\x80", b"\x81\xc0\xc0", b"\xa2ab"])
def test_a_content_is_an_array_of_one_or_two(content: bytes) -> None:
    assert refused(content).path == "content"


@pytest.mark.parametrize("head", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"])
def test_lengths_may_be_longer_than_they_need(head: bytes) -> None:
    assert unpack(head + b"\xda\x00\x01a", []).body == "a"


def test_a_list_of_tensors_is_as_deep_at_most_as_a_body() -> None:
    assert "deeper" in refused(b"\x92\xc0" + b"\x91" * 10_000 + b"\xc0").reason


def test_text_that_is_not_unicode_is_malformed() -> None:
    assert refused(b"\x91\xa1\xff").path == "$"
    assert refused(b"\x92\xc0\x91\x93\xa1\xff\xa4bool\x90", b"\0").path == "tensors"


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """What a handler may ask for."""


def test_a_field_that_nobody_asked_for_is_named_in_one_line() -> None:
    content = msgspec.msgpack.encode([{"a\n\u202e\x1b[2J": 1}])
    assert str(refused(content, body_type=Strict)) == r"$: Object contains unknown field `a\n\u202e\x1b[2J`"


def test_what_other_languages_use_as_keys_is_read() -> None:
    assert unpack(b"\x91\x82\x01\xc3\xc0\xc2", []).body == {1: True, None: False}
    assert refused(b"\x91\x81\x80\xc0").path == "$"  # a map as key is beyond Python


@given(bodies)
def test_the_span_of_a_body_is_its_own_encoding(body: object) -> None:
    encoded = msgspec.msgpack.encode(body)
    assert body_span(b"\x92" + encoded + b"\x90") == (1, 1 + len(encoded))


@given(bodies, st.data())
def test_a_content_that_is_cut_off_is_malformed(body: object, data: st.DataObject) -> None:
    content = bytes(pack(body)[0])
    refused(content[: data.draw(st.integers(0, len(content) - 1))])


@given(st.binary(max_size=200), st.lists(st.binary(max_size=32), max_size=3))
@example(b"\x91", [])
def test_any_bytes_are_read_or_malformed(content: bytes, frames: list[bytes]) -> None:
    read_or_malformed(content, frames)


@given(bodies, tensors, st.data())
def test_any_change_of_a_good_message_is_read_or_malformed(
    body: object, named: dict[str, np.ndarray[Any, Any]], data: st.DataObject
) -> None:
    content, *frames = [bytes(frame) for frame in pack(body, named)]
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    read_or_malformed(bytes(changed), frames)


def read_or_malformed(content: bytes, frames: list[bytes]) -> None:
    try:
        came: Content = unpack(content, frames)
    except MalformedContent as error:
        assert error.path and error.reason
        return
    for array, frame in zip(came.tensors.values(), frames, strict=True):
        assert array.nbytes == len(frame) == math.prod(array.shape) * array.dtype.itemsize
        array.tolist()


def test_every_fault_has_its_words() -> None:
    assert len(FAULT_WORDS) == len(set(FAULT_WORDS)) == 7


# ---- nothing on the wire is ever code ----


class Trap:
    """Unpickled, it runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.call, (["touch", str(self.path)],)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    objects = np.array([Trap(sprung)], object).dumps()
    assert unpack(msgspec.msgpack.encode([trap]), []).body == trap
    for pickled in (trap, objects):
        refused(pickled)
        refused(content_of([["a", "object", [1]]]), pickled)
        refused(content_of([["a", "O", [len(pickled) // 8]]]), pickled)
        refused(b"\x91\xc8" + struct.pack(">HB", len(pickled), 1) + pickled)
        raw = unpack(content_of([["a", "uint8", [len(pickled)]]]), [pickled]).tensors["a"]
        assert raw.tobytes() == pickled
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists(), "the trap itself works"
