"""Hypothesis strategies for what messages carry: bodies as plain values, tensors of every dtype, order and stride."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from zproxy.dtypes import ADDED, dtype_named

INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1

FIXED_NAMES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "float80", "float128", "complex64", "complex128", "complex160", "complex256",
    *(f"{kind}64[{unit}]" for kind in ("datetime", "timedelta") for unit in "Y M W D h m s ms us ns ps fs as".split()),
    "bytes1", "bytes3", "bytes300", "text1", "text5", *sorted(ADDED),
)  # fmt: skip

# Those this machine has: x86 knows no float128, and ml_dtypes is not always there.
DTYPES: dict[str, np.dtype[Any]] = {name: dtype for name in FIXED_NAMES if (dtype := dtype_named(name)) is not None}

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(INT_MIN, INT_MAX),
    st.sampled_from([INT_MIN, -129, -33, -32, -1, 0, 127, 128, 255, 256, 65535, 65536, 1 << 32, 1 << 63, INT_MAX]),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=40),
)

bodies = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=18), st.dictionaries(st.text(max_size=9), inner, max_size=18)),
    max_leaves=40,
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda name: len(name.encode()) <= 255
)


def _element_bytes(dtype: np.dtype[Any]) -> st.SearchStrategy[int]:
    """What a byte may be, so that elements of it are some of their type: no bool of 7, no text beyond Unicode."""
    if dtype.kind == "b":
        return st.integers(0, 1)
    return st.just(0x41) if dtype.kind == "U" else st.integers(0, 255)


@st.composite
def _laid_out(draw: st.DrawFn, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An array of a random shape, in C or Fortran order or with steps, in either byte order."""
    shape = draw(npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -2])) for _ in shape]
    whole = tuple(side * abs(step) for side, step in zip(shape, steps, strict=True))
    count = int(np.prod(whole, dtype=int)) * dtype.itemsize
    pattern = draw(st.lists(_element_bytes(dtype), min_size=1, max_size=37))
    filler = np.resize(np.array(pattern, np.uint8), count)
    if dtype.kind == "U":
        filler = np.where(np.arange(count) % 4 == 0, filler, 0).astype(np.uint8)
    array: np.ndarray[Any, Any] = filler.view(dtype).reshape(whole, order=draw(st.sampled_from("CF")))
    part: tuple[Any, ...] = (..., *(slice(None, None, step) for step in steps))
    array = array[part]  # with the dots an array, also of no dimensions
    if draw(st.booleans()) and dtype.name not in ADDED:
        array = array.byteswap().view(dtype.newbyteorder(">"))
    return array


arrays = st.sampled_from(sorted(DTYPES)).flatmap(lambda name: _laid_out(DTYPES[name]))
tensors = st.dictionaries(names, arrays, max_size=4)
