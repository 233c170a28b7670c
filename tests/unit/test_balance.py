"""Which plain worker is next: turns for all, and the least loaded of those whose open requests are known.

Whatever workers come, pause and go meanwhile.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zproxy.broker.balance import BalanceProbe

LOADS = 256  # from one less on all loads are equal
slots = st.integers(0, 200)


def balance_of(*workers: int) -> BalanceProbe:
    balance = BalanceProbe()
    for slot in workers:
        balance.add(slot)
    return balance


def flap(balance: BalanceProbe, slot: int) -> None:
    """What a large message does to its worker: busy, and a moment later not."""
    balance.set_usable(slot, False)
    balance.set_usable(slot, True)


def test_without_workers_nobody_is_picked() -> None:
    balance = BalanceProbe()
    assert balance.pick() is None
    balance.remove(7)
    balance.set_usable(7, True)
    assert balance.pick() is None


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 65, 200])
def test_each_has_its_turn_before_any_has_two(count: int) -> None:
    balance = balance_of(*range(count))
    for _ in range(5):
        assert {balance.pick() for _ in range(count)} == set(range(count))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_workers_busy_for_a_moment_after_each_message_still_take_turns(count: int) -> None:
    balance = balance_of(*range(count))
    picked = []
    for _ in range(4 * count):
        slot = balance.pick()
        assert slot is not None
        picked.append(slot)
        flap(balance, slot)
    for begin in range(0, 4 * count, count):
        assert set(picked[begin : begin + count]) == set(range(count)), picked


@pytest.mark.parametrize("count", [3, 4, 8])
def test_one_that_pauses_costs_nobody_else_a_turn(count: int) -> None:
    for paused in range(count):
        for before in range(count):
            balance = balance_of(*range(count))
            began = [balance.pick() for _ in range(before)]
            balance.set_usable(paused, False)
            others = set(range(count)) - {paused}
            rest = others - set(began)
            assert {balance.pick() for _ in range(len(rest))} == rest
            assert {balance.pick() for _ in range(len(others))} == others


def test_one_that_is_back_waits_for_one_round_at_most() -> None:
    balance = balance_of(0, 1, 2, 3)
    balance.set_usable(2, False)
    assert {balance.pick() for _ in range(6)} == {0, 1, 3}
    balance.set_usable(2, True)
    assert 2 in {balance.pick() for _ in range(4)}


def test_a_slot_can_be_taken_again() -> None:
    balance = balance_of(5, 6)
    balance.remove(5)
    assert {balance.pick() for _ in range(3)} == {6}
    balance.add(5)
    assert {balance.pick(), balance.pick()} == {5, 6}


# ---- those that are counted ----


def counted(*workers: int) -> BalanceProbe:
    balance = BalanceProbe()
    for slot in workers:
        balance.add(slot, True)
    return balance


def give(balance: BalanceProbe) -> int:
    """The one that is picked has one request more."""
    slot = balance.pick()
    assert slot is not None
    balance.load(slot)
    return slot


def test_who_answers_gets_the_next_and_who_does_not_is_spared() -> None:
    balance = counted(0, 1, 2)
    assert [give(balance) for _ in range(3)] == [0, 1, 2]
    for _ in range(10):
        balance.unload(1)
        assert give(balance) == 1
    assert sorted(give(balance) for _ in range(3)) == [0, 1, 2]


def test_of_equals_each_has_its_turn_and_the_longest_idle_comes_first() -> None:
    balance = counted(0, 1, 2)
    for _ in range(4):
        assert [give(balance) for _ in range(3)] == [0, 1, 2]
    balance = counted(0, 1, 2)
    picked = []
    for _ in range(9):
        picked.append(give(balance))
        balance.unload(picked[-1])
    assert picked == [0, 1, 2] * 3


def test_messages_that_nobody_has_to_answer_take_turns() -> None:
    """They leave the loads as they are, and would all go to the same worker."""
    balance = counted(0, 1, 2)
    assert [balance.pick() for _ in range(6)] == [0, 1, 2] * 2


def test_one_that_was_paused_comes_back_with_what_it_had() -> None:
    balance = counted(0, 1)
    for _ in range(4):
        give(balance)
    balance.set_usable(0, False)
    balance.unload(0)
    assert [give(balance) for _ in range(3)] == [1, 1, 1]
    balance.set_usable(0, True)
    assert [give(balance) for _ in range(4)] == [0, 0, 0, 0]


def test_a_slot_that_is_taken_again_begins_without_a_load() -> None:
    balance = counted(0, 1)
    for _ in range(6):
        give(balance)
    balance.remove(0)
    balance.unload(0)  # what it had said before its end was still to be read
    balance.add(0, True)
    assert [give(balance) for _ in range(3)] == [0, 0, 0]


def test_answers_nobody_asked_for_are_no_merit() -> None:
    balance = counted(0, 1)
    for _ in range(5):
        balance.unload(0)
    assert sorted(give(balance) for _ in range(2)) == [0, 1]


def test_the_longest_queues_are_equal() -> None:
    balance = counted(0, 1)
    balance.set_usable(1, False)
    for _ in range(LOADS + 50):
        assert give(balance) == 0
    balance.set_usable(1, True)
    for _ in range(LOADS - 1):
        assert give(balance) == 1
    assert {give(balance), give(balance)} == {0, 1}
    for _ in range(LOADS + 52):
        balance.unload(0)
    assert [give(balance) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("others", [1, 2, 5])
def test_in_a_mixed_set_each_kind_has_its_share(others: int) -> None:
    balance = counted(0, 1)
    for other in range(10, 10 + others):
        balance.add(other)
    balance.load(0)  # it hangs: what would be its turn is the other's
    picked = []
    for _ in range(6 * (2 + others)):
        slot = balance.pick()
        assert slot is not None
        picked.append(slot)
        if slot < 10:
            balance.load(slot)
            balance.unload(slot)
    assert picked.count(1) == 12 and picked.count(0) == 0
    assert [picked.count(other) for other in range(10, 10 + others)] == [6] * others


class Rounds(RuleBasedStateMachine):
    """No worker that stays usable is passed over: between two of another's picks that stayed usable too, it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.balance = BalanceProbe()
        self.usable: set[int] = set()
        self.paused: set[int] = set()
        self.picked_since: dict[int, set[int]] = {}  # by worker, who was picked since its own last pick

    @rule(slot=slots)
    def add(self, slot: int) -> None:
        if slot in self.usable | self.paused:
            return
        self.balance.add(slot)
        self._enter(slot)

    @precondition(lambda self: self.usable or self.paused)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.usable | self.paused)))
        self.balance.remove(slot)
        self._leave(slot)
        self.paused.discard(slot)

    @precondition(lambda self: self.usable)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.usable)))
        self.balance.set_usable(slot, False)
        self._leave(slot)
        self.paused.add(slot)

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.paused)))
        self.balance.set_usable(slot, True)
        self.paused.discard(slot)
        self._enter(slot)

    @rule(slot=slots, is_usable=st.booleans())
    def say_what_is_known(self, slot: int, is_usable: bool) -> None:
        """Telling it again, or telling of a stranger, changes nothing."""
        if is_usable == (slot in self.usable) or slot not in self.usable | self.paused:
            self.balance.set_usable(slot, is_usable)

    @rule(count=st.integers(1, 5))
    def pick(self, count: int) -> None:
        for _ in range(count):
            slot = self.balance.pick()
            if slot is None:
                assert not self.usable
                return
            assert slot in self.usable
            for other in self.usable - {slot}:
                assert slot not in self.picked_since[other], f"{slot} had two turns while {other} waited"
                self.picked_since[other].add(slot)
            self.picked_since[slot] = set()

    def _enter(self, slot: int) -> None:
        self.usable.add(slot)
        self.picked_since[slot] = set()

    def _leave(self, slot: int) -> None:
        self.usable.discard(slot)
        for picked in self.picked_since.values():
            picked.discard(slot)

    @invariant()
    def somebody_is_picked_when_somebody_can_be(self) -> None:
        if not self.usable:
            assert self.balance.pick() is None


TestRounds = Rounds.TestCase


class Loads(RuleBasedStateMachine):
    """A counted one that is picked has no more than any other usable one; the others keep their rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.balance = BalanceProbe()
        self.loads: dict[int, int | None] = {}  # None: not counted
        self.paused: set[int] = set()
        self.picked_since: dict[int, set[int]] = {}  # of those that are not counted

    @rule(slot=slots, is_counted=st.booleans())
    def add(self, slot: int, is_counted: bool) -> None:
        if slot not in self.loads:
            self.balance.add(slot, is_counted)
            self.loads[slot] = 0 if is_counted else None
            self._enter(slot)

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.loads)))
        self.balance.remove(slot)
        del self.loads[slot]
        self._leave(slot)
        self.paused.discard(slot)

    @precondition(lambda self: self.loads)
    @rule(data=st.data(), is_usable=st.booleans())
    def pause_or_resume(self, data: st.DataObject, is_usable: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.loads)))
        self.balance.set_usable(slot, is_usable)
        if is_usable and slot in self.paused:
            self.paused.discard(slot)
            self._enter(slot)
        elif not is_usable:
            self.paused.add(slot)
            self._leave(slot)

    @precondition(lambda self: any(load is not None for load in self.loads.values()))
    @rule(data=st.data(), count=st.integers(1, 300))
    def answer(self, data: st.DataObject, count: int) -> None:
        slot = data.draw(st.sampled_from(sorted(slot for slot, load in self.loads.items() if load is not None)))
        for _ in range(count):
            self.balance.unload(slot)
        self.loads[slot] = max((self.loads[slot] or 0) - count, 0)

    @rule(count=st.integers(1, 300), is_to_be_answered=st.booleans())
    def pick(self, count: int, is_to_be_answered: bool) -> None:
        for _ in range(count):
            slot = self.balance.pick()
            usable = self.loads.keys() - self.paused
            if slot is None:
                assert not usable
                return
            assert slot in usable
            load = self.loads[slot]
            if load is None:
                self._turn_taken(slot)
                continue
            least = min(other for other in map(self.loads.get, usable) if other is not None)
            assert min(load, LOADS - 1) == min(least, LOADS - 1)
            if is_to_be_answered:
                self.balance.load(slot)
                self.loads[slot] = load + 1

    def _turn_taken(self, slot: int) -> None:
        for other in self.picked_since.keys() - {slot}:
            assert slot not in self.picked_since[other], f"{slot} had two turns while {other} waited"
            self.picked_since[other].add(slot)
        self.picked_since[slot] = set()

    def _enter(self, slot: int) -> None:
        if self.loads[slot] is None:
            self.picked_since[slot] = set()

    def _leave(self, slot: int) -> None:
        self.picked_since.pop(slot, None)
        for picked in self.picked_since.values():
            picked.discard(slot)


TestLoads = Loads.TestCase
