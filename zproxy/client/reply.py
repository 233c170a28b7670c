"""Reply: what a request brought, for the caller; made in the thread or task that waited for it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy.typing as npt

from zproxy import content
from zproxy.client.pending import Pending


class Reply(msgspec.Struct, frozen=True, eq=False):
    """`tensors` are read-only arrays, valid as long as they are referenced; `elapsed` is in seconds, from the call on.

    `worker` is the name of the master that answered, `attempt` how many deliveries it took.
    """

    body: Any
    tensors: dict[str, npt.NDArray[Any]]
    worker: str
    service: str
    attempt: int
    elapsed: float


def reply_of(request: Pending, body_type: Any, now: float) -> Reply:
    """The reply of a request that has ended. Raises its error, or MalformedContent where the reply does not fit."""
    request.raise_error()
    assert request.reply is not None, "it has not ended"
    envelope, message = request.reply
    found = content.unpack(message[1] if len(message) > 1 else EMPTY, message[2:], body_type)
    return Reply(
        found.body, found.tensors, envelope.name, request.service, envelope.attempt, now - request.began
    )


EMPTY = b"\x91\xc0"  # [nil]: the content of a reply that has none
