"""Requests wait in order, whole, charged to the byte, whatever way they are stored in."""

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
owners = st.integers(0, 2**32 - 1)


class Queue(RuleBasedStateMachine):
    """Against a deque."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = BacklogProbe()
        self.model: deque[tuple[bytes, int, int]] = deque()
        self.charges: deque[int] = deque()

    @rule(head=heads, body=bodies, owner=owners, generation=owners)
    def push(self, head: bytes, body: bytes, owner: int, generation: int) -> None:
        self.charges.append(self.backlog.push(head, body, owner, generation))
        self.model.append((head + body, owner, generation))

    @rule(head=heads, body=bodies.filter(bool), owner=owners, generation=owners)
    def push_large(self, head: bytes, body: bytes, owner: int, generation: int) -> None:
        self.charges.append(self.backlog.push_large(head, body, owner, generation))
        self.model.append((head + body, owner, generation))

    @rule(count=st.integers(1, 4))
    def pop(self, count: int) -> None:
        for _ in range(count):
            popped = self.backlog.pop()
            if not self.model:
                assert popped is None
                return
            assert popped is not None
            assert popped[:3] == self.model.popleft()
            assert popped[3] == self.charges.popleft(), "what was charged is what is refunded"

    @rule(reclaimed=st.lists(bodies.filter(bool), max_size=3))
    def prepend(self, reclaimed: list[bytes]) -> None:
        for body in reclaimed:
            self.backlog.push_older(body)
        self.backlog.prepend()
        before = len(self.backlog) - len(self.model)
        assert before == len(reclaimed)
        self.model.extendleft((body, 0, 0) for body in reversed(reclaimed))
        charge = self.backlog.push(b"", b"", 0, 0)
        self.charges.extendleft(charge + len(body) for body in reversed(reclaimed))
        self.model.append((b"", 0, 0))
        self.charges.append(charge)

    @rule()
    def clear(self) -> None:
        assert self.backlog.clear() == len(self.model)
        self.model.clear()
        self.charges.clear()

    @invariant()
    def it_counts_what_it_holds(self) -> None:
        assert len(self.backlog) == len(self.model)
        assert self.backlog.waiting_bytes == sum(len(message) for message, _, _ in self.model)

    @invariant()
    def an_empty_one_holds_nothing(self) -> None:
        if not self.model:
            assert self.backlog.live_bytes == 0


TestQueue = Queue.TestCase


def test_small_requests_share_their_memory() -> None:
    backlog = BacklogProbe()
    for number in range(1000):
        backlog.push(b"\1\1n", b"\0\4%04d" % number, 0, 1)
    assert backlog.live_bytes < MEDIUM_BYTES + 1000 * 128


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_an_empty_message_is_not_free(count: int) -> None:
    backlog = BacklogProbe()
    charge = backlog.push(b"", bytes(count), 0, 1)
    assert charge > count + 64
