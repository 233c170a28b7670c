"""Telling: whatever the broker says to a peer has to be for that peer, now, and true."""

from __future__ import annotations

from zproxy.envelope import Envelope

from .book import MAX_ATTEMPTS, Ask, Book, Lease, Seat, Violation
from .surface import Told, line_of
from .words import (
    ACCEPTED,
    ALREADY_DONE,
    BUSY,
    CANCEL,
    CANCELLED,
    CHUNK,
    DENIED,
    DRAINING,
    ERROR,
    FENCED,
    GOODBYE,
    NEED_HELLO,
    NO_WORKER,
    NOT_SHARED,
    OUTCOME_UNKNOWN,
    POISON,
    POST,
    PROGRESS,
    REQUEST,
    RESEND,
    RESENT,
    RETRIES_EXHAUSTED,
    TIMEOUT,
    TOO_LARGE,
    UNKNOWN,
    WANTS_ACCEPTED,
    WINDOW,
    WORKER_LOST,
)


class Telling(Book):
    def _see(self, told: Told) -> None:
        """Whatever is said has to be for its peer, now."""
        envelope = told.envelope
        if envelope is None:
            return
        seat = self.seats.get(-1 if told.peer is None else told.peer)
        if seat is None:
            raise Violation("right peer", f"{told} goes to nobody")
        if seat.is_replaced:
            self.check(envelope.code == FENCED, "right peer", "{} goes to a connection that was replaced", told)
            return
        self.check(envelope.conversation == seat.conversation, "right peer", "{} is of another conversation", told)
        if seat.is_worker:
            self._see_worker(seat, envelope)
        else:
            self._see_node(seat, envelope)

    # ---- to a worker ----

    def _see_worker(self, seat: Seat, envelope: Envelope) -> None:
        kind = envelope.kind
        if kind == REQUEST or kind == POST:
            self._see_delivery(seat, envelope)
        elif kind == CHUNK or kind == WINDOW:
            lease = seat.held.get(envelope.lease)
            self.check(lease is not None and lease.is_live, "streams", "{} has no such lease: {}", seat.name, envelope)
        elif kind == CANCEL:
            self._see_cancel(seat, envelope)
        elif kind == GOODBYE:
            self.check(not (seat.is_leaving and seat.held), "goodbye", "{} still holds some", seat.name)
            is_wanted = seat.is_leaving or seat.is_dismissed or self.is_draining
            self.check(is_wanted, "goodbye", "{} is to leave, but why?", seat.name)

    def _see_delivery(self, seat: Seat, envelope: Envelope) -> None:
        ask = self.open.get((envelope.name, envelope.incarnation, envelope.sequence))
        if ask is None:
            raise Violation("right worker", f"nobody asks for {line_of(envelope)}")
        if ask.lease is not None and self._is_over(ask.lease):
            self._take_away(ask.lease)  # CANCEL may follow in the same turn
        self.check(ask.lease is None, "one lease", "{} is with a worker already", ask)
        self._see_attempt(ask, envelope)
        is_new = envelope.lease != 0 and envelope.lease not in self.leases
        self.check(is_new, "one lease", "{}: a lease comes again", ask)
        self.check(len(seat.held) < seat.credit, "credit", "{} may hold {}", seat.name, seat.credit)
        self.check(seat.may_take(), "right worker", "{} goes to {}, who takes nothing now", ask, seat.name)
        self.check((envelope.kind, envelope.service) == (ask.kind, ask.service), "right worker", "{} has changed", ask)
        offer = seat.offers.get(ask.service) or self._any_offer(seat, ask.service)
        if offer is None:
            raise Violation("right worker", f"{seat.name} does not offer {ask.service}")
        self._see_order(ask)
        self._see_chain(ask)
        left_ms = max(ask.deadline_ms - self.now_ms, 1)
        self.check(envelope.remaining_ms == left_ms, "time", "{}: {} ms are left, not so: {}", ask, left_ms, envelope)
        ask.is_guarded |= offer[0]
        ask.deliveries += 1
        ask.was_given_back = False
        ask.streams_left, ask.forth, ask.back = ask.streams, 0, 0
        ask.has_chunks = ask.is_torn = False
        self.leases.add(envelope.lease)
        ask.lease = seat.held[envelope.lease] = Lease(envelope.lease, seat, ask, self.now_ms, offer[1])
        self._unwait(ask)

    def _see_attempt(self, ask: Ask, envelope: Envelope) -> None:
        spent = self._spent(ask)
        made = self._attempt(ask)
        self.check(envelope.attempt == made + 1, "attempts", "{}: attempt {} after {}", ask, envelope.attempt, made)
        self.check(spent < MAX_ATTEMPTS, "attempts", "{}: {} are made", ask, spent)
        if spent:
            may_go_on = not ask.is_guarded or ask.was_given_back
            self.check(may_go_on, "guarded once", "{} may have begun, and goes to another worker", ask)
            self.check(ask.kind == REQUEST, "guarded once", "{} is a post, and goes to another worker", ask)

    def _see_order(self, ask: Ask) -> None:
        if ask.deliveries or self._is_faint(ask):
            return
        for (priority, _), lane in self.lanes.get(ask.service, {}).items():
            if ask.key in lane:
                first = next(self._awake(lane))
                self.check(first is ask, "order", "{} overtakes {}", ask, first)
            elif priority < ask.lane[0]:
                waiting = next(self._awake(lane), None)
                self.check(waiting is None, "priority", "{} goes before {}", ask, waiting)

    def _see_chain(self, ask: Ask) -> None:
        if ask.chain is None:
            return
        for seat in self.seats.values():
            for lease in seat.held.values():
                runs_beside = lease.ask is not ask and lease.ask.chain == ask.chain
                self.check(not runs_beside, "ordered", "{} runs beside {}", ask, lease.ask)
        if not ask.deliveries and not self._is_faint(ask):
            first = next(self._awake(self.chains[ask.chain]))
            self.check(first is ask, "ordered", "{} overtakes {}", ask, first)

    def _see_cancel(self, seat: Seat, envelope: Envelope) -> None:
        lease = seat.held.get(envelope.lease)
        if lease is None or lease.is_cancelled:
            raise Violation("cancel", f"{seat.name} holds no such lease: {line_of(envelope)}")
        ask = lease.ask
        self.check(ask.key[1:] == (envelope.incarnation, envelope.sequence), "cancel", "of another than {}", ask)
        if lease.is_live:
            self._see_lease_end(lease)
        lease.is_cancelled = True
        self.owed_cancels.pop(lease.number, None)

    def _see_lease_end(self, lease: Lease) -> None:
        """It is taken away without a word to its node: a post's, or one whose time is over."""
        ask = lease.ask
        if ask.deadline_ms <= self.now_ms or self.is_aborted:
            self.check(ask.kind == POST or not ask.is_listed, "one outcome", "the node of {} is not told", ask)
            self._close(ask, (ERROR, TIMEOUT))
            return
        self.check(self._is_over(lease), "early", "the lease of {} is taken away", ask)
        self._take_away(lease)

    def _is_over(self, lease: Lease) -> bool:
        """Did its worker say nothing for too long?"""
        return 0 < lease.lease_ms <= self.now_ms - lease.given_ms

    def _take_away(self, lease: Lease) -> None:
        lease.is_live = False
        self.owed_cancels[lease.number] = lease
        self._fail(lease.seat)
        self._lose(lease.ask)

    # ---- to a node ----

    def _see_node(self, seat: Seat, envelope: Envelope) -> None:
        kind = envelope.kind
        if envelope.sequence == 0 or kind == GOODBYE:
            return
        is_own = envelope.incarnation == seat.incarnation or envelope.code == NEED_HELLO
        self.check(is_own, "right node", "{} hears of another's: {}", seat.name, envelope)
        if kind == ACCEPTED:
            self._see_accepted(seat, envelope)
        elif kind == PROGRESS:
            ask = self.asks.get((seat.name, seat.incarnation, envelope.sequence))
            self.check(ask is not None and ask is self.answering, "right node", "{} is another's", envelope)
        elif kind == CHUNK or kind == WINDOW:
            self._see_stream(seat, envelope)
        elif kind != ERROR or envelope.code not in (NEED_HELLO, NOT_SHARED):
            self._see_outcome(seat, envelope)

    def _see_stream(self, seat: Seat, envelope: Envelope) -> None:
        ask = self.open.get((seat.name, seat.incarnation, envelope.sequence))
        if ask is None or ask.lease is None:
            raise Violation("streams", f"no worker has it: {line_of(envelope)}")
        self.check(envelope.attempt == self._attempt(ask), "streams", "{} is of another delivery of {}", envelope, ask)
        if envelope.kind == WINDOW and envelope.stream == 0:
            self.check(ask.forth != seat.conversation, "streams", "{} is opened twice", ask)
            ask.forth = seat.conversation

    def _see_accepted(self, seat: Seat, envelope: Envelope) -> None:
        ask = self.asks.get((seat.name, seat.incarnation, envelope.sequence))
        if ask is None or ask.kind != POST or not ask.flags & WANTS_ACCEPTED:
            raise Violation("accepted", f"{seat.name} did not ask: {line_of(envelope)}")
        self.check(ask.deliveries == 1 and not ask.is_accepted_told, "accepted", "{}: with nobody, or told", ask)
        ask.is_accepted_told = True

    def _see_outcome(self, seat: Seat, envelope: Envelope) -> None:
        key = seat.name, seat.incarnation, envelope.sequence
        ask = self.asks.get(key)
        if ask is None:
            raise Violation("known sequence", f"{seat.name} never asked: {line_of(envelope)}")
        if self._is_lost_post(ask, envelope):
            ask.is_accepted_told = True
            return
        if ask.is_unheard and (envelope.kind, envelope.code) == ask.outcome:
            ask.is_unheard = False
            return
        self.check(ask.is_open, "one outcome", "{} has ended as {}, and now {}", ask, ask.outcome, envelope)
        if envelope.kind == ERROR and envelope.code == RESEND and ask is not self.answering:
            may_go_again = ask.key in self.again or not (ask.is_guarded and self._spent(ask))
            self.check(may_go_again, "one outcome", "{}: RESEND, but why?", ask)
            ask.awaits_resend = True
            return
        outcome = envelope.kind, envelope.code
        if self.answering is not None:
            self.check(ask is self.answering, "right node", "{} is answered to {}", self.answering, ask)
            fits = outcome == self.answer or outcome == (ERROR, RETRIES_EXHAUSTED)
            self.check(fits, "right node", "{}: the worker said {}, the node hears {}", ask, self.answer, outcome)
        else:
            self.check(envelope.kind == ERROR, "one outcome", "a REPLY to {} that no worker gave", ask)
            self._see_reason(ask, envelope.code)
        if envelope.code not in (BUSY, OUTCOME_UNKNOWN, ALREADY_DONE):
            self.check(envelope.attempt == self._attempt(ask), "attempts", "{}: {} are said", ask, envelope.attempt)
        self._close(ask, outcome)

    def _is_lost_post(self, ask: Ask, envelope: Envelope) -> bool:
        """Its worker went before its node heard that it has one: that is said instead."""
        is_lost = envelope.code == WORKER_LOST and ask.outcome == (ERROR, WORKER_LOST)
        return ask.kind == POST and is_lost and bool(ask.flags & WANTS_ACCEPTED) and not ask.is_accepted_told

    def _see_reason(self, ask: Ask, code: int) -> None:
        """May the broker say so of itself?"""
        if code == TIMEOUT:
            self.check(ask.deadline_ms <= self.now_ms, "early", "{} has until {}", ask, ask.deadline_ms)
        elif code == NO_WORKER or code == UNKNOWN:
            waited = 0 < self.no_worker_wait_ms <= self.now_ms - ask.came_ms
            self.check(ask.deadline_ms <= self.now_ms or waited, "early", "{} has until {}", ask, ask.deadline_ms)
            self.check(ask.lease is None, "early", "{} is with a worker", ask)
        elif code == CANCELLED:
            self.check(ask.is_cancel_heard, "cancel", "{} was not cancelled", ask)
        elif code == DRAINING:
            self.check(self.is_draining, "drain", "{}: nobody drains", ask)
        elif code in (WORKER_LOST, RETRIES_EXHAUSTED, POISON):
            self.check(ask.is_lost and ask.lease is None, "lost", "{} is with a living worker", ask)
        elif code == OUTCOME_UNKNOWN:
            self.check(bool(ask.flags & RESENT) or ask.is_cut, "guarded once", "{} was never sent before", ask)
        elif code in (DENIED, TOO_LARGE):
            self.check(not ask.is_accepted, "one outcome", "{} was accepted, and ends in {}", ask, code)
        else:
            self.check(code == BUSY, "one outcome", "{} ends in {}, but why?", ask, code)
