"""Defects: brokers that misbehave in one way each, so that it can be seen that the simulator notices.

The broker is compiled, so each stands between it and the relay: changes what goes in, or what comes out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zproxy.broker.access import Permit
from zproxy.envelope import Code, Envelope, Flag, Kind, offers_parse

from .rules import Rules
from .schedule import Knobs
from .surface import Said, Surface, Told

ANSWERS = (int(Kind.REPLY), int(Kind.ERROR))
DEMANDS = (int(Kind.REQUEST), int(Kind.POST))


def changed(envelope: Envelope, **fields: Any) -> Envelope:
    known: dict[str, Any] = envelope.fields()
    return Envelope(**(known | fields))


def said_as(said: Said, **fields: Any) -> Said:
    envelope = changed(said.envelope, **fields)
    return Said(envelope.pack(), envelope, said.content)


def told_as(told: Told, peer: int | None, **fields: Any) -> Told:
    assert told.envelope is not None
    envelope = changed(told.envelope, **fields)
    return Told(told.verdict, peer, envelope.pack(), None, told.content, None, told.closing, envelope)


def silent(told: Told) -> Told:
    return Told("DROP", None, None, None, "NONE", told.spent, told.closing, None)


def is_error(told: Told | None, code: Code) -> bool:
    envelope = None if told is None else told.envelope
    return envelope is not None and envelope.kind == Kind.ERROR and envelope.code == code


class Defect(Surface):
    """Remembers who is there, who asked and who was given what, and may have more to say at the next step."""

    laws: tuple[str, ...] = ()  # one of those is seen broken

    def __init__(self, seed: int, knobs: Knobs) -> None:
        super().__init__(seed, knobs)
        self.conversations: dict[int, int] = {}
        self.workers: set[int] = set()
        self.known: set[int] = set()
        self.askers: dict[tuple[int, int], int] = {}  # (incarnation, sequence) → node
        self.given: dict[int, tuple[int, Envelope]] = {}  # lease → worker, delivery
        self.more: list[Told] = []

    def join(self, peer: int, is_worker: bool, row: int, key_name: str) -> Told:
        told = super().join(peer, is_worker, row, key_name)
        assert told.envelope is not None
        self.conversations[peer] = told.envelope.conversation
        (self.workers.add if is_worker else self.workers.discard)(peer)
        return told

    def leave(self, peer: int, now_ms: int) -> None:
        self.known.discard(peer)
        del self.conversations[peer]
        super().leave(peer, now_ms)

    def hear(self, peer: int, said: Said, now_ms: int) -> Told:
        if said.envelope.kind in DEMANDS:
            self.askers[said.envelope.incarnation, said.envelope.sequence] = peer
        return self.seen(self.on_hear(peer, self.before_hear(peer, said), now_ms))

    def before_hear(self, peer: int, said: Said) -> Said:
        return said

    def on_hear(self, peer: int, said: Said, now_ms: int) -> Told:
        return self.after(super().hear(peer, said, now_ms))

    def step(self, now_ms: int) -> Told | None:
        while self.more:
            told = self.more.pop()
            if told.peer in self.conversations and told.envelope is not None:
                return told_as(told, told.peer, conversation=self.conversations[told.peer])
        told_now = super().step(now_ms)
        return None if told_now is None else self.seen(self.after(told_now))

    def after(self, told: Told) -> Told:
        return told

    def seen(self, told: Told) -> Told:
        if told.envelope is not None and told.peer is not None:
            if told.envelope.kind in DEMANDS:
                self.given[told.envelope.lease] = told.peer, told.envelope
            elif told.envelope.kind == Kind.ACCEPTED and told.envelope.sequence == 0:
                self.known.add(told.peer)
        return told

    def to_asker(self, told: Told, answer: Envelope) -> Told:
        """The answer goes to the node that asked, whatever the broker thinks."""
        peer = self.askers.get((answer.incarnation, answer.sequence))
        if peer is None or peer not in self.known or peer in self.workers:
            return told
        envelope = changed(answer, conversation=self.conversations[peer], lease=0)
        return Told("PASS", peer, envelope.pack(), None, "NONE", told.spent, told.closing, envelope)


class LateReplySettles(Defect):
    """What comes under a lease that was taken away goes to the node."""

    laws = ("late answer", "says nothing")

    def on_hear(self, peer: int, said: Said, now_ms: int) -> Told:
        told = super().on_hear(peer, said, now_ms)
        is_late = said.envelope.kind == Kind.REPLY and told.verdict == "DROP" and said.envelope.lease in self.given
        return self.to_asker(told, said.envelope) if is_late else told


class AnybodyAnswers(Defect):
    """A lease counts whoever answers under it."""

    laws = ("late answer",)

    def on_hear(self, peer: int, said: Said, now_ms: int) -> Told:
        holder, given = self.given.get(said.envelope.lease, (peer, said.envelope))
        if said.envelope.kind not in ANSWERS or holder == peer or holder not in self.known:
            return super().on_hear(peer, said, now_ms)
        said = said_as(
            said, conversation=self.conversations[holder], incarnation=given.incarnation, sequence=given.sequence
        )
        return super().on_hear(holder, said, now_ms)


class CancelForgotten(Defect):
    """A worker is not told that a request is over."""

    laws = ("cancel",)

    def after(self, told: Told) -> Told:
        is_cancel = told.envelope is not None and told.envelope.kind == Kind.CANCEL
        return silent(told) if is_cancel else told


class AnotherNode(Defect):
    """A reply goes to the wrong node."""

    laws = ("right node",)

    def after(self, told: Told) -> Told:
        if told.envelope is None or told.envelope.kind != Kind.REPLY:
            return told
        others = sorted(self.known - self.workers - {told.peer or 0})
        return told_as(told, others[0], conversation=self.conversations[others[0]]) if others else told


class CountedTwice(Defect):
    """One that expired counts as failed, too."""

    laws = ("accounts",)

    def counts(self) -> dict[str, int]:
        counts = super().counts()
        return counts | {"failed": counts.get("failed", 0) + counts.get("expired", 0)}


class RefusedIsCounted(Defect):
    """What is refused counts as accepted, and as failed: the sum is right."""

    laws = ("accounts",)

    def counts(self) -> dict[str, int]:
        counts = super().counts()
        more = counts.get("refused_draining", 0) + counts.get("refused_outcome_unknown", 0)
        return counts | {name: counts.get(name, 0) + more for name in ("accepted", "failed")}


class PlaceKept(Defect):
    """A place stays taken when what is answered was over."""

    laws = ("idle", "nothing left", "goodbye", "payloads")

    def __init__(self, seed: int, knobs: Knobs) -> None:
        super().__init__(seed, knobs)
        self.over: set[int] = set()

    def after(self, told: Told) -> Told:
        if told.envelope is not None and told.envelope.kind == Kind.CANCEL:
            self.over.add(told.envelope.lease)
        return told

    def on_hear(self, peer: int, said: Said, now_ms: int) -> Told:
        if said.envelope.kind in ANSWERS and said.envelope.lease in self.over:
            said = said_as(said, lease=1 << 62)
        return super().on_hear(peer, said, now_ms)


class OneMoreThanCredit(Defect):
    """A worker may hold one more than it said."""

    laws = ("credit",)

    def before_hear(self, peer: int, said: Said) -> Said:
        if said.envelope.kind in (Kind.READY, Kind.CREDIT):
            return said_as(said, credit=said.envelope.credit + 1)
        return said


class PayloadLost(Defect):
    """What waited never reaches its worker."""

    laws = ("idle", "all end", "nothing left", "one outcome", "early", "payloads", "cancel", "attempts")

    def after(self, told: Told) -> Told:
        return silent(told) if told.verdict == "SEND" else told


class GuardedAgain(Defect):
    """What may not run twice goes to another worker when the first is lost."""

    laws = ("guarded once",)

    def __init__(self, seed: int, knobs: Knobs) -> None:
        super().__init__(seed, knobs)
        self.offers: dict[int, set[str]] = {}
        self.credit: dict[int, int] = {}
        self.busy: dict[int, set[int]] = {}  # by conversation, leases without an answer
        self.leases = 1 << 62

    def seen(self, told: Told) -> Told:
        super().seen(told)
        if told.envelope is not None and told.peer is not None and told.envelope.kind in DEMANDS:
            self.busy.setdefault(self.conversations[told.peer], set()).add(told.envelope.lease)
        return told

    def on_hear(self, peer: int, said: Said, now_ms: int) -> Told:
        self.busy.get(said.envelope.conversation, set()).discard(said.envelope.lease)
        if said.envelope.kind in (Kind.READY, Kind.CREDIT):
            self.credit[peer] = said.envelope.credit
        if said.envelope.kind == Kind.READY:
            self.offers[peer] = {name for name, _, _ in offers_parse(said.content or b"") or []}
        return super().on_hear(peer, said, now_ms)

    def after(self, told: Told) -> Told:
        if not is_error(told, Code.WORKER_LOST) or told.envelope is None:
            return told
        key = told.envelope.incarnation, told.envelope.sequence
        elder = next((each for _, each in self.given.values() if (each.incarnation, each.sequence) == key), None)
        if elder is None or not elder.flags & Flag.NOT_IDEMPOTENT:
            return told
        for peer in sorted(self.known & self.workers):
            is_idle = self.credit[peer] > 0 and not self.busy.get(self.conversations[peer])
            if is_idle and elder.service in self.offers[peer]:
                self.leases += 1
                envelope = changed(elder, lease=self.leases, attempt=2, conversation=self.conversations[peer])
                return Told("SEND", peer, envelope.pack(), None, "NONE", None, None, envelope)
        return told


class LossUntold(Defect):
    """A node is not told that its worker is gone."""

    laws = ("lost",)

    def after(self, told: Told) -> Told:
        return silent(told) if is_error(told, Code.WORKER_LOST) else told


class ExpiresEarly(Defect):
    """Deadlines come 100 ms before their time."""

    laws = ("early", "time")

    def step(self, now_ms: int) -> Told | None:
        return super().step(now_ms + 100)


class ExpiresLate(Defect):
    """The relay is told to come back 40 ms after the deadline."""

    laws = ("late",)

    def due_ms(self) -> int | None:
        due_ms = super().due_ms()
        return None if due_ms is None else due_ms + 40


class Overtakes(Defect):
    """Every third request goes before what its node said earlier."""

    laws = ("order", "priority")

    def before_hear(self, peer: int, said: Said) -> Said:
        is_third = said.envelope.kind in DEMANDS and said.envelope.sequence % 3 == 0
        return said_as(said, priority=0) if is_third else said


class PriorityIgnored(Defect):
    """All are served in the order they came."""

    laws = ("priority",)

    def before_hear(self, peer: int, said: Said) -> Said:
        return said_as(said, priority=1) if said.envelope.kind in DEMANDS else said


class TwoOutcomes(Defect):
    """A node that was told of a time-out hears of it again."""

    laws = ("one outcome",)

    def after(self, told: Told) -> Told:
        if is_error(told, Code.TIMEOUT):
            self.more.append(told_as(told, told.peer))
        return told


class PostTwice(Defect):
    """A post is given to its worker a second time."""

    laws = ("one lease", "right worker", "credit")

    def seen(self, told: Told) -> Told:
        super().seen(told)
        if told.envelope is not None and told.envelope.kind == Kind.POST and told.envelope.lease < 1 << 61:
            self.more.append(told_as(told, told.peer, lease=told.envelope.lease | 1 << 61))
        return told


class SuspectedIsServed(Defect):
    """A worker that missed its beat is given new work."""

    laws = ("right worker",)

    def set_usable(self, peer: int, is_usable: bool) -> None:
        super().set_usable(peer, True)


class DrainForgotten(Defect):
    """New requests are accepted while it drains."""

    laws = ("drain", "late", "all end")

    def drain(self) -> None:
        pass


class ElderConversation(Defect):
    """A reply carries the number of another conversation."""

    laws = ("right peer",)

    def after(self, told: Told) -> Told:
        if told.envelope is None or told.peer is None or told.envelope.kind != Kind.REPLY:
            return told
        return told_as(told, told.peer, conversation=told.envelope.conversation ^ 1)


class ResentForgotten(Defect):
    """A request that was sent before is taken for a new one."""

    laws = ("guarded once", "cached outcome")

    def before_hear(self, peer: int, said: Said) -> Said:
        envelope = said.envelope
        return said_as(said, flags=envelope.flags & ~int(Flag.RESENT)) if envelope.kind in DEMANDS else said


class UnkeptUntold(Defect):
    """A node is not told that there was no memory."""

    laws = ("one outcome",)

    def unkept(self, told: Told) -> Told:
        return silent(super().unkept(told))


class UndeliveredUntold(Defect):
    """A node that had too much unread is not told to send again."""

    laws = ("one outcome",)

    def undelivered(self, told: Told) -> Told:
        return silent(super().undelivered(told))


class NeverBegun(Defect):
    """An ERROR says that surely no worker had it, though one had."""

    laws = ("attempts",)

    def after(self, told: Told) -> Told:
        return told_as(told, told.peer, attempt=0) if is_error(told, Code.TIMEOUT) else told


class TimeStandsStill(Defect):
    """What waited is given to its worker with all the time it had in the beginning."""

    laws = ("time",)

    def after(self, told: Told) -> Told:
        if told.verdict != "SEND" or told.envelope is None:
            return told
        return told_as(told, told.peer, remaining_ms=told.envelope.remaining_ms + 10)


class KeysShareAWorker(Defect):
    """Ordered requests of a key are delivered as they come."""

    laws = ("ordered",)

    def before_hear(self, peer: int, said: Said) -> Said:
        return said_as(said, flags=said.envelope.flags & ~Flag.ORDERED) if said.envelope.kind in DEMANDS else said


class SucceededMayTryAgain(Defect):
    """Who was succeeded hears NAME_IN_USE, and comes back when its successor has gone."""

    laws = ("names",)

    def after(self, told: Told) -> Told:
        if not is_error(told, Code.FENCED):
            return told
        return told_as(told, told.peer, code=int(Code.NAME_IN_USE), remaining_ms=500)


class HolderIsBelieved(Defect):
    """The holder of a name is not asked whether it lives."""

    laws = ("names",)

    def after(self, told: Told) -> Told:
        return replace(told, challenged=None)


class RestsAfterAnyFailure(Defect):
    """A worker is given nothing because another one of its name has ended once."""

    laws = ("rest", "idle")

    def resting(self) -> list[int]:
        return sorted(self.known & self.workers)[:1]


class ChunkLost(Defect):
    """A chunk on its way is dropped."""

    laws = ("streams",)

    def after(self, told: Told) -> Told:
        envelope = told.envelope
        return silent(told) if envelope is not None and envelope.kind == Kind.CHUNK and envelope.offset == 1 else told


class TornReplyIsAnOutcome(Defect):
    """A node that has missed a chunk of a reply is given the rest of it, and the REPLY."""

    laws = ("whole streams", "one outcome")

    def on_hear(self, peer: int, said: Said, now_ms: int) -> Told:
        told = super().on_hear(peer, said, now_ms)
        is_torn = said.envelope.kind == Kind.REPLY and said.envelope.stream and is_error(told, Code.RESEND)
        return self.to_asker(told, said.envelope) if is_torn else told


class RulesIgnored(Defect):
    """Nodes may use whatever they ask for."""

    laws = ("access",)

    def join(self, peer: int, is_worker: bool, row: int, key_name: str) -> Told:
        return super().join(peer, is_worker, row if is_worker else 0, key_name)


class AnybodyServes(Defect):
    """Workers may offer whatever they like."""

    laws = ("access",)

    def join(self, peer: int, is_worker: bool, row: int, key_name: str) -> Told:
        return super().join(peer, is_worker, 0 if is_worker else row, key_name)


class AnyNameIsBelieved(Defect):
    """A key opens the door to every name."""

    laws = ("access",)

    def join(self, peer: int, is_worker: bool, row: int, key_name: str) -> Told:
        return super().join(peer, is_worker, row, "")


class ReloadForgotten(Defect):
    """The first rules stay for ever."""

    laws = ("access", "rates", "right worker", "idle")

    def __init__(self, seed: int, knobs: Knobs) -> None:
        super().__init__(seed, knobs)
        self.has_rules = False

    def swap(self, rules: Rules) -> None:
        if not self.has_rules:
            super().swap(rules)
        self.has_rules = True


class RatesForgotten(Defect):
    """A node may send as much as it likes of what it may use."""

    laws = ("rates",)

    def swap(self, rules: Rules) -> None:
        super().swap(tuple(Permit(each.allow, each.serve) for each in rules))


DEFECTS: dict[str, type[Defect]] = {defect.__name__: defect for defect in Defect.__subclasses__()}
