"""Dtypes: the protocol's names of element types, and numpy's types of the same bytes.

Called by zproxy.content, both ways. Never evaluates a name: it is looked up, or matched and built from its parts.
A type that numpy lacks is None, and so is a name nobody has.
"""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

import numpy as np

Dtype = np.dtype[Any]

ITEM_BYTES_MAX = 0x7FFFFFFF  # numpy's own limit of an element

# What ml_dtypes adds to numpy, with the bytes of the protocol. Its float4_e2m1fn is not among them: it has one number
# in a byte, float4_e2m1fn_x2 has two.
ADDED = frozenset(
    ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
)

_PLAIN = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64", "complex128",
)  # fmt: skip

# numpy calls 16 bytes of long double float128, whatever is in them; how long the fraction is tells.
_EXTENDED = {63: ("float80", "complex160"), 112: ("float128", "complex256")}

_TIME = re.compile(r"(?:datetime|timedelta)64\[(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]")
_STRING = re.compile(r"(bytes|text)([1-9][0-9]{0,9})")


def _fixed() -> dict[str, Dtype]:
    """Those whose name says all, on this machine."""
    fixed: dict[str, Dtype] = {name: np.dtype(name) for name in _PLAIN}
    real, imaginary = np.dtype(np.longdouble), np.dtype(np.clongdouble)
    names = _EXTENDED.get(int(np.finfo(np.longdouble).nmant))
    if names is not None and real.itemsize == 16:
        fixed |= {names[0]: real, names[1]: imaginary}
    return fixed


_BY_NAME = _fixed()
_BY_DTYPE = {dtype: name for name, dtype in _BY_NAME.items()}


def dtype_named(name: str) -> Dtype | None:
    """The type of this name, little-endian, or None."""
    fixed = _BY_NAME.get(name)
    if fixed is not None:
        return fixed
    if name in ADDED:
        return _added(name)
    if _TIME.fullmatch(name):
        return np.dtype(name)
    string = _STRING.fullmatch(name)
    return _string(string[1], int(string[2])) if string else None


def name_of(dtype: Dtype) -> str | None:
    """What the protocol calls a type in the machine's byte order, or None: it cannot travel."""
    fixed = _BY_DTYPE.get(dtype)
    if fixed is not None:
        return fixed
    if dtype.kind in "mM":
        return str(dtype.name) if _TIME.fullmatch(dtype.name) else None
    if dtype.kind == "S":
        return f"bytes{dtype.itemsize}" if dtype.itemsize else None
    if dtype.kind == "U":
        return f"text{dtype.itemsize // 4}" if dtype.itemsize else None
    return str(dtype.name) if dtype.name in ADDED and dtype == _added(dtype.name) else None


def _string(word: str, count: int) -> Dtype | None:
    letter, item_bytes = ("S", count) if word == "bytes" else ("U", 4 * count)
    return np.dtype(f"{letter}{count}") if item_bytes <= ITEM_BYTES_MAX else None


@functools.cache
def _added(name: str) -> Dtype | None:
    try:
        found: Dtype = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except (ImportError, AttributeError):
        return None
    return found
