"""Any messages and commands, cut anywhere, come out as they went in; anything else comes out as the model says."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inboxes import OVER, feed_all
from support.zmtp_model import Stream, parse
from support.zmtp_strategies import cuts, huge_sizes, pieces, streams

huge = settings(
    max_examples=settings().max_examples // 8,
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
)

reserved = st.integers(0, 255).filter(lambda flags: flags >= 8 or flags in (5, 7))
limits = st.one_of(st.integers(0, 400), st.integers(4000, 4200), st.just(65536), st.just(1 << 30))


@given(st.data(), streams())
def test_any_stream_in_any_pieces(data: st.DataObject, stream: Stream) -> None:
    wire = bytes(stream.wire)
    places = data.draw(cuts(len(wire), stream.borders))
    assert feed_all(pieces(wire, places)) == stream.items


@huge
@given(st.data(), streams(max_units=3, sizes=st.one_of(st.integers(0, 300), huge_sizes)))
def test_any_stream_of_huge_messages_in_any_pieces(data: st.DataObject, stream: Stream) -> None:
    wire = bytes(stream.wire)
    places = data.draw(cuts(len(wire), stream.borders))
    assert feed_all(pieces(wire, places)) == stream.items


@given(st.data(), streams(), limits)
def test_any_limit_holds_in_any_pieces(data: st.DataObject, stream: Stream, limit: int) -> None:
    wire = bytes(stream.wire)
    places = data.draw(cuts(len(wire), stream.borders))
    assert feed_all(pieces(wire, places), limit) == parse(wire, limit)


@given(st.data(), streams(), st.binary(max_size=40))
def test_a_stream_that_breaks_off_into_garbage(data: st.DataObject, stream: Stream, garbage: bytes) -> None:
    """Bytes overwritten, inserted or lost anywhere: all that was whole before is found, nothing is made up."""
    wire = bytes(stream.wire)
    place = data.draw(st.integers(0, len(wire)))
    skipped = data.draw(st.one_of(st.just(len(garbage)), st.just(0), st.integers(0, 60)))
    broken = wire[:place] + garbage + wire[place + skipped :]
    found = feed_all(pieces(broken, data.draw(cuts(len(broken), [place]))))
    assert found == parse(broken)
    before = stream.items_before(place)
    assert found[: len(before)] == before


@given(st.data(), streams(), st.integers(0, 7))
def test_a_flipped_bit(data: st.DataObject, stream: Stream, bit: int) -> None:
    if not stream.wire:
        return
    broken = bytearray(stream.wire)
    place = data.draw(st.integers(0, len(broken) - 1))
    broken[place] ^= 1 << bit
    found = feed_all(pieces(bytes(broken), data.draw(cuts(len(broken), [place]))))
    assert found == parse(bytes(broken))
    before = stream.items_before(place)
    assert found[: len(before)] == before


@given(st.data(), st.binary(max_size=300))
def test_garbage_alone(data: st.DataObject, garbage: bytes) -> None:
    assert feed_all(pieces(garbage, data.draw(cuts(len(garbage))))) == parse(garbage)


@given(st.data(), streams(), reserved)
def test_a_reserved_flag_ends_the_stream(data: st.DataObject, stream: Stream, flags: int) -> None:
    wire = bytes(stream.wire) + bytes([flags])
    found = feed_all(pieces(wire, data.draw(cuts(len(wire), [len(wire) - 1]))))
    assert found == [*stream.items, ("malformed", b"")]
    assert found[-1][0] in OVER
