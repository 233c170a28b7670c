"""Delivery: one request or post at a master, from its coming to its answer; and what its handler comes to.

Made by a session, run by the crew; only sessions, and the answers they share, change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zproxy.envelope import Envelope, Kind

if TYPE_CHECKING:
    from zproxy.client.worker_session import WorkerSession

Frame = Any
"""Bytes, or anything with a contiguous buffer."""

_POST = int(Kind.POST)


@dataclass(frozen=True)
class Failure:
    """An ERROR to be: its code, its sentence, its content."""

    code: int
    sentence: str
    content: bytes = b""


Outcome = list[bytes | memoryview] | Failure


class Delivery:
    """It came by `session`, under a lease. `joined`: later ones of the same request, which its handler answers, too."""

    __slots__ = (
        "content", "deadline", "envelope", "extend_at", "is_begun", "is_withdrawn", "joined", "lease_s", "session",
        "tensors",
    )  # fmt: skip

    def __init__(
        self,
        session: WorkerSession,
        envelope: Envelope,
        content: Frame,
        tensors: Sequence[Frame],
        now: float,
        lease_s: float = 0.0,
    ) -> None:
        self.session = session
        self.envelope = envelope
        self.content = content
        self.tensors = tensors
        self.deadline = now + envelope.remaining_ms / 1000
        self.lease_s = lease_s  # without a word for so long, zproxy takes it away; 0: never
        self.extend_at = now + lease_s / 3
        self.is_begun = False
        self.is_withdrawn = False  # CANCEL came, or a request's connection ended
        self.joined: list[Delivery] = []

    @property
    def is_post(self) -> bool:
        return self.envelope.kind == _POST

    @property
    def is_cancelled(self) -> bool:
        """Does nobody wait for the answer, by whatever delivery?"""
        return self.is_withdrawn and all(each.is_withdrawn for each in self.joined)

    @property
    def newest(self) -> Delivery:
        return self.joined[-1] if self.joined else self
