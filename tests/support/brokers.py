"""A broker with peers, driven without a socket: time is a number, messages are envelopes, verdicts are told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zproxy.broker.access import Permit, permits_pack
from zproxy.broker.policy import PolicyProbe
from zproxy.broker.probe import BrokerProbe
from zproxy.counters import OUTCOMES
from zproxy.envelope import Code, Envelope, Flag, Kind, Tlv, offers_pack, tlvs_parse

Offers = Iterable[str | tuple[str, int, int]]


@dataclass(frozen=True)
class Told:
    """A verdict; `envelope` is what goes to `peer`."""

    verdict: str
    peer: int | None
    frame: bytes | None
    payload: int | None
    content: str
    spent: int | None
    closing: int | None
    challenged: int | None

    @property
    def envelope(self) -> Envelope:
        assert self.frame is not None, f"nothing is said: {self}"
        return Envelope.parse(self.frame)

    @property
    def kind(self) -> str | None:
        return Kind(self.envelope.kind).name if self.frame else None

    @property
    def code(self) -> str | None:
        return Code(self.envelope.code).name if self.frame and self.envelope.code else None

    @property
    def sentence(self) -> str:
        return tlvs_parse(self.envelope.tlvs)[int(Tlv.SENTENCE)].decode()

    def __str__(self) -> str:
        """In short: `PASS 2 REQUEST`, `SAY 1 ERROR BUSY`, `KEEP`, `DROP`."""
        parts = [self.verdict, self.peer, self.kind, self.code]
        return " ".join(str(part) for part in parts if part is not None)


def home_of(key_hash: int, workers: Mapping[int, str]) -> int | None:
    """By `hash`, who of the named workers has the key."""
    probe = PolicyProbe("hash")
    for number, name in workers.items():
        probe.add(number, name.encode())
        probe.load(number, 1)
    return probe.pick(key_hash)


def offers(services: Offers) -> bytes:
    """READY's frame 1, of names or of (name, lease_ms, flags)."""
    return offers_pack((each, 0, 0) if isinstance(each, str) else each for each in services)


@dataclass
class Peer:
    """One connection, in its conversation."""

    desk: Desk
    slot: int
    conversation: int
    name: str = ""
    incarnation: int = 0

    def say(self, kind: Kind, *, content: bytes | None = None, message_bytes: int | None = None, **fields: Any) -> Told:
        """Any message, in this conversation unless `fields` say otherwise."""
        fields.setdefault("conversation", self.conversation)
        frame = Envelope(kind, **fields).pack()
        return Told(*self.desk.probe.message(self.slot, frame, self.desk.now_ms, content, message_bytes))

    def leave(self) -> None:
        self.desk.probe.leave(self.slot, self.desk.now_ms)

    def goodbye(self) -> Told:
        return self.say(Kind.GOODBYE)


@dataclass
class Node(Peer):
    def hello(self, name: str | None = None, incarnation: int | None = None) -> Told:
        self.name = self.name if name is None else name
        self.incarnation = self.incarnation if incarnation is None else incarnation
        return self.say(Kind.HELLO, name=self.name, incarnation=self.incarnation)

    def request(self, sequence: int, service: str = "echo", kind: Kind = Kind.REQUEST, **fields: Any) -> Told:
        fields = {"incarnation": self.incarnation, "remaining_ms": 30_000} | fields
        return self.say(kind, service=service, sequence=sequence, **fields)

    def post(self, sequence: int, service: str = "echo", **fields: Any) -> Told:
        return self.request(sequence, service, Kind.POST, **fields)

    def cancel(self, sequence: int) -> Told:
        return self.say(Kind.CANCEL, incarnation=self.incarnation, sequence=sequence)


@dataclass
class Worker(Peer):
    def ready(
        self, services: Offers = ("echo",), credit: int = 1, name: str | None = None, incarnation: int | None = None
    ) -> Told:
        self.name = self.name if name is None else name
        self.incarnation = self.incarnation if incarnation is None else incarnation
        return self.say(
            Kind.READY, content=offers(services), name=self.name, incarnation=self.incarnation, credit=credit
        )

    def credit(self, credit: int) -> Told:
        return self.say(Kind.CREDIT, credit=credit)

    def answer(self, delivery: Told, kind: Kind = Kind.REPLY, **fields: Any) -> Told:
        """To what a PASS or SEND has given it."""
        given = delivery.envelope
        fields = {"lease": given.lease, "incarnation": given.incarnation, "sequence": given.sequence} | fields
        return self.say(kind, **fields)

    def fail(self, delivery: Told, code: int = Code.HANDLER_ERROR, **fields: Any) -> Told:
        return self.answer(delivery, Kind.ERROR, code=code, **fields)


@dataclass
class Desk:
    """A broker and the time."""

    no_worker_wait_ms: int = 0
    queue_bytes: int = 1 << 62
    queue_node_bytes: int = 1 << 62
    queue_service_bytes: int = 1 << 62
    retain_bytes: int = 1 << 30
    retain_node_bytes: int = 1 << 30
    dedup_bytes: int = 0
    dedup_ms: int = 600_000
    absence_ms: int = 60_000
    policy: str = "least_outstanding"
    policies: dict[str, str] = field(default_factory=dict)
    now_ms: int = 1_000_000
    probe: BrokerProbe = field(init=False)

    def __post_init__(self) -> None:
        self.probe = BrokerProbe(
            self.no_worker_wait_ms,
            policy=self.policy,
            policies=self.policies,
            queue_bytes=self.queue_bytes,
            queue_node_bytes=self.queue_node_bytes,
            queue_service_bytes=self.queue_service_bytes,
            retain_bytes=self.retain_bytes,
            retain_node_bytes=self.retain_node_bytes,
            dedup_bytes=self.dedup_bytes,
            dedup_ms=self.dedup_ms,
            absence_ms=self.absence_ms,
        )

    def connect_node(self, slot: int, permit: int = 0, key_name: str = "") -> Node:
        told = Told(*self.probe.join(slot, False, permit, key_name.encode()))
        return Node(self, slot, told.envelope.conversation)

    def connect_worker(self, slot: int, permit: int = 0, key_name: str = "") -> Worker:
        told = Told(*self.probe.join(slot, True, permit, key_name.encode()))
        return Worker(self, slot, told.envelope.conversation)

    def permit(self, *rows: Permit) -> None:
        """These are the rules from now on, numbered from 1."""
        assert self.probe.set_permits(permits_pack(rows))

    def node(
        self, slot: int = 1, name: str | None = None, incarnation: int | None = None, permit: int = 0
    ) -> Node:
        """One that said HELLO."""
        node = self.connect_node(slot, permit)
        told = node.hello(name or f"node-{slot}", incarnation or 1000 + slot)
        assert told.kind == "ACCEPTED", told
        return node

    def worker(
        self, slot: int = 101, services: Offers = ("echo",), credit: int = 1, name: str | None = None,
        incarnation: int | None = None, permit: int = 0,
    ) -> Worker:
        """One that said READY."""
        worker = self.connect_worker(slot, permit)
        told = worker.ready(services, credit, name or f"worker-{slot}", incarnation or 1000 + slot)
        assert told.kind == "ACCEPTED", told
        return worker

    def steps(self) -> list[Told]:
        """All that the broker does of itself now."""
        told = []
        while (step := self.probe.step(self.now_ms)) is not None:
            told.append(Told(*step))
        return told

    def said(self) -> list[str]:
        return [str(told) for told in self.steps()]

    def wait(self, ms: int) -> list[Told]:
        """Time passes, then the broker is asked."""
        self.now_ms += ms
        return self.steps()

    def counts(self) -> dict[str, int]:
        """The counters that are not zero, after a look whether they balance."""
        counts = self.probe.counts()
        ended = sum(counts.get(outcome, 0) for outcome in OUTCOMES)
        assert counts.get("accepted", 0) == ended + self.probe.live, counts
        self.assert_services_balance(counts)
        return counts

    def assert_services_balance(self, counts: dict[str, int]) -> None:
        """Each service's requests, and all of them together."""
        services = self.probe.rows()[0]
        for row in services:
            assert row["accepted"] == row["live"] + sum(row[outcome] for outcome in OUTCOMES), row
        for name in ("accepted", *OUTCOMES):
            assert sum(row[name] for row in services) == counts.get(name, 0), (name, services, counts)
        assert sum(row["live"] for row in services) == self.probe.live, services

    def assert_nothing_is_left(self, peers: int) -> None:
        """Of requests; that many peers are still there."""
        used = self.probe.used()
        used.pop("services")
        self.counts()
        assert used.pop("peers") == peers
        assert set(used.values()) == {0}, used
        assert self.probe.payloads == {}
        assert (self.probe.live, self.probe.waiting, self.probe.waiting_bytes) == (0, 0, 0)


__all__ = [
    "OUTCOMES", "Code", "Desk", "Flag", "Kind", "Node", "Peer", "Permit", "Told", "Worker", "home_of", "offers"
]
