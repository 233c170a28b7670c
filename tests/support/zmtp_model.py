"""A model of ZMTP 3 framing (RFC 23, RFC 37) to judge the relay's parser by. Shares no code with it.

It sees a whole stream at once and keeps nothing between bytes, so it can be read beside the RFC. `Stream` makes
valid ones out of units and knows where each ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from support.zmtp_peer import frame

COMMAND_BYTES_MAX = 4000
HEADERS_ALLOWANCE = 65536
MAX_MESSAGE_BYTES = 1 << 30

Item = tuple[str, bytes | int]


class Header(NamedTuple):
    """A frame's header at some place of a stream."""

    is_command: bool
    has_more: bool
    body_at: int
    body_bytes: int


class Malformed(Exception):
    """No peer that speaks ZMTP sends this."""


def read_header(stream: bytes, at: int) -> Header | None:
    """The header there, or None when it is cut off. Raises Malformed."""
    if at == len(stream):
        return None
    is_reserved, kind = divmod(stream[at], 8)
    if is_reserved or kind in (5, 7):
        raise Malformed
    size_bytes = 8 if kind in (2, 3, 6) else 1
    size = stream[at + 1 : at + 1 + size_bytes]
    if len(size) < size_bytes:
        return None
    if size_bytes == 8 and size[0] >= 0x80:
        raise Malformed
    return Header(kind in (4, 6), kind in (1, 3), at + 1 + size_bytes, int.from_bytes(size, "big"))


def parse(stream: bytes, max_message_bytes: int = MAX_MESSAGE_BYTES) -> list[Item]:
    """What a relay has to find in a stream, in its probe's words; the last may be "malformed" or "too_large"."""
    return list(_parse(stream, max_message_bytes))


def _parse(stream: bytes, max_message_bytes: int) -> Iterator[Item]:
    at = 0
    message = b""
    while True:
        try:
            header = read_header(stream, at)
        except Malformed:
            yield "malformed", b""
            return
        if header is None:
            return
        end = header.body_at + header.body_bytes
        if header.is_command:
            is_above = header.body_bytes > COMMAND_BYTES_MAX
        else:
            wire_bytes = len(message) + end - at
            is_above = header.body_bytes > max_message_bytes or wire_bytes > max_message_bytes + HEADERS_ALLOWANCE
        if is_above:
            yield "too_large", len(message) + header.body_bytes
            return
        if end > len(stream):
            return
        if header.is_command:
            yield "command", stream[header.body_at : end]
        else:
            message += stream[at:end]
            if not header.has_more:
                yield "message", message
                message = b""
        at = end


@dataclass(frozen=True)
class Part:
    """One frame to be sent; `is_long` forces the 8-byte length."""

    body: bytes
    is_long: bool = False
    is_command: bool = False


@dataclass
class Stream:
    """A valid stream under construction: its bytes, what it says, and where its frames begin."""

    wire: bytearray = field(default_factory=bytearray)
    items: list[Item] = field(default_factory=list)
    item_ends: list[int] = field(default_factory=list)
    borders: list[int] = field(default_factory=list)

    def add(self, parts: Sequence[Part]) -> None:
        """One message with commands between its frames, or commands alone. The last part is no command, or all are."""
        last = len(parts) - 1
        message = b""
        for index, part in enumerate(parts):
            has_more = not part.is_command and index < last
            spoken = frame(part.body, more=has_more, command=part.is_command, long=part.is_long or None)
            self.borders.append(len(self.wire))
            self.wire += spoken
            if part.is_command:
                self._found("command", part.body)
            else:
                message += spoken
        if message:
            self._found("message", message)

    def items_before(self, place: int) -> list[Item]:
        """What is whole before that byte."""
        return [item for item, end in zip(self.items, self.item_ends, strict=True) if end <= place]

    def _found(self, kind: str, content: bytes) -> None:
        self.items.append((kind, content))
        self.item_ends.append(len(self.wire))


def pattern(count: int, salt: int = 0) -> bytes:
    """`count` bytes in which a shift, a loss or a repetition shows: a period of 251 meets no power of two."""
    period = bytes((value * 7 + salt) % 251 for value in range(251))
    return (period * (count // 251 + 1))[:count]
