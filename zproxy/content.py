"""Content: bodies and tensors as the frames behind the envelope, and back; docs/protocol.md, "Content".

Called by the SDK's sessions, both sides. Pure: it holds no socket and sends nothing.

    pack      body, {name: array}  ─►  [content][tensor][tensor] …      the arrays' own memory, not a copy
    unpack    content, frames      ─►  Content(body, {name: array})     views of the frames, read-only

Rule 1. What cannot travel is refused before anything is sent (Unsendable, a TypeError).
Rule 2. What came is checked whole before an array is made of it (MalformedContent). Nothing is ever unpickled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
import numpy as np

from zproxy import bodies
from zproxy.dtypes import Dtype, dtype_named, name_of
from zproxy.errors import MalformedContent, Unsendable
from zproxy.skim import body_span

if TYPE_CHECKING:
    import numpy.typing as npt
    import zmq
    from typing_extensions import Buffer

    Frame = Buffer | zmq.Frame
    Array = npt.NDArray[Any]

NAME_BYTES_MAX = 255
DIMENSIONS_MAX = 64  # numpy 2; older ones have 32, and refuse more themselves
SIZE_MAX = (1 << 63) - 1

# Frames below are copied: libzmq receives those of 256 to 8,000 bytes at addresses no float64 is aligned at, and the
# copy costs less than a slow sum. Larger ones have memory of their own.
COPIED_BELOW_BYTES = 16384
ALIGNMENT_BYTES = 64  # a cache line, and the widest vector register


class Content(msgspec.Struct, frozen=True, eq=False):
    """A body and its tensors. Arrays are read-only, aligned, and valid as long as they are referenced."""

    body: Any
    tensors: dict[str, Array]


class _Entry(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What the list says about one tensor."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_BYTES_MAX)]
    dtype: str
    shape: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=0, le=SIZE_MAX)], ...], msgspec.Meta(max_length=DIMENSIONS_MAX)
    ]
    order: Literal["C", "F"] = "C"


_ENTRIES = msgspec.msgpack.Decoder(list[_Entry])


def pack(body: object, tensors: Mapping[str, npt.ArrayLike] | None = None) -> list[bytes | memoryview]:
    """Frames 1 and following: the content, then one frame a tensor.

    `tensors`: {name: whatever np.asarray takes}, any shape, the dtypes of docs/protocol.md. Frames of C- and
    F-contiguous arrays are their own memory, which must not change before it has left; others are copied once.
    Raises Unsendable, a TypeError, with the path of what cannot travel. Any thread.
    """
    if tensors is None or isinstance(tensors, Mapping) and not tensors:
        return [bodies.encode(body, [])]
    if not isinstance(tensors, Mapping):
        raise Unsendable("tensors", f"a {type(tensors).__name__} has no names: send {{name: array}}")
    entries: list[tuple[Any, ...]] = []
    frames: list[bytes | memoryview] = []
    for name, value in tensors.items():
        array = _array_of(name, value)
        is_fortran = not array.flags.c_contiguous
        entry = (name, name_of(array.dtype), array.shape)
        entries.append((*entry, "F") if is_fortran else entry)
        frames.append(_bytes_of(array.T if is_fortran else array))
    return [bodies.encode(body, entries), *frames]


def unpack(content: Frame, frames: Sequence[Frame], body_type: Any = Any) -> Content:
    """The body as `body_type`, whatever msgspec can decode to, and the tensors by name.

    Arrays are 64-byte aligned copies of frames below 16 KiB, and views of larger ones, which they keep alive.
    Raises MalformedContent with path and reason, before an array is made. Any thread.
    """
    view = _view(content)
    begin, end = body_span(view)
    if end == len(view) and not frames:
        return Content(_decoded(decoder_of(body_type), view[begin:end], "$"), {})
    entries = _decoded(_ENTRIES, view[end:], "tensors") if end < len(view) else []
    dtypes = _checked(entries, frames)
    body = _decoded(decoder_of(body_type), view[begin:end], "$")
    came = zip(entries, dtypes, frames, strict=True)
    return Content(body, {entry.name: _tensor(entry, dtype, frame) for entry, dtype, frame in came})


# ---- what is sent ----


def _array_of(name: object, value: object) -> Array:
    """The tensor in an order and byte order that travel. Raises Unsendable."""
    path = f"tensors[{name!r}]"
    if not isinstance(name, str) or not 1 <= len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES_MAX:
        raise Unsendable(path, f"names are str of 1 to {NAME_BYTES_MAX} bytes")
    if isinstance(value, np.ma.MaskedArray):
        raise Unsendable(path, "a masked array would lose its mask: send filled(), and the mask as another tensor")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unsendable(path, f"numpy makes no array of a {type(value).__name__}: {error}") from error
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if name_of(array.dtype) is None:
        raise Unsendable(path, f"dtype {array.dtype} cannot travel: {_dtype_remedy(array.dtype)}")
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return array
    return np.asarray(array, order="C")


def _dtype_remedy(dtype: Dtype) -> str:
    if dtype.names is not None:
        return "send each field as a tensor"
    if dtype.kind in "mM":
        return "give it a unit without a factor, as in astype('datetime64[s]')"
    if dtype.kind in "OTUS":
        return "make numbers, or text of fixed width, of it with astype"
    return "make it one of those in docs/protocol.md with astype"


def _bytes_of(array: Array) -> bytes | memoryview:
    """The memory of a C-contiguous array. As bytes, because not every dtype has a buffer of its own kind."""
    return array.reshape(-1).view(np.uint8).data if array.size else b""


# ---- what came ----


def _view(frame: Frame) -> memoryview:
    return memoryview(cast("Buffer", frame))  # a zmq.Frame has a buffer, its stub does not say so


@functools.lru_cache(maxsize=256)
def decoder_of(body_type: Any) -> msgspec.msgpack.Decoder[Any]:
    """Raises TypeError for what no body can be made."""
    return msgspec.msgpack.Decoder(body_type)


def _decoded(decoder: msgspec.msgpack.Decoder[Any], encoded: memoryview, root: str) -> Any:
    try:
        return decoder.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        said = str(error)
    reason, _, path = said.partition(" - at `$")
    raise MalformedContent(root + path.rstrip("`"), reason)


def _checked(entries: list[_Entry], frames: Sequence[Frame]) -> list[Dtype]:
    """The dtype of each entry, if all that they say is true of the frames. Raises MalformedContent."""
    if len(entries) != len(frames):
        raise MalformedContent("tensors", f"{len(entries)} are announced, {len(frames)} frames came")
    if len({entry.name for entry in entries}) != len(entries):
        raise MalformedContent("tensors", "two have one name")
    return [_dtype_of(entry, _view(frame).nbytes) for entry, frame in zip(entries, frames, strict=True)]


def _dtype_of(entry: _Entry, came_bytes: int) -> Dtype:
    path = f"tensors[{entry.name!r}]"
    if len(entry.name.encode()) > NAME_BYTES_MAX:
        raise MalformedContent(path, f"its name is longer than {NAME_BYTES_MAX} bytes")
    dtype = dtype_named(entry.dtype)
    if dtype is None:
        raise MalformedContent(path, f"there is no dtype {entry.dtype[:64]!r} here")
    size = math.prod(entry.shape) * dtype.itemsize  # Python's integers: at most 64 factors, and no overflow
    if size != came_bytes:
        raise MalformedContent(
            path, f"{entry.dtype} of shape {list(entry.shape)} takes {size} bytes, {came_bytes} came"
        )
    return dtype


def _tensor(entry: _Entry, dtype: Dtype, frame: Frame) -> Array:
    array = _elements(dtype, _view(frame).toreadonly())
    fault = _element_fault(array)
    if fault:
        raise MalformedContent(f"tensors[{entry.name!r}]", fault)
    try:
        return array.reshape(entry.shape, order=entry.order)
    except ValueError as error:  # too many dimensions for this numpy, or an empty one with a huge side
        raise MalformedContent(f"tensors[{entry.name!r}]", f"no array here has this shape: {error}") from error


def _elements(dtype: Dtype, frame: memoryview) -> Array:
    """The frame's elements, in one dimension, read-only."""
    if frame.nbytes < COPIED_BELOW_BYTES:
        return _aligned_copy(frame).view(dtype)
    array = np.frombuffer(frame, dtype)
    return array if array.flags.aligned else _aligned_copy(frame).view(dtype)


def _aligned_copy(frame: memoryview) -> Array:
    block = np.empty(frame.nbytes + ALIGNMENT_BYTES, np.uint8)
    start = -block.ctypes.data % ALIGNMENT_BYTES
    place = slice(start, start + frame.nbytes)
    block[place] = np.frombuffer(frame, np.uint8)
    block.setflags(write=False)  # of the whole block, so that nobody makes a view of it writeable again
    return block[place]


def _element_fault(array: Array) -> str:
    """Why elements are none of their type; numpy itself takes any bytes, and stumbles over them later."""
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        return "a bool is neither 0 nor 1"
    if array.dtype.kind == "U" and array.size and array.view(np.uint32).max() > 0x10FFFF:
        return "text has something beyond Unicode"
    return ""
