"""Resolver: where each connector goes next.

A name may stand for several addresses, and for others tomorrow: a failed attempt goes on to the next one, and after
the last the name is resolved anew. That may wait for a name server, so a thread of its own does it: the relay never
waits, and neither does the log.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from zproxy import endpoints
from zproxy._relay import Relay
from zproxy.endpoints import Address, Endpoint
from zproxy.errors import EndpointError, RelayStuck


class Resolver:
    """Addresses of a relay's connectors, by their number. Called by the observer's thread."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._endpoints: dict[int, Endpoint] = {}
        self._untried: dict[int, list[Address]] = {}
        self._asked: SimpleQueue[int | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def first(self, number: int, endpoint: Endpoint) -> Address:
        """Where connector `number` goes first. Waits for the name server. Raises EndpointError."""
        found = endpoints.resolve(endpoint)
        if endpoint.is_name:
            self._endpoints[number] = endpoint
            self._untried[number] = found[1:]
        return found[0]

    def failed(self, number: int) -> None:
        """Its attempt failed: it goes on to the next address of its name, if it goes by a name."""
        if number not in self._endpoints:
            return
        if self._untried[number]:
            self._direct(number)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._resolve_all, name="zproxy-resolver", daemon=True)
            self._thread.start()
        self._asked.put(number)

    def close(self) -> None:
        """Lets the thread end, when its name server has answered; nobody waits for that."""
        self._asked.put(None)

    def _direct(self, number: int) -> None:
        address = self._untried[number].pop(0)
        try:
            self._relay.set_address(number, address)
        except RelayStuck:  # too much at once: this one stays where it is until its next failure
            self._untried[number].insert(0, address)

    def _resolve_all(self) -> None:
        while (number := self._asked.get()) is not None:
            try:
                self._untried[number] = endpoints.resolve(self._endpoints[number])
            except EndpointError:  # the name is unknown for now; the next failure asks again
                continue
            self._direct(number)
