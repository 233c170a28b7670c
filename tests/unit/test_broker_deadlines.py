"""The timing wheel against a dictionary: nothing is early, nothing is late, and nobody is woken for nothing."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zproxy.broker.deadline import DeadlineProbe

SLOTS = 32
slots = st.integers(0, SLOTS - 1)
spans = st.one_of(
    st.integers(0, 70),
    st.sampled_from([63, 64, 65, 4095, 4096, 4097, 262_143, 262_144, 2**31 - 1]),
    st.integers(0, 2**31 - 1),
)


class Wheel(RuleBasedStateMachine):
    """Armed, disarmed and turned in any order, from any hour on."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = DeadlineProbe(SLOTS)
        self.due: dict[int, int] = {}
        self.now = 2**36 - 5000  # where seven digits turn over

    @rule(slot=slots, span=spans)
    def arm(self, slot: int, span: int) -> None:
        self.wheel.arm(slot, self.now + span, self.now)
        self.due[slot] = self.now + span

    @rule(slot=slots, ago=st.integers(1, 10_000))
    def arm_what_is_over(self, slot: int, ago: int) -> None:
        self.wheel.arm(slot, self.now - ago, self.now)
        self.due[slot] = self.now

    @rule(slot=slots)
    def disarm(self, slot: int) -> None:
        self.wheel.disarm(slot)
        self.due.pop(slot, None)

    @rule(span=spans)
    def turn(self, span: int) -> None:
        self.now += span
        expired = []
        while (slot := self.wheel.expire(self.now)) is not None:
            expired.append(self.due.pop(slot))
        assert expired == sorted(expired)
        assert all(due <= self.now for due in expired)
        assert all(due > self.now for due in self.due.values())

    @rule(limit=st.integers(1, 12))
    def sleep_as_it_says(self, limit: int) -> None:
        """Whoever sleeps until `due_ms` comes to the first alarm within a wake-up for each level."""
        if not self.due:
            return
        for _ in range(8):
            due = self.wheel.due_ms()
            assert due is not None
            self.now = max(self.now, due)
            slot = self.wheel.expire(self.now)
            if slot is not None:
                assert self.due.pop(slot) <= self.now
                break
        else:
            raise AssertionError("eight wake-ups, and nothing was due")
        self.turn(0)

    @invariant()
    def the_next_is_never_later_than_the_first_alarm(self) -> None:
        assert len(self.wheel) == len(self.due)
        due = self.wheel.due_ms()
        if not self.due:
            assert due is None
        else:
            assert due is not None and due <= min(self.due.values())


TestWheel = Wheel.TestCase


def test_with_nothing_armed_nothing_is_ever_due() -> None:
    wheel = DeadlineProbe(1)
    assert wheel.due_ms() is None
    wheel.arm(0, 5000, 1000)
    wheel.disarm(0)
    assert wheel.due_ms() is None
    assert wheel.expire(2**40) is None


@pytest.mark.parametrize("span", [1, 63, 64, 100, 4095, 4096, 60_000, 3_600_000, 2**31 - 1])
def test_a_lone_alarm_costs_few_wake_ups_and_is_exact(span: int) -> None:
    wheel = DeadlineProbe(1)
    begun = 123_456_789
    wheel.arm(0, begun + span, begun)
    wakes = 0
    while True:
        due = wheel.due_ms()
        assert due is not None and due <= begun + span
        wakes += 1
        if wheel.expire(due) is not None:
            assert due == begun + span
            break
    assert wakes <= 6


def test_ten_thousand_of_one_deadline_all_expire() -> None:
    wheel = DeadlineProbe(10_000)
    for slot in range(10_000):
        wheel.arm(slot, 60_000, 0)
    assert wheel.expire(59_999) is None
    assert len({wheel.expire(60_000) for _ in range(10_000)}) == 10_000
    assert wheel.expire(60_000) is None
