"""Boxes closed and opened in pieces are libsodium's own, and what was changed in any bit is not genuine."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.curve_peer import key_pair
from support.sodium import TAG_BYTES, box, shared_key

from zproxy.relay.box import BoxProbe, heads

CONSTANT = b"CurveZMQMESSAGEC"
ONE, OTHER = key_pair(), key_pair()
SHARED = shared_key(ONE[0], OTHER[1])
NONCES = st.integers(0, (1 << 64) - 1)


def boxes() -> BoxProbe:
    return BoxProbe(SHARED, CONSTANT)


def cut(text: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(text) + 1) for place in at), len(text)]
    return [text[begin:end] for begin, end in zip(borders, borders[1:], strict=False)]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8), NONCES)
def test_pieces_close_to_what_libsodium_closes_at_once(text: bytes, at: list[int], nonce: int) -> None:
    whole = box(text, CONSTANT + struct.pack(">Q", nonce), SHARED)
    assert boxes().close(nonce, cut(text, at)) == whole
    assert boxes().open(nonce, whole[:TAG_BYTES], cut(whole[TAG_BYTES:], at)) == text


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64, 65, 95, 96, 97, 16383, 16384, 16385, 300_000])
@pytest.mark.parametrize("step", [7, 64, 4096, 1 << 20])
def test_sizes_around_every_border_close_alike(size: int, step: int) -> None:
    text = (bytes(range(256)) * (size // 256 + 1))[:size]
    parts = [text[begin : begin + step] for begin in range(0, size, step)]
    assert boxes().close(0, parts) == box(text, CONSTANT + bytes(8), SHARED)


@given(st.binary(min_size=1, max_size=120), st.data())
def test_a_bit_that_was_changed_is_found(text: bytes, data: st.DataObject) -> None:
    whole = bytearray(boxes().close(7, [text]))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[place // 8] ^= 1 << place % 8
    changed = bytes(whole)
    assert boxes().open(7, changed[:TAG_BYTES], [changed[TAG_BYTES:]]) is None


def test_another_nonce_or_another_direction_is_not_genuine() -> None:
    whole = boxes().close(7, [b"text"])
    tag, secret = whole[:TAG_BYTES], [whole[TAG_BYTES:]]
    assert boxes().open(7, tag, secret) == b"text"
    assert boxes().open(8, tag, secret) is None
    assert BoxProbe(SHARED, b"CurveZMQMESSAGES").open(7, tag, secret) is None


def test_nonces_only_grow() -> None:
    head = b"\x07MESSAGE" + struct.pack(">Q", 5) + bytes(17)
    assert heads(head, 4) == (True, 5)
    assert heads(head, 5) == (False, 5)
    assert heads(head, 6) == (False, 6)
    assert heads(b"\x07MESSAGe" + head[8:], 0) == (False, 0)
    assert heads(b"\x07MESSAGE" + b"\xff" * 8 + bytes(17), 5) == (True, (1 << 64) - 1)
    assert heads(b"\x07MESSAGE" + b"\xff" * 8 + bytes(17), (1 << 64) - 1)[0] is False
