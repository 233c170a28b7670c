"""Round robin: a law about turns, whatever workers come, pause and go meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zproxy.broker.balance import BalanceProbe

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
