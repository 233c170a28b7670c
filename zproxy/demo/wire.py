"""Wire: what nodes and the master say to each other, as frames.

    [header: msgpack][tensor, raw bytes][tensor, raw bytes] …

The header says who, which step, and for each tensor its name, dtype and shape. Tensors are neither copied nor
interpreted on the way: the sender's memory goes to the socket, and the receiver's arrays are views of the frames.
Nothing is ever unpickled; whatever does not fit its header is a WireError before it is an array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from zproxy.demo.model import Array, Tensors

Buffer = bytes | memoryview
Dimension = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]

DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


class WireError(Exception):
    """A message that does not say what it has to."""


class TensorSpec(msgspec.Struct, frozen=True):
    """How to read one frame of raw bytes (C order, the machine's byte order)."""

    name: str
    dtype: str  # a key of DTYPES
    shape: Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=8)]


class Hello(msgspec.Struct, frozen=True, tag=True):
    """A node is there. Answered by Parameters of step 0, or Refused."""

    node: str
    corpus: str  # digest: all have to train on the same text


class Gradients(msgspec.Struct, frozen=True, tag=True):
    """A node's gradients of a step, with its loss and how far it has come. Answered by the next Parameters."""

    node: str
    step: int
    loss: float
    progress: float  # 0 to 1


class Parameters(msgspec.Struct, frozen=True, tag=True):
    """The master's parameters after so many steps."""

    step: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The master cannot take a message."""

    reason: str


Header = Hello | Gradients | Parameters | Refused


class Message(msgspec.Struct, frozen=True):
    """What the first frame holds."""

    header: Header
    tensors: tuple[TensorSpec, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(header: Header, tensors: Tensors | None = None) -> list[Buffer]:
    """Frames to send. They are views of the tensors, which must not change before they have left."""
    tensors = {name: np.asarray(value, order="C") for name, value in (tensors or {}).items()}
    specs = tuple(TensorSpec(name, str(value.dtype), value.shape) for name, value in tensors.items())
    return [_encoder.encode(Message(header, specs)), *(value.data for value in tensors.values())]


def decode(frames: Sequence[Buffer]) -> tuple[Header, Tensors]:
    """The header, and its tensors as read-only views that keep their frames alive. Raises WireError."""
    if not frames:
        raise WireError("a message without frames")
    try:
        message = _decoder.decode(frames[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"no header: {error}") from error
    bodies = frames[1:]
    if len(bodies) != len(message.tensors):
        raise WireError(f"{len(message.tensors)} tensors announced, {len(bodies)} frames came")
    tensors = {spec.name: _view(spec, body) for spec, body in zip(message.tensors, bodies, strict=True)}
    if len(tensors) != len(bodies):
        raise WireError("two tensors of one name")
    return message.header, tensors


def _view(spec: TensorSpec, body: Buffer) -> Array:
    if spec.dtype not in DTYPES:
        raise WireError(f"tensor {spec.name!r} of {spec.dtype!r}; known are {', '.join(DTYPES)}")
    dtype, came = DTYPES[spec.dtype], memoryview(body).nbytes
    size = math.prod(spec.shape) * dtype.itemsize
    if size != came:
        raise WireError(f"tensor {spec.name!r} of {spec.dtype} {list(spec.shape)} takes {size} bytes, {came} came")
    array = np.frombuffer(body, dtype).reshape(spec.shape)
    if not array.flags.aligned:  # seldom are small frames, as they are received: copied, once
        array = array.copy()
    array.flags.writeable = False
    return array
