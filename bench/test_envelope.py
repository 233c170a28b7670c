"""What the managed protocol costs a Python peer for each message: `pytest bench/test_envelope.py --benchmark-only`.

No sockets, one thread. The envelope's target is 2 µs for both directions together; a message has one of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zmq
from pytest_benchmark.fixture import BenchmarkFixture

from zproxy.content import Content, pack, unpack
from zproxy.envelope import Envelope, Kind

KIB = 1 << 10

ENVELOPE_TARGET_US = 2.0

REQUEST: dict[str, Any] = {
    "service": "gradients",
    "incarnation": 0x1122334455667788,
    "sequence": 7,
    "remaining_ms": 30_000,
    "conversation": 0x0A0B0C0D,
}

CONTENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a progress report": ({"progress": 50.0, "step": 3}, {}),
    "1,000 integers": (list(range(1000)), {}),
    "a tensor of 1 KiB": (None, {"a": np.zeros(KIB, np.uint8)}),
    "a tensor of 64 KiB": (None, {"a": np.zeros(64 * KIB, np.uint8)}),
    "ten tensors of 1 KiB": (None, {str(number): np.zeros(KIB // 8) for number in range(10)}),
}


def test_envelope(benchmark: BenchmarkFixture) -> None:
    """A request's envelope made, written and read."""

    def there_and_back() -> Envelope:
        return Envelope.parse(Envelope(Kind["REQUEST"], **REQUEST).pack())

    benchmark.group = "envelope, written and read"
    benchmark.extra_info["target_us"] = ENVELOPE_TARGET_US
    assert benchmark(there_and_back).sequence == REQUEST["sequence"]


@pytest.mark.parametrize("what", CONTENTS)
def test_pack(benchmark: BenchmarkFixture, what: str) -> None:
    """Frames of a body and its tensors."""
    body, tensors = CONTENTS[what]
    benchmark.group = f"content, {what}"
    assert len(benchmark(pack, body, tensors)) == 1 + len(tensors)


@pytest.mark.parametrize("what", CONTENTS)
def test_unpack(benchmark: BenchmarkFixture, what: str) -> None:
    """A body and its tensors of frames, as libzmq hands them out."""
    body, tensors = CONTENTS[what]
    content, *frames = [zmq.Frame(bytes(frame)) for frame in pack(body, tensors)]
    benchmark.group = f"content, {what}"
    came: Content = benchmark(unpack, content, frames)
    assert len(came.tensors) == len(tensors)
