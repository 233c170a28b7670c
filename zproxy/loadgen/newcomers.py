"""Newcomers: connections that are made for one message and closed again, so many at once. What is counted is they.

A message is the least that proves a handshake to be over on both sides; beside its key agreements it costs nothing.
"""

from __future__ import annotations

import time

from zproxy.loadgen.clients import Clients, Tally


class Newcomers:
    """Comes to `endpoint` with these keys, again and again."""

    def __init__(self, endpoint: str, timeout_s: float, keys: bytes) -> None:
        self._endpoint = endpoint
        self._timeout_ms = round(timeout_s * 1000)
        self._keys = keys

    def run(self, *, size: int, window: int, count: int = 0, seconds: float = 0, is_timed: bool = False) -> Tally:
        """As Clients.run: `window` connections at once, until there were `count`, or `seconds` are over."""
        began = now = time.perf_counter()
        made = 0
        while now - began < seconds if seconds else made < count:
            clients = Clients(self._endpoint, count=window, timeout_ms=self._timeout_ms, keys=self._keys)
            made += clients.run(size=size, window=1, count=window).messages
            del clients  # closed here, within the time
            now = time.perf_counter()
        return Tally(made, now - began, None, None)
