"""What an outbox gives back when its connection ends: exactly the messages nothing was written of, oldest first.

The model is a list of what was put in and the number of bytes that left; the outbox has to find the same borders
in slices that were copied together, linked in, partly written and cut.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.zmtp_model import pattern
from support.zmtp_peer import command, frame, greeting, message

from zproxy.relay.outbox import OutboxProbe

MEDIUM_BYTES = 65536
FLUSH_BYTES = 1 << 20


@dataclass(frozen=True)
class Unit:
    """One thing put into an outbox: linked in behind its head, or as it goes out on the wire, or copied."""

    head: bytes = b""
    body: bytes = b""
    is_message: bool = True
    is_linked: bool = False
    is_wire: bool = False

    @property
    def wire(self) -> bytes:
        return self.head + self.body

    def put(self, outbox: OutboxProbe) -> None:
        if self.is_wire:
            outbox.wire(self.wire)
        elif self.is_linked:
            outbox.link(self.head, self.body)
        else:
            outbox.copy(self.wire)


@dataclass
class Model:
    """What went in, and how much of it has left."""

    units: list[Unit] = field(default_factory=list)
    written: int = 0

    @property
    def wire(self) -> bytes:
        return b"".join(unit.wire for unit in self.units)

    def reclaimed(self) -> tuple[list[bytes], int]:
        """(messages nothing was written of, messages torn)."""
        whole, torn, begin = [], 0, 0
        for unit in self.units:
            end = begin + len(unit.wire)
            if unit.is_message and begin >= self.written:
                whole.append(unit.wire)
            elif unit.is_message and end > self.written:
                torn += 1
            begin = end
        return whole, torn


def copied(*frames: bytes) -> Unit:
    return Unit(body=message(*frames))


def linked(head: bytes, *frames: bytes) -> Unit:
    """As a request goes to its worker: the client's routing id copied, the rest linked in."""
    return Unit(frame(head, more=True), message(*frames), is_linked=True)


def bare(*frames: bytes) -> Unit:
    """As a large reply goes to its client: linked in, nothing before it."""
    return Unit(b"", message(*frames), is_linked=True)


PONG = Unit(body=command(b"PONG", b"0123456789abcdef"), is_message=False)
PING = Unit(body=command(b"PING", b"\0\0"), is_message=False)
GREETING = Unit(body=greeting(), is_message=False, is_wire=True)
READY = Unit(body=command(b"READY", bytes(40)), is_message=False)

MIXES = {
    "copies": [copied(b"one"), copied(b"", b"two"), copied(b"", b"", b"")],
    "one": [copied(b"x")],
    "commands": [PONG, copied(b"a"), PING, PONG, copied(b"b", b"c"), PONG],
    "only commands": [PONG, PING],
    "linked": [linked(b"node", b"", b"x" * 300), linked(b"n", b"y")],
    "bare": [bare(b"x" * 300), bare(b"y"), bare(b"", b"z" * 20)],
    "mixed": [copied(b"a"), linked(b"node", b"b" * 30), PONG, bare(b"c" * 40), copied(b"d"), linked(b"e", b"f"), PING],
    "command before link": [PONG, linked(b"node", b"b" * 30), PONG, linked(b"node", b"c" * 30), copied(b"d")],
    "greeting": [GREETING, READY, copied(b"a", b"b"), PONG, linked(b"node", b"c" * 30)],
    "greeting alone": [GREETING],
    "long frames": [copied(b"x" * 300), linked(b"r" * 255, b"y" * 500, b"z"), copied(b"w" * 256)],
}


def filled(units: list[Unit]) -> OutboxProbe:
    outbox = OutboxProbe()
    for unit in units:
        unit.put(outbox)
    return outbox


def assert_empty(outbox: OutboxProbe) -> None:
    assert (outbox.bytes_left, outbox.live_blocks, outbox.live_slices) == (0, 0, 0)
    assert outbox.is_empty


@pytest.mark.parametrize("name", MIXES)
def test_reclaim_after_every_byte(name: str) -> None:
    model = Model(MIXES[name])
    for written in range(len(model.wire) + 1):
        outbox = filled(model.units)
        assert outbox.write(written) == model.wire[:written]
        model.written = written
        assert outbox.reclaim() == model.reclaimed(), f"after {written} bytes"
        assert_empty(outbox)


@pytest.mark.parametrize("name", MIXES)
def test_bytes_leave_in_order_however_few_at_a_time(name: str) -> None:
    model = Model(MIXES[name])
    for step in (1, 2, 3, 7, 64, 300):
        outbox = filled(model.units)
        left = b""
        while outbox.bytes_left:
            left += outbox.write(min(step, outbox.bytes_left))
            assert outbox.bytes_left == len(model.wire) - len(left)
            assert outbox.bytes_written == len(left)
        assert left == model.wire
        assert_empty(outbox)


@pytest.mark.parametrize("name", MIXES)
def test_what_was_reclaimed_can_be_reclaimed_again_from_the_next(name: str) -> None:
    """A request outlives one worker after the other, at most one torn each time."""
    first = Model(MIXES[name])
    for written in range(len(first.wire) + 1):
        first.written = written
        whole, torn = first.reclaimed()
        second = Model([Unit(body=wire) for wire in whole])
        for again in range(0, len(second.wire) + 1, 5):
            outbox = filled(first.units)
            outbox.write(written)
            assert outbox.reroute() == torn
            assert outbox.bytes_left == len(second.wire)
            assert outbox.write(again) == second.wire[:again]
            second.written = again
            assert outbox.reclaim() == second.reclaimed()
            assert_empty(outbox)


edges = st.sampled_from([4096, MEDIUM_BYTES, 2 * MEDIUM_BYTES, 1 << 20])
sizes = st.one_of(st.integers(0, 300), edges.flatmap(lambda edge: st.integers(edge - 20, edge + 20)))
bodies = st.builds(pattern, sizes, st.integers(0, 250))
small_bodies = st.builds(pattern, st.integers(0, 300), st.integers(0, 250))


def as_sent(frames: list[bytes]) -> Unit:
    """Copied when it fits one block, otherwise linked: as delivery does it."""
    unit = bare(*frames)
    return unit if len(unit.wire) > MEDIUM_BYTES else copied(*frames)


any_frames = st.lists(bodies, min_size=1, max_size=4)
small_frames = st.lists(small_bodies, min_size=1, max_size=4)
units = st.one_of(
    st.builds(as_sent, any_frames),
    st.builds(lambda frames: copied(*frames), small_frames),
    st.builds(lambda head, frames: linked(head, *frames), st.binary(max_size=255), any_frames),
    st.builds(lambda frames: bare(*frames), small_frames),
    st.sampled_from([PONG, PING]),
)


@given(st.lists(units, max_size=12), st.data())
def test_reclaim_after_any_byte_of_anything(mixed: list[Unit], data: st.DataObject) -> None:
    model = Model(mixed)
    outbox = filled(mixed)
    total = len(model.wire)
    ends = [sum(len(unit.wire) for unit in mixed[:count]) for count in range(len(mixed) + 1)]
    close = st.sampled_from(ends).flatmap(lambda end: st.integers(end - 12, end + 270))
    for place in sorted(data.draw(st.lists(st.one_of(st.integers(0, total), close), max_size=3))):
        place = min(max(place, model.written), total)
        assert outbox.write(place - model.written) == model.wire[model.written : place]
        model.written = place
    assert outbox.reclaim() == model.reclaimed()
    assert_empty(outbox)


class Lives(RuleBasedStateMachine):
    """One worker's outbox after the other: put, write, and at the end reclaim or reroute."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = OutboxProbe()
        self.model = Model()

    @rule(unit=units)
    def put(self, unit: Unit) -> None:
        unit.put(self.outbox)
        self.model.units.append(unit)

    @precondition(lambda self: self.outbox.bytes_left)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        left = self.outbox.bytes_left
        count = data.draw(st.one_of(st.integers(1, min(left, 40)), st.integers(1, left)))
        written = self.model.written
        assert self.outbox.write(count) == self.model.wire[written : written + count]
        self.model.written += count

    @rule()
    def die_and_pass_on(self) -> None:
        whole, torn = self.model.reclaimed()
        assert self.outbox.reroute() == torn
        self.model = Model([Unit(body=wire) for wire in whole])

    @rule()
    def die(self) -> None:
        assert self.outbox.reclaim() == self.model.reclaimed()
        assert_empty(self.outbox)
        self.model = Model()

    @rule()
    def close(self) -> None:
        self.outbox.clear()
        assert_empty(self.outbox)
        self.model = Model()

    @invariant()
    def the_count_is_right(self) -> None:
        assert self.outbox.bytes_left == len(self.model.wire) - self.model.written
        assert self.outbox.is_empty == (self.outbox.bytes_left == 0)


TestLives = Lives.TestCase


# ---- onto a real socket ----


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def drain(reader: socket.socket) -> bytes:
    found = b""
    while True:
        try:
            part = reader.recv(1 << 20)
        except BlockingIOError:
            return found
        if not part:
            return found
        found += part


def test_a_flush_writes_all_that_the_socket_takes() -> None:
    ours, theirs = pair()
    outbox = filled(MIXES["mixed"])
    assert outbox.flush(ours.fileno()) == "done"
    assert drain(theirs) == Model(MIXES["mixed"]).wire
    assert_empty(outbox)
    assert outbox.flush(ours.fileno()) == "done"
    ours.close()
    theirs.close()


def test_a_full_socket_blocks_and_what_it_took_is_known_to_the_byte() -> None:
    ours, theirs = pair()
    sent = [copied(pattern(1000, number % 251)) for number in range(2000)] + [linked(b"n", pattern(3 << 20))]
    outbox = filled(sent)
    model = Model(sent)
    codes = set()
    while "blocked" not in codes:
        codes.add(outbox.flush(ours.fileno()))
    model.written = outbox.bytes_written
    assert drain(theirs) == model.wire[: model.written]
    assert 0 < model.written < len(model.wire)
    assert outbox.reclaim() == model.reclaimed()
    assert_empty(outbox)
    ours.close()
    theirs.close()


def test_one_flush_writes_its_share_and_then_others_have_theirs() -> None:
    """A reader that never lets the socket fill up: the flush stops by itself."""
    ours, theirs = pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * FLUSH_BYTES)
    sent = [bare(pattern(4 * FLUSH_BYTES))]
    outbox = filled(sent)
    found = b""
    codes: list[str] = []
    while not codes or codes[-1] != "done":
        before = outbox.bytes_written
        codes.append(outbox.flush(ours.fileno()))
        assert outbox.bytes_written - before <= FLUSH_BYTES
        found += drain(theirs)
    assert found == sent[0].wire
    assert set(codes) <= {"again", "blocked", "done"}
    ours.close()
    theirs.close()


def test_a_broken_connection_is_told_and_nothing_is_lost_of_what_was_not_written() -> None:
    ours, theirs = pair()
    theirs.close()
    outbox = filled(MIXES["mixed"])
    assert outbox.flush(ours.fileno()) == "failed"
    assert outbox.reclaim() == Model(MIXES["mixed"]).reclaimed()
    assert_empty(outbox)
    ours.close()
