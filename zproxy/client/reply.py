"""Reply: what a request brought, for the caller; made in the thread or task that waited for it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy.typing as npt

from zproxy import content
from zproxy.client.pending import Pending
from zproxy.errors import MalformedContent, SettingError


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
    try:
        found = content.unpack(message[1] if len(message) > 1 else EMPTY, message[2:], body_type)
    except MalformedContent as error:
        path, reason = error.path, error.reason
    else:
        return Reply(
            found.body, found.tensors, envelope.name, request.service, envelope.attempt, now - request.began
        )
    # Out here, or its context would keep what came, for as long as anybody keeps the error.
    whose = f'in the reply of worker "{envelope.name}" to "{request.service}"'
    raise MalformedContent(path, f"{reason}, {whose}: see what its handler returns, and which body_type is asked for")


def check_body_type(body_type: Any) -> None:
    """Before anything is sent. Raises SettingError."""
    if body_type is Any:
        return
    try:
        content.decoder_of(body_type)
    except (TypeError, NameError) as error:
        sort = "a type that msgspec decodes to, as a dataclass or dict[str, float]"
        raise SettingError(f"bad body_type {body_type!r}: give {sort}: {error}") from None


EMPTY = b"\x91\xc0"  # [nil]: the content of a reply that has none
