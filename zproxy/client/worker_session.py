"""Worker session: what a worker says to one zproxy and hears from it, by docs/protocol.md; sans-I/O.

Called by the crew, which owns the socket, hands in every message with the time (seconds of a monotonic clock) and
sends what is in the outbox. It has no socket, thread or clock, and calls no handler.

    WELCOME ─► hear ─────────────────────────► READY in the outbox
    REQUEST ─► hear ─► waiting ─► take ─► the handler runs ─► answer ─► REPLY or ERROR in the outbox
                    └► answered before: the same again; or it runs: answered with it (`answers`)
    CANCEL  ─► hear ─► waiting: ERROR CANCELLED in the outbox; taken: `is_cancelled`
    tick    ─► PROGRESS for each lease that would end, a third of its time after it was last extended

Rule 1. A delivery is answered once, under its lease, and only in the conversation it came in.
Rule 2. Each delivery counts as one of OUTCOMES; until then it is in flight.
Rule 3. What is not begun when its conversation ends is never begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from zproxy.client.agent import agent
from zproxy.client.answers import Answers
from zproxy.client.delivery import Delivery, Failure, Frame, Outcome
from zproxy.client.pending import bytes_of
from zproxy.envelope import Code, Envelope, Flag, Kind, Tlv, offers_pack, tlvs_pack, tlvs_parse
from zproxy.errors import MalformedEnvelope
from zproxy.units import show_size

RETRY_S = 1.0  # until READY is said again, where a refusal does not say how long
SENTENCE_BYTES_MAX = 1024  # leaves room in an ERROR's TLVs, and in a log line
OUTBOX_FULL = 100  # messages: what has to wait for these would not extend a lease in time
ANY = "*"  # the service of whatever nobody names

OUTCOMES = (
    "replied", "failed", "malformed", "too_large", "repeated", "cancelled", "expired", "returned", "discarded", "late",
)  # fmt: skip
COUNTERS = {
    "delivered": "requests and posts that came",
    "replied": "answered with what the handler returned",
    "failed": "answered with an error of the handler, or of encoding what it returned",
    "malformed": "answered MALFORMED: the body or the tensors do not fit",
    "too_large": "answered TOO_LARGE: the reply is over the proxy's limit",
    "repeated": "answered with what its request came to before, without the handler",
    "cancelled": "answered CANCELLED: not begun, given up by its handler, or answered by a later delivery",
    "expired": "answered BUSY: the deadline was over before a handler began",
    "returned": "answered BUSY: not begun when the master ended",
    "discarded": "not begun when the connection to the proxy ended; it delivers them again",
    "late": "finished after the connection had ended: the answer was dropped",
    "dropped": "messages of an ended conversation, or unreadable",
    "joined": "came while their request ran, and were answered with it",
    "extended": "leases of what takes long, by PROGRESS",
    "welcomes": "conversations with a proxy, from its WELCOME",
}

# An enum's member costs a look-up each time; these are on every request's way.
_REQUEST, _POST, _WELCOME = int(Kind.REQUEST), int(Kind.POST), int(Kind.WELCOME)
_REPLY, _ERROR, _PROGRESS = int(Kind.REPLY), int(Kind.ERROR), int(Kind.PROGRESS)
_HAS_STEP, _HAS_PROGRESS = int(Flag.HAS_STEP), int(Flag.HAS_PROGRESS)

# With these no later READY of this master is accepted.
FINAL = (int(Code.FENCED), int(Code.DENIED))
HOPELESS = (int(Code.MALFORMED), int(Code.TOO_LARGE))  # the same READY will be no better the next time
OUTCOME_OF_CODE = {
    int(Code.MALFORMED): "malformed",
    int(Code.TOO_LARGE): "too_large",
    int(Code.CANCELLED): "cancelled",
}


class State(Enum):
    """Where the session stands with its zproxy."""

    APART = auto()  # no conversation, or one in which nothing more is said
    TWIN = auto()  # another endpoint of the master leads to the same zproxy: nothing is said
    HAILING = auto()  # READY is said, and not answered yet
    REFUSED = auto()  # READY was refused; it is said again at `due_at`
    SERVING = auto()
    DISMISSED = auto()  # zproxy said GOODBYE: it is said back when all is answered
    LEAVING = auto()  # GOODBYE is said, and not heard yet
    LEFT = auto()  # for good
    OUTCAST = auto()  # for good, see `refusal`


TRANSITIONS: dict[State, set[State]] = {
    State.APART: {State.HAILING, State.TWIN, State.LEFT, State.OUTCAST},
    State.TWIN: {State.APART, State.LEFT},
    State.HAILING: {State.SERVING, State.REFUSED, State.APART, State.LEAVING},
    State.REFUSED: {State.HAILING, State.APART, State.LEFT},
    State.SERVING: {State.DISMISSED, State.APART, State.LEAVING},
    State.DISMISSED: {State.APART, State.LEAVING},
    State.LEAVING: {State.LEFT},
    State.LEFT: set(),
    State.OUTCAST: set(),
}
ENDED = (State.LEFT, State.OUTCAST)
STANDING = (State.HAILING, State.REFUSED, State.SERVING, State.DISMISSED, State.LEAVING)


class Welcome(msgspec.Struct):
    """What a worker needs of WELCOME's map."""

    proxy: int = 0
    max_message: int = 0
    max_frames: int = 0


class WorkerSession:
    """One worker's side of its conversations with one zproxy; `offers` are (service, lease_ms, flags)."""

    def __init__(
        self, name: str, incarnation: int, offers: Sequence[tuple[str, int, int]], credit: int, answers: Answers
    ) -> None:
        self.state = State.APART
        self.outbox: deque[list[Frame]] = deque()  # messages to be sent, in this order
        self.remarks: list[str] = []  # sentences for the log, taken by the crew
        self.refusal: tuple[int, str] | None = None  # code and sentence, once OUTCAST
        self.due_at: float | None = None  # when `tick` has something to do
        self.counts = dict.fromkeys(COUNTERS, 0)
        self.siblings: Sequence[WorkerSession] = ()  # of the same master, this one among them
        self._name = name
        self._incarnation = incarnation
        self._offers = offers_pack(offers)
        self._named = {service for service, _, _ in offers}
        self._leases_s = {service: lease_ms / 1000 for service, lease_ms, _ in offers if lease_ms}
        self._credit = credit
        self._answers = answers
        self._limits = Welcome()
        self._conversation: int | None = None
        self._waiting: deque[Delivery] = deque()
        self._live: dict[int, Delivery] = {}  # by lease: waiting or begun, and not answered
        self._is_bidden_goodbye = False
        self._refusal_remarked = ""

    # ---- what is heard ----

    def hear(self, frames: Sequence[Frame], now: float) -> None:
        """Takes one message of zproxy's, envelope first."""
        try:
            envelope = Envelope.parse(frames[0])
        except MalformedEnvelope:
            self.counts["dropped"] += 1
            return
        if envelope.kind == _WELCOME:
            self._hear_welcome(envelope, frames)
        elif envelope.conversation != self._conversation:
            self.counts["dropped"] += 1
        elif envelope.kind in (_REQUEST, _POST):
            self._hear_request(envelope, frames, now)
        elif hear := _HEARD.get(envelope.kind):
            hear(self, envelope, now)

    def _hear_welcome(self, envelope: Envelope, frames: Sequence[Frame]) -> None:
        try:
            limits = msgspec.msgpack.decode(frames[1], type=Welcome)
        except (IndexError, msgspec.MsgspecError):
            self.counts["dropped"] += 1
            return
        self.counts["welcomes"] += 1
        self.lose()
        if self.state in ENDED:
            return
        self._limits = limits
        if self.is_needless:
            self._enter(State.TWIN)
            return
        self._conversation = envelope.conversation
        self._say_ready()

    def _hear_request(self, envelope: Envelope, frames: Sequence[Frame], now: float) -> None:
        if envelope.lease == 0 or envelope.lease in self._live:
            self.counts["dropped"] += 1  # cannot be answered, or is here already
            return
        content = frames[1] if len(frames) > 1 else b""
        lease_s = self._lease_s_of(envelope.service) if self._leases_s else 0.0
        delivery = Delivery(self, envelope, content, frames[2:], now, lease_s)
        self._live[envelope.lease] = delivery
        self.counts["delivered"] += 1
        if lease_s:
            self._be_due(delivery.extend_at)
        if not self._needs_no_handler(delivery):
            self._waiting.append(delivery)

    def _lease_s_of(self, service: str) -> float:
        return self._leases_s.get(service) or (0.0 if service in self._named else self._leases_s.get(ANY, 0.0))

    def _needs_no_handler(self, delivery: Delivery) -> bool:
        """Its request is answered, or runs."""
        outcome = self._answers.repeat(delivery)
        if outcome is not None:
            self.answer(delivery, outcome, is_repeated=True)
            return True
        if self._answers.join(delivery):
            delivery.is_begun = True
            self.counts["joined"] += 1
            return True
        return False

    def _hear_cancel(self, envelope: Envelope, now: float) -> None:
        delivery = self._live.get(envelope.lease)
        if delivery is None or not _is_of(envelope, delivery.envelope):
            return
        delivery.is_withdrawn = True
        if not delivery.is_begun:
            self._waiting.remove(delivery)
            self.fail(delivery, Code.CANCELLED, "cancelled before a handler began")

    def _hear_accepted(self, envelope: Envelope, now: float) -> None:
        if envelope.sequence == 0 and self.state is State.HAILING:
            self._refusal_remarked = ""
            self._enter(State.SERVING)

    def _hear_error(self, envelope: Envelope, now: float) -> None:
        code, sentence = envelope.code, _sentence_of(envelope)
        is_of_ready = envelope.sequence == 0 and self.state is State.HAILING
        if envelope.sequence == 0 and (code in FINAL or (is_of_ready and code in HOPELESS)):
            self._end_as_outcast(code, sentence)
        elif envelope.sequence == 0 and self.state is State.LEAVING:
            self.lose()
        elif not is_of_ready:
            self.remarks.append(f"the proxy refused a message of {self._name}: {_code_name(code)}: {sentence}")
        else:
            self._enter(State.REFUSED)
            wait_s = envelope.remaining_ms / 1000 or RETRY_S
            self.due_at = now + wait_s
            self._remark_refusal(
                f"the proxy does not take {self._name} yet: {_code_name(code)}: {sentence}; again every {wait_s:g} s"
            )

    def _remark_refusal(self, remark: str) -> None:
        """Once: a name may be in use for days, and is asked for every second."""
        if remark != self._refusal_remarked:
            self._refusal_remarked = remark
            self.remarks.append(remark)

    def _hear_goodbye(self, envelope: Envelope, now: float) -> None:
        if self.state is State.LEAVING:
            self._is_bidden_goodbye = True
        elif self.state is State.SERVING:
            self._enter(State.DISMISSED)
            self.remarks.append(f"the proxy sends {self._name} no more: it drains, or was told to")
        elif self.state in (State.HAILING, State.REFUSED):
            self._part()
        self._settle()

    # ---- what is done ----

    def take(self, now: float) -> Delivery | None:
        """The next delivery to run, begun by this call; None: there is none. Expired ones are answered here."""
        while self._waiting:
            delivery = self._waiting.popleft()
            if delivery.deadline <= now:
                # BUSY, because nothing was begun: the proxy's own deadline ends it, with a word that says more.
                self._answer_error(delivery, Code.BUSY, "the deadline was over before a handler began", "expired")
            elif not self._needs_no_handler(delivery):
                delivery.is_begun = True
                self._answers.begin(delivery)
                return delivery
        return None

    def answer(self, delivery: Delivery, outcome: Outcome, is_repeated: bool = False) -> None:
        """With what its handler came to, or had come to before."""
        if isinstance(outcome, Failure):
            counter = "repeated" if is_repeated else OUTCOME_OF_CODE.get(int(outcome.code), "failed")
            self._answer_error(delivery, outcome.code, outcome.sentence, counter, outcome.content)
        else:
            self.reply(delivery, outcome, "repeated" if is_repeated else "replied")

    def begin_anew(self, delivery: Delivery) -> None:
        """What it was to be answered with has not come about: it waits for a handler of its own, before others."""
        delivery.is_begun = False
        if self.holds(delivery):
            self._waiting.appendleft(delivery)
        else:
            self.counts["discarded"] += 1

    def reply(self, delivery: Delivery, content: Sequence[Frame], counter: str = "replied") -> None:
        """Answers with what the handler returned, or TOO_LARGE where zproxy would not take it."""
        message = [delivery.envelope.answer_head(_REPLY), *content]
        excess = self._excess_of(message)
        if excess:
            self.fail(delivery, Code.TOO_LARGE, f"the reply of {delivery.envelope.service} has {excess}")
        else:
            self._answer(delivery, message, counter)

    def fail(self, delivery: Delivery, code: int, sentence: str, content: bytes = b"") -> None:
        """Answers with an ERROR: one of those a worker may send, or the application's own, from CODE_YOURS on."""
        self._answer_error(delivery, code, sentence, OUTCOME_OF_CODE.get(int(code), "failed"), content)

    def progress(self, delivery: Delivery, percent: float, step: int | None) -> None:
        """Tells how far it is, if anybody still waits."""
        if not self.holds(delivery):
            return
        flags = _HAS_PROGRESS if step is None else _HAS_PROGRESS | _HAS_STEP
        self.outbox.append([self._envelope_of(delivery, _PROGRESS, progress=percent, step=step or 0, flags=flags)])

    def leave(self) -> None:
        """Says GOODBYE: no more is to come. What is held may still be answered, until LEFT."""
        if self.state in (State.HAILING, State.SERVING, State.DISMISSED):
            self._say(Kind.GOODBYE)
            self._enter(State.LEAVING)
        elif self.state is State.REFUSED:
            self._part()
            self._enter(State.LEFT)
        elif self.state in (State.APART, State.TWIN):
            self._enter(State.LEFT)

    def give_back(self) -> None:
        """Answers all that is not begun with BUSY, so that it goes to another worker."""
        while self._waiting:
            sentence = "the master ended before a handler began"
            self._answer_error(self._waiting.popleft(), Code.BUSY, sentence, "returned")

    def lose(self) -> None:
        """The conversation has ended, with all its leases: what is not begun is discarded."""
        self.outbox.clear()
        self.counts["discarded"] += len(self._waiting)
        self._waiting.clear()
        for delivery in self._live.values():
            # A post was delivered for its own sake; of a request, another delivery is what counts now.
            delivery.is_withdrawn = delivery.is_withdrawn or not delivery.is_post
        self._live.clear()
        self._conversation = None
        self.due_at = None
        if self.state is State.LEAVING:
            self._enter(State.LEFT)
        elif self.state not in (State.APART, *ENDED):
            self._enter(State.APART)

    def tick(self, now: float) -> None:
        """Says READY again, or that this process lives, when its time has come."""
        if self.due_at is None or now < self.due_at:
            return
        if self.state is State.REFUSED:
            self._say_ready()
        else:
            self._extend(now)

    def _extend(self, now: float) -> None:
        """The leases that would end; a process that stands still says nothing, and loses them."""
        self.due_at = None
        is_full = len(self.outbox) >= OUTBOX_FULL
        for delivery in self._live.values():
            if not delivery.lease_s or delivery.is_withdrawn:
                continue
            if now >= delivery.extend_at:
                delivery.extend_at = now + delivery.lease_s / 3
                if not is_full:
                    self.counts["extended"] += 1
                    self.outbox.append([self._envelope_of(delivery, _PROGRESS)])
            self._be_due(delivery.extend_at)

    def _be_due(self, at: float) -> None:
        if self.due_at is None or at < self.due_at:
            self.due_at = at

    def stats(self) -> dict[str, int]:
        """COUNTERS, and `in_flight`: delivered and without an outcome yet."""
        outcomes = sum(self.counts[outcome] for outcome in OUTCOMES)
        return {**self.counts, "in_flight": self.counts["delivered"] - outcomes}

    def holds(self, delivery: Delivery) -> bool:
        """Has it still to be answered?"""
        return self._live.get(delivery.envelope.lease) is delivery

    @property
    def is_needless(self) -> bool:
        """Does another endpoint have the same zproxy?"""
        proxy = self._limits.proxy
        others = (each for each in self.siblings if each is not self)
        return proxy != 0 and any(each._limits.proxy == proxy and each.state in STANDING for each in others)

    @property
    def has_work(self) -> bool:
        return bool(self._waiting)

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    # ---- how it is said ----

    def _say_ready(self) -> None:
        self.due_at = None
        self._enter(State.HAILING)
        self._say(
            Kind.READY, content=self._offers, name=self._name, incarnation=self._incarnation, credit=self._credit,
            tlvs=agent(),
        )

    def _say(self, kind: int, *, content: bytes = b"", **fields: Any) -> None:
        envelope = Envelope(kind, conversation=self._conversation or 0, **fields).pack()
        self.outbox.append([envelope, content] if content else [envelope])

    def _envelope_of(self, delivery: Delivery, kind: int, **fields: Any) -> bytes:
        """The first frame of what else is said about a delivery: its three ids, unchanged."""
        asked = delivery.envelope
        return Envelope(
            kind, incarnation=asked.incarnation, sequence=asked.sequence, lease=asked.lease,
            conversation=asked.conversation, **fields,
        ).pack()

    def _answer_error(
        self, delivery: Delivery, code: int, sentence: str, outcome: str, content: bytes = b""
    ) -> None:
        tlvs = tlvs_pack({Tlv.SENTENCE: cut(sentence, SENTENCE_BYTES_MAX)})
        envelope = self._envelope_of(delivery, _ERROR, code=code, tlvs=tlvs)
        self._answer(delivery, [envelope, content] if content else [envelope], outcome)

    def _answer(self, delivery: Delivery, message: list[Frame], outcome: str) -> None:
        if not self.holds(delivery):
            self.counts["late"] += 1
            return
        del self._live[delivery.envelope.lease]
        self.counts[outcome] += 1
        self.outbox.append(message)
        if self.state is not State.SERVING:
            self._settle()

    def _excess_of(self, message: list[Frame]) -> str:
        """What of a message is over zproxy's limits, and over which; "": nothing."""
        limits = self._limits
        if limits.max_frames and len(message) > limits.max_frames:
            return f"{len(message)} frames, limit {limits.max_frames}: send fewer tensors, or join them"
        size = bytes_of(message)
        if limits.max_message and size > limits.max_message:
            return (
                f"{size} bytes, limit {limits.max_message} ({show_size(limits.max_message)}): "
                "raise the proxy's --max-message, or send less at once"
            )
        return ""

    def _settle(self) -> None:
        """Ends what waited for the last answer."""
        if self._live:
            return
        if self.state is State.LEAVING and self._is_bidden_goodbye:
            self._enter(State.LEFT)
        elif self.state is State.DISMISSED:
            self._part()

    def _part(self) -> None:
        self._say(Kind.GOODBYE)
        self._conversation = self.due_at = None
        self._enter(State.APART)

    def _end_as_outcast(self, code: int, sentence: str) -> None:
        self.refusal = code, sentence
        self.lose()
        if self.state is not State.LEFT:
            self._enter(State.OUTCAST)

    def _enter(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state.name} to {state.name}"
        self.state = state


_HEARD: dict[int, Callable[[WorkerSession, Envelope, float], None]] = {
    int(Kind.CANCEL): WorkerSession._hear_cancel,
    int(Kind.ACCEPTED): WorkerSession._hear_accepted,
    int(Kind.ERROR): WorkerSession._hear_error,
    int(Kind.GOODBYE): WorkerSession._hear_goodbye,
}


def cut(text: str, count: int) -> bytes:
    """The first `count` bytes of a text in UTF-8, less a character that would be split."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= count:
        return encoded
    return encoded[:count].decode("utf-8", "ignore").encode()


def _is_of(one: Envelope, other: Envelope) -> bool:
    return one.incarnation == other.incarnation and one.sequence == other.sequence


def _code_name(code: int) -> str:
    try:
        return Code(code).name
    except ValueError:
        return str(code)


def _sentence_of(envelope: Envelope) -> str:
    try:
        sentence = tlvs_parse(envelope.tlvs).get(int(Tlv.SENTENCE), b"")
    except MalformedEnvelope:
        return "without a reason"
    return sentence.decode("utf-8", "replace") or "without a reason"
