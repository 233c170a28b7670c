"""Crowds: one asyncio program with many requests under way, and Python processes that answer them, of three systems.

    AsyncNode             ─► zproxy       ─► Masters
    nats-py, request      ─► nats-server  ─► nats-py, one queue group
    a load-balanced view  ─► ipcontroller ─► ipengines

All do the same: each of `window` tasks sends a body, awaits it back, checks it, and sends again; a handler returns the
body it is given. Each system is used as its own documentation begins, with its defaults. nats-py and ipyparallel are
imported only where they are measured; they need not be installed.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import zproxy
from zproxy.errors import NoAnswer, WrongReply
from zproxy.loadgen.children import START_SECONDS, Child, Peer
from zproxy.loadgen.clients import Tally
from zproxy.loadgen.messages import Place, Placed
from zproxy.loadgen.programs import CLIENT_FILE
from zproxy.loadgen.scripts import SERVICE

T = TypeVar("T")
ENGINE_FILE = "security/ipcontroller-engine.json"


class Crowd(ABC):
    """One program's requests. Everything of it runs in one loop, and only while it is asked for something."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.new_event_loop()
        self._wait(self.open(endpoint))

    @abstractmethod
    async def open(self, endpoint: str) -> None:
        """Connects."""

    @abstractmethod
    async def ask(self, payload: bytes) -> bytes:
        """The payload as it came back, within `_timeout_s`."""

    def run(self, *, size: int, window: int, count: int = 0, seconds: float = 0, is_timed: bool = False) -> Tally:
        """As Clients.run; always timed."""
        payload = os.urandom(size)
        samples: list[float] = []
        began = time.perf_counter()
        left = count

        async def ask_on() -> None:
            nonlocal left
            while time.perf_counter() - began < seconds if seconds else left > 0:
                left -= 1
                sent = time.perf_counter()
                if await self.ask(payload) != payload:
                    raise WrongReply("a reply is not its request: does another worker answer there?")
                samples.append(time.perf_counter() - sent)

        async def ask_all() -> None:
            await asyncio.gather(*(ask_on() for _ in range(window)))

        try:
            self._wait(ask_all())
        except TimeoutError as error:
            raise NoAnswer(f"a request was never answered: {error}") from error
        taken = time.perf_counter() - began
        quantiles = statistics.quantiles(samples, n=100) if len(samples) > 1 else samples * 99
        return Tally(len(samples), taken, quantiles[49] * 1e6, quantiles[98] * 1e6)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


class NodeCrowd(Crowd):
    """One AsyncNode."""

    async def open(self, endpoint: str) -> None:
        self._node = zproxy.AsyncNode("load", endpoint)

    async def ask(self, payload: bytes) -> bytes:
        body = (await self._node.request(SERVICE, payload, timeout=self._timeout_s)).body
        assert isinstance(body, bytes)
        return body


class NatsCrowd(Crowd):
    """One connection of nats-py."""

    async def open(self, endpoint: str) -> None:
        self._nats = await importlib.import_module("nats").connect(endpoint)

    async def ask(self, payload: bytes) -> bytes:
        body = (await self._nats.request(SERVICE, payload, timeout=self._timeout_s)).data
        assert isinstance(body, bytes)
        return body


class ViewCrowd(Crowd):
    """One load-balanced view of all engines."""

    async def open(self, endpoint: str) -> None:
        client = importlib.import_module("ipyparallel").Client(f"{endpoint}/{CLIENT_FILE}")
        self._view = client.load_balanced_view()

    async def ask(self, payload: bytes) -> bytes:
        body = await asyncio.wrap_future(self._view.apply_async(echo, payload))
        assert isinstance(body, bytes)
        return body


def echo(body: bytes) -> bytes:
    """What an engine runs."""
    return body


# ---- who answers ----


def serve_nats(endpoint: str, ready: Callable[[], None]) -> NoReturn:
    """A subscriber of the queue group that responds with what it is sent, until it is killed."""

    async def subscribe() -> None:
        connection = await importlib.import_module("nats").connect(endpoint)

        async def respond(message: Any) -> None:
            await message.respond(message.data)

        await connection.subscribe(SERVICE, queue="workers", cb=respond)
        await connection.flush()
        ready()
        await asyncio.Event().wait()

    asyncio.run(subscribe())
    raise SystemExit


def start_engines(place: Place) -> list[Child]:
    """So many engines, all of them known to the controller."""
    argv = [sys.executable, "-m", "ipyparallel.engine", f"--file={place.endpoint}/{ENGINE_FILE}"]
    engines = [Child(argv, Path.cwd() / "engines.log") for _ in range(place.count)]
    with importlib.import_module("ipyparallel").Client(f"{place.endpoint}/{CLIENT_FILE}") as client:
        client.wait_for_engines(place.count, timeout=START_SECONDS)
    return engines


def start_peers(role: str, place: Place) -> list[Child]:
    """So many processes of that role."""
    peers = [Peer(role, Path.cwd() / f"{role}.log") for _ in range(place.count)]
    for peer in peers:
        peer.ask(Place(place.endpoint, 1), Placed, START_SECONDS)
    return [*peers]
