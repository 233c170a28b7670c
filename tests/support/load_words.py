"""What the load's nodes ask and its masters answer: payloads that show whose they are, which, and whether whole."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np

SERVICE = "work"
POISON = "poison"
TENSOR = "payload"
TENSOR_BYTES = 1 << 16  # from this size on a payload travels as a tensor


class Work(msgspec.Struct):
    """The body of a request. Its payload lies in `payload`, or is the tensor."""

    node: str
    sequence: int  # the node's own count
    payload: bytes = b""
    is_echoed: bool = True  # the reply brings the payload back, else only its digest
    work_ms: float = 0.0
    progress_ms: float = 0.0  # the handler sends progress this often while it works; 0: never


class Done(msgspec.Struct):
    """The body of a reply."""

    payload: bytes = b""
    digest: str = ""


class Payloads:
    """Payloads of one node: its name and the sequence, then a filling that is the same for all."""

    def __init__(self, node: str, size_bytes: int) -> None:
        self._node = node
        self._filling = random.Random(node).randbytes(size_bytes)

    def of(self, sequence: int) -> bytes:
        head = f"{self._node}/{sequence}/".encode()
        return head + self._filling[len(head) :]


def packed(payload: bytes) -> tuple[bytes, dict[str, Any] | None]:
    """A payload as a body's field, and as tensors."""
    if len(payload) < TENSOR_BYTES:
        return payload, None
    return b"", {TENSOR: np.frombuffer(payload, dtype=np.uint8)}


def unpacked(field: bytes, tensors: dict[str, Any]) -> bytes | memoryview:
    return memoryview(tensors[TENSOR]) if TENSOR in tensors else field
