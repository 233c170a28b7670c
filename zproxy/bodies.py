"""Bodies: what a message's body may be, and its MessagePack.

Called by zproxy.content before anything is sent. msgspec alone would take more than the protocol has, and in silence: a
datetime as text, a set as a list, a key of any type. Here everything is looked at first, and what has no place in
another language, or would come back as something else, is refused with its path and a remedy.

    None bool int float str bytes      as they are; numpy's scalars and 0-d arrays are numbers, an Enum is its value
    list tuple                         an array
    dict, dataclass, msgspec.Struct    a map; keys are str

Never copies a body, never changes it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from zproxy.errors import Unsendable
from zproxy.skim import DEPTH_MAX

INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1
STEPS_SHOWN = 20

# The way to a value: the way to what holds it, and the step from there. Written out only for an error.
Way = tuple[Any, str | int] | None

_ATOMS = frozenset((type(None), bool, float, bytes))
_BUFFERS = (bytes, bytearray, memoryview)
_BASES: tuple[Any, ...] = (str, int, float, bytes, bytearray)
_NUMBER_KINDS = frozenset("biufSU")

_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((set, frozenset), "send a sorted list"),
    ((datetime.date, datetime.time), "send isoformat(), or timestamp()"),
    (datetime.timedelta, "send total_seconds()"),
    ((decimal.Decimal, uuid.UUID), "send str() of it"),
    ((complex, np.complexfloating), "send real and imag, or a tensor"),
    (np.longdouble, "send float() of it, or a tensor"),
    (np.generic, "send a plain number, or a tensor"),
    (np.ndarray, "put it into tensors"),
)


def encode(body: object, entries: list[tuple[Any, ...]]) -> bytes:
    """Frame 1: the body, and the list of tensors' entries where there are any. Raises Unsendable."""
    if type(body) not in _ATOMS:
        _check(body, None, 0)
    try:
        return _ENCODER.encode([body, entries] if entries else [body])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unsendable("$", f"MessagePack does not have it: {error}") from error


def _plain(value: Any) -> object:
    """What msgspec does not know, as what it does; `_check` has let it pass."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.item()
    for base in _BASES:
        if isinstance(value, base):
            return base(value)
    raise TypeError(_name(value))


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)


def _check(value: Any, way: Way, level: int) -> None:
    """Raises Unsendable for the first thing that cannot travel; `level` arrays and maps are around the value."""
    kind = type(value)
    if kind not in _ATOMS:
        _CHECKS.get(kind, _check_other)(value, way, level)


def _check_text(text: str, way: Way, _: int) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _unsendable(way, f"text that is not Unicode ({error.reason})", "send bytes") from error


def _check_int(number: int, way: Way, _: int) -> None:
    if not INT_MIN <= number <= INT_MAX:
        raise _unsendable(way, "an int beyond -2**63 to 2**64-1", "send str() of it")


def _check_map(mapping: dict[Any, Any], way: Way, level: int) -> None:
    for key in mapping:
        if not isinstance(key, str):
            raise _unsendable(way, f"a key {key!r} of type {_name(key)}", "make it str, or send a list of pairs")
        _check_text(key, way, level)
    _check_items(mapping.items(), way, level)


def _check_array(array: Sequence[Any], way: Way, level: int) -> None:
    _check_items(enumerate(array), way, level)


def _check_items(items: Iterable[tuple[str | int, Any]], way: Way, level: int) -> None:
    if level == DEPTH_MAX:
        raise _unsendable(way, f"what is deeper than {DEPTH_MAX} levels", "flatten it; it may contain itself")
    for step, item in items:
        kind = type(item)
        if kind not in _ATOMS:  # a call less for most of what is in long lists
            _CHECKS.get(kind, _check_other)(item, (way, step), level + 1)


_CHECKS: dict[type, Callable[[Any, Way, int], None]] = {
    str: _check_text,
    int: _check_int,
    dict: _check_map,
    list: _check_array,
    tuple: _check_array,
}


def _check_other(value: Any, way: Way, level: int) -> None:
    """What is none of the plain types itself."""
    if isinstance(value, enum.Enum):
        return _check(value.value, way, level)
    for base, check in _CHECKS.items():
        if isinstance(value, base):
            return check(value, way, level)
    if isinstance(value, msgspec.Struct):
        return _check_items(_set_fields(value, value.__struct_fields__), way, level)
    if hasattr(type(value), "__dataclass_fields__"):
        return _check_items(_set_fields(value, [field.name for field in dataclasses.fields(value)]), way, level)
    if not _is_scalar(value):
        raise _unsendable(way, _name(value), _remedy(value))


def _set_fields(value: Any, names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """The fields msgspec writes: those that are not UNSET."""
    fields = ((name, getattr(value, name, msgspec.UNSET)) for name in names)
    return ((name, field) for name, field in fields if field is not msgspec.UNSET)


def _is_scalar(value: Any) -> bool:
    """Does msgspec or `_plain` make one number, text or bytes of it, and lose nothing?"""
    if isinstance(value, np.ma.MaskedArray):
        return False
    if isinstance(value, np.generic) or isinstance(value, np.ndarray) and value.ndim == 0:
        return value.dtype.kind in _NUMBER_KINDS and not (value.dtype.kind == "f" and value.dtype.itemsize > 8)
    if isinstance(value, memoryview):
        return value.c_contiguous
    return isinstance(value, (float, *_BUFFERS))


def _unsendable(way: Way, what: str, remedy: str) -> Unsendable:
    return Unsendable(_path_of(way), f"{what} cannot travel in a body: {remedy}")


def _path_of(way: Way) -> str:
    """`$.a[3]`, as msgspec writes paths; of a long way its beginning."""
    steps: list[str] = []
    while way is not None:
        way, step = way
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    steps.reverse()
    return "$" + "".join(steps[:STEPS_SHOWN]) + ("…" if len(steps) > STEPS_SHOWN else "")


def _name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _remedy(value: object) -> str:
    for kinds, remedy in _REMEDIES:
        if isinstance(value, kinds):
            return remedy
    if hasattr(type(value), "__array__"):
        return "put it into tensors"
    return "send a dict, dataclass or msgspec.Struct of plain values"
