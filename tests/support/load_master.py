"""A master under load: notes every execution before it works. See LoadMaster (support/load)."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from support.ledger import Ledger, digest_of
from support.load_words import POISON, SERVICE, Done, Work, packed, unpacked
from support.processes import serve
from zproxy import Master, Request


class Calls:
    """What the tests may ask, and the handlers."""

    def __init__(self, name: str, endpoints: list[str], folder: str, lease: str | None = None, **options: Any) -> None:
        self._name = name
        self._ledger = Ledger(folder, name)
        self._master = Master(endpoints, name, **options)
        self._master.service(SERVICE, body=Work, lease=lease)(self._work)
        self._master.service(POISON, body=Work)(self._die)
        self._master.start()

    def stats(self) -> dict[str, int]:
        return self._master.stats()

    def stop(self) -> None:
        self._master.stop()

    def wall_clock(self) -> float:
        return time.time()

    def _work(self, request: Request) -> Any:
        payload, digest = self._noted(request)
        _take_time(request)
        if not request.body.is_echoed:
            return Done(digest=digest)
        field, tensors = packed(bytes(payload))
        return Done(field), tensors

    def _die(self, request: Request) -> Any:
        self._noted(request)
        os.kill(os.getpid(), signal.SIGKILL)

    def _noted(self, request: Request) -> tuple[bytes | memoryview, str]:
        work = request.body
        payload = unpacked(work.payload, request.tensors)
        digest = digest_of(payload)
        self._ledger.execution(self._name, work.node, work.sequence, digest, request.attempt)
        return payload, digest


def _take_time(request: Request) -> None:
    """As long as the request says; with signs of life, if it says so."""
    work = request.body
    end = time.monotonic() + work.work_ms / 1000
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, work.progress_ms / 1000 or left))
        if work.progress_ms:
            request.send_progress(0.0)


def main(spec: str) -> None:
    serve(Calls(**json.loads(spec)))
