"""A node's session without a socket: a test is its proxy and its clock."""

from __future__ import annotations

from typing import Any

import msgspec

from zproxy.client.pending import Pending
from zproxy.client.session import Session
from zproxy.envelope import Envelope, Kind, Tlv, tlvs_pack

INCARNATION = 77
CONTENT = b"\x91\x01"


class NodeTalk:
    """With one proxy; `other` is the same node's talk with another one."""

    def __init__(self, session: Session | None = None, which: int = 0, endpoints: int = 1) -> None:
        names = [f"tcp://proxy:{number}" for number in range(1, endpoints + 1)]
        self.session = session or Session("node1", INCARNATION, names, lambda: 0.0)
        self.here = self.session.conversations[which]
        self.proxy = which + 1  # its incarnation
        self.now = 100.0
        self.conversation = 0
        self.sent: list[Envelope] = []

    def request(self, timeout: float = 10.0, **options: Any) -> Pending:
        return self.session.request(Kind.REQUEST, "gradients", [CONTENT], self.now, timeout, **options)

    def post(self, timeout: float = 10.0, **options: Any) -> Pending:
        return self.session.request(Kind.POST, "metrics", [CONTENT], self.now, timeout, attended=False, **options)

    def hear(self, kind: int, content: bytes = b"", **fields: Any) -> None:
        fields.setdefault("conversation", self.conversation)
        self.here.receive([Envelope(kind, **fields).pack(), content], self.now)

    def welcome(self, conversation: int, **limits: Any) -> None:
        self.conversation = conversation
        self.hear(Kind.WELCOME, msgspec.msgpack.encode({"proxy": self.proxy, **limits}))

    def accept(self, ids: int = 4096, ms: int = 600_000) -> None:
        self.hear(Kind.ACCEPTED, msgspec.msgpack.encode({"dedup": [ids, ms]}))

    def converse(self, conversation: int = 1) -> None:
        """Up to ACCEPTED."""
        self.welcome(conversation)
        self.take()
        self.accept()

    def reply(self, request: Pending, **fields: Any) -> None:
        self.hear(Kind.REPLY, CONTENT, incarnation=INCARNATION, sequence=request.sequence, **fields)

    def error(self, code: int, request: Pending | None = None, sentence: str = "", **fields: Any) -> None:
        about = {"incarnation": INCARNATION, "sequence": request.sequence} if request else {}
        tlvs = tlvs_pack({Tlv.SENTENCE: sentence.encode()})
        self.hear(Kind.ERROR, code=code, tlvs=tlvs, **{**about, **fields})

    def take(self) -> list[Envelope]:
        """What the session has to say now, as sent."""
        taken = []
        while (message := self.here.next_message(self.now)) is not None:
            self.here.message_sent(self.now)
            taken.append(Envelope.parse(message[0]))
        self.sent += taken
        return taken

    def taken(self) -> list[tuple[Kind, int]]:
        """`take`, as kinds and sequences."""
        return [(Kind(envelope.kind), envelope.sequence) for envelope in self.take()]

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.session.tick(self.now)

    def ended(self) -> list[Pending]:
        """Those that ended since the last time."""
        found = list(self.session.ended)
        self.session.ended.clear()
        return found
