"""Features: what of the protocol the broker does by now. The oracle asks of it what is switched on, and no more.

The model peers speak the whole protocol in any case.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Features:
    redelivers: bool = False  # what a lost worker had goes to another; RESEND where the payload was not kept
    times_leases: bool = False  # `lease_ms` of READY takes a delivery away
    passes_busy_on: bool = False  # a worker's BUSY goes to another worker
    retries_errors: bool = False  # RETRY_ERRORS
    waits_between: bool = False  # before another delivery it may wait although a worker is free
    keeps_outcomes: bool = False  # a RESENT of what has ended is answered from memory, and runs no more
    survives_leave: bool = False  # a node's requests outlive its connection
    fences: bool = False  # a successor of the same name replaces a holder that is gone or silent
    max_attempts: int = 3


PRESENT = Features(
    redelivers=True, times_leases=True, passes_busy_on=True, retries_errors=True, waits_between=True,
    keeps_outcomes=True, survives_leave=True,
)
