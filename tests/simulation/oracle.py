"""Oracle: what was promised (docs/protocol.md), checked at every step from what goes into the broker and comes out.

    book      who is there, what is open, who holds what       telling   may the broker say this, now, to that peer?
    oracle    what has to follow from what is heard; what has to be done after a turn; what may be left at the end

It believes nothing the broker says of itself but for its counters, which have to fit. One for each life of the proxy.
"""

from __future__ import annotations

import heapq

from zproxy.envelope import Envelope, offers_parse

from .book import FAILURES_MAX, Ask, Lease, Seat, Violation
from .rules import Rules
from .surface import Said, Surface, Told, line_of
from .telling import Telling
from .words import (
    ACCEPTED,
    ALREADY_DONE,
    BUSY,
    CANCEL,
    CHUNK,
    CODE_YOURS,
    CREDIT,
    DENIED,
    DRAINING,
    ERROR,
    FENCED,
    GOODBYE,
    HANDLER_ERROR,
    HELLO,
    LAST,
    NAME_IN_USE,
    NEED_HELLO,
    NOT_IDEMPOTENT,
    ORDERED,
    OUTCOME_UNKNOWN,
    POST,
    PROGRESS,
    READY,
    REPLY,
    REQUEST,
    RESEND,
    RESENT,
    RETRY_ERRORS,
    TIMEOUT,
    TOO_LARGE,
    WANTS_PROGRESS,
    WELCOME,
    WINDOW,
    WORKERS_CODES,
)

FRAME_BYTES_MAX = 160
SMALL_QUEUE_BYTES = 1 << 20
OUTCOMES = ("delivered", "failed", "expired", "cancelled", "undelivered")


class Oracle(Telling):
    # ---- connections ----

    def join(self, slot: int, is_worker: bool, row: int, key_name: str, told: Told) -> Seat:
        said = told.envelope
        if said is None or said.kind != WELCOME or told.peer != slot or said.conversation in self.conversations:
            raise Violation("welcome", f"{slot} hears {told}")
        self.conversations.add(said.conversation)
        seat = self.seats[slot] = Seat(slot, is_worker, said.conversation, row, key_name)
        return seat

    def leave(self, seat: Seat) -> None:
        del self.seats[seat.slot]
        if not seat.is_replaced:
            self._remember(seat)
        if seat.is_worker:
            self._lose_leases(seat)
        elif seat.is_known and not seat.is_replaced:
            self._desert(seat.name, seat.incarnation, is_gone=True)
        seat.is_known = False

    # ---- what is heard ----

    def hear(self, seat: Seat, said: Said, told: Told) -> None:
        envelope = said.envelope
        kind = envelope.kind
        if seat.is_replaced:
            self._expect_drop(told, "a connection that was replaced is heard")
        elif envelope.conversation != seat.conversation or not seat.is_known and kind not in (HELLO, READY):
            self._hear_stranger(seat, envelope, told)
        elif kind == HELLO or kind == READY:
            self._hear_introduction(seat, said, told)
        elif kind == REQUEST or kind == POST:
            if seat.is_leaving:
                self._hear_stranger(seat, envelope, told)
            else:
                self._hear_demand(seat, said, told)
        elif kind == CANCEL:
            self._hear_cancel(seat, envelope, told)
        elif kind == GOODBYE:
            self._hear_goodbye(seat, told)
        elif kind == CREDIT:
            seat.credit = envelope.credit
            self._expect_drop(told, "CREDIT is answered")
        elif kind == CHUNK or kind == WINDOW:
            self._hear_stream(seat, envelope, told)
        else:
            self._hear_answer(seat, envelope, told)

    def _expect_drop(self, told: Told, text: str) -> None:
        self.check(told.verdict == "DROP" and told.frame is None, "says nothing", "{}: {}", text, told)

    def _hear_stranger(self, seat: Seat, envelope: Envelope, told: Told) -> None:
        if envelope.kind not in (REQUEST, POST):
            self._expect_drop(told, "it is of another conversation")
            return
        answer = told.envelope
        fits = answer is not None and told.peer == seat.slot and answer.kind == ERROR and answer.code == NEED_HELLO
        self.check(fits and answer is not None and answer.sequence == envelope.sequence, "need hello", "{}", told)
        self._see(told)

    def _hear_introduction(self, seat: Seat, said: Said, told: Told) -> None:
        envelope = said.envelope
        answer = told.envelope
        if answer is None or told.peer != seat.slot or answer.sequence or answer.kind not in (ACCEPTED, ERROR):
            raise Violation("names", f"{line_of(envelope)} is answered with {told}")
        if self._may_not_come_in(seat, said):
            self.check(answer.code == DENIED, "access", "{} comes in as {}: {}", seat.key_name, envelope, told)
            return
        holder = self._named(seat.is_worker, envelope.name)
        is_other = holder is not None and holder is not seat and holder.incarnation != envelope.incarnation
        if answer.kind == ERROR:
            self._hear_refusal(seat, envelope, answer, told, holder if is_other else None)
            return
        self.check(not self._is_fenced(seat, envelope), "names", "{} was succeeded, and is accepted", envelope)
        self.check(not is_other, "names", f"{envelope.name} has two holders")
        elder = None if holder is seat else holder
        self.check(told.closing == (elder.slot if elder else None), "names", f"{told} closes another than {elder}")
        if elder is not None:
            self._replace(elder)
        if not seat.is_known:
            seat.node = elder.node if elder is not None else self._line_of(envelope)
        self._adopt(seat, envelope)
        if seat.is_worker:
            seat.credit = envelope.credit
            offers = offers_parse(said.content or b"") or []
            seat.offers = {name: (bool(flags & 1), lease_ms) for name, lease_ms, flags in offers}
            self.guarded_services |= {name for name, _, flags in offers if flags & 1}
        self._see(told)

    def _may_not_come_in(self, seat: Seat, said: Said) -> bool:
        """By its key's name, or because of what it offers."""
        if seat.key_name and said.envelope.name != seat.key_name:
            return True
        offers = (seat.is_worker and offers_parse(said.content or b"")) or []
        return any(not self.rules.may_serve(seat.row, service) for service, _, _ in offers)

    def _is_fenced(self, seat: Seat, envelope: Envelope) -> bool:
        return (seat.is_worker, envelope.name, envelope.incarnation) in self.fenced

    def _hear_refusal(
        self, seat: Seat, envelope: Envelope, answer: Envelope, told: Told, holder: Seat | None
    ) -> None:
        if self._is_fenced(seat, envelope):
            self.check(answer.code == FENCED, "names", "{} was succeeded, and hears {}", envelope, answer)
            return
        self.check(answer.code == NAME_IN_USE, "names", "refused: {}", answer)
        if holder is None:
            raise Violation("names", f"{envelope.name} is nobody's, but refused")
        self.check(told.challenged == holder.slot, "names", "{}: its holder is not asked, but {}", envelope, told)

    def _hear_demand(self, seat: Seat, said: Said, told: Told) -> None:
        envelope = said.envelope
        key = seat.name, seat.incarnation, envelope.sequence
        deadline_ms = self.now_ms + envelope.remaining_ms
        known = self.asks.get(key)
        if known is not None and known.is_open:
            self._cut_stream(known, seat)
            self._hear_again(known, deadline_ms, told)
            return
        is_remembered = known is not None and known.is_accepted and not known.is_forgotten
        if known is not None and is_remembered and known.outcome != (ERROR, BUSY):  # BUSY: not kept, never begun
            self._hear_after_end(known, told)
            return
        lane = envelope.priority, seat.node
        chain = (envelope.service, envelope.key_hash) if envelope.flags & ORDERED else None
        ask = Ask(key, lane, envelope.kind, envelope.service, chain, envelope.flags, self.now_ms, deadline_ms)
        ask.is_guarded = bool(envelope.flags & NOT_IDEMPOTENT)
        ask.streams = envelope.stream
        self._open(ask)
        if told.verdict in ("PASS", "KEEP"):
            self.accepted += 1
            ask.is_accepted = True
            self.check(not self.is_draining, "drain", "{} is accepted while draining", ask)
            self._accept(seat, ask, len(said.frame))
            may_have_run = ask.is_guarded and envelope.flags & RESENT
            self.check(not may_have_run, "guarded once", "{} may have run, and is accepted", ask)
        else:
            self.check(told.envelope is not None, "one outcome", "{} is dropped without a word", ask)
            self._refuse(seat, ask, len(said.frame), told)
        self._see(told)

    def _accept(self, seat: Seat, ask: Ask, size: int) -> None:
        """Do the rules?"""
        self.check(self.rules.may_use(seat.row, ask.service), "access", "{} is denied, and accepted", ask)
        excess = self.rules.accept(seat.row, self.now_ms, size)
        self.check(not excess, "rates", "{} exceeds its node's limits: {}", ask, excess)
        limit = self.rules.permit(seat.row).in_flight
        if limit:
            is_own = [each for each in self.open.values() if each.key[:2] == ask.key[:2] and each.is_listed]
            beside = sum(each.is_accepted and not each.was_away for each in is_own) - 1
            self.check(beside < limit, "rates", "{} beside {} that are open, of {}", ask, beside, limit)

    def _refuse(self, seat: Seat, ask: Ask, size: int, told: Told) -> None:
        """Never for rules that are not there, and always by those that are."""
        assert told.envelope is not None
        code = told.envelope.code
        is_denied = not self.rules.may_use(seat.row, ask.service)
        self.check((code == DENIED) == is_denied, "access", "{} hears {}", ask, told)
        if code == TOO_LARGE:
            limit = self.rules.permit(seat.row).max_message_bytes
            self.check(0 < limit < size, "access", "{} has {} bytes, which may be {}", ask, size, limit)
        if code == BUSY:
            may_be = self.rules.is_limited(seat.row) or self.queue_bytes < SMALL_QUEUE_BYTES
            self.check(may_be, "access", "{} is refused, which has no limit: {}", ask, told)

    def _hear_again(self, ask: Ask, deadline_ms: int, told: Told) -> None:
        """A duplicate of what is open."""
        if deadline_ms < ask.deadline_ms:
            ask.deadline_ms = deadline_ms
            self._expect_by(ask)
        is_awaited = ask.awaits_resend or (ask.was_away or ask.is_cut) and ask.lease is None
        if is_awaited and told.verdict in ("PASS", "KEEP"):
            ask.awaits_resend = ask.was_away = False
            self.resumed_bytes += FRAME_BYTES_MAX  # accepted once, it is taken in again however full it is
            self._see(told)
            return
        if ask.was_away and told.envelope is not None and told.envelope.kind == ERROR:
            self._see(told)
            return
        ask.was_away = False
        self._expect_drop(told, "it is open, and comes again")

    def _cut_stream(self, ask: Ask, seat: Seat) -> None:
        """It comes again: what was cut off with the elder connection is to begin anew."""
        if ask.lease is None or ask.streams_left == 0 or not ask.has_chunks or ask.forth == seat.conversation:
            return
        self._cut(ask)

    def _cut(self, ask: Ask) -> None:
        lease = ask.lease
        assert lease is not None
        lease.is_live = False
        self.owed_cancels[lease.number] = lease
        ask.is_cut = True
        self._lose(ask)

    def _hear_stream(self, seat: Seat, envelope: Envelope, told: Told) -> None:
        lease = seat.held.get(envelope.lease) if seat.is_worker else None
        ask = lease.ask if lease else self.open.get((seat.name, seat.incarnation, envelope.sequence))
        if ask is None or ask.lease is None or lease is not None and not lease.is_live:
            self._expect_drop(told, "a stream of nothing")
            return
        if ask.kind == POST or envelope.attempt != self._attempt(ask):
            self._expect_drop(told, "a stream of another delivery")
            return
        if seat.is_worker:
            self._pass_back(ask, envelope, told)
            return
        if envelope.kind == CHUNK:
            if ask.forth != seat.conversation:
                self._expect_drop(told, "it was not opened in this conversation")
                return
            ask.has_chunks = True
            ask.streams_left -= bool(envelope.flags & LAST)
        self.check(told.verdict == "PASS", "streams", "{} is not passed, but {}", envelope, told)
        self.check(told.peer == ask.lease.seat.slot, "streams", "{} goes elsewhere: {}", envelope, told)
        self._see(told)

    def _pass_back(self, ask: Ask, envelope: Envelope, told: Told) -> None:
        assert ask.lease is not None
        ask.lease.given_ms = self.now_ms
        node = self._named(False, ask.key[0])
        is_there = node is not None and node.incarnation == ask.key[1] and ask.is_listed
        conversation = node.conversation if node is not None and is_there else 0
        if envelope.kind == CHUNK:
            ask.back = ask.back or conversation
            ask.is_torn |= conversation == 0 or conversation != ask.back
        if not is_there:
            self._expect_drop(told, "its node is not there")
            return
        self.check(told.verdict == "PASS", "streams", "{} is not passed, but {}", envelope, told)
        self._see(told)

    def _hear_after_end(self, ask: Ask, told: Told) -> None:
        """A duplicate of what has ended: the same outcome, or word that there was one."""
        answer = told.envelope
        if answer is None or answer.kind not in (REPLY, ERROR):
            raise Violation("cached outcome", f"{ask} ended, and comes again: {told}")
        outcome = answer.kind, answer.code
        is_kept = outcome == ask.outcome or outcome in ((ERROR, ALREADY_DONE), (ERROR, OUTCOME_UNKNOWN))
        is_kept |= ask.was_away and answer.kind == ERROR  # nobody heard as what it ended
        self.check(is_kept, "cached outcome", "{} ended as {}, and again as {}", ask, ask.outcome, answer)

    def _hear_cancel(self, seat: Seat, envelope: Envelope, told: Told) -> None:
        ask = self.open.get((seat.name, seat.incarnation, envelope.sequence))
        if ask is None or ask.key in self.owed_outcomes or not ask.is_listed:
            self._expect_drop(told, "CANCEL of nothing")
            return
        ask.is_cancel_heard = True
        self.check(told.envelope is not None, "cancel", "CANCEL of {} is not answered at once", ask)
        self._see(told)
        self.check(not ask.is_open, "cancel", "CANCEL of {}, which goes on", ask)

    def _hear_goodbye(self, seat: Seat, told: Told) -> None:
        seat.is_leaving = True
        if seat.is_worker:
            self._expect_drop(told, "GOODBYE of a worker")
            return
        answer = told.envelope
        self.check(answer is not None and answer.kind == GOODBYE and told.peer == seat.slot, "goodbye", "{}", told)
        self._desert(seat.name, seat.incarnation, is_gone=False)

    def _hear_answer(self, seat: Seat, envelope: Envelope, told: Told) -> None:
        lease = seat.held.get(envelope.lease)
        if lease is not None and lease.ask.key[1:] != (envelope.incarnation, envelope.sequence):
            lease = None
        if lease is None:
            self.check(told.frame is None, "late answer", "{} holds no such lease: {}", seat.name, envelope)
            return
        if envelope.kind == PROGRESS:
            self._hear_progress(lease, told)
            return
        ask = lease.ask
        del seat.held[lease.number]
        self.owed_cancels.pop(lease.number, None)
        if not lease.is_live:
            self.check(told.frame is None, "late answer", "{}: its lease was taken away, {}", ask, envelope)
            return
        lease.is_live = False
        ask.lease = None
        self.failures[seat.name] = 0
        if ask.kind == POST:
            self.check(told.frame is None, "says nothing", "the answer to a post goes on: {}", told)
            self.delivered += envelope.kind == REPLY
            self._close(ask, (envelope.kind, envelope.code))
        elif not self._goes_on(ask, envelope, told):
            self._settle(ask, envelope, told)

    def _hear_progress(self, lease: Lease, told: Told) -> None:
        if lease.is_live:
            lease.given_ms = self.now_ms
        if told.frame is None:
            return
        ask = lease.ask
        self.check(lease.is_live, "late answer", "PROGRESS of {}, whose lease was taken away", ask)
        self.check(bool(ask.flags & WANTS_PROGRESS) and ask.kind == REQUEST, "says nothing", "unwanted: {}", told)
        self.answering = ask
        self._see(told)
        self.answering = None

    def _goes_on(self, ask: Ask, envelope: Envelope, told: Told) -> bool:
        """Is the worker's ERROR no outcome?"""
        if envelope.kind != ERROR or told.envelope is not None or told.verdict == "KEEP":
            return False
        if envelope.code == BUSY:
            ask.unbegun += 1
            ask.was_given_back = True
        elif not ask.flags & RETRY_ERRORS or ask.is_guarded:
            return False
        self.again[ask.key] = ask
        return True

    def _settle(self, ask: Ask, envelope: Envelope, told: Told) -> None:
        code = envelope.code
        if envelope.kind == ERROR and code < CODE_YOURS and code not in WORKERS_CODES:
            code = HANDLER_ERROR
        if not ask.is_listed:
            self.check(told.frame is None, "right node", "the node of {} is gone, but {}", ask, told)
            self.undelivered_count += 1  # it may ask for it when it is back
            ask.is_forgotten = bool(envelope.stream)
            self._close(ask, (envelope.kind, code))
            return
        self.check(told.envelope is not None, "one outcome", "{}: {} goes nowhere", ask, envelope)
        if envelope.stream and self._is_torn(ask):
            self._miss(ask, told)
            return
        self.answering, self.answer = ask, (envelope.kind, code)
        self.delivered += envelope.kind == REPLY
        self._see(told)
        self.check(not ask.is_open, "right node", "{} is answered, but {}", ask, told)
        self.answering = self.answer = None

    def _is_torn(self, ask: Ask) -> bool:
        node = self._named(False, ask.key[0])
        return ask.is_torn or node is None or ask.back != node.conversation

    def _miss(self, ask: Ask, told: Told) -> None:
        """Its node has not had all of the reply: it is as if there had been none."""
        answer = told.envelope
        self.undelivered_count += 1
        ask.is_forgotten = True
        self._close(ask, (ERROR, RESEND))
        if answer is None or answer.kind != ERROR or answer.sequence != ask.key[2]:
            raise Violation("whole streams", f"{ask}: its reply was torn, and {told}")
        may_be_guarded = ask.is_guarded or ask.service in self.guarded_services
        allowed = (RESEND, OUTCOME_UNKNOWN) if may_be_guarded else (RESEND,)
        self.check(answer.code in allowed, "whole streams", "{}: its reply was torn, and {}", ask, told)

    # ---- what the operator wants ----

    def swap(self, rules: Rules) -> None:
        """Other rules, from now on; workers offer no more what they may not serve."""
        self.rules.swap(rules)
        for seat in self.seats.values():
            offers = seat.offers.items()
            seat.offers = {name: offer for name, offer in offers if self.rules.may_serve(seat.row, name)}

    def dismiss(self, name: str) -> None:
        """That worker is to take no more."""
        seat = self._named(True, name)
        if seat is not None and not seat.is_leaving:
            seat.is_dismissed = True

    # ---- what is said ----

    def stepped(self, told: Told) -> None:
        """What the broker does of itself."""
        self._see(told)

    def unkept(self, told: Told, instead: Told) -> None:
        """There was no memory for what was to be kept."""
        waiting = [ask for ask in self.open.values() if ask.lease is None]
        answer = instead.envelope
        if not waiting or answer is None or answer.kind != ERROR or answer.code not in (BUSY, RESEND):
            raise Violation("one outcome", f"unkept, and {instead}")
        self._see(instead)

    def undelivered(self, told: Told, instead: Told) -> None:
        """Its node did not take what was passed."""
        passed = told.envelope
        assert passed is not None
        if passed.kind == PROGRESS:
            self._expect_drop(instead, "PROGRESS that was not taken")
            return
        if passed.kind == CHUNK:
            self._miss_chunk(passed, told, instead)
            return
        answer = instead.envelope
        seat = self.seats[told.peer or 0]
        ask = self.asks[seat.name, seat.incarnation, passed.sequence]
        self.undelivered_count += 1
        ask.is_forgotten = bool(passed.stream)
        self.delivered -= passed.kind == REPLY
        if answer is None or answer.kind != ERROR or instead.peer != told.peer or answer.sequence != passed.sequence:
            raise Violation("one outcome", f"{ask}: not taken, and {instead}")
        allowed = {RESEND}  # the outcome may be kept
        if ask.is_guarded or ask.service in self.guarded_services:
            allowed.add(OUTCOME_UNKNOWN)
        self.check(answer.code in allowed, "guarded once", "{}: not taken, and {}", ask, answer)

    def _miss_chunk(self, passed: Envelope, told: Told, instead: Told) -> None:
        """Its receiver did not take it."""
        self._expect_drop(instead, "a chunk that was not taken")
        seat = self.seats[told.peer or 0]
        if seat.is_worker:
            self._cut(seat.held[passed.lease].ask)
            return
        self.open[seat.name, seat.incarnation, passed.sequence].is_torn = True

    # ---- after a turn ----

    def settled(self, surface: Surface) -> None:
        """The broker has nothing more to do."""
        self._end_what_is_due()
        if self.owed_cancels:
            lease = next(iter(self.owed_cancels.values()))
            raise Violation("cancel", f"{lease.seat.name} is not told that {lease.ask} is over")
        if self.owed_outcomes:
            raise Violation("lost", f"{next(iter(self.owed_outcomes.values()))}: its worker is gone, its node not told")
        self._find_idle(self._resting(surface))
        self._count(surface)

    def next_deadline_ms(self) -> int | None:
        """When the broker has to be asked again, at the latest."""
        while self.deadlines:
            deadline_ms, _, ask = self.deadlines[0]
            if ask.is_open and not ask.was_away and ask.deadline_ms == deadline_ms:
                return deadline_ms
            if ask.is_open and ask.deadline_ms == deadline_ms:
                return None     # it may have ended without a word
            heapq.heappop(self.deadlines)
        return None

    def _end_what_is_due(self) -> None:
        while self.deadlines and self.deadlines[0][0] <= self.now_ms:
            ask = heapq.heappop(self.deadlines)[2]
            if not ask.is_open or ask.deadline_ms > self.now_ms:
                continue
            is_silent = (ask.was_away or not ask.is_listed) and ask.lease is None
            self.check(is_silent, "late", f"{ask} had until {ask.deadline_ms}")
            self._close(ask, (ERROR, TIMEOUT))
        if self.is_aborted:
            for ask in [*self.open.values()]:
                self.check(not ask.is_listed and ask.lease is None, "late", f"{ask} is open after the abort")
                self._close(ask, (ERROR, DRAINING))

    def _resting(self, surface: Surface) -> set[int]:
        """Workers that are given nothing for a while, and rightly so."""
        resting = set(surface.resting())
        for slot in resting - self.resting:
            seat = self.seats[slot]
            self.check(self.failures.get(seat.name, 0) >= FAILURES_MAX, "rest", "{} rests, but why?", seat.name)
            self.failures[seat.name] = 0
        for slot in resting:
            for service in self.seats[slot].offers:
                others = [each for each in self.seats.values() if service in each.offers and self._offers(each)]
                self.check(
                    any(each.slot not in resting for each in others), "rest", "all who offer {} rest", service
                )
        self.resting = resting
        return resting

    def _find_idle(self, resting: set[int]) -> None:
        able = [
            seat for seat in self.seats.values()
            if seat.is_worker and not seat.is_replaced and seat.may_take() and seat.slot not in resting
        ]
        if not able:
            return
        for chain in self.chains.values():
            first = next(iter(chain.values()), None)
            if first is not None and not self._is_faint(first) and first.lease is None and not self._is_held(first):
                self._find_idle_worker(first, first.service, able)
        for service, lanes in self.lanes.items():
            for lane in lanes.values():
                ask = next(self._awake(lane), None)
                if ask is not None:
                    self._find_idle_worker(ask, service, able)

    def _is_held(self, ask: Ask) -> bool:
        """Has a worker still something of its chain, or does it rest between two deliveries?"""
        if ask.key in self.again or ask.awaits_resend:
            return True
        return any(lease.ask.chain == ask.chain for seat in self.seats.values() for lease in seat.held.values())

    def _find_idle_worker(self, ask: Ask, service: str, able: list[Seat]) -> None:
        offered = service if self._is_named(service) else "*"
        for seat in able:
            self.check(offered not in seat.offers, "idle", "{} could take {}, which waits", seat.name, ask)

    def _count(self, surface: Surface) -> None:
        counts = surface.counts()
        live = surface.live()
        ended = sum([counts.get(outcome, 0) for outcome in OUTCOMES])
        self.check(counts.get("accepted", 0) == ended + live, "accounts", "{}, {} live", counts, live)
        told = counts.get("accepted", 0), counts.get("delivered", 0), counts.get("undelivered", 0)
        seen = self.accepted, self.delivered, self.undelivered_count
        self.check(told == seen, "accounts", "accepted, delivered, undelivered are {}, but counted {}", seen, told)
        # Of these, some may have ended.
        unheard = sum([ask.was_away or not ask.is_listed for ask in self.open.values()])
        self.check(len(self.open) - unheard <= live, "accounts", "{} are live, and {} open", live, len(self.open))
        used = surface.used()
        self.check(used["alarms"] <= live, "alarms", "{} for {} live requests", used["alarms"], live)
        queued = used["queued_bytes"]
        self.check(queued <= self.queue_bytes + self.resumed_bytes, "budget", "{} bytes wait", queued)
        self.check(used["errands"] == 0, "rest", "{} errands are left", used["errands"])
        self.check(used["payloads"] == surface.kept(), "payloads", "{} are known, {} kept", used, surface.kept())

    def ended(self, surface: Surface, peers: int) -> None:
        """Faults have stopped, and all time is over."""
        for ask in self.open.values():
            is_silent = (ask.was_away or not ask.is_listed) and ask.lease is None
            self.check(is_silent, "all end", f"{ask} is still open")
        used = surface.used()
        used.pop("services")
        there = used.pop("peers") - surface.absent()
        self.check(there == peers, "nothing left", f"{peers} peers are there: {surface.used()}")
        self.check(not any(used.values()), "nothing left", str(used))
        self.check(surface.live() == 0 and surface.kept() == 0, "nothing left", f"{surface.kept()} payloads")
