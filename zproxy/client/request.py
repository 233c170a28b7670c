"""Request: what a handler is given, and how it asks and tells while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from zproxy.client.delivery import Delivery
from zproxy.client.pending import STEP_MAX, per_cent, whole
from zproxy.envelope import Code, Flag
from zproxy.errors import error_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from zproxy.content import Content


class Line(Protocol):
    """What a running handler may use of its master."""

    def is_cancelled(self, delivery: Delivery) -> bool: ...

    def progress(self, delivery: Delivery, percent: float, step: int | None) -> None: ...


class Request:
    """One request, or post, of a node.

    `body`: as the service's type, or plain. `tensors`: read-only arrays by name, valid as long as they are referenced.
    `deadline`: seconds of time.monotonic(). `attempt`: 1 for the first delivery. `step`, `progress`: what the node said
    with it, or None. `is_post`: nobody waits for what the handler returns. Any thread, until the handler has ended.
    """

    __slots__ = ("_delivery", "_line", "body", "tensors")

    def __init__(self, delivery: Delivery, content: Content, line: Line) -> None:
        self.body: Any = content.body
        self.tensors: dict[str, npt.NDArray[Any]] = content.tensors
        self._delivery = delivery
        self._line = line

    @property
    def service(self) -> str:
        return self._delivery.envelope.service

    @property
    def node(self) -> str:
        return self._delivery.envelope.name

    @property
    def incarnation(self) -> int:
        """Another number: another life of this node. With `sequence`, the same for all deliveries of one request."""
        return self._delivery.envelope.incarnation

    @property
    def sequence(self) -> int:
        return self._delivery.envelope.sequence

    @property
    def attempt(self) -> int:
        return self._delivery.envelope.attempt

    @property
    def is_post(self) -> bool:
        return self._delivery.is_post

    @property
    def step(self) -> int | None:
        envelope = self._delivery.envelope
        return envelope.step if envelope.flags & Flag.HAS_STEP else None

    @property
    def progress(self) -> float | None:
        envelope = self._delivery.envelope
        return envelope.progress if envelope.flags & Flag.HAS_PROGRESS else None

    @property
    def deadline(self) -> float:
        return self._delivery.deadline

    @property
    def remaining(self) -> float:
        """Seconds to the deadline, 0 when it is over. The proxy cancels then."""
        return max(0.0, self._delivery.deadline - time.monotonic())

    @property
    def is_cancelled(self) -> bool:
        """Does nobody wait any more? The proxy cancelled it, or the connection it came by has ended.

        Asks the socket, a few microseconds. The handler may go on; what it returns reaches nobody.
        """
        return self._delivery.is_cancelled or self._line.is_cancelled(self._delivery)

    def raise_if_cancelled(self) -> None:
        """Raises RequestCancelled, which a handler lets pass, once `is_cancelled`."""
        if self.is_cancelled:
            raise error_of(Code.CANCELLED, service=self.service, node=self.node, attempt=self.attempt)

    def send_progress(self, percent: float, step: int | None = None) -> None:
        """Tells the proxy, and the node if it wants to know, how far it is; the proxy waits on. Raises SettingError."""
        checked_step = None if step is None else whole("step", step, STEP_MAX)
        self._line.progress(self._delivery, per_cent(percent), checked_step)

    def __repr__(self) -> str:
        return f"<Request {self.service} of {self.node}, sequence {self.sequence}, attempt {self.attempt}>"
