"""Pending: a REQUEST or POST of a node, from its making to its outcome; and the posts that may be asked for again.

Used by the session, which alone decides what becomes of them; their waiters read the outcome.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

import msgspec

from zproxy.envelope import Envelope, Flag, Kind, key_hash
from zproxy.errors import NoWorker, RequestError, SettingError, UnknownService, error_of

if TYPE_CHECKING:
    from zproxy.client.conversation import Conversation

KEPT_POSTS = 1000
STEP_MAX = 2**64 - 1
KEPT_POST_BYTES = 16 << 20


class Options(TypedDict, total=False):
    """What a request or post may say besides.

    priority       0 control, 1 normal, 2 bulk: lower goes first
    idempotent     False: once a worker may have begun it, it is not delivered again
    step           of the training
    retries        deliveries more at most, after a lost master, silence, and the handler's errors, too; None: 2, and a
                   handler's error ends it
    key            equal keys go to equal workers where the service is balanced so
    ordered        one at a time of all requests with this key, in the order they reach the proxy; needs a key
    """

    priority: int
    idempotent: bool
    step: int | None
    retries: int | None
    key: str | bytes | None
    ordered: bool


_POST = int(Kind.POST)
_OPTIONS = tuple(Options.__annotations__)


class Pending(msgspec.Struct, eq=False):
    """One of them. Once `has_ended`, `reply` or `error` is its outcome; a post without `confirm` has neither."""

    sequence: int
    kind: int
    service: str
    frames: Sequence[Any]
    began: float
    deadline: float
    fields: dict[str, Any]  # of the envelope, besides what is written anew as it leaves
    confirm: bool  # a POST whose ACCEPTED is waited for
    attended: bool  # who waits for it reads the socket, too; for others a reader has to be found
    conversation: Conversation | None = None  # by which it goes; None: none has it, or it has ended
    sent_by: Conversation | None = None  # the last that sent it
    copies: int = 0  # sent, and perhaps taken
    sent_at: float = 0.0  # the first of them
    proxy: int = 0  # who got the first of them
    was_elsewhere: bool = False  # another one got a later copy, and does not know what became of the first
    order: int = 0  # of the newest copy among all that its conversation sent
    asks: int = 0  # how often a proxy asked for it again
    renewals: int = 0  # how often it was given a new sequence
    put_off: RequestError | None = None  # the outcome that the newest of them was for
    is_in_doubt: bool = False  # one of them was because it may have run, and nobody knows what came of it
    has_ended: bool = False
    reply: tuple[Envelope, Sequence[Any]] | None = None  # of a POST with confirm, ACCEPTED
    error: Exception | None = None
    waiter: Any = None  # whom the session's owner tells; not looked at here

    @property
    def is_idempotent(self) -> bool:
        """May it run twice, for all its caller says?"""
        return not self.fields.get("flags", 0) & Flag.NOT_IDEMPOTENT

    @property
    def may_retry(self) -> bool:
        """`retries=0` forbids it."""
        return self.fields.get("max_attempts") != 1

    @property
    def is_stuck(self) -> bool:
        """Only the proxy that has it may know what becomes of it: no other one is asked."""
        return self.copies > 0 and (self.kind == _POST or not self.is_idempotent)

    def raise_error(self) -> None:
        """Raises its error if it has one, and keeps it no longer: its traceback would lead back here, a cycle."""
        error, self.error = self.error, None
        if error is None:
            return
        try:
            raise error
        finally:
            del error


class KeptPosts:
    """Posts that were sent and are not yet known to be read: NEED_HELLO, or a refusal, may still name them.

    A bounded number: the oldest is forgotten first, and then lost if the connection was.
    """

    def __init__(self) -> None:
        self._posts: dict[int, Pending] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._posts)

    def keep(self, post: Pending) -> None:
        self._posts[post.sequence] = post
        self._bytes += bytes_of(post.frames)
        while len(self._posts) > KEPT_POSTS or self._bytes > KEPT_POST_BYTES:
            self.take(next(iter(self._posts)))

    def take(self, sequence: int) -> Pending | None:
        """It is kept no longer."""
        post = self._posts.pop(sequence, None)
        if post is not None:
            self._bytes -= bytes_of(post.frames)
        return post

    def forget_before(self, order: int) -> None:
        """Those sent before something that was answered: a connection is read in order."""
        while self._posts:
            oldest = next(iter(self._posts))
            if self._posts[oldest].order > order:
                return
            self.take(oldest)

    def clear(self) -> None:
        self._posts.clear()
        self._bytes = 0


def options_of(options: Options, also: str) -> dict[str, Any]:
    """What a call was given besides; `also` is what its signature names itself.

    Raises TypeError for an option that does not exist, as every function does.
    """
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"there is no option {name!r}: {also}, {', '.join(_OPTIONS)}")
    return cast("dict[str, Any]", options)


def fields_of(
    *,
    priority: int = 1,
    idempotent: bool = True,
    step: int | None = None,
    progress: float | None = None,
    retries: int | None = None,
    key: str | bytes | None = None,
    ordered: bool = False,
    confirm: bool = False,
) -> dict[str, Any]:
    """The envelope's fields that say so. Raises SettingError for what does not fit them."""
    flags = 0
    fields: dict[str, Any] = {}
    if not _truth("idempotent", idempotent):
        flags |= Flag.NOT_IDEMPOTENT
    if _truth("confirm", confirm):
        flags |= Flag.WANTS_ACCEPTED
    if step is not None:
        flags |= Flag.HAS_STEP
        fields["step"] = whole("step", step, STEP_MAX)
    if progress is not None:
        flags |= Flag.HAS_PROGRESS
        fields["progress"] = per_cent(progress)
    if whole("priority", priority, 2) != 1:
        fields["priority"] = int(priority)
    if retries is not None:
        fields["max_attempts"] = whole("retries", retries, 254) + 1
        if retries:
            flags |= Flag.RETRY_ERRORS
    if key is not None:
        fields["key_hash"] = _hash_of(key)
    if _truth("ordered", ordered):
        if key is None:
            raise SettingError("bad ordered True: it needs a key, of whose requests one runs at a time")
        flags |= Flag.ORDERED
    if flags:
        fields["flags"] = int(flags)
    return fields


def progress_of(progress: float, step: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Body and options of a progress report."""
    said = {"progress": per_cent(progress), "step": step}
    return said, dict(said)


def progress_unheard(error: NoWorker) -> RequestError:
    """The same error, in the words of a progress report."""
    ever = "has ever offered" if isinstance(error, UnknownService) else "offers any more"
    return error_of(
        error.code,
        service=error.service,
        node=error.node,
        sentence=f'no master {ever} the service "progress"; the proxy has noted it for zproxy status all the same',
        remedy='offer it by @master.service("progress"), or say step= with other requests instead',
    )


def bytes_of(frames: Sequence[Any]) -> int:
    """Of all of them."""
    return sum([len(frame) if type(frame) is bytes else memoryview(frame).nbytes for frame in frames])


def per_cent(progress: float) -> float:
    """Raises SettingError for what is none."""
    try:
        is_good = 0 <= progress <= 100  # false for NaN
    except TypeError:
        is_good = False
    if not is_good:
        raise SettingError(f"bad progress {progress!r}: per cent, from 0 to 100")
    return float(progress)


def _hash_of(key: str | bytes) -> int:
    try:
        return key_hash(key if isinstance(key, bytes) else key.encode())
    except (AttributeError, UnicodeEncodeError):
        raise SettingError(f"bad key {key!r}: str that is Unicode, or bytes") from None


def _truth(name: str, value: object) -> bool:
    """"no" and None would count as something else than was meant."""
    if not isinstance(value, bool):
        raise SettingError(f"bad {name} {value!r}: True or False")
    return value


def whole(name: str, value: Any, most: int) -> int:
    """Raises SettingError for what is no whole number from 0 to `most`."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # numpy's whole numbers, too
    except TypeError:
        number = -1
    if not 0 <= number <= most:
        raise SettingError(f"bad {name} {value!r}: a whole number from 0 to {most}")
    return number
