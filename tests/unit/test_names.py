"""The table of names against a dictionary; collisions are sought, not waited for."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zproxy.names import NamesProbe

CAPACITY_FIRST = 64  # the table grows beyond half of it


def crowd(seed: int, homes: range) -> list[bytes]:
    """Keys whose search begins in a few neighbouring places of a table that has not grown."""
    probe = NamesProbe(seed)
    return [key for number in range(4000) if probe.home(key := b"%d" % number) in homes]


CROWDED = crowd(1, range(62, 64)) + crowd(1, range(0, 2))  # the chain runs over the table's end
keys = st.one_of(st.sampled_from(CROWDED), st.binary(max_size=255), st.sampled_from([b"", bytes(255), b"\0", b"\0\0"]))
slots = st.integers(0, 2**32 - 2)


class Table(RuleBasedStateMachine):
    """Added, found and removed in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.names = NamesProbe(1)
        self.model: dict[bytes, int] = {}

    @rule(key=keys, slot=slots)
    def add(self, key: bytes, slot: int) -> None:
        if key not in self.model:
            self.names.add(key, slot)
            self.model[key] = slot

    @rule(key=keys)
    def remove_as_a_stranger(self, key: bytes) -> None:
        """A connection that lost its name must not take its heir's route away."""
        self.names.remove(key, (self.model.get(key, 0) + 1) % (2**32 - 1))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.model:
            key = data.draw(st.sampled_from(sorted(self.model)))
            self.names.remove(key, self.model.pop(key))

    @rule(key=keys)
    def find(self, key: bytes) -> None:
        assert self.names.find(key) == self.model.get(key)

    @invariant()
    def all_are_found(self) -> None:
        assert len(self.names) == len(self.model)
        for key, slot in self.model.items():
            assert self.names.find(key) == slot


TestTable = Table.TestCase


@pytest.mark.parametrize("gone", range(24))
def test_a_gap_in_a_crowd_is_closed_wherever_it_is(gone: int) -> None:
    """One chain of neighbours, too few to grow the table; each of them leaves once."""
    chain = CROWDED[:12] + CROWDED[-12:]
    names = NamesProbe(1)
    for slot, key in enumerate(chain):
        names.add(key, slot)
    names.remove(chain[gone], gone)
    assert [names.find(key) for key in chain] == [slot if slot != gone else None for slot in range(len(chain))]
    names.add(chain[gone], 99)
    assert names.find(chain[gone]) == 99
    assert len(names) == len(chain)


def test_a_crowd_that_leaves_in_any_order_leaves_nothing_behind() -> None:
    chain = CROWDED[:28]
    for step in (1, 3, 5, 9, 27):
        names = NamesProbe(1)
        for slot, key in enumerate(chain):
            names.add(key, slot)
        left = set(range(len(chain)))
        for turn in range(len(chain)):
            slot = turn * step % len(chain)
            names.remove(chain[slot], slot)
            left.discard(slot)
            assert {found for key in chain if (found := names.find(key)) is not None} == left
        assert len(names) == 0


def test_the_table_grows_and_keeps_every_name() -> None:
    names = NamesProbe(7)
    for number in range(10_000):
        names.add(b"node-%d" % number, number)
    assert all(names.find(b"node-%d" % number) == number for number in range(10_000))
    for number in range(0, 10_000, 2):
        names.remove(b"node-%d" % number, number)
    assert [names.find(b"node-%d" % number) for number in range(6)] == [None, 1, None, 3, None, 5]
    assert len(names) == 5000


def test_another_seed_scatters_the_same_keys() -> None:
    """Peers choose their names, and must not be able to choose collisions."""
    other = NamesProbe(2)
    homes: defaultdict[int, int] = defaultdict(int)
    for key in CROWDED:
        homes[other.home(key)] += 1
    assert len(CROWDED) > 200
    assert max(homes.values()) < len(CROWDED) // 8


@pytest.mark.parametrize("count", [5, 8, 16, 255])
def test_ids_that_differ_in_one_byte_are_scattered(count: int) -> None:
    names = NamesProbe(3)
    for place in range(min(count, 16)):
        key = bytearray(count)
        homes = set()
        for value in range(256):
            key[place] = value
            homes.add(names.home(bytes(key)))
        assert len(homes) > CAPACITY_FIRST // 2


def test_no_ids_can_be_made_that_collide_under_every_seed() -> None:
    """The highest bit of eight bytes must not come out where the next eight can undo it."""
    high, undone = 1 << 63, 1 << 63 | 1 << 31
    pairs = [bytes(16), high.to_bytes(8, "little") + undone.to_bytes(8, "little")]
    made = [b"".join(parts) for parts in product(pairs, repeat=6)]
    for seed in (1, 2, 0xDEADBEEFCAFEBABE):
        names = NamesProbe(seed)
        assert len({names.home(key) for key in made}) > CAPACITY_FIRST // 4
