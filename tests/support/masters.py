"""A master in the test's own process, at a fake backend, with handlers that can be held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from support.fake_backend import FakeBackend
from support.waiting import DEADLINE_SECONDS
from zproxy import Master, Request
from zproxy.errors import RequestError


class Gate:
    """A handler that stands still from its beginning until it is opened; returns how often it was begun."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.count = 0
        self.requests: list[Request] = []
        self._opened = threading.Event()

    def __call__(self, request: Request) -> Any:
        self.requests.append(request)
        self.count += 1
        self.begun.release()
        assert self._opened.wait(DEADLINE_SECONDS)
        return {"begun": self.count}

    def wait_begun(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=DEADLINE_SECONDS)

    def open(self) -> None:
        self._opened.set()


class Hosted:
    """Masters of one test; those that still run are ended with it, at once."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.gate = Gate()
        self._masters: list[Master] = []

    def master(self, handlers: dict[str, Callable[[Request], Any]] | None = None, **options: Any) -> Master:
        """One that offers `echo`, `hold` (the gate), and the test's own."""
        made = Master(self.backend.endpoint, "m1", **options)
        offered: dict[str, Callable[[Request], Any]] = {"echo": echo, "hold": self.gate, **(handlers or {})}
        for name, handler in offered.items():
            made.service(name)(handler)
        self._masters.append(made)
        return made

    def serving(self, handlers: dict[str, Callable[[Request], Any]] | None = None, **options: Any) -> Master:
        """The same, joined."""
        made = self.master(handlers, **options)
        made.start()
        self.backend.join()
        return made

    def stats(self, name: str) -> int:
        """One counter, over all masters."""
        return sum(master.stats()[name] for master in self._masters)

    def close(self) -> None:
        self.gate.open()
        for master in self._masters:
            try:
                master.stop(0)
            except RequestError:
                pass  # a refusal, which its own test has seen


def echo(request: Request) -> Any:
    return request.body, request.tensors


class InThread:
    """A call in a thread of its own, and what became of it."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.error: BaseException | None = None
        self.result: Any = None
        self._call = partial(call, *arguments)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> Any:
        """Its result; raises what it raised."""
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "still running"
        if self.error is not None:
            raise self.error
        return self.result
