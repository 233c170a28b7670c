"""Requests wait in order, each client in turn, whole, charged to the byte, whatever way they are stored in."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.zmtp_model import pattern

from zproxy.relay.backlog import BacklogProbe

MEDIUM_BYTES = 65536

heads = st.binary(min_size=2, max_size=257)
bodies = st.builds(
    pattern,
    st.one_of(st.integers(0, 300), st.integers(MEDIUM_BYTES - 300, MEDIUM_BYTES + 20), st.just(1 << 20)),
    st.integers(0, 250),
)
clients = st.integers(0, 7)


class FairQueue(RuleBasedStateMachine):
    """Against a list of lanes, the front one's turn."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = BacklogProbe()
        self.recovered: deque[tuple[bytes, int]] = deque()
        self.lanes: list[tuple[int | None, deque[tuple[bytes, int]]]] = []

    def lane(self, owner: int | None) -> deque[tuple[bytes, int]]:
        for known, waiting in self.lanes:
            if known == owner:
                return waiting
        self.lanes.append((owner, deque()))
        return self.lanes[-1][1]

    @rule(owner=clients, head=heads, body=bodies)
    def push(self, owner: int, head: bytes, body: bytes) -> None:
        charge = self.backlog.push(owner, head, body)
        self.lane(owner).append((head + body, charge))

    @rule(owner=clients, head=heads, body=bodies.filter(bool))
    def push_large(self, owner: int, head: bytes, body: bytes) -> None:
        charge = self.backlog.push_large(owner, head, body)
        self.lane(owner).append((head + body, charge))

    @rule(body=bodies.filter(bool))
    def recover(self, body: bytes) -> None:
        self.recovered.append((body, self.backlog.recover(body)))

    @rule(owner=clients)
    def orphan(self, owner: int) -> None:
        self.backlog.orphan(owner)
        mine = [waiting for known, waiting in self.lanes if known == owner]
        self.lanes = [lane for lane in self.lanes if lane[0] != owner]
        for waiting in mine:
            self.lane(None).extend(waiting)

    @rule(count=st.integers(1, 6))
    def pop(self, count: int) -> None:
        for _ in range(count):
            assert self.backlog.pop() == self.expected()

    def expected(self) -> tuple[bytes, int | None, int] | None:
        if self.recovered:
            message, charge = self.recovered.popleft()
            return message, None, charge
        if not self.lanes:
            return None
        owner, waiting = self.lanes.pop(0)
        message, charge = waiting.popleft()
        if waiting:
            self.lanes.append((owner, waiting))
        return message, owner, charge

    @rule()
    def clear(self) -> None:
        assert self.backlog.clear() == self.count()
        self.recovered.clear()
        self.lanes.clear()

    def count(self) -> int:
        return len(self.recovered) + sum(len(waiting) for _, waiting in self.lanes)

    @invariant()
    def it_counts_what_it_holds(self) -> None:
        assert len(self.backlog) == self.count()
        held = [*self.recovered, *(parcel for _, waiting in self.lanes for parcel in waiting)]
        assert self.backlog.waiting_bytes == sum(len(message) for message, _ in held)

    @invariant()
    def an_empty_one_holds_nothing(self) -> None:
        if self.count() == 0:
            assert self.backlog.live_bytes == 0


TestFairQueue = FairQueue.TestCase


def test_who_has_many_waiting_delays_another_by_one() -> None:
    backlog = BacklogProbe()
    for number in range(100):
        backlog.push(0, b"", b"flood %d" % number)
    backlog.push(1, b"", b"single")
    served = [backlog.pop() for _ in range(3)]
    assert [parcel and parcel[0] for parcel in served] == [b"flood 0", b"single", b"flood 1"]


def test_small_requests_share_their_memory() -> None:
    backlog = BacklogProbe()
    for number in range(1000):
        backlog.push(0, b"\1\1n", b"\0\4%04d" % number)
    assert backlog.live_bytes < MEDIUM_BYTES + 1000 * 128


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_an_empty_message_is_not_free(count: int) -> None:
    backlog = BacklogProbe()
    charge = backlog.push(0, b"", bytes(count))
    assert charge >= count + 64
