"""Proxy: a relay from Python: configure, start, observe, stop. No message ever passes through here."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable
from types import TracebackType

from zproxy import endpoints, units
from zproxy._relay import BACKEND, FRONTEND, Event, Relay
from zproxy.errors import EndpointError

logger = logging.getLogger("zproxy")

Endpoints = str | Iterable[str] | None
OBSERVE_MS = 500
STOP_MARGIN_S = 5.0


def _listed(given: Endpoints) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


class Proxy:
    """Relays between `frontend` (nodes) and `backend` (masters) while the context is open.

    Endpoints: one or several. Sizes: bytes or text like "64MiB"; times: seconds; `spin`: "auto", "off" or a time.
    Raises EndpointError, EndpointInUse, InsecureBind. Any thread.
    """

    def __init__(
        self,
        frontend: Endpoints = "tcp://127.0.0.1:5555",
        backend: Endpoints = "tcp://127.0.0.1:5556",
        *,
        frontend_connect: Endpoints = (),
        backend_connect: Endpoints = (),
        heartbeat: float | None = None,
        spin: str | float = "auto",
        max_message: int | str = 1 << 30,
        memory: int | str | None = None,
        connection_memory: int | str = 64 << 20,
        stall: float = 30.0,
        drain: float = 10.0,
        insecure: bool = False,
    ) -> None:
        self.drain = drain
        self.frontend: list[str] = []
        self.backend: list[str] = []
        self._bound: list[endpoints.Bound] = []
        self._connected: dict[int, endpoints.Endpoint] = {}
        self._observer: threading.Thread | None = None
        self._owner_pid = os.getpid()
        spin_s = 0.0 if spin == "off" else units.parse_time("100us" if spin == "auto" else spin)
        self._relay = Relay(
            max_message_bytes=units.parse_size(max_message),
            memory_bytes=units.default_memory_bytes() if memory is None else units.parse_size(memory),
            connection_bytes=units.parse_size(connection_memory),
            heartbeat_ms=round((heartbeat or 0) * 1000),
            stall_ms=round(stall * 1000),
            spin_us=round(spin_s * 1e6),
            spin_auto=spin == "auto",
        )
        try:
            for text in _listed(frontend):
                self.frontend.append(self._bind(FRONTEND, text, insecure))
            for text in _listed(backend):
                self.backend.append(self._bind(BACKEND, text, insecure))
            for side, given in ((FRONTEND, frontend_connect), (BACKEND, backend_connect)):
                for text in _listed(given):
                    self._connect(side, text)
        except BaseException:
            self._release()
            raise

    def start(self) -> None:
        """Starts the relay's thread and the one that logs what it tells."""
        self._relay.start()
        self._observer = threading.Thread(target=_observe, args=(self._relay, self._connected), daemon=True)
        self._observer.start()

    def stop(self, drain: float | None = None) -> None:
        """Writes what was accepted, `drain` seconds at most, and ends."""
        drain = self.drain if drain is None else drain
        self.stop_soon(drain)
        self.wait(drain + STOP_MARGIN_S)
        self._release()

    def stop_soon(self, drain: float) -> None:
        """Asks for a stop and returns at once; again, with 0, it ends at once."""
        self._relay.stop(round(drain * 1000))

    def wait(self, timeout: float | None = None) -> bool:
        """True once the relay has ended; signals are served while it waits."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._relay.join(100):
            if until is not None and time.monotonic() >= until:
                return False
        return True

    def stats(self) -> dict[str, int]:
        """All counters and gauges by name, copied between two events of the relay."""
        return self._relay.snapshot()

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _bind(self, side: int, text: str, insecure: bool) -> str:
        bound = endpoints.bind(text, insecure=insecure)
        self._bound.append(bound)
        self._relay.add_listener(side, len(self._bound), bound.listener.detach())
        return bound.text

    def _connect(self, side: int, text: str) -> None:
        endpoint = endpoints.parse(text)
        number = -len(self._connected) - 2
        self._connected[number] = endpoint
        self._relay.add_connector(side, number, endpoints.resolve(endpoint))

    def _release(self) -> None:
        if self._observer is not None:
            self._observer.join(STOP_MARGIN_S)
        for bound in self._bound:
            bound.close()


def _observe(relay: Relay, connected: dict[int, endpoints.Endpoint]) -> None:
    """Logs the relay's events until it has stopped; a name that cannot be reached is resolved anew."""
    while True:
        for event in relay.events(OBSERVE_MS):
            if event.kind == "stopped":
                return
            _log(event)
            if event.kind == "connect_failed" and event.endpoint in connected:
                with contextlib.suppress(EndpointError):
                    relay.set_address(event.endpoint, endpoints.resolve(connected[event.endpoint]))


def _log(event: Event) -> None:
    side = "frontend" if event.side == FRONTEND else "backend"
    level = logging.INFO if event.kind in ("connected", "disconnected") else logging.WARNING
    words = [event.kind, side, event.peer, event.socket_type, event.reason]
    if event.size or event.limit:
        words.append(f"size={event.size} limit={event.limit}")
    logger.log(level, " ".join(word for word in words if word))
