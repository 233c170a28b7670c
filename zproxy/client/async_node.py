"""AsyncNode: what Node is, for one asyncio loop: the loop waits for the line's descriptors and steps it.

Called by users, in the loop that first used it. No thread, no lock, no waiting but the loop's own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zproxy import content
from zproxy.client.conversation import POST, REQUEST
from zproxy.client.credentials import Key, ServerKey
from zproxy.client.line import TICK_S, Line
from zproxy.client.node import OF_POST, OF_REQUEST, Tensors
from zproxy.client.pending import Options, Pending, options_of, progress_of, progress_unheard
from zproxy.client.readers import CLOSE_S
from zproxy.client.reply import Reply, check_body_type, reply_of
from zproxy.client.session import PROGRESS_S, TIMEOUT_S
from zproxy.errors import ForkedNode, NodeClosed, NoWorker, PeerStateError

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger("zproxy.node")

monotonic = time.monotonic


class AsyncNode:
    """A Node whose methods are awaited; any number of tasks of one loop share it.

        async with zproxy.AsyncNode("node1", "tcp://127.0.0.1:5555") as node:
            reply = await node.request("gradients", {"step": 3}, tensors={"w": gradient})

    A cancelled task cancels its request. Errors, bodies, tensors and options are Node's. It belongs to the loop it was
    first used in: PeerStateError in another. ForkedNode after a fork, NodeClosed after `close`.
    """

    def __init__(
        self,
        name: str,
        endpoints: str | Sequence[str],
        *,
        key: Key | None = None,
        server_key: ServerKey | None = None,
    ) -> None:
        self._engine = _Engine(Line(name, endpoints, monotonic(), key, server_key))
        self._release = weakref.finalize(self, _release, self._engine, os.getpid())

    @property
    def name(self) -> str:
        return self._engine.session.name

    async def request(
        self,
        service: str,
        body: Any = None,
        *,
        tensors: Tensors | None = None,
        timeout: float = TIMEOUT_S,
        body_type: Any = Any,
        **options: Unpack[Options],
    ) -> Reply:
        """As Node.request."""
        said = options_of(options, OF_REQUEST)
        check_body_type(body_type)
        packed = content.pack(body, tensors)
        ended = await self._engine.ask(REQUEST, service, packed, timeout, False, said)
        return reply_of(ended, body_type, monotonic())

    async def post(
        self,
        service: str,
        body: Any = None,
        *,
        tensors: Tensors | None = None,
        timeout: float = TIMEOUT_S,
        confirm: bool = False,
        **options: Unpack[Options],
    ) -> None:
        """As Node.post."""
        said = options_of(options, OF_POST)
        packed = content.pack(body, tensors)
        if not confirm:
            kept = [frame if isinstance(frame, bytes) else bytes(frame) for frame in packed]
            self._engine.send(POST, service, kept, timeout, False, said)
            return
        (await self._engine.ask(POST, service, packed, timeout, confirm, said)).raise_error()

    async def send_progress(self, progress: float, step: int | None = None, *, timeout: float = PROGRESS_S) -> Reply:
        """As Node.send_progress."""
        body, options = progress_of(progress, step)
        ended = await self._engine.ask(REQUEST, "progress", content.pack(body), timeout, False, options)
        try:
            return reply_of(ended, Any, monotonic())
        except NoWorker as error:
            raise progress_unheard(error) from None

    def stats(self) -> dict[str, int]:
        """As Node.stats."""
        self._engine.check_process()
        return self._engine.line.stats()

    async def close(self) -> None:
        """As Node.close."""
        if self._release.detach() is not None:
            await self._engine.close()

    async def __aenter__(self) -> AsyncNode:
        self._engine.check()
        self._engine.attend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if os.getpid() == self._engine.pid:
            await self.close()


class _Engine:
    """The line in its loop. It does not know its AsyncNode, so that one that is dropped can be noticed."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.session = line.session
        self.pid = os.getpid()
        self.is_closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched: tuple[int, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Future[None] | None = None

    async def ask(
        self, kind: int, service: str, frames: Sequence[Any], timeout: float, confirm: bool, options: dict[str, Any]
    ) -> Pending:
        """A request that has ended."""
        request = self.send(kind, service, frames, timeout, confirm, options)
        if request.has_ended:
            return request
        request.waiter = asyncio.get_running_loop().create_future()
        try:
            await request.waiter
        except BaseException:
            if self.session.cancel(request) and not self.is_closing:
                self.line.push(monotonic())
                self._follow()
            raise
        return request

    def send(
        self, kind: int, service: str, frames: Sequence[Any], timeout: float, confirm: bool, options: dict[str, Any]
    ) -> Pending:
        self.check()
        self.attend()
        now = monotonic()
        request = self.session.request(kind, service, frames, now, timeout, confirm=confirm, **options)
        self.line.push(now)
        self._follow()
        return request

    def attend(self) -> None:
        """From now on the running loop steps the line."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._follow()
        elif self._loop is not loop:
            raise PeerStateError(f'node "{self.session.name}" belongs to another event loop: make one in this loop')

    async def close(self) -> None:
        self.check_process()
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            self.drop_anywhere()
            return
        self.is_closing = True
        self.line.leave(monotonic())
        try:
            self.attend()
            self._leaving = asyncio.get_running_loop().create_future()
            self.line.push(monotonic())
            self._follow()
            await asyncio.wait_for(self._leaving, CLOSE_S)
        except (TimeoutError, asyncio.TimeoutError):
            logger.info("no GOODBYE from the proxy at %s", self.session.everywhere)
        finally:
            self.drop()

    def drop(self) -> None:
        """At once, without a word."""
        self.is_closing = True
        self.session.leave()
        self.session.abandon()
        self._tell()
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
        self.line.close()

    def drop_anywhere(self) -> None:
        """The same, from a thread that may be another than the loop's."""
        loop = self._loop
        if loop is None or not loop.is_running() or asyncio._get_running_loop() is loop:
            self.drop()
            return
        self.is_closing = True
        with suppress(RuntimeError):  # it closed meanwhile, and nobody waits
            loop.call_soon_threadsafe(self.drop)

    def check(self) -> None:
        self.check_process()
        if self.is_closing:
            raise NodeClosed(f'node "{self.session.name}" is closed: make a new one')

    def check_process(self) -> None:
        if os.getpid() != self.pid:
            raise ForkedNode(f'node "{self.session.name}" belongs to process {self.pid}: make one in this process')

    def _step(self) -> None:
        try:
            self.line.step(monotonic())
        except BaseException:  # for the loop to say; what is open still has its time-out
            self.line.repair(monotonic())
            if self._timer is None and self._loop is not None:
                self._timer = self._loop.call_later(TICK_S, self._wake)
            raise
        self._follow()

    def _wake(self) -> None:
        self._timer = None
        self._step()

    def _follow(self) -> None:
        """After every step: whoever waits is told, and the loop waits for what is next."""
        self._tell()
        if self.line.descriptors is not self._watched:
            self._unwatch()
            self._watch()
        if self._leaving is not None and self.session.has_left and not self._leaving.done():
            self._leaving.set_result(None)
        if self.session.is_waiting:
            self._arm()

    def _arm(self) -> None:
        assert self._loop is not None
        at = self._loop.time() + self.line.due_in(monotonic())
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._wake)

    def _tell(self) -> None:
        while self.session.said:
            logger.log(*self.session.said.popleft())
        while self.session.ended:
            request = self.session.ended.popleft()
            if request.waiter is None:
                if request.kind == POST and not request.confirm and request.error is not None:
                    logger.warning("%s", request.error)
            elif not request.waiter.done() and not request.waiter.get_loop().is_closed():
                request.waiter.set_result(None)

    def _watch(self) -> None:
        assert self._loop is not None
        self._watched = self.line.descriptors
        for descriptor in self._watched:
            self._loop.add_reader(descriptor, self._step)

    def _unwatch(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            for descriptor in self._watched:
                self._loop.remove_reader(descriptor)
        self._watched = ()


def _release(engine: _Engine, owner_pid: int) -> None:
    """Leaves nothing behind, once: when an AsyncNode is collected, or when Python exits."""
    if os.getpid() != owner_pid:
        return  # forked: all of it belongs to the parent
    engine.drop_anywhere()
    warnings.warn(
        "an AsyncNode was dropped while it was open: await close(), or use `async with`", ResourceWarning, stacklevel=2
    )
