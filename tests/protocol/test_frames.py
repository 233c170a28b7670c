"""Frame headers, one by one, in memory of exactly their size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.zmtp_model import Malformed, parse, read_header
from support.zmtp_peer import command, frame, message

from zproxy.relay.zmtp import FrameProbe


@given(st.binary(max_size=12))
def test_any_header_is_read_as_the_model_reads_it(source: bytes) -> None:
    try:
        header = read_header(source, 0)
    except Malformed:
        assert FrameProbe(source).read()[0] == "malformed"
        return
    if header is None:
        assert FrameProbe(source).read() == ("need", 0, 0)
        return
    kind = "command" if header.is_command else "message"
    assert FrameProbe(source).read() == (kind, header.body_at, header.body_bytes)


@pytest.mark.parametrize("is_long", [True, False])
@pytest.mark.parametrize("has_more", [True, False])
def test_a_header_is_needed_to_its_last_byte(is_long: bool, has_more: bool) -> None:
    header = frame(b"", long=is_long, more=has_more)
    for count in range(len(header)):
        assert FrameProbe(header[:count]).read() == ("need", 0, 0)
    assert FrameProbe(header).read() == ("message", len(header), 0)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(0, 40))
def test_a_scan_stops_at_the_end_of_its_message(frames: list[bytes], missing: int) -> None:
    whole = message(*frames)
    assert FrameProbe(whole + b"\xff\xff").scan(1 << 30) == ("message", len(whole))
    cut = whole[: max(len(whole) - missing, 0)]
    code, scanned = FrameProbe(cut).scan(1 << 30)
    assert code == ("message" if missing == 0 else "need")
    assert whole[:scanned] == message(*frames)[:scanned]
    assert FrameProbe(whole).scan(1 << 30, scanned if missing else 0) == ("message", len(whole))


def test_a_scan_stops_at_a_command_and_goes_on_behind_it() -> None:
    begun = frame(b"one", more=True)
    assert FrameProbe(begun + command(b"PING", b"\0\0") + frame(b"two")).scan(1 << 30) == ("command", len(begun))
    assert FrameProbe(begun + frame(b"two")).scan(1 << 30, len(begun)) == ("message", len(begun + frame(b"two")))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_a_reply_begins_with_a_routing_id_and_goes_on(frames: list[bytes]) -> None:
    expected = frames[0] if len(frames) > 1 and len(frames[0]) <= 255 else None
    assert FrameProbe(message(*frames)).routing_id() == expected


@pytest.mark.parametrize("source", [b"", b"\x01", b"\x01\x03abc", b"\x05\x01a\x00\x00", command(b"PING", b"\0\0")])
def test_what_is_no_reply_has_no_routing_id(source: bytes) -> None:
    assert FrameProbe(source).routing_id() is None


def test_a_routing_id_may_stand_in_a_long_frame() -> None:
    assert FrameProbe(frame(b"node", more=True, long=True) + frame(b"")).routing_id() == b"node"


@given(st.binary(max_size=255), st.booleans())
def test_a_short_frame_is_written_as_it_is_read(body: bytes, has_more: bool) -> None:
    written = FrameProbe.short(int(has_more), body)
    assert written == frame(body, more=has_more)
    expected = [] if has_more else [("message", written)]
    assert parse(written) == expected


@given(st.binary(max_size=12))
def test_a_command_is_known_by_its_whole_name(body: bytes) -> None:
    for name in (b"PING", b"PONG", b"READY", b"ERROR"):
        assert FrameProbe(body).is_command(name) == body.startswith(bytes([len(name)]) + name)
        assert FrameProbe(bytes([len(name)]) + name + body).is_command(name)
        assert not FrameProbe(bytes([len(name)]) + name[:-1]).is_command(name)
