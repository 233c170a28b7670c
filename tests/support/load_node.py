"""A node under load: asks, with so many open at once, notes every attempt and outcome. See LoadNode (support/load).

It ends by itself after a number of requests, and never asks on when nobody waits for it.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from support.ledger import REPLY, Ledger, digest_of
from support.load_words import SERVICE, Done, Payloads, Work, packed, unpacked
from support.processes import serve
from zproxy import Node, Reply
from zproxy.errors import Busy, Draining

PAUSE_SECONDS = 0.05  # after a refusal that names no time


class Calls:
    """What the tests may ask, and the load."""

    def __init__(
        self,
        name: str,
        endpoints: list[str],
        folder: str,
        *,
        requests: int,
        window: int = 32,
        size_bytes: int = 200,
        service: str = SERVICE,
        options: dict[str, Any] | None = None,
        keys: dict[str, str] | None = None,
        **work: Any,
    ) -> None:
        self._name = name
        self._ledger = Ledger(folder, name)
        self._payloads = Payloads(name, size_bytes)
        self._requests = requests
        self._service = service
        self._options = {"body_type": Done, **(options or {})}
        self._work = work
        self._window = window
        self._places = threading.Semaphore(window)
        self._lock = threading.Lock()
        self._answered = 0
        self._resumes_at = 0.0
        self._is_asked_to_end = False
        self._error: BaseException | None = None
        self._stats: dict[str, int] = {}
        self._node = Node(name, endpoints, **(keys or {}))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answered(self) -> int:
        """Requests that have an outcome."""
        return self._answered

    def finish(self) -> None:
        """Asks nothing more; what is open is waited for."""
        self._is_asked_to_end = True

    def is_done(self) -> bool:
        """Has everything its outcome? Raises what broke the load."""
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def stats(self) -> dict[str, int]:
        """The SDK's counters, the last ones after the end."""
        return self._stats or self._node.stats()

    def wall_clock(self) -> float:
        return time.time()

    def _run(self) -> None:
        try:
            for sequence in range(1, self._requests + 1):
                self._places.acquire()
                if self._is_asked_to_end:
                    self._places.release()
                    break
                time.sleep(max(0.0, self._resumes_at - time.monotonic()))
                self._ask(sequence)
            for _ in range(self._window):
                self._places.acquire()
            self._stats = self._node.stats()
            self._node.close()
        except BaseException as error:
            self._error = error

    def _ask(self, sequence: int) -> None:
        payload = self._payloads.of(sequence)
        self._ledger.attempt(self._name, sequence, digest_of(payload))
        field, tensors = packed(payload)
        body = Work(self._name, sequence, field, **self._work)
        future = self._node.submit(self._service, body, tensors=tensors, **self._options)
        future.add_done_callback(partial(self._ended, sequence))

    def _ended(self, sequence: int, future: Future[Reply]) -> None:
        error = future.exception()
        if error is None:
            reply = future.result()
            digest = reply.body.digest or digest_of(unpacked(reply.body.payload, reply.tensors))
            self._ledger.outcome(self._name, sequence, REPLY, digest, reply.attempt)
        else:
            self._ledger.outcome(self._name, sequence, type(error).__name__, "", getattr(error, "attempt", 0))
        if isinstance(error, (Busy, Draining)):
            self._resumes_at = time.monotonic() + (error.retry_after or PAUSE_SECONDS)
        with self._lock:
            self._answered += 1
        self._places.release()


def main(spec: str) -> None:
    serve(Calls(**json.loads(spec)))
