"""Session: what a node says to the proxy, what it hears, and what becomes of its requests.

Called by a line, which brings messages and the time, and takes messages away. Never touches a socket, a thread or a
clock, never looks into a content.

    AWAY ──WELCOME──► GREETED ──ACCEPTED──► ACCEPTED          GOODBYE of the proxy sets is_draining, until the next
      ▲               │  ▲                     │                WELCOME
      │ begin         │  └──── HELLO again ────│─── REFUSED   ERROR about the peer: its name is in use, denied …
      └── (any)       └──── ERROR ─────────────┴──────┘  └──► FENCED, for good
                                                              every WELCOME leads to GREETED

Rule 1. A request ends once: `ended` holds each as it ends, for the line's owner to tell whoever waits.
Rule 2. What is sent waits in order in the session, not in the socket: what is left of its time is written into it as
        it leaves, and it is resent when a new conversation begins.
Rule 3. A copy that NEED_HELLO refused was never taken: the next one is not marked RESENT for its sake.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from zproxy.client.agent import agent
from zproxy.client.pending import KeptPosts, Pending, bytes_of, fields_of
from zproxy.envelope import Code, Envelope, Flag, Kind, Tlv, request_head, tlvs_parse
from zproxy.errors import MalformedEnvelope, NodeClosed, RequestError, SettingError, error_of
from zproxy.naming import NAME_RULE, is_name

TIMEOUT_S = 60.0
PROGRESS_S = 5.0  # nobody waits a minute to say how far it is; the proxy has read it as soon as it came
GRACE_S = 0.25  # the proxy's own error says more than ours, so it may come that much later than the deadline
HELLO_S = 5.0  # without an answer for so long, the connection is given up; a name's holder has 2 s to show life
HELLO_AGAIN_S = 1.0  # after a refusal that names no time
NAME_TRIES = 5
EXPIRY_GRAIN_S = 0.01  # of looking through the open requests for those whose time is over
DUE_CANCELS = 4096
REMAINING_MS_MAX = 0x7FFFFFFF
UNKNOWN_ATTEMPT = -1  # it was sent, and whoever could say how often it was delivered is not there any more
NO_CONVERSATION = -1
NO_FIELDS: dict[str, Any] = {}

# As plain integers: comparing with a member of an enum costs as much as reading the envelope.
REQUEST, POST, REPLY, ERROR, ACCEPTED = (
    int(kind) for kind in (Kind.REQUEST, Kind.POST, Kind.REPLY, Kind.ERROR, Kind.ACCEPTED)
)
WELCOME, GOODBYE, CANCEL = int(Kind.WELCOME), int(Kind.GOODBYE), int(Kind.CANCEL)
NEED_HELLO, RESEND, NOT_SHARED, CANCELLED = (
    int(code) for code in (Code.NEED_HELLO, Code.RESEND, Code.NOT_SHARED, Code.CANCELLED)
)
NAME_IN_USE, FENCED, DENIED, MALFORMED = (
    int(code) for code in (Code.NAME_IN_USE, Code.FENCED, Code.DENIED, Code.MALFORMED)
)
RESENT = int(Flag.RESENT)

COUNTED = (
    "requests",  # and posts, handed to the session
    "replies",
    "errors",  # outcomes that are none of the next two
    "timeouts",  # by this node's own watch
    "cancelled",
    "resent",
    "late",  # outcomes of what is not open any more
    "stale",  # messages of a conversation that has ended
    "malformed",  # messages that could not be read
    "conversations",
    "posts_refused",
    "posts_lost",  # never sent: no proxy took them in time
)


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
    GREETED = "HELLO is said and not answered"
    ACCEPTED = "requests may go"
    REFUSED = "HELLO was refused, and will be said again"
    FENCED = "a successor has the name"


class Refusal(NamedTuple):
    """Why the proxy will not have this node."""

    code: int
    sentence: str
    retry_ms: int


class Session:
    """One node's, over all the connections of its life.

    `everywhere` names all its endpoints in errors. Methods that take `now` take monotonic seconds.
    """

    # Slots: an object of 30 attributes and more has none inline in CPython, which cost a request 0.3 us of 2.7.
    __slots__ = (
        "counts", "ended", "everywhere", "has_left", "incarnation", "is_draining", "is_leaving", "is_lost",
        "name", "next_expiry", "said", "state", "unattended", "wants_connection", "welcome", "where",
        "_cancels", "_control", "_conversation", "_dedup", "_has_said_goodbye", "_hello_at", "_name_refusals",
        "_open", "_order", "_outgoing", "_posts", "_refusal", "_sequence", "_services",
    )  # fmt: skip

    def __init__(self, name: str, incarnation: int, everywhere: str) -> None:
        if not is_name(name):
            raise SettingError(f"bad node name {name!r}: {NAME_RULE}")
        self.name = name
        self.incarnation = incarnation
        self.everywhere = everywhere
        self.where = everywhere  # of the present connection
        self.state = State.AWAY
        self.welcome = Welcome()
        self.is_draining = False
        self.is_lost = False  # the connection of this conversation, as far as the line has seen
        self.is_leaving = False
        self.has_left = False
        self.wants_connection = False  # this one answers nothing: the line is to open another
        self.ended: deque[Pending] = deque()
        self.said: deque[tuple[int, str]] = deque()  # level and text for the log
        self.counts = dict.fromkeys(COUNTED, 0)
        self.unattended = 0  # open requests and unsent posts that nobody reads for
        self.next_expiry = float("inf")
        self._conversation = NO_CONVERSATION
        self._dedup = (0, 0)
        self._sequence = 0
        self._order = 0
        self._open: dict[int, Pending] = {}
        self._outgoing: deque[Pending] = deque()
        self._control: deque[bytes] = deque()
        self._cancels: list[int] = []  # to be said in the next conversation
        self._posts = KeptPosts()
        self._hello_at = 0.0  # said, or to be said again
        self._name_refusals = 0
        self._refusal = Refusal(0, "", 0)
        self._has_said_goodbye = False
        self._services: dict[str, bytes] = {}  # names found good, as they are written

    # ---- asked by the node ----

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def has_messages(self) -> bool:
        """May `next_message` have something?"""
        return bool(self._outgoing or self._control or self.is_leaving)

    @property
    def is_waiting(self) -> bool:
        """Is there anything to be heard or sent for?"""
        return bool(self._open or self.is_leaving)

    @property
    def with_proxy(self) -> int:
        """How many open requests have been sent."""
        return sum(request.copies > 0 for request in self._open.values())

    @property
    def dedup_window(self) -> tuple[int, int]:
        """For how many requests, and how many ms, the proxy remembers outcomes; it is also how long we resend."""
        return self._dedup

    def request(
        self,
        kind: int,
        service: str,
        frames: Sequence[Any],
        now: float,
        timeout: float,
        *,
        confirm: bool = False,
        attended: bool = True,
        waiter: Any = None,
        **options: Any,
    ) -> Pending:
        """A new request or post, to be sent as soon as may be; `options` as in `fields_of`. It may have ended already.

        Raises SettingError for options that no envelope can have.
        """
        if not isinstance(service, str) or service not in self._services:
            self._check_service(service)
        if not _is_timeout(timeout):
            raise SettingError(
                f"bad timeout {timeout!r}: a number of seconds, more than 0, at most {REMAINING_MS_MAX // 1000}"
            )
        fields = fields_of(confirm=confirm, **options) if options or confirm else NO_FIELDS
        deadline = now + timeout
        self._sequence += 1
        request = Pending(self._sequence, kind, service, frames, now, deadline, fields, confirm, attended)
        request.waiter = waiter
        self.counts["requests"] += 1
        self._open[request.sequence] = request
        if not attended:
            self.unattended += 1
        if deadline < self.next_expiry:
            self.next_expiry = deadline
        if self.state is State.FENCED:
            self._end(request, self._refused(request))
        elif self.is_leaving:
            self._end(request, self._closed(request))
        else:
            self._outgoing.append(request)
        return request

    def cancel(self, request: Pending) -> bool:
        """Ends it, here at once, and tells the proxy; False if it had ended."""
        if request.has_ended or request.sequence not in self._open:
            return False
        self._end(request, self._error(request, CANCELLED), "cancelled")
        if not request.copies:
            return True
        if self.state is State.ACCEPTED:
            self._say(Kind.CANCEL, sequence=request.sequence)
        elif len(self._cancels) < DUE_CANCELS:
            self._cancels.append(request.sequence)
        return True

    def leave(self) -> None:
        """All that is open ends in NodeClosed; posts that wait still go, then GOODBYE. `has_left` once it came back."""
        self.is_leaving = True
        for request in list(self._open.values()):
            if request.kind == REQUEST or request.confirm:
                self._end(request, self._closed(request))
        if self.state is not State.ACCEPTED and not self._open:
            self.has_left = True
        self._leave_lost()

    def _leave_lost(self) -> None:
        """Nobody is there to say GOODBYE to, and nothing is left that might still go to who comes back."""
        if self.is_leaving and self.is_lost and not self._open:
            self.has_left = True

    def abandon(self) -> None:
        """What could not be sent before the end is lost, and counted."""
        for request in list(self._open.values()):
            self._end(request, self._closed(request))

    # ---- asked by the line ----

    def begin(self, where: str) -> None:
        """Another connection is opened: nothing of the last one counts any more."""
        self.where = where
        self.wants_connection = False
        self.is_draining = False
        self.is_lost = False
        self._conversation = NO_CONVERSATION
        self._control.clear()
        if self.state is not State.FENCED:
            self.state = State.AWAY

    def next_message(self, now: float) -> list[Any] | None:
        """What is to be sent next; None: nothing now. `message_sent` when it has gone."""
        if self._control:
            return [self._control[0]]
        if self.state is not State.ACCEPTED:
            return None
        while self._outgoing:
            request = self._outgoing[0]
            if request.has_ended:
                self._outgoing.popleft()
                continue
            if self.is_draining and not request.copies:
                return None
            message = self._message(request, now)
            if message is not None:
                return message
            self._outgoing.popleft()
        if self.is_leaving and not self._has_said_goodbye:
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
        if request.copies == 1:
            request.sent_at = now
            request.proxy = self.welcome.proxy
        else:
            self.counts["resent"] += 1
            request.was_elsewhere |= request.proxy != self.welcome.proxy
        if request.kind == POST and not request.confirm:
            self._close(request)
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
        elif envelope.conversation != self._conversation:
            self.counts["stale"] += 1
        elif kind == REPLY:
            self._replied(envelope, message)
        elif kind == ERROR:
            self._erred(envelope, message, now)
        elif kind == ACCEPTED:
            self._accepted(envelope, message, now)
        elif kind == GOODBYE:
            self._goodbye()

    def tick(self, now: float) -> None:
        """What is due by time alone, or by `is_lost`."""
        if self.state is State.GREETED and now - self._hello_at > HELLO_S:
            self.wants_connection = True
        if self.state is State.REFUSED and self._open and now >= self._hello_at:
            self._say_hello(now)
        if now >= self.next_expiry:
            self._expire(now)
        self._leave_lost()

    # ---- what is sent ----

    def _check_service(self, service: str) -> None:
        if not is_name(service):
            raise SettingError(f"bad service {service!r}: {NAME_RULE}")
        self._services[service] = service.encode()

    def _message(self, request: Pending, now: float) -> list[Any] | None:
        """As it goes out now; None: it ended instead."""
        remaining_ms = int((request.deadline - now) * 1000)
        if remaining_ms < 1:
            self._time_out(request)
            return None
        head = self._head(request, remaining_ms)
        message = [head, *request.frames]
        return message if self._fits(request, message) else None

    def _head(self, request: Pending, remaining_ms: int) -> bytes:
        if not request.fields and not request.copies:
            service = self._services[request.service]
            return request_head(
                request.kind, service, self.incarnation, request.sequence, remaining_ms, self._conversation
            )
        return Envelope(
            request.kind,
            service=request.service,
            incarnation=self.incarnation,
            sequence=request.sequence,
            remaining_ms=remaining_ms,
            conversation=self._conversation,
            **(request.fields if not request.copies else self._resent(request)),
        ).pack()

    def _resent(self, request: Pending) -> dict[str, Any]:
        return {**request.fields, "flags": request.fields.get("flags", 0) | RESENT}

    def _fits(self, request: Pending, message: list[Any]) -> bool:
        welcome = self.welcome
        if welcome.max_message and (size := bytes_of(message)) > welcome.max_message:
            said = f"{size} bytes, and the proxy takes {welcome.max_message} a message (its --max-message)"
        elif welcome.max_frames and len(message) > welcome.max_frames:
            said = f"{len(message)} frames, and the proxy takes {welcome.max_frames} a message"
        else:
            return True
        self._end(request, self._error(request, Code.TOO_LARGE, said))
        return False

    def _say(self, kind: int, *, name: str = "", sequence: int = 0, tlvs: bytes = b"") -> None:
        self._control.append(
            Envelope(
                kind,
                name=name,
                incarnation=self.incarnation,
                sequence=sequence,
                tlvs=tlvs,
                conversation=self._conversation,
            ).pack()
        )

    def _say_hello(self, now: float) -> None:
        self.state = State.GREETED
        self._hello_at = now
        self._say(Kind.HELLO, name=self.name, tlvs=agent())

    # ---- what comes ----

    def _welcomed(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        try:
            welcome = _welcome_of(_content_of(message))
        except msgspec.MsgspecError as error:
            self._malformed(f"WELCOME of {self.where}: {error}")
            return
        if welcome.proxy != self.welcome.proxy:
            self._cancels.clear()
        self.welcome = welcome
        self.counts["conversations"] += 1
        self.is_draining = False
        self.is_lost = False
        self._conversation = envelope.conversation
        self._control.clear()
        if self.state is not State.FENCED:
            self._say_hello(now)

    def _accepted(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        if envelope.sequence:
            self._post_accepted(envelope, message)
            return
        if self.state is not State.GREETED:
            return
        try:
            self._dedup = _accepted_of(_content_of(message)).dedup
        except msgspec.MsgspecError as error:
            self._malformed(f"ACCEPTED of {self.where}: {error}")
        self.state = State.ACCEPTED
        self._name_refusals = 0
        self._has_said_goodbye = False
        for sequence in self._cancels:
            self._say(Kind.CANCEL, sequence=sequence)
        self._cancels.clear()
        self._reopen(now)

    def _reopen(self, now: float) -> None:
        """All that is open goes out again, in order. NEED_HELLO for what was sent too early has come before this."""
        self._posts.clear()
        for request in list(self._open.values()):
            if request.copies and not self._may_resend(request, now):
                self._end(request, self._error(request, Code.OUTCOME_UNKNOWN))
        self._outgoing = deque(sorted(self._open.values(), key=lambda request: request.sequence))

    def _may_resend(self, request: Pending, now: float) -> bool:
        ids, ms = self._dedup
        if request.kind == POST:
            return False
        is_recent = not ids or self._sequence - request.sequence < ids
        return is_recent and (not ms or (now - request.sent_at) * 1000 <= ms)

    def _post_accepted(self, envelope: Envelope, message: Sequence[Any]) -> None:
        request = self._open.get(envelope.sequence)
        if request is None or not request.confirm or envelope.incarnation != self.incarnation:
            self.counts["late"] += 1
            return
        request.reply = envelope, message
        self._finish(request)

    def _replied(self, envelope: Envelope, message: Sequence[Any]) -> None:
        request = self._open.get(envelope.sequence)
        if request is None or request.kind != REQUEST or envelope.incarnation != self.incarnation:
            self.counts["late"] += 1
            return
        self.counts["replies"] += 1
        request.reply = envelope, message
        self._finish(request)
        if self._posts:
            self._posts.forget_before(request.order)

    def _erred(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        if not envelope.sequence:
            self._peer_erred(envelope, message, now)
        elif envelope.incarnation != self.incarnation:
            self.counts["late"] += 1
        elif envelope.code in (NEED_HELLO, RESEND, NOT_SHARED):
            self._asked_again(envelope)
        else:
            self._ended_by(envelope, message)

    def _asked_again(self, envelope: Envelope) -> None:
        request = self._open.get(envelope.sequence)
        if request is None and envelope.code == NEED_HELLO:
            request = self._reopened_post(envelope.sequence)
        if request is None or not request.copies:
            self.counts["late"] += 1
            return
        if envelope.code == NEED_HELLO:
            request.copies -= 1
        if self.state is State.ACCEPTED and request not in self._outgoing:
            self._outgoing.appendleft(request)

    def _reopened_post(self, sequence: int) -> Pending | None:
        post = self._posts.take(sequence)
        if post is None:
            return None
        post.has_ended = False
        self._open[sequence] = post
        self.unattended += not post.attended
        self.next_expiry = min(self.next_expiry, post.deadline)
        return post

    def _ended_by(self, envelope: Envelope, message: Sequence[Any]) -> None:
        request = self._open.get(envelope.sequence) or self._posts.take(envelope.sequence)
        if request is not None:
            unbegun = UNKNOWN_ATTEMPT if request.was_elsewhere else 0
            self._end(request, self._error_said(request.service, envelope, message, unbegun))
        elif envelope.code != CANCELLED:
            self.counts["late"] += 1

    def _peer_erred(self, envelope: Envelope, message: Sequence[Any], now: float) -> None:
        code = envelope.code
        sentence = _sentence_of(envelope)
        if sentence and code == MALFORMED:  # most often for the endpoint
            sentence = f"the proxy at {self.where} says: {sentence}"
        refusal = Refusal(code, sentence, envelope.remaining_ms)
        if code == FENCED:
            self.state = State.FENCED
            self._refuse(refusal)
        elif self.state is State.GREETED or code in (NAME_IN_USE, DENIED):
            self.state = State.REFUSED
            self._refusal = refusal
            self._hello_at = now + (refusal.retry_ms / 1000 or HELLO_AGAIN_S)
            self._name_refusals += code == NAME_IN_USE
            if code == NAME_IN_USE and self._name_refusals == 1:
                self._say_name_is_in_use(now)
            if code != NAME_IN_USE or self._name_refusals >= NAME_TRIES:
                self._refuse(refusal)
        else:
            self._malformed(f"the proxy at {self.where} says: {self._error_said('', envelope, message)}")

    def _say_name_is_in_use(self, now: float) -> None:
        """At once; the requests wait on, for a silent holder loses the name within that time."""
        again = f"it is asked {NAME_TRIES - 1} times more, every {self._hello_at - now:g} s"
        why = self._refusal.sentence or f'the name "{self.name}" is in use'
        self.said.append((logging.WARNING, f"the proxy at {self.where}: {why}; {again}"))

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self._name_refusals = 0
        said = error_of(refusal.code, service="", node=self.name, sentence=refusal.sentence)
        self.said.append((logging.ERROR, str(said)))
        for request in list(self._open.values()):
            self._end(request, self._refused(request))

    def _goodbye(self) -> None:
        if self.is_leaving:
            self.has_left = True
            return
        self.is_draining = True
        self.said.append((logging.WARNING, f"the proxy at {self.where} stops: new requests wait for another one"))

    def _malformed(self, what: str) -> None:
        self.counts["malformed"] += 1
        self.said.append((logging.WARNING, what))

    # ---- how requests end ----

    def _expire(self, now: float) -> None:
        soonest = float("inf")
        for request in list(self._open.values()):
            has_grace = request.copies and self.state is State.ACCEPTED
            expiry = request.deadline + (GRACE_S if has_grace else 0.0)
            if expiry <= now:
                self._time_out(request)
            else:
                soonest = min(soonest, expiry)
        self.next_expiry = max(soonest, now + EXPIRY_GRAIN_S)

    def _time_out(self, request: Pending) -> None:
        within = f"within {request.deadline - request.began:g} s"
        if request.copies and self.state is State.ACCEPTED and not self.is_lost:
            error = self._error(request, Code.TIMEOUT, f"the proxy at {self.where} did not answer {within}")
        elif self.state is State.REFUSED or (self.state is State.GREETED and self._name_refusals):
            error = self._refused(request)
        elif self.is_draining:
            said = f"the proxy at {self.where} stops, and no other was there {within}"
            error = self._error(request, Code.DRAINING, said)
        elif self.state is State.AWAY:
            said = f"no proxy has answered at {self.everywhere} {within}"
            error = self._error(request, Code.TIMEOUT, said, "start one there by zproxy run, or check the endpoint")
        elif self.is_lost:
            said = f"the connection to the proxy at {self.where} is lost, and none was there again {within}"
            error = self._error(request, Code.TIMEOUT, said, "start it again, or give the node a second endpoint")
        else:
            error = self._error(request, Code.TIMEOUT, f"the proxy at {self.where} took nothing {within}")
        self._end(request, error, "timeouts")

    def _end(self, request: Pending, error: Exception, counted: str = "errors") -> None:
        if request.kind == POST and not request.confirm:
            counted = "posts_refused" if request.copies else "posts_lost"
        self.counts[counted] += 1
        request.error = error
        self._finish(request)

    def _finish(self, request: Pending) -> None:
        self._close(request)
        request.frames = ()  # who holds the outcome does not hold what was asked
        self.ended.append(request)

    def _close(self, request: Pending) -> None:
        """Open no more. Both its outcome, and a post's departure, lead here."""
        request.has_ended = True
        if self._open.pop(request.sequence, None) is not None and not request.attended:
            self.unattended -= 1

    # ---- errors ----

    def _error(self, request: Pending, code: int, sentence: str = "", remedy: str = "") -> RequestError:
        attempt = UNKNOWN_ATTEMPT if request.copies else 0
        return error_of(
            int(code), service=request.service, node=self.name, attempt=attempt, sentence=sentence, remedy=remedy
        )

    def _error_said(
        self, service: str, envelope: Envelope, message: Sequence[Any], unbegun: int = 0
    ) -> RequestError:
        return error_of(
            envelope.code,
            service=service,
            node=self.name,
            worker=envelope.name,
            attempt=envelope.attempt or unbegun,
            sentence=_sentence_of(envelope),
            retry_after_ms=envelope.remaining_ms,
            detail=_detail_of(message),
        )

    def _refused(self, request: Pending) -> RequestError:
        code, sentence, retry_ms = self._refusal
        attempt = UNKNOWN_ATTEMPT if request.copies else 0
        return error_of(
            code, service=request.service, node=self.name, attempt=attempt, sentence=sentence, retry_after_ms=retry_ms
        )

    def _closed(self, request: Pending) -> NodeClosed:
        before = f'node "{self.name}" was closed before its request to "{request.service}"'
        if request.copies:
            return NodeClosed(f"{before} had an outcome: it may have run; close a node after its last reply")
        return NodeClosed(f"{before} was sent: make another node for it")


def _is_timeout(timeout: float) -> bool:
    try:
        return 0 < timeout <= REMAINING_MS_MAX / 1000 and timeout is not True
    except (TypeError, ValueError):
        return False


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

