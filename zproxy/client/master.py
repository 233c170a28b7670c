"""Master: the services of one process, offered to the nodes of every zproxy it connects to.

What a program uses; it checks what it is told, owns the signals while `run` runs, and leaves all work to its crew.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, TypeVar

from zproxy.client.answers import Answers
from zproxy.client.credentials import Key, ServerKey, introduce
from zproxy.client.crew import Crew
from zproxy.client.services import Handler, Service, Services
from zproxy.client.worker_session import COUNTERS, WorkerSession
from zproxy.errors import ForkedMaster, MasterStarted, ServiceError, SettingError
from zproxy.naming import NAME_RULE, is_name
from zproxy.processes import Stop
from zproxy.units import Time, parse_time

AnyHandler = TypeVar("AnyHandler", bound=Handler)

DRAIN_S = 10.0
STOP_MARGIN_S = 5.0  # beyond the drain, for what a stop itself takes
CONCURRENCY_MAX = 1024

_numbers = itertools.count(1)  # of the masters of this process, for their default names


class Master:
    """Serves requests of all nodes by the handlers it is given.

        master = Master("tcp://127.0.0.1:5556", name="m1", concurrency=4)

        @master.service("gradients")
        def gradients(request):
            return {"ok": True}, {"w": request.tensors["w"] * 0.5}

        master.run()

    `endpoints`: a proxy's backend, or several, as a list or with commas between, all of which are served.
    `concurrency`: handlers that run at once, each in a thread, whoever asks. `prefetch`: requests that wait here
    besides, at most `concurrency`, which is the default; they are for each proxy. `drain`: seconds, or text like "10s",
    that an end takes at most. `key`, `server_key`: as Node's, for a proxy that runs with a registry. Start order does
    not matter: it serves a proxy as soon as it is there, and anew when it comes back. It runs once. Errors of handlers
    go to the logger "zproxy.master".

    Raises SettingError, EndpointError. All methods: any thread; ForkedMaster after a fork. docs/sdk.md has the rest.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str],
        name: str | None = None,
        *,
        concurrency: int = 1,
        prefetch: int | None = None,
        drain: Time = DRAIN_S,
        key: Key | None = None,
        server_key: ServerKey | None = None,
    ) -> None:
        self.name = _default_name() if name is None else name
        self.endpoints, self._credentials = introduce(self.name, endpoints, key, server_key)
        self.concurrency = concurrency
        self.prefetch = concurrency if prefetch is None else prefetch
        self.drain = _seconds("drain", drain)
        self._services = Services()
        self._lock = threading.Lock()
        self._crew: Crew | None = None
        self._release: weakref.finalize[..., Any] | None = None
        self._owner_pid = os.getpid()
        self._check()

    def service(
        self, name: str, *, body: Any = Any, idempotent: bool = True, lease: Time | None = None
    ) -> Callable[[AnyHandler], AnyHandler]:
        """Offers service `name`, or "*": any that no worker names, by the handler it decorates.

        The handler takes a Request and returns a body, or (body, tensors): a tuple of two whose second is a dict or
        None. `body`: the type that requests' bodies are to have, whatever msgspec can decode to; one that does not fit
        is answered MALFORMED, without the handler. Not `idempotent`: what a worker may have begun is never delivered
        again. `lease`: seconds, or text like "5s", after which a process that stands still loses what it has to
        another master, though its connection stands; the master extends it while its threads run, however long the
        handler takes. Raises ServiceError for a name that is bad or taken, SettingError, MasterStarted.
        """

        if callable(name):
            raise ServiceError("a service has a name: write @master.service('NAME'), not @master.service")
        lease_s = 0.0 if lease is None else _seconds("lease", lease)

        def offer(handler: AnyHandler) -> AnyHandler:
            self._check_owner()
            with self._lock:
                if self._crew is not None:
                    raise MasterStarted(f"{self.name} has started: add service {name!r} before")
                self._services.add(Service(name, handler, body, idempotent, lease_s))
            return handler

        return offer

    def run(self) -> None:
        """Serves until SIGINT, SIGTERM or `stop`; then finishes what it holds, within `drain` seconds.

        A second signal ends at once. Signals are heard in the main thread only, and do what they did before
        afterwards. Handlers run in threads of their own, whatever `concurrency` is. Raises Fenced, Denied or another
        RequestError if a proxy refuses this master for good, ServiceError without a service, MasterStarted.
        """
        stop = Stop()
        is_main = threading.current_thread() is threading.main_thread()
        # Before anything is made: what a signal's exception interrupts may leave a socket behind that nobody can close,
        # and libzmq waits for it for ever.
        with stop.on_signals() if is_main else nullcontext():
            crew = self._begin(stop)
            crew.start()
            crew.watch()
        _raise_if(crew.error)

    def start(self) -> None:
        """Serves in threads until `stop`. Raises as `run` does, but a refusal is raised by `stop`."""
        crew = self._begin(Stop())
        self._release = weakref.finalize(self, _release, crew, self.name, os.getpid())
        crew.start()
        threading.Thread(target=crew.watch, name=f"{self.name}-watcher", daemon=True).start()

    def stop(self, drain: Time | None = None) -> None:
        """Ends as a signal does, and returns when it has, after `drain` seconds and a little at the latest.

        `drain` is the master's own when None. Stopping again, or what never started, does nothing more. In a handler,
        or in the thread that runs `run`, it asks and returns at once. Raises what `run` would.
        """
        self._check_owner()
        crew = self._crew
        if crew is None:
            return
        if drain is not None:
            crew.drain_s = _seconds("drain", drain)
        crew.stop.ask()
        if not crew.has(threading.current_thread()):
            crew.ended.wait(crew.drain_s + STOP_MARGIN_S)
            if self._release is not None and crew.is_over:
                self._release.detach()  # it holds the crew, whose handlers may hold this master: for ever
            _raise_if(crew.error)

    @property
    def is_running(self) -> bool:
        """Has it been started, and not ended yet?"""
        return self._crew is not None and not self._crew.ended.is_set()

    def stats(self) -> dict[str, int]:
        """Counters by name, over all proxies, and `in_flight`; docs/sdk.md says what they count."""
        self._check_owner()
        return dict.fromkeys((*COUNTERS, "in_flight"), 0) if self._crew is None else self._crew.stats()

    def __enter__(self) -> Master:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _check(self) -> None:
        if not self.endpoints:
            raise SettingError("a master without an endpoint serves nobody: give the backend of a proxy")
        if not is_name(self.name):
            raise SettingError(f"bad master name {self.name!r}: {NAME_RULE}")
        if not _is_whole(self.concurrency) or not 1 <= self.concurrency <= CONCURRENCY_MAX:
            raise SettingError(f"concurrency {self.concurrency!r}: 1 to {CONCURRENCY_MAX} handlers can run at once")
        if not _is_whole(self.prefetch) or not 0 <= self.prefetch <= self.concurrency:
            raise SettingError(f"prefetch {self.prefetch!r}: 0 to {self.concurrency}, as many as `concurrency`")

    def _check_owner(self) -> None:
        if os.getpid() != self._owner_pid:
            raise ForkedMaster(f"{self.name} belongs to process {self._owner_pid}, which forked: make one in the child")

    def _begin(self, stop: Stop) -> Crew:
        try:
            return self._begun(stop)
        except BaseException:
            stop.close()
            raise

    def _begun(self, stop: Stop) -> Crew:
        self._check_owner()
        with self._lock:
            if self._crew is not None:
                raise MasterStarted(f"{self.name} was started before: each Master runs once")
            if not self._services:
                raise ServiceError(f"{self.name} offers no service: add one by @master.service(name)")
            self._crew = self._made_crew(stop)
            return self._crew

    def _made_crew(self, stop: Stop) -> Crew:
        incarnation = secrets.randbits(64) or 1
        offers = tuple(self._services.offers())
        credit = self.concurrency + self.prefetch
        answers = Answers()
        return Crew(
            self.name,
            self.endpoints,
            self._services,
            answers,
            concurrency=self.concurrency,
            drain_s=self.drain,
            session=lambda: WorkerSession(self.name, incarnation, offers, credit, answers),
            stop=stop,
            credentials=self._credentials,
        )


def _default_name() -> str:
    """This host and process, and which of its masters."""
    number = next(_numbers)
    suffix = f"-{os.getpid()}" if number == 1 else f"-{os.getpid()}-{number}"
    host = re.sub(r"[^A-Za-z0-9_./-]", "-", socket.gethostname()) or "master"
    return host[: 64 - len(suffix)] + suffix


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _seconds(what: str, given: Time) -> float:
    try:
        return parse_time(given)
    except ValueError as error:
        raise SettingError(f"{what}: {error}") from error


def _raise_if(error: BaseException | None) -> None:
    if error is not None:
        raise error


def _release(crew: Crew, name: str, owner_pid: int) -> None:
    """When a Master that was started is dropped, or Python exits: nothing is left behind."""
    if os.getpid() != owner_pid or crew.is_over:
        return
    warnings.warn(f"{name}, a Master, was dropped while it ran: call stop(), or use `with`", ResourceWarning, 2)
    crew.end_at_once(STOP_MARGIN_S)
