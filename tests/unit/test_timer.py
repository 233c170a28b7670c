"""A timer queue against a dictionary of deadlines."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zproxy.relay.timer import TimerProbe

COUNT = 6
DELAY_MS = 100
slots = st.integers(0, COUNT - 1)


class Deadlines(RuleBasedStateMachine):
    """Time only goes on; `armed` keeps the order of arming."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = TimerProbe(COUNT, DELAY_MS)
        self.armed: dict[int, int] = {}
        self.now_ms = 1

    @rule(slot=slots)
    def arm(self, slot: int) -> None:
        self.timers.arm(slot, self.now_ms)
        self.armed.pop(slot, None)
        self.armed[slot] = self.now_ms + DELAY_MS

    @rule(slot=slots)
    def disarm(self, slot: int) -> None:
        self.timers.disarm(slot)
        self.armed.pop(slot, None)

    @rule(passed_ms=st.one_of(st.integers(0, 30), st.integers(90, 110)))
    def let_time_pass(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        due = [slot for slot, due_ms in self.armed.items() if due_ms <= self.now_ms]
        for slot in due:
            assert self.timers.expire(self.now_ms) == slot
            del self.armed[slot]
        assert self.timers.expire(self.now_ms) is None

    @invariant()
    def the_next_is_known(self) -> None:
        assert self.timers.next_due_ms() == min(self.armed.values(), default=None)


TestDeadlines = Deadlines.TestCase
