"""The broker's index against a dictionary; collisions are sought, not waited for."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zproxy.broker.index import IndexProbe

CAPACITY_FIRST = 64  # the table grows beyond half of it


def crowd(homes: set[int]) -> list[tuple[int, int]]:
    """Pairs whose search begins in a few neighbouring places of a table that has not grown."""
    probe = IndexProbe()
    return [(owner, number) for owner in range(8) for number in range(500) if probe.home(owner, number) in homes]


CROWDED = crowd({62, 63, 0, 1})  # the chain runs over the table's end
pairs = st.one_of(
    st.sampled_from(CROWDED),
    st.tuples(st.integers(0, 3), st.integers(0, 5)),
    st.tuples(st.integers(0, 1), st.integers(0, 2**64 - 1)),
)


class Table(RuleBasedStateMachine):
    """Added, found and removed in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.index = IndexProbe()
        self.model: dict[tuple[int, int], int] = {}

    @rule(pair=pairs, slot=st.integers(0, 2**32 - 2))
    def add(self, pair: tuple[int, int], slot: int) -> None:
        if pair not in self.model:
            self.index.add(*pair, slot)
            self.model[pair] = slot

    @rule(pair=pairs)
    def remove(self, pair: tuple[int, int]) -> None:
        self.index.remove(*pair)
        self.model.pop(pair, None)

    @rule(pair=pairs)
    def find(self, pair: tuple[int, int]) -> None:
        assert self.index.find(*pair) == self.model.get(pair)

    @invariant()
    def all_are_found(self) -> None:
        assert len(self.index) == len(self.model)
        for pair, slot in self.model.items():
            assert self.index.find(*pair) == slot


TestTable = Table.TestCase


def test_a_crowd_that_leaves_in_any_order_leaves_nothing_behind() -> None:
    chain = CROWDED[:28]
    for step in (1, 3, 5, 9, 27):
        index = IndexProbe()
        for slot, pair in enumerate(chain):
            index.add(*pair, slot)
        left = set(range(len(chain)))
        for turn in range(len(chain)):
            slot = turn * step % len(chain)
            index.remove(*chain[slot])
            left.discard(slot)
            assert {found for pair in chain if (found := index.find(*pair)) is not None} == left
        assert len(index) == 0


def test_the_table_grows_and_keeps_every_pair() -> None:
    index = IndexProbe(7)
    for number in range(10_000):
        index.add(number % 7, number, number)
    assert all(index.find(number % 7, number) == number for number in range(10_000))


def test_another_seed_scatters_the_same_pairs() -> None:
    """Nodes choose their sequences, and must not be able to choose collisions."""
    other = IndexProbe(2)
    homes = Counter(other.home(*pair) for pair in CROWDED)
    assert len(CROWDED) > 200
    assert max(homes.values()) < len(CROWDED) // 8


def test_sequences_in_a_row_are_scattered_whoever_counts_them() -> None:
    index = IndexProbe(3)
    for owner in range(20):
        assert len({index.home(owner, number) for number in range(256)}) > CAPACITY_FIRST // 2
    assert len({index.home(owner, 1) for owner in range(256)}) > CAPACITY_FIRST // 2
