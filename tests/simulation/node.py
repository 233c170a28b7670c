"""Node: a model of the protocol's node: sends what is open again in each conversation, counts its outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zproxy.envelope import Envelope

from .book import Violation
from .peer import Peer
from .words import (
    ACCEPTED,
    CANCEL,
    CHUNK,
    ERROR,
    GOODBYE,
    HELLO,
    LAST,
    NEED_HELLO,
    NOT_SHARED,
    POST,
    PROGRESS,
    REPLY,
    RESEND,
    RESENT,
    WINDOW,
)

if TYPE_CHECKING:
    from .world import World

LONGEST_MS = 120_000


@dataclass(slots=True)
class Incoming:
    attempt: int
    offset: int = 0
    is_whole: bool = False


@dataclass(slots=True)
class Want:
    sequence: int
    kind: int
    service: str
    priority: int
    flags: int
    key_hash: int
    deadline_ms: int  # by the node's clock
    copies: int = 0  # sent, and not refused with NEED_HELLO
    has_left: bool = False  # a POST that waits for nothing but NEED_HELLO
    sizes: tuple[int, ...] = ()  # of its streams, in chunks
    attempt: int = 0  # for which it sends them
    sent: list[int] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    incoming: dict[int, Incoming] = field(default_factory=dict)  # streams of its reply


class Node(Peer):
    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.sequence = 0
        self.wants: dict[int, Want] = {}
        self.ended: dict[int, int] = {}  # with an outcome → how many more copies may have one, too
        self.given_up: set[int] = set()  # without: nobody waits any more
        self.is_draining = False

    # ---- what it wants ----

    def want(
        self, kind: int, service: str, priority: int, flags: int, patience_ms: int, key_hash: int = 0,
        sizes: tuple[int, ...] = (),
    ) -> None:
        if self.is_leaving or self.is_gone:
            return
        self.sequence += 1
        want = Want(self.sequence, kind, service, priority, flags, key_hash, self.now_ms() + patience_ms)
        want.sizes = sizes
        self.wants[want.sequence] = want
        if self.is_accepted and self.link is not None:
            self.send(want)

    def send(self, want: Want) -> None:
        remaining_ms = min(want.deadline_ms - self.now_ms(), LONGEST_MS)
        if remaining_ms <= 0 or want.kind == POST and want.copies:
            self.give_up(want)
            return
        self.say(
            want.kind, service=want.service, incarnation=self.incarnation, sequence=want.sequence,
            remaining_ms=remaining_ms, priority=want.priority, flags=want.flags | (RESENT if want.copies else 0),
            key_hash=want.key_hash, stream=len(want.sizes),
        )
        want.copies += 1
        want.has_left = want.kind == POST

    def give_up(self, want: Want) -> None:
        del self.wants[want.sequence]
        self.given_up.add(want.sequence)

    def cancel(self, sequence: int) -> None:
        if self.is_accepted and self.link is not None and not self.is_leaving:
            self.say(CANCEL, incarnation=self.incarnation, sequence=sequence)

    def leave(self) -> None:
        if not self.is_accepted or self.link is None:
            return
        self.is_leaving = True
        for want in [*self.wants.values()]:
            self.give_up(want)
        self.say(GOODBYE)

    # ---- what it hears ----

    def welcomed(self) -> None:
        for want in self.wants.values():
            want.windows = []  # whatever is sent of them now is of no use
            want.incoming.clear()

    def introduce(self, _: None) -> None:
        self.is_draining = False
        self.say(HELLO, name=self.name, incarnation=self.incarnation)

    def accepted(self) -> None:
        """NEED_HELLO of all that was said too early has come before."""
        if self.is_leaving:
            self.world.replace(self)
            return
        for want in [*self.wants.values()]:
            if want.kind == POST and want.copies:
                self.give_up(want)
            else:
                self.send(want)

    def hear(self, envelope: Envelope) -> None:
        kind = envelope.kind
        if kind == GOODBYE:
            if self.is_leaving:
                self.world.replace(self)
            self.is_draining = True
        elif kind == REPLY or kind == ERROR:
            self.hear_outcome(envelope)
        elif kind == WINDOW:
            self.hear_window(envelope)
        elif kind == CHUNK:
            self.hear_chunk(envelope)
        elif kind == PROGRESS or kind == ACCEPTED:
            if not 0 < envelope.sequence <= self.sequence:
                raise Violation("known sequence", f"{self.name} never said #{envelope.sequence}")

    def hear_window(self, envelope: Envelope) -> None:
        want = self.wants.get(envelope.sequence)
        if want is None:
            return
        if envelope.stream == 0:  # zproxy's: a worker has it now
            want.attempt = envelope.attempt
            want.sent = [0] * len(want.sizes)
            want.windows = [envelope.offset] * len(want.sizes)
        elif want.windows and envelope.attempt == want.attempt:
            number = envelope.stream - 1
            want.windows[number] = max(want.windows[number], envelope.offset)
        else:
            return
        for number in range(len(want.sizes)):
            self.send_chunks(want, number)

    def send_chunks(self, want: Want, number: int) -> None:
        size = want.sizes[number]
        while want.sent[number] < min(size, want.windows[number]):
            offset = want.sent[number]
            want.sent[number] += 1
            self.say(
                CHUNK, incarnation=self.incarnation, sequence=want.sequence, attempt=want.attempt, stream=number + 1,
                offset=offset, total=size, flags=LAST if offset + 1 == size else 0,
            )

    def hear_chunk(self, envelope: Envelope) -> None:
        want = self.wants.get(envelope.sequence)
        if want is None:
            return
        stream = want.incoming.get(envelope.stream)
        if stream is None or stream.attempt != envelope.attempt or envelope.offset == 0:
            stream = want.incoming[envelope.stream] = Incoming(envelope.attempt)
        if envelope.offset == stream.offset:
            stream.offset += 1
            stream.is_whole = bool(envelope.flags & LAST)

    def check_reply(self, want: Want, envelope: Envelope) -> None:
        for number in range(1, envelope.stream + 1):
            stream = want.incoming.get(number)
            if stream is None or not stream.is_whole or stream.attempt != envelope.attempt:
                raise Violation("whole streams", f"{self.name} #{want.sequence} is answered without stream {number}")

    def hear_outcome(self, envelope: Envelope) -> None:
        sequence = envelope.sequence
        if envelope.incarnation != self.incarnation or not 0 < sequence <= self.sequence:
            raise Violation("known sequence", f"{self.name} never said #{sequence}")
        want = self.wants.get(sequence)
        if envelope.kind == ERROR and envelope.code in (NEED_HELLO, RESEND, NOT_SHARED):
            if want is not None:
                self.send_again(want, envelope.code)
        elif want is not None:
            if envelope.kind == REPLY:
                self.check_reply(want, envelope)
            del self.wants[sequence]
            self.ended[sequence] = want.copies - 1
        elif sequence in self.ended:
            self.ended[sequence] -= 1   # its answer overtook the copy that a new conversation began with
            if self.ended[sequence] < 0:
                raise Violation("one outcome", f"{self.name} has an outcome of #{sequence} already")

    def send_again(self, want: Want, code: int) -> None:
        if code == NEED_HELLO:
            want.copies -= 1
            want.has_left = False
        if self.is_accepted:
            self.send(want)

    def waits(self) -> list[Want]:
        """For an outcome."""
        return [] if self.is_gone else [want for want in self.wants.values() if not want.has_left]
