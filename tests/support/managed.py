"""Managed peers by hand: a plain DEALER that speaks docs/protocol.md, envelope by envelope, under deadlines."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from zproxy.envelope import Envelope, Kind, offers_pack

ANSWER_MS = 10_000


class ManagedPeer:
    """One connection of one peer. `hello` and `ready` come back when they were accepted."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, name: str, incarnation: int | None = None) -> None:
        self.name = name
        self.incarnation = incarnation or secrets.randbits(63) | 1
        self.sequence = 0
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.METADATA, b"X-zproxy:1")
        self.socket.linger = 0
        self.socket.rcvtimeo = self.socket.sndtimeo = ANSWER_MS
        self.socket.connect(endpoint)
        self.welcome, self.welcome_frames = self.read(Kind.WELCOME)
        self.conversation = self.welcome.conversation

    def send(self, kind: int, *frames: bytes, **fields: Any) -> None:
        """One message, in this conversation and incarnation unless `fields` say otherwise."""
        envelope = Envelope(kind, **{"conversation": self.conversation, "incarnation": self.incarnation, **fields})
        self.socket.send_multipart([envelope.pack(), *frames])

    def read(self, kind: int | None = None) -> tuple[Envelope, list[bytes]]:
        """The next message: its envelope and the frames behind it; of that kind."""
        head, *rest = self.socket.recv_multipart()
        envelope = Envelope.parse(head)
        assert kind is None or envelope.kind == kind, f"{envelope!r}, {rest!r} is no {Kind(kind)!r}"
        return envelope, rest

    def hears_nothing(self) -> bool:
        """Nothing has come so far."""
        return not self.socket.poll(0)

    def hello(self) -> None:
        """Says HELLO and is accepted."""
        self.send(Kind.HELLO, name=self.name)
        assert self.read(Kind.ACCEPTED)[0].sequence == 0

    def ready(self, *services: str, credit: int = 1, lease_ms: int = 0, flags: int = 0) -> None:
        """Says READY with these services and is accepted."""
        offers = offers_pack((service, lease_ms, flags) for service in services)
        self.send(Kind.READY, offers, name=self.name, credit=credit)
        assert self.read(Kind.ACCEPTED)[0].sequence == 0

    def request(self, service: str, *frames: bytes, kind: int = Kind.REQUEST, **fields: Any) -> int:
        """Sends one; its sequence."""
        self.sequence += 1
        fields = {"remaining_ms": 30_000, "sequence": self.sequence, **fields}
        self.send(kind, *frames, service=service, **fields)
        return int(fields["sequence"])

    def answer(self, delivery: Envelope, *frames: bytes, kind: int = Kind.REPLY, **fields: Any) -> None:
        """Answers a delivery, under its own lease."""
        same = {name: getattr(delivery, name) for name in ("incarnation", "sequence", "lease")}
        self.send(kind, *frames, **{**same, **fields})

    def close(self) -> None:
        """The connection ends."""
        self.socket.close()


@contextmanager
def managed_peers() -> Iterator[Any]:
    """A maker of ManagedPeers, all closed at the end."""
    context: zmq.Context[Any] = zmq.Context()

    def make(endpoint: str, name: str, **options: Any) -> ManagedPeer:
        return ManagedPeer(context, endpoint, name, **options)

    try:
        yield make
    finally:
        context.destroy(linger=0)
