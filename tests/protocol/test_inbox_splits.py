"""However a stream is cut, the inbox finds what was sent: every byte split of every kind of frame and border."""

from __future__ import annotations

import pytest
from support.inboxes import feed_all
from support.zmtp_model import Part, Stream, parse, pattern
from support.zmtp_peer import frame
from support.zmtp_strategies import pieces

from zproxy.relay.inbox import InboxProbe

COMMAND = Part(b"\x04PING\x00\x00context", is_command=True)
EMPTY = Part(b"")


def stream_of(*units: list[Part]) -> Stream:
    stream = Stream()
    for parts in units:
        stream.add(parts)
    return stream


RICH = stream_of(
    [EMPTY],
    [Part(b"x")],
    [COMMAND],
    [EMPTY, EMPTY, EMPTY],
    [Part(pattern(255)), COMMAND, Part(pattern(256, 1)), COMMAND, COMMAND, Part(b"end")],
    [Part(b"", is_long=True), Part(b"long but short", is_long=True)],
    [Part(b"\x05READY" + pattern(300), is_long=True, is_command=True)],
    [Part(bytes([number])) for number in range(40)],
    [Part(pattern(4000, 2), is_command=True), Part(b"after a large command")],
    [Part(pattern(90, 3)), Part(pattern(3990, 4), is_command=True), Part(pattern(70, 5))],
    [Part(pattern(4087, 6))],
    [Part(pattern(4088, 7))],
    [Part(pattern(3000, 8)), COMMAND, Part(pattern(3000, 9)), COMMAND, Part(b"tail")],
    [Part(b"last")],
)


def test_the_model_agrees_with_the_stream_it_was_given() -> None:
    assert parse(bytes(RICH.wire)) == RICH.items


@pytest.mark.parametrize("first_half", [True, False])
def test_every_split_in_two_finds_the_same(first_half: bool) -> None:
    wire = bytes(RICH.wire)
    middle = len(wire) // 2
    for cut in range(0, middle) if first_half else range(middle, len(wire) + 1):
        inbox = InboxProbe()
        found = inbox.feed(wire[:cut])
        assert found == RICH.items_before(cut), f"whole before byte {cut}"
        found += inbox.feed(wire[cut:])
        assert found == RICH.items, f"cut at {cut}"
        assert (inbox.live_blocks, inbox.pending_bytes) == (0, 0)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 9, 10, 255, 4095, 4096, 4097])
def test_even_steps_find_the_same(step: int) -> None:
    wire = bytes(RICH.wire)
    assert feed_all(wire[at : at + step] for at in range(0, len(wire), step)) == RICH.items


def test_an_unfinished_end_is_kept_and_found_out_by_nobody() -> None:
    wire = bytes(RICH.wire)
    for cut in range(len(wire)):
        inbox = InboxProbe()
        assert inbox.feed(wire[:cut]) == RICH.items_before(cut)
        is_between = cut in (0, *RICH.item_ends)
        assert (inbox.pending_bytes == 0) <= is_between
        assert (inbox.live_blocks == 0) == (inbox.pending_bytes == 0)


BORDER_SIZES = [
    *range(4060, 4100),
    *(65536 + delta for delta in (-20, -10, -9, -8, -2, -1, 0, 1, 2, 10)),
    *(edge + delta for edge in (131072, 262144, 1 << 20, 1 << 21, 3 << 20) for delta in (-9, -1, 0, 1)),
]


@pytest.mark.parametrize("before", [[], [Part(b"route"), EMPTY]], ids=["alone", "behind-frames"])
@pytest.mark.parametrize("size", BORDER_SIZES)
def test_a_message_at_a_block_border_survives_cuts_around_it(size: int, before: list[Part]) -> None:
    stream = stream_of([*before, Part(pattern(size))], [Part(b"next")], [COMMAND])
    wire = bytes(stream.wire)
    body_at = wire.index(pattern(size)[:16])
    edges = (body_at, 4096, 65536, body_at + (1 << 20), body_at + size)
    close = {edge + delta for edge in edges for delta in (-10, -1, 0, 1, 9) if 0 <= edge + delta <= len(wire)}
    for cut in close:
        assert feed_all(pieces(wire, [cut])) == stream.items, f"cut at {cut}"
    assert feed_all([wire]) == stream.items


@pytest.mark.parametrize("count", [1, 2, 127, 128, 4095, 4096, 4097, 20_000])
def test_many_small_messages_in_one_read(count: int) -> None:
    units = [[Part(b"%d" % number)] for number in range(count)]
    stream = stream_of(*units)
    assert feed_all([bytes(stream.wire)]) == stream.items


def test_a_message_of_thousands_of_frames_grows_through_every_way_of_storing_it() -> None:
    stream = stream_of([Part(pattern(number % 300, number % 251)) for number in range(5000)], [Part(b"next")])
    wire = bytes(stream.wire)
    for step in (1000, 4096, 65536, len(wire)):
        assert feed_all(wire[at : at + step] for at in range(0, len(wire), step)) == stream.items


def test_a_command_between_any_two_frames_leaves_the_message_whole() -> None:
    frames = [Part(pattern(size, size % 251)) for size in (10, 300, 5000, 0, 70_000, 1)]
    for place in range(1, len(frames)):
        for command_bytes in (1, 255, 4000):
            command = Part(pattern(command_bytes), is_command=True)
            stream = stream_of([*frames[:place], command, *frames[place:]])
            wire = bytes(stream.wire)
            begin = stream.borders[place]
            for cut in range(begin - 2, begin + 12):
                assert feed_all(pieces(wire, [cut])) == stream.items


def test_a_declared_length_buys_no_memory() -> None:
    """Memory follows what arrived: at most three times that, and one block."""
    inbox = InboxProbe()
    arrived = frame(b"route", more=True) + b"\x02" + (1 << 30).to_bytes(8, "big")
    inbox.feed(arrived)
    total = len(arrived)
    for step in (1, 5000, 60_000, 200_000, 1_000_000, 3_000_000):
        assert inbox.feed(bytes(step)) == []
        total += step
        assert inbox.pending_bytes == total
        assert inbox.live_bytes <= 3 * total + 65536 + 4096
    inbox.clear()
    assert inbox.live_bytes == 0
