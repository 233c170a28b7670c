"""Proxy: a relay from Python: configure, start, observe, stop. No message ever passes through here."""

from __future__ import annotations

import os
import secrets
import time
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from zproxy import endpoints
from zproxy._relay import BACKEND, BEAT_MS, DEDUP_IDS, FRONTEND, MAX_FRAMES, Relay
from zproxy._report import PeerRow, ServiceRow
from zproxy.broker.policy import POLICIES, policies_pack
from zproxy.config import Balances, Endpoints, Settings
from zproxy.endpoints import Bound, Endpoint
from zproxy.errors import NotStarted, RelayStuck, SettingError, UnknownWorker
from zproxy.observer import Observer
from zproxy.procfs import host_id
from zproxy.resolver import Resolver
from zproxy.security.gate import Change, Gate
from zproxy.security.keys import SECRET_SUFFIX, KeyPair, read_secret
from zproxy.security.registry import FORMER_NAME, SERVER_NAME
from zproxy.units import Size, Time

JOIN_MS = 100  # Python's signal handlers run at least this often while a thread waits for the end
STOP_MARGIN_S = 5.0
DEDUP_MS = 600_000  # how long outcomes are remembered, memory permitting
PROTOCOL_VERSION = 1
CHUNK_BYTES = 1 << 20
WINDOW_CHUNKS = 4  # of a stream may be sent before its receiver has said anything (docs/protocol.md)


class Proxy:
    """Relays between `frontend` (nodes) and `backend` (masters), in a thread of its own, without the GIL.

    Its endpoints are bound at once, so `frontend` and `backend` name the real ports; messages pass from `start`,
    or the beginning of the `with` block, to `stop`, or its end. It runs once. Events go to the logger "zproxy".

    The options are those of `zproxy run` (docs/operations.md); None is their default. Endpoints: one or several.
    Sizes: bytes, or text like "64MiB"; times: seconds, or text like "100us"; `spin` also "auto" and "off",
    `heartbeat` also "off", `service_memory` too, `memory` also "half"; `overload`: "slow" or "busy"; `balance`: one or
    several of "POLICY" and "SERVICE=POLICY".

    `registry`: the folder that `zproxy keys init` made; who has no key there does not come in.

    Raises SettingError, EndpointError, EndpointInUse, InsecureBind, CurveMissing. All methods: any thread; ForkedProxy
    after a fork.
    Keep it: one that is collected while it runs ends at once.
    """

    def __init__(
        self,
        frontend: Endpoints = None,
        backend: Endpoints = None,
        *,
        frontend_connect: Endpoints = None,
        backend_connect: Endpoints = None,
        registry: str | os.PathLike[str] | None = None,
        insecure: bool | None = None,
        max_message: Size | None = None,
        memory: Size | None = None,
        connection_memory: Size | None = None,
        service_memory: Size | None = None,
        retain: Size | None = None,
        dedup_memory: Size | None = None,
        stall: Time | None = None,
        heartbeat: Time | None = None,
        no_worker_wait: Time | None = None,
        absence: Time | None = None,
        balance: Balances = None,
        overload: str | None = None,
        drain: Time | None = None,
        spin: Time | None = None,
    ) -> None:
        self.settings = Settings.of(
            frontend=frontend,
            backend=backend,
            frontend_connect=frontend_connect,
            backend_connect=backend_connect,
            registry=registry,
            insecure=insecure,
            max_message=max_message,
            memory=memory,
            connection_memory=connection_memory,
            service_memory=service_memory,
            retain=retain,
            dedup_memory=dedup_memory,
            stall=stall,
            heartbeat=heartbeat,
            no_worker_wait=no_worker_wait,
            absence=absence,
            balance=balance,
            overload=overload,
            drain=drain,
            spin=spin,
        )
        folder = Path(self.settings.registry)
        self._relay = _relay_of(self.settings, _server_pairs(folder) if self.settings.registry else [])
        self._gate = Gate(self._relay, folder) if self.settings.registry else None
        self._resolver = Resolver(self._relay)
        self._texts: list[str] = []  # of all endpoints, by the number the relay knows them by
        self._bound: dict[int, list[Bound]] = {FRONTEND: [], BACKEND: []}
        self._release = weakref.finalize(self, _release, self._relay, self._bound, os.getpid())
        told = {} if self._gate is None else self._gate.hears
        self._observer = Observer(self._relay, self._texts, self._resolver, told)
        try:
            self._open(FRONTEND, self.settings.frontend, self.settings.frontend_connect)
            self._open(BACKEND, self.settings.backend, self.settings.backend_connect)
        except BaseException:
            self._release()
            raise

    @property
    def frontend(self) -> tuple[str, ...]:
        """The endpoints bound for nodes, with their real ports."""
        return tuple(bound.text for bound in self._bound[FRONTEND])

    @property
    def backend(self) -> tuple[str, ...]:
        """The endpoints bound for masters, with their real ports."""
        return tuple(bound.text for bound in self._bound[BACKEND])

    def start(self) -> None:
        """Begins to relay. Raises AlreadyStarted the second time, and after `stop`."""
        self._relay.start()
        self._observer.start()
        if self._gate is not None:
            self._gate.start()

    def stop(self, drain: Time | None = None) -> None:
        """Ends, once what was accepted is written, `drain` seconds from now at the latest; the rest is counted.

        `drain` is the option's when None. Stopping again, or what never started, does nothing more. An exception
        during the wait (KeyboardInterrupt) ends it at once. Raises RelayStuck.
        """
        try:
            if self._relay.has_started:
                self.stop_soon(drain)
                self._await_end(self._drain_ms(drain) / 1000 + STOP_MARGIN_S)
                self._observer.join(STOP_MARGIN_S)
                if self._gate is not None:
                    self._gate.join(STOP_MARGIN_S)
        finally:
            self._release()

    def stop_soon(self, drain: Time | None = None) -> None:
        """Asks for `stop` and returns at once. Again, with another `drain`, that one holds from now."""
        self._relay.stop(self._drain_ms(drain))

    def drain_worker(self, name: str) -> None:
        """That managed worker takes no more: it is told GOODBYE, and what it holds it finishes. Returns at once.

        `report` tells how much it still holds. On a new connection, restarted or reconnected, it takes requests again.
        Raises UnknownWorker, which has the names there are, and RelayStuck.
        """
        names = sorted(row.name for row in self._relay.report()[2] if row.is_worker and row.is_known)
        if name not in names:
            there = f"there are {', '.join(names)}" if names else "no worker is there that speaks the managed protocol"
            raise UnknownWorker(f"no worker {name!r}: {there}")
        self._relay.dismiss(name.encode())

    def reload(self) -> Change:
        """Reads the registry anew; who has lost its key or its role is closed. Any mistake, and the old rules stay.

        Raises SettingError, which says where and what; RelayStuck.
        """
        return self._gated().reload()

    def follow(self) -> Change:
        """`reload`, if `zproxy keys` has changed the registry since it was read; soon it does so by itself.

        Raises SettingError, RelayStuck.
        """
        return self._gated().follow()

    @property
    def generation(self) -> int:
        """How many times its registry was read; 0 without one."""
        return self._gate.generation if self._gate is not None else 0

    def wait(self, timeout: float | None = None) -> bool:
        """True once the relay has ended, False after `timeout` seconds. Raises NotStarted."""
        if not self._relay.has_started:
            raise NotStarted("this proxy was not started, so it cannot end: call start() before")
        until = None if timeout is None else time.monotonic() + timeout
        while not self._relay.join(JOIN_MS if until is None else _left_ms(until)):
            if until is not None and time.monotonic() >= until:
                return False
        return True

    def stats(self) -> dict[str, int]:
        """All counters and gauges by name (docs/operations.md), copied between two events: they balance.

        All zero before the start, the last ones after the end. Raises RelayStuck.
        """
        return self._relay.snapshot()

    def report(self) -> tuple[dict[str, int], list[ServiceRow], list[PeerRow]]:
        """`stats`, and who is there at the same moment: services, and managed peers. Raises RelayStuck.

        For each service, and so for all: accepted = delivered + failed + expired + cancelled + undelivered + live.
        """
        return self._relay.report()

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _gated(self) -> Gate:
        if self._gate is None:
            raise SettingError("this proxy has no registry to read anew: start it with --registry DIR")
        return self._gate

    def _open(self, side: int, bound: tuple[str, ...], connected: tuple[str, ...]) -> None:
        has_keys = self._gate is not None
        for text in bound:
            found = endpoints.bind(text, insecure=self.settings.insecure or has_keys)
            self._bound[side].append(found)
            is_curve = has_keys and not found.path
            self._relay.add_listener(side, len(self._texts), found.listener.fileno(), is_curve)
            found.listener.detach()
            self._texts.append(found.text)
        for text in connected:
            number = len(self._texts)
            endpoint, server = endpoints.split_server(text)
            parsed = endpoints.parse(endpoint)
            server_keys = self._server_keys(number, parsed, server)
            self._relay.add_connector(side, number, self._resolver.first(number, parsed), server_keys)
            self._texts.append(text)

    def _server_keys(self, number: int, endpoint: Endpoint, server: str) -> tuple[bytes, ...]:
        """Those of the peer that binds there; none where CURVE is not spoken. Raises SettingError."""
        if self._gate is None:
            if server:
                raise SettingError(f"{endpoint.text}: whose keys {server!r} has says a registry: give --registry DIR")
            return ()
        if endpoint.path:
            return ()
        identity = self._gate.registry.identities.get(server)
        if identity is None or not identity.keys:
            whom = f"the registry has no keys of {server!r}" if server else "with a registry, CURVE is spoken there"
            raise SettingError(f"{endpoint.text}: {whom}: write {endpoint.text}?server=NAME of one who has keys")
        self._gate.dials(number, endpoint.text, identity)
        return identity.keys

    def _drain_ms(self, drain: Time | None) -> int:
        return self.settings.drain_ms if drain is None else Settings.of(drain=drain).drain_ms

    def _await_end(self, timeout: float) -> None:
        try:
            has_ended = self.wait(timeout)
        except BaseException:
            self._relay.stop(0)
            self._relay.join(round(STOP_MARGIN_S * 1000))
            raise
        if not has_ended:
            raise RelayStuck(f"the relay has not ended within {timeout:g} s")


def _left_ms(until: float) -> int:
    return min(JOIN_MS, max(0, round((until - time.monotonic()) * 1000)))


def _server_pairs(folder: Path) -> list[KeyPair]:
    """The proxy's own, and those it had before, while their file is there. Raises SettingError."""
    former = folder / f"{FORMER_NAME}{SECRET_SUFFIX}"
    present = read_secret(folder / f"{SERVER_NAME}{SECRET_SUFFIX}")
    return [present, read_secret(former)] if former.exists() else [present]


def _relay_of(settings: Settings, pairs: Sequence[KeyPair]) -> Relay:
    none = KeyPair(b"", b"")
    present, former = (*pairs, none, none)[:2]
    return Relay(
        asks=bool(pairs),
        curve_public=present.public,
        curve_secret=present.secret,
        curve_former_public=former.public,
        curve_former_secret=former.secret,
        max_message_bytes=settings.max_message_bytes,
        memory_bytes=settings.memory_bytes,
        connection_bytes=settings.connection_memory_bytes,
        heartbeat_ms=settings.heartbeat_ms,
        stall_ms=settings.stall_ms,
        spin_us=settings.spin.limit_us,
        spin_auto=settings.spin.is_auto,
        no_worker_wait_ms=settings.no_worker_wait_ms,
        window_bytes=WINDOW_CHUNKS * CHUNK_BYTES,
        queue_bytes=settings.queue_bytes,
        queue_node_bytes=settings.queue_node_bytes,
        queue_service_bytes=settings.service_memory_bytes,
        retain_bytes=settings.retention_bytes,
        dedup_bytes=settings.dedup_bytes,
        dedup_ms=DEDUP_MS,
        absence_ms=settings.absence_ms,
        policy=POLICIES.index(settings.balance.default),
        policies=policies_pack(dict(settings.balance.services)),
        welcome=msgspec.msgpack.encode(_welcome(settings)),
        accepted=msgspec.msgpack.encode({"dedup": [DEDUP_IDS, DEDUP_MS]} if settings.dedup_bytes else {}),
    )


def _welcome(settings: Settings) -> dict[str, object]:
    """What every managed peer hears first (docs/protocol.md)."""
    return {
        "proxy": secrets.randbits(63) | 1,
        "version": PROTOCOL_VERSION,
        "host": host_id(),
        "max_message": settings.max_message_bytes,
        "max_frames": MAX_FRAMES,
        "chunk": CHUNK_BYTES,
        "beat_ms": BEAT_MS,
    }


def _release(relay: Relay, bound: dict[int, list[Bound]], owner_pid: int) -> None:
    """Leaves nothing behind, once: after a stop, when a Proxy is collected, or when Python exits."""
    if os.getpid() != owner_pid:
        return  # forked: all of it belongs to the parent
    if relay.has_started and not relay.has_ended:
        warnings.warn("a Proxy was dropped while it ran: call stop(), or use `with`", ResourceWarning, stacklevel=2)
        relay.stop(0)
    relay.close()
    for side in bound.values():
        for each in side:
            each.close()
