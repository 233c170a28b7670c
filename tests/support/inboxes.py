"""Driving an InboxProbe."""

from __future__ import annotations

from collections.abc import Iterable

from support.zmtp_model import MAX_MESSAGE_BYTES, Item
from zproxy.relay.inbox import InboxProbe

OVER = ("malformed", "too_large")


def feed_all(chunks: Iterable[bytes], max_message_bytes: int = MAX_MESSAGE_BYTES) -> list[Item]:
    """What an inbox finds in the chunks, until it has had enough. It holds nothing afterwards."""
    inbox = InboxProbe(max_message_bytes)
    found: list[Item] = []
    for chunk in chunks:
        found += inbox.feed(chunk)
        if found and found[-1][0] in OVER:
            break
    inbox.clear()
    assert inbox.live_blocks == 0, "an inbox without bytes holds blocks"
    assert inbox.live_bytes == 0, "an inbox without bytes holds memory"
    return found
