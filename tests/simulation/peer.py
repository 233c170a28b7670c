"""Peer: what a model node and a model worker have in common: a link, a conversation, a clock, and being frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zproxy.envelope import Envelope

from .link import Link
from .surface import Said, say
from .words import (
    ACCEPTED,
    DENIED,
    ERROR,
    FENCED,
    NAME_IN_USE,
    WELCOME,
)

if TYPE_CHECKING:
    from .world import World

PIPE_MAX = 20


class Peer:
    is_worker = False

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.random = world.random_of(name)
        self.incarnation = self.random.getrandbits(63) | 1
        self.key_name = name if world.rules is not None else ""  # as the operator has it; "": it has none
        self.link: Link | None = None
        self.conversation = 0  # of the newest WELCOME
        self.is_accepted = False
        self.is_gone = False  # killed, or left
        self.is_leaving = False
        self.is_frozen = False
        self.clock_ms = self.random.randrange(1_000_000)  # ahead of the world's
        self._slept: list[tuple[Callable[[Any], None], Any]] = []  # what happened meanwhile
        self.pipe: list[Said] = []  # said while there was no link

    # ---- time ----

    def now_ms(self) -> int:
        """By its own clock."""
        return self.world.now_ms + self.clock_ms

    def delay(self) -> int:
        """Of the network to or from it."""
        return int(self.random.random() * self.world.knobs.delay_ms)

    def when_awake(self, act: Callable[[Any], None], argument: Any) -> None:
        if self.is_gone:
            return
        if self.is_frozen:
            self._slept.append((act, argument))
        else:
            act(argument)

    def later(self, ms: int, act: Callable[[Any], None], argument: Any) -> None:
        self.world.after(ms, lambda _: self.when_awake(act, argument), None)

    def thaw(self) -> None:
        self.is_frozen = False
        slept, self._slept = self._slept, []
        for act, argument in slept:
            self.when_awake(act, argument)

    # ---- its link ----

    def connect(self, _: Any = None) -> None:
        """Now, or when there is somebody to connect to."""
        if self.is_gone or self.link is not None:
            return
        relay = self.world.relay
        if relay is None:
            self.later(self.random.randrange(20, 200), self.connect, None)
            return
        self.link = relay.connect(self)
        pipe, self.pipe = self.pipe, []
        for said in pipe:
            self.link.send_up(said)

    def when_awake_lose(self, link: Link) -> None:
        self.when_awake(self.lose, link)

    def lose(self, link: Link) -> None:
        """The link has ended, and it sees it."""
        link.is_held = False
        if self.link is not link:
            return
        self.link = None
        rest = link.give_up_rest()
        if self.random.random() < 0.3:  # the socket had not written them yet
            self.pipe = rest[-PIPE_MAX:] + self.pipe
        self.later(self.random.randrange(1, 150), self.connect, None)

    def die(self) -> None:
        """At once, and for ever."""
        self.is_gone = True
        link, self.link = self.link, None
        if link is not None:
            link.is_held = False
            self.world.after(self.delay(), link.relay.close, link)
            if self.random.random() < 0.5:
                link.give_up_rest()

    def say(self, kind: int, content: bytes | None = None, **fields: Any) -> None:
        said = say(kind, content, conversation=self.conversation, **fields)
        if self.world.is_traced:
            self.world.trace(f"{self.name} says", said.envelope)
        if self.link is not None:
            self.link.send_up(said)
        elif len(self.pipe) < PIPE_MAX:
            self.pipe.append(said)

    # ---- what it hears ----

    def receive(self, envelope: Envelope) -> None:
        kind = envelope.kind
        if kind == WELCOME:
            if self.link is None or envelope.conversation != self.link.seat.conversation:
                return  # the end of that link is seen already
            self.conversation = envelope.conversation
            self.is_accepted = False
            self.welcomed()
            self.introduce(None)
        elif envelope.conversation != self.conversation:
            return
        elif kind == ACCEPTED and envelope.sequence == 0:
            if not self.is_accepted:
                self.is_accepted = True
                self.accepted()
        elif kind == ERROR and envelope.sequence == 0:
            self.refused(envelope)
        else:
            self.hear(envelope)

    def refused(self, envelope: Envelope) -> None:
        if envelope.code == NAME_IN_USE:
            self.later(envelope.remaining_ms, self._introduce_again, self.conversation)
        elif envelope.code == FENCED:
            self.world.replace(self)
        elif envelope.code == DENIED and self.key_name == self.name:
            self.reconsider()

    def _introduce_again(self, conversation: int) -> None:
        if conversation == self.conversation and not self.is_accepted and self.link is not None:
            self.introduce(None)

    def welcomed(self) -> None:
        """A new conversation begins."""

    def reconsider(self, _: None = None) -> None:
        """The rules have changed, or do not let it in as it is."""

    def introduce(self, _: None) -> None:
        raise NotImplementedError

    def accepted(self) -> None:
        raise NotImplementedError

    def hear(self, envelope: Envelope) -> None:
        raise NotImplementedError
