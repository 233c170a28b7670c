"""Renewal: which outcomes a proxy tells are not the caller's yet, because the node asks again, under a new sequence.

Called by the session as an error comes. Pure: no clock, no chance of its own; `jitter` is from 0 to 1.

    BUSY               never begun: again when the proxy says, and a little later, so that not all come at once
    DRAINING           by another proxy, or when this one is back
    ALREADY_DONE       it has run, and nobody has its outcome: what may run twice runs again
    OUTCOME_UNKNOWN    it may have run; the same, but once: who says so twice knows a service that may not

Rule 1. What may have begun is marked RESENT under its new sequence, too: a service that is not idempotent is then known
        by the proxy, which says OUTCOME_UNKNOWN instead of delivering it.
Rule 2. What may have begun, and says itself that it may not run twice, is never asked again; nor is a post, nor
        whoever asked for no retries.
"""

from __future__ import annotations

from typing import NamedTuple

from zproxy.client.pending import Pending
from zproxy.envelope import Code, Kind

BACKOFF_S = 0.05  # doubled each time
BACKOFF_MAX_S = 2.0
SPREAD = 0.5  # of a pause, added at most

REQUEST = int(Kind.REQUEST)


class Renewal(NamedTuple):
    """It is made again, after so many seconds; `is_marked`: as RESENT."""

    pause_s: float
    is_marked: bool


def renewal_of(request: Pending, code: int, attempt: int, retry_after_s: float, jitter: float) -> Renewal | None:
    """None: that is its outcome. `attempt` and `retry_after_s` are what came with the code."""
    if request.kind != REQUEST or not request.may_retry:
        return None
    has_begun = attempt != 0 or request.copies > 1 or code in (Code.ALREADY_DONE, Code.OUTCOME_UNKNOWN)
    if has_begun and not request.is_idempotent:
        return None
    if code == Code.BUSY and retry_after_s:
        return Renewal(_spread(retry_after_s, jitter), has_begun)
    if code == Code.DRAINING:
        return Renewal(backoff_s(request.renewals, jitter), has_begun)
    if code == Code.ALREADY_DONE:
        return Renewal(backoff_s(request.renewals, jitter), True)
    if code == Code.OUTCOME_UNKNOWN and not request.is_in_doubt:
        return Renewal(backoff_s(request.renewals, jitter), True)
    return None


def backoff_s(times: int, jitter: float) -> float:
    """A pause before one more time."""
    return _spread(min(BACKOFF_S * 2 ** min(times, 16), BACKOFF_MAX_S), jitter)


def _spread(pause_s: float, jitter: float) -> float:
    return pause_s * (1 + SPREAD * jitter)
