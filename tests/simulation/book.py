"""Book: what the oracle knows: connections as the broker was told of them, what nodes asked, what workers were given,
and what is owed to whom. Nothing here is believed because the broker says so.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from zproxy.envelope import Envelope

from .rules import Rulebook
from .schedule import Knobs
from .surface import line_of
from .words import (
    CANCELLED,
    ERROR,
    POST,
    REQUEST,
    RESENT,
    WORKER_LOST,
)

Key = tuple[str, int, int]  # node, incarnation, sequence
Outcome = tuple[int, int]  # kind, code


class Violation(AssertionError):
    """A promise was broken: which one, and how."""

    def __init__(self, law: str, text: str) -> None:
        super().__init__(f"{law}: {text}")
        self.law = law


MAX_ATTEMPTS = 3  # of a request that does not say
FAILURES_MAX = 5  # of a worker, in a row

@dataclass(eq=False, slots=True)
class Seat:
    """A connection, as the broker was told of it."""

    slot: int
    is_worker: bool
    conversation: int
    row: int = 0  # of the rules
    key_name: str = ""  # the only name it may have; "": any
    name: str = ""
    incarnation: int = 0
    node: int = 0  # whose requests are one line
    is_known: bool = False
    is_leaving: bool = False
    is_dismissed: bool = False  # the operator wants it to take no more
    is_replaced: bool = False
    is_usable: bool = True
    credit: int = 0
    offers: dict[str, tuple[bool, int]] = field(default_factory=dict)  # service → is it guarded, lease_ms
    held: dict[int, Lease] = field(default_factory=dict)  # what takes a place

    def may_take(self) -> bool:
        is_there = self.is_known and self.is_usable and not self.is_leaving and not self.is_dismissed
        return is_there and len(self.held) < self.credit


@dataclass(eq=False, slots=True)
class Ask:
    """What a node asked for."""

    key: Key
    lane: tuple[int, int]  # priority, and whose: order is kept within
    kind: int
    service: str
    chain: tuple[str, int] | None  # service and key, where only one may be with a worker
    flags: int
    came_ms: int
    deadline_ms: int
    is_open: bool = True  # an outcome is still to come
    is_accepted: bool = False
    is_listed: bool = True  # its node is there to hear of it
    was_away: bool = False  # its node was not, and has not sent it again since: it may have ended unheard
    lease: Lease | None = None
    deliveries: int = 0
    unbegun: int = 0  # of them, those of which the worker said so
    was_given_back: bool = False  # the last one was
    is_guarded: bool = False
    is_lost: bool = False  # a worker that had it is gone
    is_cancel_heard: bool = False
    awaits_resend: bool = False
    is_accepted_told: bool = False
    streams: int = 0
    streams_left: int = 0  # of them, not yet whole with the present worker
    forth: int = 0  # conversation in which they were opened for that worker
    has_chunks: bool = False  # some were passed to it
    back: int = 0  # and those of its reply to the node
    is_torn: bool = False
    is_cut: bool = False  # a stream was, with an earlier worker
    is_unheard: bool = False
    is_forgotten: bool = False  # as if it had never been
    outcome: Outcome | None = None

    def __str__(self) -> str:
        return f"{self.key[0]} #{self.key[2]} {self.service}"


@dataclass(eq=False, slots=True)
class Lease:
    number: int
    seat: Seat
    ask: Ask
    given_ms: int
    lease_ms: int
    is_live: bool = True
    is_cancelled: bool = False  # its worker was told


class Book:
    def __init__(self, knobs: Knobs) -> None:
        self.no_worker_wait_ms = knobs.no_worker_wait_ms
        self.queue_bytes = knobs.queue_bytes
        self.now_ms = 0
        self.rules = Rulebook()
        self.seats: dict[int, Seat] = {}
        self.conversations: set[int] = set()
        self.asks: dict[Key, Ask] = {}
        self.open: dict[Key, Ask] = {}
        self.lanes: dict[str, dict[tuple[int, int], dict[Key, Ask]]] = {}  # what waits, never given to anybody
        self.lines: dict[tuple[str, int], int] = {}  # of nodes that may come back
        self.again: dict[Key, Ask] = {}  # what waits for another delivery
        self.leases: set[int] = set()
        self.guarded_services: set[str] = set()  # as a worker has ever said
        self.deadlines: list[tuple[int, int, Ask]] = []
        self.chains: dict[tuple[str, int], dict[Key, Ask]] = {}  # what is open of each, in the order it came
        self.formers: dict[tuple[bool, str], set[int]] = {}  # role and name → incarnations whose connection ended
        self.fenced: set[tuple[bool, str, int]] = set()
        self.resting: set[int] = set()
        self.failures: dict[str, int] = {}  # of the workers of a name, in a row
        self.owed_cancels: dict[int, Lease] = {}
        self.owed_outcomes: dict[Key, Ask] = {}
        self.answering: Ask | None = None  # whose answer is in hand
        self.answer: Outcome | None = None
        self.is_draining = False
        self.is_aborted = False
        self.accepted = 0
        self.resumed_bytes = 0
        self.delivered = 0
        self.undelivered_count = 0
        self._number = 0

    def check(self, holds: bool, law: str, text: str, *parts: object) -> None:
        """`parts` go into the text only where it is needed: this is asked a hundred times a millisecond."""
        if not holds:
            shown = [line_of(each) if isinstance(each, Envelope) else each for each in parts]
            raise Violation(law, text.format(*shown) if parts else text)

    def _fail(self, seat: Seat) -> None:
        self.failures[seat.name] = self.failures.get(seat.name, 0) + 1

    def _lose_leases(self, seat: Seat) -> None:
        if any(lease.is_live for lease in seat.held.values()):
            self._fail(seat)
        for lease in seat.held.values():
            self.owed_cancels.pop(lease.number, None)
            if lease.is_live:
                lease.is_live = False
                self._lose(lease.ask)
        seat.held.clear()

    def _lose(self, ask: Ask) -> None:
        """Its delivery is over without an answer."""
        ask.lease = None
        ask.is_lost = True
        if ask.kind == POST:
            self._close(ask, (ERROR, WORKER_LOST))
        elif not ask.is_guarded and self._spent(ask) < MAX_ATTEMPTS:
            self.again[ask.key] = ask
        elif ask.is_listed:
            self.owed_outcomes[ask.key] = ask
        else:
            self._close(ask, (ERROR, WORKER_LOST))
            ask.is_unheard = True

    def _spent(self, ask: Ask) -> int:
        return ask.deliveries - ask.unbegun

    def _attempt(self, ask: Ask) -> int:
        """The number of its present delivery: a stream's chunks tell all of them apart."""
        return ask.deliveries if ask.streams else self._spent(ask)

    def _desert(self, name: str, incarnation: int, is_gone: bool) -> None:
        """A node left, or its connection ended."""
        for ask in [*self.open.values()]:
            if ask.key[:2] != (name, incarnation):
                continue
            if is_gone:
                ask.is_listed, ask.was_away = False, True
                if ask.key in self.owed_outcomes:
                    self._close(ask, (ERROR, WORKER_LOST))  # remembered, and told only if it is back at once
                    ask.is_unheard = True
            elif ask.kind == REQUEST:
                self._close(ask, (ERROR, CANCELLED))

    def _lane(self, ask: Ask) -> dict[Key, Ask]:
        return self.lanes.setdefault(ask.service, {}).setdefault(ask.lane, {})

    def _open(self, ask: Ask) -> None:
        self.asks[ask.key] = self.open[ask.key] = ask
        if ask.chain is None:
            self._lane(ask)[ask.key] = ask
        else:
            self.chains.setdefault(ask.chain, {})[ask.key] = ask
        self._expect_by(ask)

    def _expect_by(self, ask: Ask) -> None:
        self._number += 1
        heapq.heappush(self.deadlines, (ask.deadline_ms, self._number, ask))

    def _unwait(self, ask: Ask) -> None:
        lanes = self.lanes.get(ask.service)
        if lanes is not None and ask.lane in lanes:
            lanes[ask.lane].pop(ask.key, None)
            if not lanes[ask.lane]:
                del lanes[ask.lane]
        self.again.pop(ask.key, None)

    def _close(self, ask: Ask, outcome: Outcome) -> None:
        """It has its outcome; a worker that still has it is to be told."""
        ask.is_open = False
        ask.outcome = outcome
        del self.open[ask.key]
        self._unwait(ask)
        if ask.chain is not None:
            del self.chains[ask.chain][ask.key]
        self.owed_outcomes.pop(ask.key, None)
        lease, ask.lease = ask.lease, None
        if lease is not None and lease.is_live:
            lease.is_live = False
            self.owed_cancels[lease.number] = lease

    def _named(self, is_worker: bool, name: str) -> Seat | None:
        for seat in self.seats.values():
            if seat.is_worker == is_worker and seat.name == name and seat.is_known and not seat.is_replaced:
                return seat
        return None

    def _replace(self, elder: Seat) -> None:
        elder.is_replaced = True
        self._remember(elder)
        if elder.is_worker:
            self._lose_leases(elder)

    def _remember(self, seat: Seat) -> None:
        """Its connection ends."""
        if seat.is_known and not seat.is_leaving:
            self.formers.setdefault((seat.is_worker, seat.name), set()).add(seat.incarnation)

    def _line_of(self, envelope: Envelope) -> int:
        """A node that comes back after its connection ended is the same one: its requests have outlived that."""
        self._number += 1
        return self.lines.setdefault((envelope.name, envelope.incarnation), self._number)

    def _adopt(self, seat: Seat, envelope: Envelope) -> None:
        """The seat has the name now, and what is open under it."""
        seat.name, seat.incarnation = envelope.name, envelope.incarnation
        seat.is_known, seat.is_leaving = True, False
        elders = self.formers.get((seat.is_worker, seat.name), set()) - {seat.incarnation}
        self.fenced |= {(seat.is_worker, seat.name, elder) for elder in elders}
        if seat.is_worker:
            return
        for ask in [*self.open.values()]:
            if ask.key[0] != seat.name:
                continue
            if ask.key[1] == seat.incarnation:
                ask.is_listed |= ask.kind == REQUEST
            elif ask.kind == REQUEST:
                self._close(ask, (ERROR, CANCELLED))

    def _any_offer(self, seat: Seat, service: str) -> tuple[bool, int] | None:
        """Of `*`, where nobody names the service."""
        return None if self._is_named(service) else seat.offers.get("*")

    def _is_named(self, service: str) -> bool:
        return any(service in each.offers for each in self.seats.values() if self._offers(each))

    def _offers(self, seat: Seat) -> bool:
        is_there = seat.is_worker and seat.is_known and not seat.is_leaving
        return is_there and not seat.is_dismissed and not seat.is_replaced

    def _awake(self, lane: dict[Key, Ask]) -> Iterator[Ask]:
        """Those that surely still wait: what ends while its node is gone ends without a word."""
        return (ask for ask in lane.values() if not self._is_faint(ask))

    def _is_faint(self, ask: Ask) -> bool:
        if not ask.was_away:
            return False
        if ask.flags & RESENT and ask.service in self.guarded_services:
            return True  # it may have run before: that is told to nobody
        came_ms = ask.came_ms + self.no_worker_wait_ms
        return ask.deadline_ms <= self.now_ms or 0 < self.no_worker_wait_ms and came_ms <= self.now_ms
