"""A process that runs one master with the services the tests ask for, and answers for it (see MasterProcess).

`hold` and `once` stand still from their beginning until the gate is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import Any

import msgspec

from support.processes import serve
from zproxy import Master, Request


class Pair(msgspec.Struct):
    """The body `add` takes."""

    left: int
    right: int


class Calls:
    """What the tests may ask."""

    def __init__(self, backend: str | list[str], options: dict[str, Any]) -> None:
        lease = options.pop("lease", None)
        self._gate = threading.Event()
        self._begun: list[Request] = []
        self._adds = 0
        self._notes: list[Any] = []
        self._kept: list[dict[str, Any]] = []
        self.master = Master(backend, **options)
        self.master.service("echo")(lambda request: (request.body, request.tensors))
        self.master.service("add", body=Pair)(self._add)
        self.master.service("fail")(self._fail)
        self.master.service("hold", lease=lease)(self._hold)
        self.master.service("once", idempotent=False)(self._hold)
        self.master.service("note")(lambda request: self._notes.append(request.body))
        self.master.service("progress")(self._progress)
        self.master.service("look")(self._look)
        self.master.service("keep")(lambda request: self._kept.append(request.tensors))
        self.master.service("kept")(lambda request: [digests(tensors) for tensors in self._kept])
        self.master.start()

    def _add(self, request: Request) -> Any:
        self._adds += 1
        return request.body.left + request.body.right

    def _fail(self, request: Request) -> Any:
        raise ValueError(f"no such step: {request.body}")

    def _hold(self, request: Request) -> Any:
        self._begun.append(request)
        self._gate.wait()
        return {"pid": os.getpid(), "body": request.body, "attempt": request.attempt}

    def _progress(self, request: Request) -> Any:
        self._notes.append([request.node, request.body, request.step, request.progress])
        return "noted"

    def _look(self, request: Request) -> Any:
        """How the tensors lie in memory here."""
        return {name: layout(tensor) for name, tensor in request.tensors.items()}, request.tensors

    def open_gate(self) -> None:
        self._gate.set()

    def begun(self) -> list[dict[str, Any]]:
        """What the gate holds, or has held, in the order of its beginning."""
        return [
            {"node": request.node, "body": request.body, "attempt": request.attempt, "cancelled": request.is_cancelled}
            for request in self._begun
        ]

    def adds(self) -> int:
        return self._adds

    def notes(self) -> list[Any]:
        return self._notes

    def stats(self) -> dict[str, int]:
        return self.master.stats()

    def stop(self) -> None:
        self._gate.set()
        self.master.stop()


def layout(tensor: Any) -> dict[str, Any]:
    address = tensor.ctypes.data
    return {
        "writeable": bool(tensor.flags.writeable),
        "aligned": bool(tensor.flags.aligned),
        "past_line": address % 64,
    }


def digests(tensors: dict[str, Any]) -> dict[str, str]:
    return {name: hashlib.sha256(tensor.tobytes()).hexdigest() for name, tensor in tensors.items()}


def main(backend: str, options: str) -> None:
    serve(Calls(json.loads(backend), json.loads(options)))
