"""Observer: the thread that writes what the relay tells into the log. No message passes here, and no decision.

    relay ─► events ─► entry_of ─► throttle ─► logger "zproxy"
                ├► a failed attempt ─► resolver
                └► what was refused or denied, and who has gone ─► the audit, where there is one

Every WATCH_S, and at the end, it tells what the relay had to drop since, and what the throttle kept back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from zproxy._relay import Event, Relay
from zproxy.entries import LOSSES, TROUBLES, Entry, Field, entry_of, entry_of_loss
from zproxy.resolver import Resolver
from zproxy.throttle import Throttle

logger = logging.getLogger("zproxy")

WATCH_S = 60.0
# Lines of one event, side and reason: so many at once, then per second. A cluster that starts is logged whole; a peer
# that nobody has started yet, which fails every few seconds, is no news.
RATES = {"connected": (4096, 10.0), "disconnected": (4096, 10.0), "refused": (100, 1.0), "accept_failed": (10, 0.1)}
RATE_ELSE = (10, 1 / 60)

Kind = tuple[str, str, str, str]


class Observer:
    """Runs until the relay has ended and all it told is logged."""

    def __init__(
        self,
        relay: Relay,
        endpoints: Sequence[str],
        resolver: Resolver,
        told: Mapping[str, Callable[[Event], None]] = MappingProxyType({}),
    ) -> None:
        self._relay = relay
        self._endpoints = endpoints  # by the number the relay knows them by
        self._resolver = resolver
        self._told = told  # by its kind, who else is told of an event
        self._throttle: Throttle[Kind] = Throttle()
        self._lost = dict.fromkeys((*LOSSES, *TROUBLES), 0)
        self._thread = threading.Thread(target=self._run, name="zproxy-observer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Waits until the last event is logged, `timeout` seconds at most."""
        self._thread.join(timeout)

    def _run(self) -> None:
        watch_at = time.monotonic() + WATCH_S
        is_last = False
        while not is_last:
            is_last = self._relay.has_ended
            for event in self._relay.events(round(WATCH_S * 1000)):
                is_last = False  # there may be more
                if event.kind != "stopped":
                    self._log(entry_of(event, self._endpoints[event.endpoint]))
                if event.kind in self._told:
                    self._told[event.kind](event)
                if event.kind in ("connect_failed", "refused"):
                    self._resolver.failed(event.endpoint)
            if is_last or time.monotonic() >= watch_at:
                self._watch()
                watch_at = time.monotonic() + WATCH_S
        self._resolver.close()

    def _log(self, entry: Entry) -> None:
        about = "endpoint" if entry.event == "connect_failed" else "reason"
        kind = (entry.event, str(entry.fields["side"]), about, str(entry.fields.get(about, "")))
        if self._throttle.admits(kind, *RATES.get(entry.event, RATE_ELSE), time.monotonic()):
            logger.log(entry.level, entry)

    def _watch(self) -> None:
        """Logs what the throttle kept back, and what the relay lost, since the last time."""
        for (event, side, about, which), count in self._throttle.take_suppressed().items():
            fields: dict[str, Field] = {"of": event, "side": side, about: which, "count": count}
            fields = {name: value for name, value in fields.items() if value}
            logger.warning(Entry(logging.WARNING, "suppressed", "these came too fast to be logged each", fields))
        counters = self._relay.snapshot()
        for counter, before in self._lost.items():
            if counters[counter] > before:
                logger.warning(entry_of_loss(counter, counters[counter] - before, counters[counter]))
                self._lost[counter] = counters[counter]
