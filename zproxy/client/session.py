"""Session: a node's requests, from their making to their outcome, over all its proxies; sans-I/O.

Called by a line's owner, who makes requests and tells whoever waits, and by the conversations, one an endpoint, which
send and hear. Never touches a socket, a thread or a clock, never looks into a content.

    request ─► placed at a conversation ─► sent ─► an outcome, or its deadline ─► `ended`
        │        ▲                          │
        ▼        │ the first that may have it│ its connection is lost, its proxy stops
      homeless ──┘ ◄────────────────────────┤
        ▲                                   ▼
        └─ resting ◄── BUSY and other outcomes that are not the caller's yet (`renewal`): a new sequence, a while later

Rule 1. A request ends once: `ended` holds each as it ends, for the line's owner to tell whoever waits.
Rule 2. It is placed at one conversation at a time. What goes to another proxy keeps its sequence, and is marked RESENT
        if it was sent; two proxies share no window, so it may run twice.
Rule 3. What was sent and may not run twice stays where it is: only the proxy that has it can tell what becomes of it.
Rule 4. The first outcome counts, by whatever connection it comes; an error only by the present one.
"""

from __future__ import annotations

import heapq
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from zproxy.client.choice import home_of, least_loaded
from zproxy.client.conversation import POST, REQUEST, UNKNOWN_ATTEMPT, Conversation, Refusal, State
from zproxy.client.pending import Pending, fields_of
from zproxy.client.renewal import backoff_s, renewal_of
from zproxy.envelope import Code, Envelope
from zproxy.errors import NodeClosed, RequestError, SettingError, error_of
from zproxy.naming import NAME_RULE, is_name

TIMEOUT_S = 60.0
PROGRESS_S = 5.0  # nobody waits a minute to say how far it is; the proxy has read it as soon as it came
GRACE_S = 0.25  # the proxy's own error says more than ours, so it may come that much later than the deadline
EXPIRY_GRAIN_S = 0.01  # of looking through the open requests for those whose time is over
REMAINING_MS_MAX = 0x7FFFFFFF
NEVER = float("inf")
NO_FIELDS: dict[str, Any] = {}
DOUBTS = (int(Code.ALREADY_DONE), int(Code.OUTCOME_UNKNOWN))

COUNTED = (
    "requests",  # and posts, handed to the session
    "replies",
    "errors",  # outcomes that are none of the next two
    "timeouts",  # by this node's own watch
    "cancelled",
    "resent",
    "renewed",  # given a new sequence, instead of an outcome
    "moved",  # from a proxy that was lost, or stops, to another one
    "late",  # outcomes of what is not open any more
    "stale",  # messages of a conversation that has ended
    "malformed",  # messages that could not be read
    "conversations",
    "posts_refused",
    "posts_lost",  # never sent: no proxy took them in time
)


class Session:
    """One node's. Methods that take `now` take monotonic seconds. `jitter` is from 0 to 1, another one each time."""

    # Slots: an object of many attributes has none inline in CPython, which cost a request 0.3 us of 2.7.
    __slots__ = (
        "conversations", "counts", "ended", "everywhere", "incarnation", "is_leaving", "name", "newest_sequence",
        "next_expiry", "said", "services", "unattended", "_fence", "_homeless", "_jitter", "_last", "_open", "_resting",
    )  # fmt: skip

    def __init__(
        self, name: str, incarnation: int, endpoints: Sequence[str], jitter: Callable[[], float] = random.random
    ) -> None:
        if not is_name(name):
            raise SettingError(f"bad node name {name!r}: {NAME_RULE}")
        self.name = name
        self.incarnation = incarnation
        self.everywhere = ", ".join(endpoints)
        self.conversations = [Conversation(self, endpoint) for endpoint in endpoints]
        self.is_leaving = False
        self.ended: deque[Pending] = deque()
        self.said: deque[tuple[int, str]] = deque()  # level and text for the log
        self.counts = dict.fromkeys(COUNTED, 0)
        self.unattended = 0  # open requests and unsent posts that nobody reads for
        self.next_expiry = NEVER
        self.newest_sequence = 0
        self.services: dict[str, bytes] = {}  # names found good, as they are written
        self._fence: Refusal | None = None
        self._jitter = jitter
        self._last = 0  # the conversation that was chosen last
        self._open: dict[int, Pending] = {}
        self._homeless: deque[Pending] = deque()  # placed nowhere; those that have ended meanwhile, too
        self._resting: list[tuple[float, int, Pending]] = []  # a heap, by the time at which they go on

    # ---- asked by the node and its line ----

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def has_messages(self) -> bool:
        """May a conversation have something to say?"""
        return any(conversation.has_messages for conversation in self.conversations)

    @property
    def is_waiting(self) -> bool:
        """Is there anything to be heard or sent for?"""
        return bool(self._open or self.is_leaving)

    @property
    def is_fenced(self) -> bool:
        return self._fence is not None

    @property
    def has_left(self) -> bool:
        """After `leave`: all that could be sent was, and every proxy that is there has said GOODBYE."""
        return self.is_leaving and not self._open and all(each.has_parted for each in self.conversations)

    @property
    def due_at(self) -> float:
        """When `tick` has something to do."""
        if not self._resting:
            return self.next_expiry
        return min(self.next_expiry, self._resting[0][0])

    @property
    def dedup_window(self) -> tuple[int, int]:
        """For how many requests, and how many ms, all proxies remember outcomes; it is also how long we resend."""
        windows = [each.dedup for each in self.conversations if any(each.dedup)]
        return (min(ids for ids, _ in windows), min(ms for _, ms in windows)) if windows else (0, 0)

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
        if not isinstance(service, str) or service not in self.services:
            self._check_service(service)
        if not _is_timeout(timeout):
            raise SettingError(
                f"bad timeout {timeout!r}: a number of seconds, more than 0, at most {REMAINING_MS_MAX // 1000}"
            )
        fields = fields_of(confirm=confirm, **options) if options or confirm else NO_FIELDS
        deadline = now + timeout
        self.newest_sequence += 1
        request = Pending(self.newest_sequence, kind, service, frames, now, deadline, fields, confirm, attended)
        request.waiter = waiter
        self.counts["requests"] += 1
        self._open[request.sequence] = request
        if not attended:
            self.unattended += 1
        if deadline < self.next_expiry:
            self.next_expiry = deadline
        if self._fence is not None:
            self.end(request, self.refused(request, self._fence))
        elif self.is_leaving:
            self.end(request, self._closed(request))
        else:
            self._place(request)
        return request

    def cancel(self, request: Pending) -> bool:
        """Ends it, here at once, and tells the proxy; False if it had ended."""
        if request.has_ended or request.sequence not in self._open:
            return False
        holder, sequence = request.sent_by if request.copies else None, request.sequence
        self.end(request, self.error(request, Code.CANCELLED), "cancelled")
        if holder is not None:
            holder.cancel(sequence)
        return True

    def open_of(self, waiter: Any) -> Pending | None:
        """What was made for it: an exception may have come before it was told."""
        return next((request for request in self._open.values() if request.waiter is waiter), None)

    def leave(self) -> None:
        """All that is open ends in NodeClosed; posts that wait still go, then GOODBYE: see `has_left`."""
        self.is_leaving = True
        for request in list(self._open.values()):
            if request.kind == REQUEST or request.confirm:
                self.end(request, self._closed(request))

    def abandon(self) -> None:
        """What could not be sent before the end is lost, and counted."""
        for request in list(self._open.values()):
            self.end(request, self._closed(request))

    def tick(self, now: float) -> None:
        """What is due by time alone."""
        for conversation in self.conversations:
            conversation.tick(now)
        while self._resting and self._resting[0][0] <= now:
            self._go_on(*heapq.heappop(self._resting)[1:])
        if now >= self.next_expiry:
            self._expire(now)

    # ---- where requests go ----

    def _place(self, request: Pending) -> None:
        conversation = self._chosen(request)
        if conversation is None:
            self._homeless.append(request)
        else:
            conversation.take(request)

    def _chosen(self, request: Pending) -> Conversation | None:
        conversations = self.conversations
        if len(conversations) == 1:
            return conversations[0] if conversations[0].takes_new else None
        key = request.fields.get("key_hash", 0)
        if key:
            index = home_of(key, [each.welcome.proxy if each.takes_new else None for each in conversations])
        else:
            index = least_loaded([each.open_count if each.takes_new else None for each in conversations], self._last)
        if index is None:
            return None
        self._last = index
        return conversations[index]

    def rehome(self, conversation: Conversation) -> None:
        """It is of no use now: what it has goes elsewhere, at once or when somebody is there.

        A proxy that stops still answers what was sent to it; what is stuck waits for its own proxy.
        """
        still_answers = conversation.is_standing and conversation.is_draining
        moving = [
            request
            for request in self.placed_at(conversation)
            if not (request.is_stuck or (request.copies and still_answers))
        ]
        for request in moving:
            conversation.drop(request)
        conversation.sift()
        for request in moving:
            self._place(request)
            self.counts["moved"] += request.conversation is not None

    def place_homeless(self) -> None:
        """A conversation may have requests again."""
        homeless, self._homeless = self._homeless, deque()
        for request in sorted(homeless, key=lambda each: each.sequence):
            if not request.has_ended and request.conversation is None:
                self._place(request)

    def placed_at(self, conversation: Conversation) -> list[Pending]:
        return [request for request in self._open.values() if request.conversation is conversation]

    def has_other(self, conversation: Conversation, proxy: int) -> bool:
        """Does another one stand with this proxy?"""
        others = (each for each in self.conversations if each is not conversation)
        return proxy != 0 and any(each.welcome.proxy == proxy and each.is_standing for each in others)

    # ---- what conversations tell ----

    def open_request(self, envelope: Envelope) -> Pending | None:
        """Whom a message of a proxy means."""
        return self._open.get(envelope.sequence) if envelope.incarnation == self.incarnation else None

    def failed(self, request: Pending, error: RequestError, now: float) -> None:
        """A proxy says that it ended so: its outcome, or it is made again."""
        renewal = renewal_of(request, error.code, error.attempt, error.retry_after, self._jitter())
        if renewal is not None and now + renewal.pause_s < request.deadline and not request.has_ended:
            self._renew(request, error, now + renewal.pause_s, renewal.is_marked, now)
        elif error.code == Code.OUTCOME_UNKNOWN and request.is_in_doubt and request.put_off is not None:
            self.end(request, request.put_off)  # which says more
        else:
            self.end(request, error)

    def outlived(self, request: Pending, now: float) -> None:
        """It would have to be sent again, and is older than the proxy remembers."""
        self.failed(request, self.error(request, Code.OUTCOME_UNKNOWN), now)

    def asked_again(self, conversation: Conversation, request: Pending, now: float) -> None:
        """Its proxy wants it once more: at once the first time, then after longer and longer pauses."""
        request.asks += 1
        if request.asks == 1:
            conversation.send_again(request)
        else:
            self._rest(request, now + backoff_s(request.asks - 2, self._jitter()))

    def call_off(self, request: Pending) -> None:
        """It has its outcome by another connection than the present one."""
        if request.conversation is not None and request.sent_by is request.conversation:
            request.conversation.cancel(request.sequence)

    def reopen_post(self, post: Pending) -> None:
        """It was sent, and not taken."""
        post.has_ended = False
        self._open[post.sequence] = post
        self.unattended += not post.attended
        self.next_expiry = min(self.next_expiry, post.deadline)

    def fenced(self, refusal: Refusal) -> None:
        """A successor has the name: this node is over, whichever proxy says so."""
        self._fence = refusal
        for conversation in self.conversations:
            conversation.fence()
        self._refuse_all(refusal)

    def refused_by(self, refusal: Refusal) -> None:
        """A proxy will not have this node. Another one may."""
        if all(each.state in (State.REFUSED, State.TWIN) for each in self.conversations):
            self._refuse_all(refusal)
        else:
            self._say_refusal(refusal)

    def _refuse_all(self, refusal: Refusal) -> None:
        self._say_refusal(refusal)
        for request in list(self._open.values()):
            self.end(request, self.refused(request, refusal))

    def _say_refusal(self, refusal: Refusal) -> None:
        said = error_of(refusal.code, service="", node=self.name, sentence=refusal.sentence)
        self.said.append((logging.ERROR, str(said)))

    # ---- again, later ----

    def _renew(self, request: Pending, error: RequestError, at: float, is_marked: bool, now: float) -> None:
        """Under a new sequence; `is_marked`: as sent before, since it may have begun."""
        self.counts["renewed"] += 1
        if request.conversation is not None:
            request.conversation.drop(request)
        del self._open[request.sequence]
        self.newest_sequence += 1
        request.sequence = self.newest_sequence
        self._open[request.sequence] = request
        request.copies = int(is_marked)
        request.sent_at = now
        request.asks = 0
        request.renewals += 1
        request.put_off = error
        request.is_in_doubt = request.is_in_doubt or error.code in DOUBTS
        if at > now:
            self._rest(request, at)
        else:
            self._place(request)

    def _rest(self, request: Pending, at: float) -> None:
        heapq.heappush(self._resting, (at, request.sequence, request))

    def _go_on(self, sequence: int, request: Pending) -> None:
        if request.has_ended or request.sequence != sequence:
            return
        if request.conversation is None:
            self._place(request)
        else:
            request.conversation.send_again(request)

    # ---- how requests end ----

    def _expire(self, now: float) -> None:
        soonest = NEVER
        for request in list(self._open.values()):
            holder = request.conversation
            expiry = request.deadline + (GRACE_S if holder is not None and holder.has_grace(request) else 0.0)
            if expiry <= now:
                self.time_out(request)
            else:
                soonest = min(soonest, expiry)
        self.next_expiry = max(soonest, now + EXPIRY_GRAIN_S)
        if len(self._homeless) > len(self._open):  # no proxy is there, and what has ended would pile up
            self._homeless = deque(request for request in self._homeless if not request.has_ended)

    def time_out(self, request: Pending) -> None:
        """Its deadline has come."""
        holder = request.conversation
        if holder is None and request.put_off is not None:
            self.end(request, request.put_off, "timeouts")
            return
        within = f"within {request.deadline - request.began:g} s"
        self.end(request, (holder or self._most_telling()).excuse(request, within), "timeouts")

    def _most_telling(self) -> Conversation:
        """The one that knows best why a request without a home found none."""
        return max(self.conversations, key=lambda each: (each.is_draining, each.state is State.REFUSED, each.is_lost))

    def end(self, request: Pending, error: Exception, counted: str = "errors") -> None:
        if request.kind == POST and not request.confirm:
            counted = "posts_refused" if request.copies else "posts_lost"
        self.counts[counted] += 1
        request.error = error
        self.finish(request)

    def finish(self, request: Pending) -> None:
        self.close(request)
        request.frames = ()  # who holds the outcome does not hold what was asked
        self.ended.append(request)

    def close(self, request: Pending) -> None:
        """Open no more. Both its outcome, and a post's departure, lead here."""
        request.has_ended = True
        request.sent_by = request.put_off = None
        if (holder := request.conversation) is not None:  # `drop`, but Ctrl-C comes between calls
            request.conversation = None
            holder.open_count -= 1
        if self._open.pop(request.sequence, None) is not None and not request.attended:
            self.unattended -= 1

    # ---- errors ----

    def error(self, request: Pending, code: int, sentence: str = "", remedy: str = "") -> RequestError:
        attempt = UNKNOWN_ATTEMPT if request.copies else 0
        return error_of(
            int(code), service=request.service, node=self.name, attempt=attempt, sentence=sentence, remedy=remedy
        )

    def refused(self, request: Pending, refusal: Refusal) -> RequestError:
        code, sentence, retry_ms = refusal
        attempt = UNKNOWN_ATTEMPT if request.copies else 0
        return error_of(
            code, service=request.service, node=self.name, attempt=attempt, sentence=sentence, retry_after_ms=retry_ms
        )

    def _closed(self, request: Pending) -> NodeClosed:
        before = f'node "{self.name}" was closed before its request to "{request.service}"'
        if request.copies:
            return NodeClosed(f"{before} had an outcome: it may have run; close a node after its last reply")
        return NodeClosed(f"{before} was sent: make another node for it")

    def _check_service(self, service: str) -> None:
        if not is_name(service):
            raise SettingError(f"bad service {service!r}: {NAME_RULE}")
        self.services[service] = service.encode()


def _is_timeout(timeout: float) -> bool:
    try:
        return 0 < timeout <= REMAINING_MS_MAX / 1000 and timeout is not True
    except (TypeError, ValueError):
        return False
