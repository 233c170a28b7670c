"""Throttle: how many lines of one kind the log gets. `now` is handed in; no clock, no thread.

Each key has a bucket of `burst` lines that fills again by `per_second`: what an operator does is logged line by
line, what a broken loop does is counted.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Bucket:
    lines: float
    filled_at: float
    suppressed: int = 0


class Throttle(Generic[Key]):
    """Admits lines by key and counts those it does not."""

    def __init__(self) -> None:
        self._buckets: dict[Key, _Bucket] = {}

    def admits(self, key: Key, burst: int, per_second: float, now: float) -> bool:
        """May one more line of this key be written at `now` (seconds)?"""
        bucket = self._buckets.setdefault(key, _Bucket(burst, now))
        bucket.lines = min(burst, bucket.lines + (now - bucket.filled_at) * per_second)
        bucket.filled_at = now
        if bucket.lines < 1:
            bucket.suppressed += 1
            return False
        bucket.lines -= 1
        return True

    def take_suppressed(self) -> dict[Key, int]:
        """What was not admitted since the last call, by key."""
        taken = {key: bucket.suppressed for key, bucket in self._buckets.items() if bucket.suppressed}
        for key in taken:
            self._buckets[key].suppressed = 0
        return taken
