"""Hypothesis strategies for ZMTP streams and for ways to cut them up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

from support.zmtp_model import Part, Stream, pattern

SMALL_BYTES = 4096
READ_BUFFER_BYTES = 65536
LARGE_FROM_BYTES = 1 << 20
LARGE_BYTES = 1 << 21

# Where the inbox changes its ways: frame sizes, blocks, its read buffer, direct reads.
EDGES = (0, 255, SMALL_BYTES, READ_BUFFER_BYTES, 2 * READ_BUFFER_BYTES, 262144)
HUGE_EDGES = (LARGE_FROM_BYTES, LARGE_BYTES, LARGE_FROM_BYTES + LARGE_BYTES)


def _near(edge: int, reach: int = 24) -> st.SearchStrategy[int]:
    return st.integers(max(edge - reach, 0), edge + reach)


body_sizes = st.one_of(st.integers(0, 40), st.sampled_from(EDGES).flatmap(_near))
huge_sizes = st.sampled_from(HUGE_EDGES).flatmap(_near)

_salts = st.integers(0, 250)
_commands = st.builds(
    lambda size, salt, is_long: Part(pattern(size, salt), is_long, is_command=True),
    st.one_of(st.integers(0, 30), _near(255), st.integers(3900, 4000)),
    _salts,
    st.booleans(),
)


def _frames(sizes: st.SearchStrategy[int]) -> st.SearchStrategy[Part]:
    return st.builds(lambda size, salt, is_long: Part(pattern(size, salt), is_long), sizes, _salts, st.booleans())


@st.composite
def units(draw: st.DrawFn, sizes: st.SearchStrategy[int] = body_sizes) -> list[Part]:
    """A message with commands between its frames, or a command alone."""
    if draw(st.integers(0, 4)) == 0:
        return [draw(_commands)]
    frames = draw(st.lists(_frames(sizes), min_size=1, max_size=6))
    parts = []
    for index, part in enumerate(frames):
        if index:
            parts += draw(st.lists(_commands, max_size=2)) if draw(st.booleans()) else []
        parts.append(part)
    return parts


@st.composite
def streams(draw: st.DrawFn, max_units: int = 8, sizes: st.SearchStrategy[int] = body_sizes) -> Stream:
    """Messages and commands behind each other."""
    stream = Stream()
    for parts in draw(st.lists(units(sizes), max_size=max_units)):
        stream.add(parts)
    return stream


@st.composite
def cuts(draw: st.DrawFn, count: int, borders: Sequence[int] = ()) -> list[int]:
    """Places to cut `count` bytes at: anywhere, and close to borders."""
    anywhere = st.integers(0, count)
    close = st.sampled_from([0, *borders]).flatmap(lambda border: st.integers(border - 12, border + 12))
    found = draw(st.lists(st.one_of(anywhere, close), max_size=20))
    return sorted({min(max(place, 0), count) for place in found})


def pieces(wire: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """`wire`, cut there."""
    for begin, end in zip([0, *places], [*places, len(wire)], strict=True):
        yield wire[begin:end]
