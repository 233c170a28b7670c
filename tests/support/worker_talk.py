"""What a zproxy says to a worker, and what the worker's session says back, envelope by envelope; no socket."""

from __future__ import annotations

from typing import Any

import msgspec

from zproxy.client.answers import Answers
from zproxy.client.delivery import Delivery
from zproxy.client.worker_session import WorkerSession
from zproxy.envelope import Envelope, Kind, Tlv, tlvs_pack, tlvs_parse

NODE = 77  # the incarnation of the only node
CREDIT = 4
LEASE_MS = 3000
OFFERS = [("gradients", 0, 0), ("metrics", 0, 1), ("long", LEASE_MS, 0)]


class Talk:
    """One session and the zproxy that talks to it; `now` stands still unless a test moves it."""

    def __init__(self, answers: Answers | None = None, **welcome: Any) -> None:
        self.answers = answers or Answers()
        self.session = WorkerSession("m1", 9, OFFERS, CREDIT, self.answers)
        self.now = 100.0
        self.conversation = 0
        self.welcome_map = {"proxy": 1, "version": 1, "max_message": 1 << 20, "max_frames": 64, **welcome}

    def welcome(self, conversation: int) -> None:
        self.conversation = conversation
        self.say(Kind.WELCOME, content=msgspec.msgpack.encode(self.welcome_map))

    def begin(self, conversation: int = 5) -> None:
        """Until the worker serves, with an empty outbox."""
        self.welcome(conversation)
        assert [each.kind for each in self.heard()] == [Kind.READY]
        self.say(Kind.ACCEPTED, content=msgspec.msgpack.encode({}))

    def say(self, kind: int, *, content: bytes | None = None, frames: tuple[bytes, ...] = (), **fields: Any) -> None:
        envelope = Envelope(kind, **{"conversation": self.conversation, **fields}).pack()
        message = [envelope] if content is None else [envelope, content, *frames]
        self.session.hear(message, self.now)

    def request(self, lease: int, *, kind: int = Kind.REQUEST, **fields: Any) -> None:
        asked = {"service": "gradients", "name": "node1", "incarnation": NODE, "attempt": 1}
        given = {**asked, "sequence": self.sequence_of(lease), "lease": lease, "remaining_ms": 30_000, **fields}
        self.say(kind, content=b"\x91\xc0", **given)

    def sequence_of(self, lease: int) -> int:
        """Another request in each conversation, unless a test says otherwise."""
        return 200 * self.conversation + lease

    def cancel(self, lease: int, **fields: Any) -> None:
        self.say(Kind.CANCEL, **{"incarnation": NODE, "sequence": self.sequence_of(lease), "lease": lease, **fields})

    def refuse(self, code: int, sentence: str = "because", **fields: Any) -> None:
        self.say(Kind.ERROR, code=code, tlvs=tlvs_pack({Tlv.SENTENCE: sentence.encode()}), **fields)

    def take(self) -> Delivery:
        delivery = self.session.take(self.now)
        assert delivery is not None
        return delivery

    def heard(self) -> list[Envelope]:
        """What the session has said since the last call."""
        messages = [list(message) for message in self.session.outbox]
        self.session.outbox.clear()
        return [Envelope.parse(message[0]) for message in messages]

    def count(self, name: str) -> int:
        return self.session.stats()[name]


def sentence_of(envelope: Envelope) -> str:
    return tlvs_parse(envelope.tlvs)[int(Tlv.SENTENCE)].decode()
