"""Node: what a training program asks its masters with, from any number of threads.

Called by users. Requests go through `readers`, which share the line; contents are packed and unpacked here, in the
caller's thread.
"""

from __future__ import annotations

import math
import os
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, TimeoutError
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from zproxy import content
from zproxy.client.conversation import POST, REQUEST
from zproxy.client.credentials import Key, ServerKey
from zproxy.client.line import Line
from zproxy.client.pending import Options, Pending, options_of, progress_of, progress_unheard
from zproxy.client.readers import Readers
from zproxy.client.reply import Reply, check_body_type, reply_of
from zproxy.client.session import PROGRESS_S, TIMEOUT_S
from zproxy.errors import ForkedNode, NodeClosed, NoWorker, SettingError

if TYPE_CHECKING:
    from typing_extensions import Unpack

Tensors = Mapping[str, npt.ArrayLike]

OF_REQUEST = "tensors, timeout, body_type"  # options that the methods' signatures name
OF_POST = "tensors, timeout, confirm"

monotonic = time.monotonic
getpid = os.getpid


class Node:
    """One node of a training: asks services by their names, and knows no more than the proxy's address.

        with zproxy.Node("node1", "tcp://127.0.0.1:5555") as node:
            reply = node.request("gradients", {"step": 3}, tensors={"w": gradient})

    It connects by itself, now or when a proxy is there, and again when one comes back; what is open then is sent again.
    `endpoints`: a proxy's frontend, or several, as a list or with commas between. It uses all whose proxies live; what
    one had that is lost goes by another one, where it may run a second time. docs/sdk.md has the rest.

    `key`: this node's own (NAME.key_secret, or the secret key as text) and `server_key`: the proxy's (server.key, or as
    text), for a proxy that runs with a registry; `name` is then the one that the registry gives the key.

    Bodies: None, bool, int, float, str, bytes, lists, dicts, dataclasses, msgspec.Structs. Tensors: anything
    `numpy.asarray` takes, without objects. Both are checked before anything is sent: Unsendable, a TypeError.
    Any thread; ForkedNode after a fork, NodeClosed after `close`. Raises SettingError, EndpointError.
    """

    def __init__(
        self,
        name: str,
        endpoints: str | Sequence[str],
        *,
        key: Key | None = None,
        server_key: ServerKey | None = None,
    ) -> None:
        self._pid = getpid()
        self._readers = Readers(Line(name, endpoints, monotonic(), key, server_key))
        self._release = weakref.finalize(self, _release, self._readers, self._pid)

    @property
    def name(self) -> str:
        return self._readers.line.session.name

    def request(
        self,
        service: str,
        body: Any = None,
        *,
        tensors: Tensors | None = None,
        timeout: float = TIMEOUT_S,
        body_type: Any = Any,
        **options: Unpack[Options],
    ) -> Reply:
        """The reply of one worker of `service`.

        `body_type` is what the reply's body has to be: MalformedContent where it is not. Raises RequestTimeout after
        `timeout` seconds, and RequestError's other kinds as the proxy or the handler says. Ctrl-C cancels it.
        """
        packed = content.pack(body, tensors)
        return self._ask(service, packed, timeout, body_type, options_of(options, OF_REQUEST))

    def submit(
        self,
        service: str,
        body: Any = None,
        *,
        tensors: Tensors | None = None,
        timeout: float = TIMEOUT_S,
        body_type: Any = Any,
        **options: Unpack[Options],
    ) -> Future[Reply]:
        """`request` as a future, so that many may be open at once; `cancel` tells the proxy.

        Leave the arrays unchanged until it is done. Its callbacks may call this node, and wait for its futures; while
        one takes long, other threads' requests are late by up to a second, and other futures wait.
        """
        self._check()
        check_body_type(body_type)
        said = options_of(options, OF_REQUEST)
        future = RequestFuture(self, body_type)
        packed = content.pack(body, tensors)
        future.request = self._readers.hand_over(REQUEST, service, packed, timeout, future, said)
        return future

    def post(
        self,
        service: str,
        body: Any = None,
        *,
        tensors: Tensors | None = None,
        timeout: float = TIMEOUT_S,
        confirm: bool = False,
        **options: Unpack[Options],
    ) -> None:
        """Sends what needs no reply. It is delivered once at most, within `timeout` seconds, and arrays are copied.

        Returns at once; what is refused or lost is logged and counted. With `confirm`, returns when a worker has it,
        or raises as `request` does.
        """
        self._check()
        said = options_of(options, OF_POST)
        packed = content.pack(body, tensors)
        if confirm:
            self._readers.ask(POST, service, packed, timeout, confirm, said).raise_error()
            return
        kept = [frame if isinstance(frame, bytes) else bytes(frame) for frame in packed]
        self._readers.hand_over(POST, service, kept, timeout, None, said)

    def send_progress(self, progress: float, step: int | None = None, *, timeout: float = PROGRESS_S) -> Reply:
        """Reports `progress` per cent to the service "progress", and to the proxy's own status on the way.

        Raises as `request` does; UnknownService or NoWorker after `timeout` seconds where no master offers that
        service. The proxy's status has it all the same.
        """
        body, options = progress_of(progress, step)
        try:
            return self._ask("progress", content.pack(body), timeout, Any, options)
        except NoWorker as error:
            raise progress_unheard(error) from None

    def stats(self) -> dict[str, int]:
        """Counters by name (zproxy.client.session.COUNTED); `open` requests; `dedup_ids` and `dedup_ms`, the window
        within which they are sent again."""
        self._check_process()
        return self._readers.stats()

    def close(self) -> None:
        """Ends what is open in NodeClosed, sends posts that wait and GOODBYE, for 2 s at most. Again: nothing."""
        self._check_process()
        if self._release.detach() is not None:
            self._readers.close()

    def __enter__(self) -> Node:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if getpid() == self._pid:
            self.close()

    def attend(self, request: Pending, until: float) -> None:
        """For its futures: a callback that waits for one has to read."""
        if getpid() == self._pid:
            self._readers.attend(request, until)

    def cancel(self, request: Pending) -> None:
        """For its futures."""
        if getpid() == self._pid:
            self._readers.cancel(request)

    def _ask(
        self, service: str, packed: list[Any], timeout: float, body_type: Any, options: dict[str, Any]
    ) -> Reply:
        readers = self._readers
        if readers.is_closing or getpid() != self._pid:
            self._check()
        check_body_type(body_type)
        ended = readers.ask(REQUEST, service, packed, timeout, False, options)
        return reply_of(ended, body_type, monotonic())

    def _check(self) -> None:
        self._check_process()
        if self._readers.is_closing:
            raise NodeClosed(f'node "{self.name}" is closed: make a new one')

    def _check_process(self) -> None:
        if getpid() != self._pid:
            raise ForkedNode(f'node "{self.name}" belongs to process {self._pid}: make one in this process')


class RequestFuture(Future[Reply]):
    """Keeps its node, whose reader makes it done."""

    def __init__(self, node: Node, body_type: Any) -> None:
        super().__init__()
        self.request: Pending | None = None
        self._node = node
        self._body_type = body_type

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        if self.request is not None:
            self._node.cancel(self.request)
        return True

    def result(self, timeout: float | None = None) -> Reply:
        try:
            return super().result(self._time_left(timeout))
        except TimeoutError:  # or the request's own, if it is done
            if self.done():
                raise
            raise self._still_open(timeout) from None
        finally:
            del self  # or the error's traceback would lead back here, a cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(self._time_left(timeout))
        except TimeoutError:
            raise self._still_open(timeout) from None

    def _still_open(self, timeout: float | None) -> TimeoutError:
        service = self.request.service if self.request else ""
        what = f'request of "{self._node.name}" to "{service}": no outcome within {timeout:g} s'
        return TimeoutError(f"{what}; it goes on: ask again, or cancel it")

    def _time_left(self, timeout: float | None) -> float | None:
        """Of `timeout`, after this thread has read for it, if it must."""
        if self.request is None or self.done():
            return timeout
        if not (timeout is None or isinstance(timeout, (int, float))):
            raise SettingError(f"bad timeout {timeout!r}: a number of seconds, or None")
        until = math.inf if timeout is None else monotonic() + timeout
        self._node.attend(self.request, until)
        return None if timeout is None else max(0.0, until - monotonic())

    def ended(self, request: Pending) -> None:
        with suppress(InvalidStateError):
            self._finish(request)

    def _finish(self, request: Pending) -> None:
        if self.cancelled():
            self.set_running_or_notify_cancel()
            return
        if request.error is not None:
            self.set_exception(request.error)
            return
        try:
            reply = reply_of(request, self._body_type, monotonic())
        except Exception as error:
            self.set_exception(error.with_traceback(None))  # which would lead back here, a cycle
        else:
            self.set_result(reply)


def _release(readers: Readers, owner_pid: int) -> None:
    """Leaves nothing behind, once: when a Node is collected, or when Python exits."""
    if os.getpid() != owner_pid:
        return  # forked: all of it belongs to the parent
    readers.abandon()
    warnings.warn("a Node was dropped while it was open: call close(), or use `with`", ResourceWarning, stacklevel=2)
