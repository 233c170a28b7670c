"""Messages made of slices of pooled blocks keep their bytes, and give every block back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.zmtp_model import pattern

from zproxy.relay.block import MessageProbe

SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES = 4096, 65536, 1 << 21
LARGE_FROM_BYTES = 1 << 20

pieces = st.builds(
    pattern,
    st.one_of(st.integers(0, 300), st.integers(MEDIUM_BYTES - 20, MEDIUM_BYTES + 20), st.just(LARGE_FROM_BYTES + 1)),
    st.integers(0, 250),
)


@given(st.lists(pieces, max_size=6), st.lists(pieces, max_size=4), st.data())
def test_append_join_and_skip_keep_the_other_bytes(ours: list[bytes], others: list[bytes], data: st.DataObject) -> None:
    probe = MessageProbe()
    for piece in ours:
        probe.append(piece)
    for piece in others:
        probe.append_other(piece)
    probe.join()
    whole = b"".join(ours + others)
    assert probe.content == whole
    skipped = data.draw(st.integers(0, len(whole)))
    probe.skip(skipped)
    assert probe.content == whole[skipped:]
    assert all(length for length, _ in probe.slices), "a slice without bytes"
    probe.append(b"more")
    assert probe.content == whole[skipped:] + b"more"
    probe.release()
    assert (probe.live_blocks, probe.live_bytes, probe.content) == (0, 0, b"")


@given(st.lists(pieces, min_size=1, max_size=6))
def test_all_slices_but_the_first_continue_it(parts: list[bytes]) -> None:
    probe = MessageProbe()
    for part in parts:
        probe.append(part)
        probe.append_other(part)
    probe.join()
    assert [continues for _, continues in probe.slices] == [index > 0 for index in range(len(probe.slices))]


@pytest.mark.parametrize("count", [1, SMALL_BYTES, MEDIUM_BYTES, LARGE_FROM_BYTES, LARGE_FROM_BYTES + 1, 5 << 20])
def test_memory_follows_what_arrived(count: int) -> None:
    probe = MessageProbe()
    probe.append(pattern(count))
    assert count <= probe.live_bytes <= 3 * count + MEDIUM_BYTES + SMALL_BYTES


def test_the_pool_keeps_blocks_and_lets_the_idle_go() -> None:
    probe = MessageProbe()
    probe.append(bytes(20 * MEDIUM_BYTES))
    probe.release()
    kept = probe.pooled_bytes
    assert kept >= LARGE_FROM_BYTES
    counts = [probe.trim() for _ in range(12)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[-1], probe.pooled_bytes) == (0, 0)


def test_blocks_in_use_again_are_not_trimmed() -> None:
    probe = MessageProbe()
    probe.append(bytes(4 * MEDIUM_BYTES))
    probe.release()
    probe.trim()
    for _ in range(5):
        probe.append(bytes(4 * MEDIUM_BYTES))
        probe.release()
        assert probe.trim() == 4
