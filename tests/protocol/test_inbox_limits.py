"""The inbox's limits, each met exactly and then by one more."""

from __future__ import annotations

import pytest
from support.inboxes import feed_all
from support.zmtp_model import COMMAND_BYTES_MAX, HEADERS_ALLOWANCE, Item
from support.zmtp_peer import frame, frame_header, message
from support.zmtp_strategies import pieces

from zproxy.relay.inbox import InboxProbe

LIMITS = [0, 1, 255, 256, 4000, 4096, 5000, 65536, 300_000, 2 << 20]
BEFORE = message(b"whole before")


def found_however_cut(wire: bytes, limit: int) -> list[Item]:
    """What is found, which must not depend on cuts in and around headers."""
    whole = feed_all([wire], limit)
    for cut in (1, 2, 3, 8, 9, 10, len(wire) - 1):
        if cut < len(wire):
            assert feed_all(pieces(wire, [cut]), limit) == whole, f"cut at {cut}"
    return whole


@pytest.mark.parametrize("limit", LIMITS)
def test_a_frame_of_exactly_the_limit_passes(limit: int) -> None:
    alone, behind = message(bytes(limit)), message(b"", bytes(limit))
    assert found_however_cut(alone + behind, limit) == [("message", alone), ("message", behind)]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_frame_one_above_the_limit_is_refused_by_its_header(limit: int) -> None:
    wire = message(b"") + frame_header(limit + 1)
    assert found_however_cut(wire, limit) == [("message", message(b"")), ("too_large", limit + 1)]


@pytest.mark.parametrize("limit", LIMITS)
def test_what_came_of_a_refused_message_holds_no_memory_after_the_end(limit: int) -> None:
    inbox = InboxProbe(limit)
    inbox.feed(frame(bytes(limit), more=True))
    assert inbox.feed(frame_header(limit + 1)) == [("too_large", len(frame(bytes(limit))) + limit + 1)]
    inbox.clear()
    assert inbox.live_bytes == 0


@pytest.mark.parametrize("limit", [0, 100, 5000])
def test_headers_may_take_their_allowance_and_no_more(limit: int) -> None:
    room = limit + HEADERS_ALLOWANCE
    fits = frame(b"", more=True) * (room // 2 - 1) + frame(b"")
    assert len(fits) == room
    assert found_however_cut(fits, limit) == [("message", fits)]
    endless = frame(b"", more=True) * (room // 2 + 1)
    assert found_however_cut(endless, limit) == [("too_large", room)]


def test_frames_without_end_are_refused_in_small_reads_too() -> None:
    inbox = InboxProbe(1000)
    chunk = frame(b"x", more=True) * 7
    for _ in range((1000 + HEADERS_ALLOWANCE) // len(chunk) + 1):
        found = inbox.feed(chunk)
        if found:
            break
        assert inbox.live_bytes <= 3 * (1000 + HEADERS_ALLOWANCE)
    assert [kind for kind, _ in found] == ["too_large"]


@pytest.mark.parametrize("is_long", [True, False, None])
@pytest.mark.parametrize("inside", [b"", frame(b"part", more=True), frame(bytes(5000), more=True)])
def test_a_command_of_exactly_its_limit_passes(inside: bytes, is_long: bool | None) -> None:
    count = 255 if is_long is False else COMMAND_BYTES_MAX
    wire = inside + frame(bytes(count), command=True, long=is_long) + frame(b"end")
    assert found_however_cut(wire, 1 << 20) == [("command", bytes(count)), ("message", inside + frame(b"end"))]


@pytest.mark.parametrize("limit", [10, 1 << 30])
@pytest.mark.parametrize("inside", [b"", frame(b"part", more=True), frame(bytes(5000), more=True)])
def test_a_command_one_above_its_limit_is_refused_by_its_header(inside: bytes, limit: int) -> None:
    wire = inside + frame_header(COMMAND_BYTES_MAX + 1, command=True)
    if len(inside) > limit:
        return
    assert found_however_cut(wire, limit) == [("too_large", len(inside) + COMMAND_BYTES_MAX + 1)]


def test_the_limit_of_messages_is_not_that_of_commands() -> None:
    wire = frame(bytes(4000), command=True) + message(b"1234")
    assert found_however_cut(wire, 4) == [("command", bytes(4000)), ("message", message(b"1234"))]


@pytest.mark.parametrize("flags", [2, 3, 6])
@pytest.mark.parametrize("size", [1 << 63, (1 << 63) + 1, (1 << 64) - 1])
def test_a_length_with_the_top_bit_set_is_malformed(flags: int, size: int) -> None:
    wire = message(b"before") + bytes([flags]) + size.to_bytes(8, "big")
    assert found_however_cut(wire, 1 << 30) == [("message", message(b"before")), ("malformed", b"")]


@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 63) - 10, 1 << 62, 1 << 32])
@pytest.mark.parametrize("inside", [b"", frame(b"part", more=True), frame(bytes(5000), more=True)])
def test_the_largest_lengths_do_not_wrap(inside: bytes, size: int) -> None:
    wire = inside + b"\x02" + size.to_bytes(8, "big")
    assert found_however_cut(wire, 1 << 30) == [("too_large", len(inside) + size)]


@pytest.mark.parametrize("flags", [*range(8, 256), 5, 7])
def test_reserved_bits_and_commands_with_more_are_malformed(flags: int) -> None:
    for inside in (b"", frame(b"part", more=True), frame(bytes(5000), more=True)):
        for rest in (b"", b"\x00", bytes(8), b"\xff" * 20):
            wire = BEFORE + inside + bytes([flags]) + rest
            assert found_however_cut(wire, 1 << 30) == [("message", BEFORE), ("malformed", b"")]


@pytest.mark.parametrize("size", [0, 1, 254, 255, 256])
def test_a_long_frame_may_be_short(size: int) -> None:
    wire = frame(bytes(size), long=True, more=True) + frame(bytes(size), long=True)
    assert found_however_cut(wire, 1 << 30) == [("message", wire)]
