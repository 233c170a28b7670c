"""Ledgers: what nodes attempted and heard, what workers executed, one line each, in files that are only appended to.

Written by support/load_node and support/load_master, a file for each life of a process; read by the oracle
(support/fault_oracle). A line is one write, so what a killed process had noted is there, and is whole.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

DIGEST_BYTES = 8
NOTHING = "-"  # no digest, no worker: a line's fields are never empty
REPLY = "REPLY"


class Attempt(NamedTuple):
    """A node hands a request to its SDK."""

    node: str
    sequence: int  # the node's own count; the protocol has another
    digest: str
    at: float  # time.monotonic(), which all processes of a host share


class Outcome(NamedTuple):
    """What it ended in: REPLY, or the name of an exception."""

    node: str
    sequence: int
    result: str
    digest: str  # of what the reply brought back
    attempt: int  # deliveries it took, as the proxy says
    at: float

    @property
    def is_reply(self) -> bool:
        return self.result == REPLY


class Execution(NamedTuple):
    """A worker begins a request."""

    worker: str
    node: str
    sequence: int
    digest: str
    attempt: int
    at: float


class Records(NamedTuple):
    """What all ledgers of a folder hold."""

    attempts: list[Attempt]
    outcomes: list[Outcome]
    executions: list[Execution]

    def of(self, nodes: Collection[str]) -> Records:
        """What is about the requests of these nodes."""
        return Records(*([each for each in kind if each.node in nodes] for kind in self))  # type: ignore[arg-type]


class Ledger:
    """The file of one process."""

    def __init__(self, folder: str, owner: str) -> None:
        path = Path(folder, f"{owner}-{os.getpid()}.ledger")
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def attempt(self, node: str, sequence: int, digest: str) -> None:
        self._note("A", node, sequence, digest, time.monotonic())

    def outcome(self, node: str, sequence: int, result: str, digest: str, attempt: int) -> None:
        self._note("O", node, sequence, result, digest or NOTHING, attempt, time.monotonic())

    def execution(self, worker: str, node: str, sequence: int, digest: str, attempt: int) -> None:
        self._note("E", worker, node, sequence, digest, attempt, time.monotonic())

    def _note(self, *fields: object) -> None:
        os.write(self._descriptor, (" ".join(map(str, fields)) + "\n").encode())


def digest_of(payload: bytes | memoryview) -> str:
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).hexdigest()


def read_ledgers(folder: str | Path) -> Records:
    """All that the processes of a folder have noted so far."""
    return parse_lines(line for path in sorted(Path(folder).glob("*.ledger")) for line in path.read_text().splitlines())


def parse_lines(lines: Iterable[str]) -> Records:
    records = Records([], [], [])
    for line in lines:
        kind, *fields = line.split()
        if kind == "A":
            node, sequence, digest, at = fields
            records.attempts.append(Attempt(node, int(sequence), digest, float(at)))
        elif kind == "O":
            node, sequence, result, digest, attempt, at = fields
            told = "" if digest == NOTHING else digest
            records.outcomes.append(Outcome(node, int(sequence), result, told, int(attempt), float(at)))
        elif kind == "E":
            worker, node, sequence, digest, attempt, at = fields
            records.executions.append(Execution(worker, node, int(sequence), digest, int(attempt), float(at)))
        else:
            raise ValueError(f"no line of a ledger: {line!r}")
    return records
