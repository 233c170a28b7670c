"""Conversation: what a node says to the proxy at one endpoint, and hears from it; sans-I/O.

Called by a wire, which brings messages and the time and takes messages away, and by the session, which places requests
here and decides what becomes of them. Never touches a socket, a thread or a clock, never looks into a content.

    AWAY ──WELCOME──► GREETED ──ACCEPTED──► ACCEPTED          GOODBYE of the proxy sets is_draining, until the next
      ▲    │          │  ▲                     │                WELCOME
      │    └► TWIN    │  └──── HELLO again ────│─── REFUSED   ERROR about the peer: its name is in use, denied …
      │ begin         └──── ERROR ─────────────┴──────┘  └──► FENCED, for good
      └── (any)                                               every WELCOME leads to GREETED, or to TWIN: another
                                                              endpoint of the node leads to the same proxy

Rule 1. What is sent waits in order here, not in the socket: what is left of its time is written into it as it leaves.
Rule 2. In a new conversation all that is placed here is sent again. What is open and lost elsewhere is placed here.
Rule 3. A copy that NEED_HELLO refused was never taken: the next one is not marked RESENT for its sake.
Rule 4. Nothing is sent again that is older than the proxy remembers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zproxy.client.agent import agent
from zproxy.client.pending import KeptPosts, Pending, bytes_of
from zproxy.envelope import Code, Envelope, Flag, Kind, Tlv, request_head, tlvs_parse
from zproxy.errors import MalformedEnvelope, RequestError, error_of

if TYPE_CHECKING:
    from zproxy.client.session import Session

HELLO_S = 5.0  # without an answer for so long, the connection is given up; a name's holder has 2 s to show life
HELLO_AGAIN_S = 1.0  # after a refusal that names no time
NAME_TRIES = 5
DUE_CANCELS = 4096
NO_CONVERSATION = -1
UNKNOWN_ATTEMPT = -1  # it was sent, and whoever could say how often it was delivered is not there any more

# As plain integers: comparing with a member of an enum costs as much as reading the envelope.
REQUEST, POST, REPLY, ERROR, ACCEPTED = (
    int(kind) for kind in (Kind.REQUEST, Kind.POST, Kind.REPLY, Kind.ERROR, Kind.ACCEPTED)
)
WELCOME, GOODBYE = int(Kind.WELCOME), int(Kind.GOODBYE)
NEED_HELLO, RESEND, NOT_SHARED = (int(code) for code in (Code.NEED_HELLO, Code.RESEND, Code.NOT_SHARED))
NAME_IN_USE, FENCED, DENIED, MALFORMED = (
    int(code) for code in (Code.NAME_IN_USE, Code.FENCED, Code.DENIED, Code.MALFORMED)
)
RESENT = int(Flag.RESENT)


class Welcome(msgspec.Struct, frozen=True):
    """The map of WELCOME, as far as a node needs it."""

    proxy: int = 0
    max_message: int = 0  # 0: no limit was named
    max_frames: int = 0


class _Accepted(msgspec.Struct, frozen=True):
    dedup: tuple[int, int] = (0, 0)  # ids, ms; 0: no limit was named


_welcome_of = msgspec.msgpack.Decoder(Welcome).decode
_accepted_of = msgspec.msgpack.Decoder(_Accepted).decode
_map_of = msgspec.msgpack.Decoder(dict[str, Any]).decode


class State(Enum):
    """How far the present conversation is."""

    AWAY = "no proxy has said WELCOME"
    TWIN = "another endpoint leads to the same proxy"
    GREETED = "HELLO is said and not answered"
    ACCEPTED = "requests may go"
    REFUSED = "HELLO was refused, and will be said again"
    FENCED = "a successor has the name"


class Refusal(NamedTuple):
    """Why the proxy will not have this node."""

    code: int
    sentence: str
    retry_ms: int


class Conversation:
    """One endpoint's, over all its connections. Methods that take `now` take monotonic seconds."""

    # Slots: an object of many attributes has none inline in CPython, which cost a request 0.3 us of 2.7.
    __slots__ = (
        "dedup", "endpoint", "is_draining", "is_lost", "open_count", "refusal", "state", "wants_connection", "welcome",
        "_cancels", "_control", "_has_heard_goodbye", "_has_said_goodbye", "_hello_at", "_name_refusals", "_number",
        "_order", "_outgoing", "_posts", "_session",
    )  # fmt: skip

    def __init__(self, session: Session, endpoint: str) -> None:
        self.endpoint = endpoint
        self.state = State.AWAY
        self.welcome = Welcome()
        self.dedup = (0, 0)
        self.refusal = Refusal(0, "", 0)
        self.is_draining = False
        self.is_lost = False  # its connection, as far as the wire has seen
        self.wants_connection = False  # this one answers nothing: the wire is to open another
        self.open_count = 0  # requests and posts placed here
        self._session = session
        self._number = NO_CONVERSATION
        self._order = 0
        self._outgoing: deque[Pending] = deque()
        self._control: deque[bytes] = deque()
        self._cancels: list[int] = []  # to be said in the next conversation
        self._posts = KeptPosts()
        self._hello_at = 0.0  # said, or to be said again
        self._name_refusals = 0
        self._has_said_goodbye = False
        self._has_heard_goodbye = False

    # ---- asked by the session ----

    @property
    def takes_new(self) -> bool:
        """May a request be placed here?"""
        return self.state is State.ACCEPTED and not self.is_draining and not self.is_lost

    @property
    def is_standing(self) -> bool:
        """Does its proxy talk to us?"""
        return self.state in (State.GREETED, State.ACCEPTED, State.REFUSED) and not self.is_lost

    @property
    def has_parted(self) -> bool:
        """Once the node leaves: nobody is there to say GOODBYE to, or it was heard."""
        return self._has_heard_goodbye or self.is_lost or self.state is not State.ACCEPTED

    def take(self, request: Pending) -> None:
        """It is placed here, to be sent behind what waits."""
        self._outgoing.append(request)
        request.conversation = self
        self.open_count += 1

    def send_again(self, request: Pending) -> None:
        """What is placed here, once more, before what waits."""
        if self.state is State.ACCEPTED and request not in self._outgoing:
            self._outgoing.appendleft(request)

    def drop(self, request: Pending) -> None:
        """It is placed here no longer: it has ended, or goes elsewhere."""
        request.conversation = None
        self.open_count -= 1

    def sift(self) -> None:
        """Forgets what waited and was dropped."""
        self._outgoing = deque(request for request in self._outgoing if request.conversation is self)

    def cancel(self, sequence: int) -> None:
        """Tells the proxy, now or when it is back."""
        if self.state is State.ACCEPTED and not self.is_lost:
            self._say(Kind.CANCEL, sequence=sequence)
        elif len(self._cancels) < DUE_CANCELS:
            self._cancels.append(sequence)

    def has_grace(self, request: Pending) -> bool:
        """May the proxy say more than we do, a little after the deadline?"""
        return request.copies > 0 and self.state is State.ACCEPTED

    def excuse(self, request: Pending, within: str) -> RequestError:
        """Why it has no outcome at its deadline."""
        at, error = f"the proxy at {self.endpoint}", self._session.error
        if request.copies and self.state is State.ACCEPTED and not self.is_lost:
            return error(request, Code.TIMEOUT, f"{at} did not answer {within}")
        if self.state is State.REFUSED or (self.state is State.GREETED and self._name_refusals):
            return self._session.refused(request, self.refusal)
        if self.is_draining:
            return error(request, Code.DRAINING, f"{at} stops, and no other was there {within}")
        if request.is_stuck:
            return error(request, Code.OUTCOME_UNKNOWN, f"the connection to {at} is lost, and only that one could tell")
        if self.state is State.AWAY:
            said = f"no proxy has answered at {self._session.everywhere} {within}"
            return error(request, Code.TIMEOUT, said, "start one there by zproxy run, or check endpoint and keys")
        if self.is_lost:
            said = f"the connection to {at} is lost, and none was there again {within}"
            return error(request, Code.TIMEOUT, said, "start it again, or give the node a second endpoint")
        return error(request, Code.TIMEOUT, f"{at} took nothing {within}")

    def fence(self) -> None:
        """A successor has the name, here or elsewhere: nothing is said any more."""
        self.state = State.FENCED
        self._control.clear()
        self._outgoing.clear()

    # ---- asked by the wire ----

    @property
    def has_messages(self) -> bool:
        """May `next_message` have something?"""
        return bool(self._outgoing or self._control or self._session.is_leaving)

    @property
    def is_needless(self) -> bool:
        """Another endpoint has the same proxy: no connection is needed here."""
        return self.state is State.TWIN and self._session.has_other(self, self.welcome.proxy)

    def begin(self) -> None:
        """Another connection is opened: nothing of the last one counts any more."""
        self.wants_connection = False
        self.is_draining = False
        self._number = NO_CONVERSATION
        self._control.clear()
        if self.state is not State.FENCED:
            self.state = State.AWAY
        self._session.rehome(self)
        self.is_lost = False

    def lose(self) -> None:
        """The connection has ended: what it had goes over another one. What was read of it is still heard."""
        if not self.is_lost and self.state is not State.AWAY:
            self.is_lost = True
            self._session.rehome(self)

    def next_message(self, now: float) -> list[Any] | None:
        """What is to be sent next; None: nothing now. `message_sent` when it has gone."""
        if self._control:
            return [self._control[0]]
        if self.state is not State.ACCEPTED or self.is_lost:
            return None
        while self._outgoing:
            request = self._outgoing[0]
            message = self._message(request, now) if request.conversation is self else None
            if message is not None:
                return message
            self._outgoing.popleft()
        if self._session.is_leaving and not self._has_said_goodbye:
            self._has_said_goodbye = True
            self._say(Kind.GOODBYE)
            return [self._control[0]]
        return None

    def message_sent(self, now: float) -> None:
        """What `next_message` gave has gone."""
        if self._control:
            self._control.popleft()
            return
        request = self._outgoing.popleft()
        self._order += 1
        request.order = self._order
        request.copies += 1
        request.sent_by = self
        if request.copies == 1:
            request.sent_at = now
            request.proxy = self.welcome.proxy
        else:
            self._session.counts["resent"] += 1
            request.was_elsewhere |= request.proxy != self.welcome.proxy
        if request.kind == POST and not request.confirm:
            self._session.close(request)
            self._posts.keep(request)

    def receive(self, message: Sequence[Any], now: float) -> None:
        """A message from the proxy, frame by frame."""
        try:
            envelope = Envelope.parse(message[0])
        except MalformedEnvelope as error:
            self._malformed(str(error))
            return
        kind = envelope.kind
        if kind == WELCOME:
            self._welcomed(envelope, message, now)
        elif envelope.conversation != self._number:
            self._session.counts["stale"] += 1
        elif kind == REPLY:
            self._replied(envelope, message)
        elif kind == ERROR:
            self._erred(envelope, message, now)
        elif kind == ACCEPTED:
            self._accepted(envelope, message, now)
        elif kind == GOODBYE:
            self._goodbye()

    def tick(self, now: float) -> None:
        """What is due by time alone."""
        if self.state is State.GREETED and now - self._hello_at > HELLO_S:
            self.wants_connection = True
        if self.state is State.REFUSED and self._session.open_count and now >= self._hello_at:
            self._say_hello(now)

    # ---- what is sent ----

    def _message(self, request: Pending, now: float) -> list[Any] | None:
        """As it goes out now; None: it ended, or goes elsewhere, instead."""
        remaining_ms = int((request.deadline - now) * 1000)
        if remaining_ms < 1:
            self._session.time_out(request)
            return None
        if request.copies and not self._may_resend(request, now):
            self._session.outlived(request, now)
            return None
        message = [self._head(request, remaining_ms), *request.frames]
        return message if self._fits(request, message) else None

    def _may_resend(self, request: Pending, now: float) -> bool:
        ids, ms = self.dedup
        if request.kind == POST:
            return False
        is_recent = not ids or self._session.newest_sequence - request.sequence < ids
        return is_recent and (not ms or (now - request.sent_at) * 1000 <= ms)

    def _head(self, request: Pending, remaining_ms: int) -> bytes:
        session = self._session
        if not request.fields and not request.copies:
            service = session.services[request.service]
            return request_head(
                request.kind, service, session.incarnation, request.sequence, remaining_ms, self._number
            )
        return Envelope(
            request.kind,
            service=request.service,
            incarnation=session.incarnation,
            sequence=request.sequence,
            remaining_ms=remaining_ms,
            conversation=self._number,
            **(_marked(request.fields) if request.copies else request.fields),
        ).pack()

    def _fits(self, request: Pending, message: list[Any]) -> bool:
        welcome = self.welcome
        if welcome.max_message and (size := bytes_of(message)) > welcome.max_message:
            said = f"{size} bytes, and the proxy takes {welcome.max_message} a message (its --max-message)"
        elif welcome.max_frames and len(message) > welcome.max_frames:
            said = f"{len(message)} frames, and the proxy takes {welcome.max_frames} a message"
        else:
            return True
        self._session.end(request, self._session.error(request, Code.TOO_LARGE, said))
        return False

    def _say(self, kind: int, *, name: str = "", sequence: int = 0, tlvs: bytes = b"") -> None:
        self._control.append(
            Envelope(
                kind,
                name=name,
                incarnation=self._session.incarnation,
                sequence=sequence,
                tlvs=tlvs,
                conversation=self._number,
            ).pack()
        )

    def _say_hello(self, now: float) -> None:
        self.state = State.GREETED
        self._hello_at = now
        self._say(Kind.HELLO, name=self._session.name, tlvs=agent())

    # ---- what comes ----

    def _welcomed(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        try:
            welcome = _welcome_of(_content_of(message))
        except msgspec.MsgspecError as error:
            self._malformed(f"WELCOME of {self.endpoint}: {error}")
            return
        if welcome.proxy != self.welcome.proxy:
            self._cancels.clear()
        self.welcome = welcome
        self.is_draining = False
        self.is_lost = False
        self._number = envelope.conversation
        self._control.clear()
        self._session.counts["conversations"] += 1
        if self.state is State.FENCED:
            return
        if self._session.has_other(self, welcome.proxy):
            self.state = State.TWIN
            self._session.rehome(self)
        else:
            self._say_hello(now)

    def _accepted(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        if envelope.sequence:
            self._post_accepted(envelope, message)
            return
        if self.state is not State.GREETED:
            return
        try:
            self.dedup = _accepted_of(_content_of(message)).dedup
        except msgspec.MsgspecError as error:
            self._malformed(f"ACCEPTED of {self.endpoint}: {error}")
        self.state = State.ACCEPTED
        self._name_refusals = 0
        self._has_said_goodbye = False
        for sequence in self._cancels:
            self._say(Kind.CANCEL, sequence=sequence)
        self._cancels.clear()
        self._reopen()

    def _reopen(self) -> None:
        """All that is open here goes out again, in order, with what had no home. NEED_HELLO for what was sent too early
        has come before this."""
        self._posts.clear()
        self._session.place_homeless()
        self._outgoing = deque(sorted(self._session.placed_at(self), key=lambda request: request.sequence))

    def _post_accepted(self, envelope: Envelope, message: Sequence[Any]) -> None:
        request = self._session.open_request(envelope)
        if request is None or not request.confirm:
            self._session.counts["late"] += 1
            return
        request.reply = envelope, message
        self._session.finish(request)

    def _replied(self, envelope: Envelope, message: Sequence[Any]) -> None:
        request = self._session.open_request(envelope)
        if request is None or request.kind != REQUEST:
            self._session.counts["late"] += 1
            return
        if request.conversation is not self:
            self._session.call_off(request)
        if self._posts and request.sent_by is self:
            self._posts.forget_before(request.order)
        self._session.counts["replies"] += 1
        request.reply = envelope, message
        self._session.finish(request)

    def _erred(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        if not envelope.sequence:
            self._peer_erred(envelope, message, now)
        elif envelope.incarnation != self._session.incarnation:
            self._session.counts["late"] += 1
        elif envelope.code == NEED_HELLO:
            self._not_taken(envelope)
        elif envelope.code in (RESEND, NOT_SHARED):
            self._asked_again(envelope, now)
        else:
            self._ended_by(envelope, message, now)

    def _not_taken(self, envelope: Envelope) -> None:
        request = self._session.open_request(envelope) or self._reopened_post(envelope.sequence)
        if request is None or not request.copies:
            self._session.counts["late"] += 1
            return
        request.copies -= 1
        if request.conversation is self:
            self.send_again(request)

    def _reopened_post(self, sequence: int) -> Pending | None:
        post = self._posts.take(sequence)
        if post is not None:
            self._session.reopen_post(post)
            post.conversation = self
            self.open_count += 1
        return post

    def _asked_again(self, envelope: Envelope, now: float) -> None:
        request = self._session.open_request(envelope)
        if request is None or not request.copies or request.conversation is not self:
            self._session.counts["late"] += 1
        else:
            self._session.asked_again(self, request, now)

    def _ended_by(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        request = self._session.open_request(envelope)
        if request is not None and request.conversation not in (self, None):
            request = None  # it went on over another connection, whose outcome counts
        request = request or self._posts.take(envelope.sequence)
        if request is None:
            self._session.counts["late"] += envelope.code != Code.CANCELLED
            return
        unbegun = UNKNOWN_ATTEMPT if request.was_elsewhere else 0
        self._session.failed(request, self._error_said(request.service, envelope, message, unbegun), now)

    def _peer_erred(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        code = envelope.code
        sentence = _sentence_of(envelope)
        if sentence and code == MALFORMED:  # most often for the endpoint
            sentence = f"the proxy at {self.endpoint} says: {sentence}"
        refusal = Refusal(code, sentence, envelope.remaining_ms)
        if code == FENCED:
            self._session.fenced(refusal)
        elif self.state is State.GREETED or code in (NAME_IN_USE, DENIED):
            self._refused(refusal, now)
        else:
            self._malformed(f"the proxy at {self.endpoint} says: {self._error_said('', envelope, message)}")

    def _refused(self, refusal: Refusal, now: float) -> None:
        self.state = State.REFUSED
        self.refusal = refusal
        self._hello_at = now + (refusal.retry_ms / 1000 or HELLO_AGAIN_S)
        self._name_refusals += refusal.code == NAME_IN_USE
        if refusal.code == NAME_IN_USE and self._name_refusals == 1:
            self._say_name_is_in_use(now)
        if refusal.code != NAME_IN_USE or self._name_refusals >= NAME_TRIES:
            self._name_refusals = 0
            self._session.refused_by(refusal)
        self._session.rehome(self)

    def _say_name_is_in_use(self, now: float) -> None:
        """At once; the requests wait on, for a silent holder loses the name within that time."""
        again = f"it is asked {NAME_TRIES - 1} times more, every {self._hello_at - now:g} s"
        why = self.refusal.sentence or f'the name "{self._session.name}" is in use'
        self._session.said.append((logging.WARNING, f"the proxy at {self.endpoint}: {why}; {again}"))

    def _goodbye(self) -> None:
        """Unasked: it takes nothing new; what it has it still answers."""
        if self._session.is_leaving:
            self._has_heard_goodbye = True
            return
        self.is_draining = True
        said = f"the proxy at {self.endpoint} stops: new requests wait for another one"
        self._session.said.append((logging.WARNING, said))
        self._session.rehome(self)

    def _malformed(self, what: str) -> None:
        self._session.counts["malformed"] += 1
        self._session.said.append((logging.WARNING, what))

    def _error_said(
        self, service: str, envelope: Envelope, message: Sequence[Any], unbegun: int = 0
    ) -> RequestError:
        return error_of(
            envelope.code,
            service=service,
            node=self._session.name,
            worker=envelope.name,
            attempt=envelope.attempt or unbegun,
            sentence=_sentence_of(envelope),
            retry_after_ms=envelope.remaining_ms,
            detail=_detail_of(message),
        )


def _marked(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "flags": fields.get("flags", 0) | RESENT}


def _content_of(message: Sequence[Any]) -> bytes:
    """Frame 1 of what zproxy itself says; an empty map where there is none."""
    return bytes(message[1]) if len(message) > 1 and len(message[1]) else b"\x80"


def _sentence_of(envelope: Envelope) -> str:
    try:
        return tlvs_parse(envelope.tlvs).get(int(Tlv.SENTENCE), b"").decode(errors="replace")
    except MalformedEnvelope:
        return ""


def _detail_of(message: Sequence[Any]) -> dict[str, Any] | None:
    if len(message) < 2 or not len(message[1]):
        return None
    try:
        return _map_of(bytes(message[1]))
    except msgspec.MsgspecError:
        return None
