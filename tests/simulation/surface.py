"""Surface: the one place that calls the probe; verdicts by name, frames read once. Defects are surfaces, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zproxy.broker.access import permits_pack
from zproxy.broker.probe import BrokerProbe
from zproxy.envelope import Code, Envelope, Kind

from .rules import Rules
from .schedule import Knobs


@dataclass(slots=True)
class Said:
    """What a peer sends."""

    frame: bytes
    envelope: Envelope
    content: bytes | None = None


def say(kind: int, content: bytes | None = None, **fields: Any) -> Said:
    envelope = Envelope(kind, **fields)
    return Said(envelope.pack(), envelope, content)


@dataclass(slots=True)
class Told:
    """A verdict; `envelope` is what goes to `peer`."""

    verdict: str
    peer: int | None
    frame: bytes | None
    payload: int | None
    content: str
    spent: int | None
    closing: int | None
    envelope: Envelope | None
    challenged: int | None = None


def told_of(raw: tuple[Any, ...]) -> Told:
    verdict, peer, frame, payload, content, spent, closing, challenged = raw
    envelope = None if frame is None else Envelope.parse(frame)
    return Told(verdict, peer, frame, payload, content, spent, closing, envelope, challenged)


def line_of(envelope: Envelope) -> str:
    """In short, for a trace: `REQUEST #3 red lease 7`."""
    parts = [Kind(envelope.kind).name]
    if envelope.code:
        known = envelope.code in Code._value2member_map_
        parts.append(Code(envelope.code).name if known else hex(envelope.code))
    if envelope.sequence:
        parts.append(f"#{envelope.sequence}")
    if envelope.service:
        parts.append(envelope.service)
    if envelope.flags:
        parts.append(f"flags {envelope.flags:#x}")
    if envelope.lease:
        parts.append(f"lease {envelope.lease & 0xFFFFFFFF}.{envelope.lease >> 32}")
    if envelope.remaining_ms:
        parts.append(f"{envelope.remaining_ms} ms")
    if envelope.kind in (Kind.READY, Kind.CREDIT):
        parts.append(f"credit {envelope.credit}")
    return " ".join(parts)


class Surface:
    """A broker as the fast path sees it."""

    def __init__(self, seed: int, knobs: Knobs) -> None:
        self.probe = BrokerProbe(
            knobs.no_worker_wait_ms, seed=seed, queue_bytes=knobs.queue_bytes,
            queue_service_bytes=knobs.queue_bytes * 2 // 3,
        )

    def swap(self, rules: Rules) -> None:
        assert self.probe.set_permits(permits_pack(rules))

    def join(self, peer: int, is_worker: bool, row: int, key_name: str) -> Told:
        return told_of(self.probe.join(peer, is_worker, row, key_name.encode()))

    def hear(self, peer: int, said: Said, now_ms: int) -> Told:
        return told_of(self.probe.message(peer, said.frame, now_ms, said.content))

    def unkept(self, told: Told) -> Told:
        """Instead of doing what a KEEP asks for."""
        assert told.payload is not None
        return told_of(self.probe.unkept(told.payload))

    def undelivered(self, told: Told) -> Told:
        """Instead of doing what a PASS to a node asks for."""
        assert told.peer is not None and told.frame is not None
        return told_of(self.probe.undelivered(told.peer, told.frame))

    def leave(self, peer: int, now_ms: int) -> None:
        self.probe.leave(peer, now_ms)

    def set_usable(self, peer: int, is_usable: bool) -> None:
        self.probe.set_usable(peer, is_usable)

    def step(self, now_ms: int) -> Told | None:
        raw = self.probe.step(now_ms)
        return None if raw is None else told_of(raw)

    def dismiss(self, name: str) -> None:
        self.probe.dismiss(name.encode())

    def drain(self) -> None:
        self.probe.drain()

    def abort(self) -> None:
        self.probe.abort()

    def due_ms(self) -> int | None:
        return self.probe.due_ms()

    def counts(self) -> dict[str, int]:
        return self.probe.counts()

    def used(self) -> dict[str, int]:
        return self.probe.used()

    def absent(self) -> int:
        return self.probe.memory()["absent"]

    def resting(self) -> list[int]:
        return self.probe.resting()

    def live(self) -> int:
        return self.probe.live

    def kept(self) -> int:
        return len(self.probe.payloads) - self.probe.memory()["outcomes"]
