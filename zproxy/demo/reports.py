"""Reports: what the processes of a demo tell the supervisor, one JSON object a line on their standard output."""

from __future__ import annotations

import sys

import msgspec


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The proxy is bound."""

    frontend: str
    backend: str


class Traffic(msgspec.Struct, frozen=True, tag=True):
    """The proxy's own counters, both directions together, since it began."""

    at_s: float  # monotonic clock
    messages: int
    wire_bytes: int  # as the proxy wrote them to its peers
    dropped: int


class Stepped(msgspec.Struct, frozen=True, tag=True):
    """The master has all gradients of a step and has taken it."""

    step: int  # steps taken
    loss: float  # mean over the nodes, before the step
    progress: dict[str, float]  # what each node said of itself, 0 to 1


class Trained(msgspec.Struct, frozen=True, tag=True):
    """The master or a node has the final parameters."""

    digest: str


class Checking(msgspec.Struct, frozen=True, tag=True):
    """The single process has taken so many steps."""

    step: int


class Compared(msgspec.Struct, frozen=True, tag=True):
    """What the single process found."""

    largest_difference: float
    tolerance: float
    loss_before: float  # on text that nobody trained on
    loss_after: float


Report = Ready | Traffic | Stepped | Trained | Checking | Compared

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def say(report: Report) -> None:
    """Tells the supervisor."""
    sys.stdout.buffer.write(_encoder.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def hear(line: bytes) -> Report:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(line)
