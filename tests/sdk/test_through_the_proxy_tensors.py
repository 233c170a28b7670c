"""Tensors there and back through a real proxy and a master in another process: every dtype, layout and size."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.content_strategies import DTYPES
from support.master_process import MasterProcess
from support.proxies import HostedProxy

from zproxy import Node
from zproxy.content import ALIGNMENT_BYTES, COPIED_BELOW_BYTES
from zproxy.dtypes import ADDED

Array = npt.NDArray[Any]

NUMERIC = [np.dtype(code) for code in np.typecodes["All"] if np.dtype(code).kind in "biufc"]

# Around what libzmq keeps inside a message, allocates with it, reads at once, and what the SDK copies.
SIZES = (
    1, 2, 3, 33, 34, 255, 256, 257, 4096, 7999, 8000, 8001, 8192, 8193, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537,
    1 << 20, (1 << 20) + 1, 5_000_011, 40 << 20,
)  # fmt: skip


class Lane:
    """A proxy, a master and a node, kept for all tests of this file."""

    def __init__(self) -> None:
        self.proxy = HostedProxy()
        self.master = MasterProcess(self.proxy.backend)
        self.node = Node("node1", self.proxy.frontend)

    def close(self) -> None:
        self.node.close()
        self.master.kill()
        try:
            self.proxy.assert_ends_well()
        finally:
            self.proxy.close()


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    made = Lane()
    yield made
    made.close()


def elements(dtype: np.dtype[Any], count: int) -> Array:
    """As many different elements as the type has, each of them one of its own."""
    if dtype.kind == "b":
        return np.equal(np.arange(count) % 3, 0)
    if dtype.kind in "SU":
        return np.array([str(number % 9) for number in range(count)], dtype)
    if dtype.kind in "mM":
        return np.arange(count, dtype=np.int64).view(dtype)
    if dtype.kind == "c":
        whole = np.arange(count) - 3
        return np.asarray(whole + 1j * whole[::-1], dtype)
    return (np.arange(count) % 7).astype(dtype)


def layouts(dtype: np.dtype[Any]) -> dict[str, Array]:
    row = elements(dtype, 120)
    cube = row.reshape(4, 5, 6)
    made = {
        "contiguous": cube,
        "fortran": np.asfortranarray(cube),
        "transposed": cube.transpose(2, 0, 1),
        "strided": cube[::2, :, 1::3],
        "backwards": row[::-1],
        "repeated": np.broadcast_to(row[:5], (3, 5)),
        "no dimension": row[7].reshape(()) if isinstance(row[7], np.ndarray) else np.array(row[7], dtype),
        "one": row[:1],
        "empty": row[:0],
        "empty in the middle": cube[:, :0, :],
    }
    if dtype.name not in ADDED and dtype.byteorder not in "|":
        made["of the other byte order"] = row.astype(dtype.newbyteorder())
    return made


def is_small(tensor: Array) -> bool:
    return 0 < tensor.nbytes < COPIED_BELOW_BYTES


def assert_well_laid(tensor: Array) -> None:
    """Read-only for good, and aligned: as its dtype asks always, to a cache line where it is small."""
    assert not tensor.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        tensor.setflags(write=True)
    assert tensor.flags.aligned
    address = tensor.ctypes.data
    assert tensor.size == 0 or address % tensor.dtype.alignment == 0
    if is_small(tensor):
        assert address % ALIGNMENT_BYTES == 0


def assert_same(came: Array, sent: Array) -> None:
    native = sent.dtype.newbyteorder("=")
    assert (came.dtype, came.shape) == (native, sent.shape)
    assert came.tobytes() == sent.astype(native).tobytes()


def test_the_list_has_every_numeric_type_of_numpy() -> None:
    assert set(NUMERIC) <= set(DTYPES.values())


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_dtype_comes_back_as_it_was_in_every_layout(lane: Lane, name: str) -> None:
    sent = layouts(DTYPES[name])
    reply = lane.node.request("look", tensors=sent)
    assert reply.tensors.keys() == sent.keys()
    for layout, tensor in reply.tensors.items():
        assert_same(tensor, sent[layout])
        assert_well_laid(tensor)
        seen = reply.body[layout]
        assert (seen["writeable"], seen["aligned"]) == (False, True)
        assert not is_small(tensor) or seen["past_line"] == 0


@pytest.mark.parametrize("name", ["uint8", "float32", "complex128", "float80", "complex160", "datetime64[ns]"])
def test_large_tensors_of_every_width_are_aligned_as_their_dtype_asks(lane: Lane, name: str) -> None:
    if name not in DTYPES:
        pytest.skip("this machine has no such type")
    dtype = DTYPES[name]
    sent = {str(nbytes): elements(dtype, nbytes // dtype.itemsize) for nbytes in (16_384, 65_536, 1 << 20)}
    reply = lane.node.request("look", tensors={"odd": np.zeros(3, np.uint8), **sent})
    for key, tensor in sent.items():
        assert_same(reply.tensors[key], tensor)
        assert_well_laid(reply.tensors[key])
        assert reply.body[key]["aligned"] and not reply.body[key]["writeable"]


@pytest.mark.parametrize("nbytes", SIZES)
def test_every_size_comes_back_as_it_was(lane: Lane, nbytes: int) -> None:
    sent = np.arange(nbytes, dtype=np.uint32).astype(np.uint8)
    reply = lane.node.request("echo", nbytes, tensors={"w": sent})
    assert reply.body == nbytes
    np.testing.assert_array_equal(reply.tensors["w"], sent, strict=True)
    assert_well_laid(reply.tensors["w"])


def test_all_sizes_come_back_in_one_message(lane: Lane) -> None:
    sent = {str(nbytes): np.full(nbytes, nbytes % 251, np.uint8) for nbytes in SIZES}
    reply = lane.node.request("echo", tensors=sent)
    assert list(reply.tensors) == list(sent)
    for name, tensor in sent.items():
        np.testing.assert_array_equal(reply.tensors[name], tensor, strict=True)


@pytest.mark.parametrize("nbytes", [100, 10_000, 100_000, 4 << 20])
def test_tensors_outlive_their_reply_its_request_and_their_node(lane: Lane, nbytes: int) -> None:
    sent = np.arange(nbytes // 4, dtype=np.float32)
    node = Node("short-lived", lane.proxy.frontend)
    reply = node.request("echo", tensors={"w": sent})
    future = node.submit("echo", tensors={"w": sent})
    tensor, part = reply.tensors["w"], future.result(10).tensors["w"][3:-3:2]
    for number in range(20):  # so that memory that was given back too early is used again
        node.request("echo", tensors={"w": np.full(nbytes // 4, -number, np.float32)})
    node.close()
    del reply, future, node
    gc.collect()
    lane.node.request("echo", tensors={"w": np.full(nbytes // 4, -1, np.float32)})
    np.testing.assert_array_equal(tensor, sent)
    np.testing.assert_array_equal(part, sent[3:-3:2])
    assert_well_laid(tensor)


def test_a_handlers_tensors_outlive_its_request(lane: Lane) -> None:
    rounds: list[dict[str, Array]] = [
        {"small": np.full(500, number, np.int16), "large": np.full(300_000, number, np.float64)} for number in range(10)
    ]
    for sent in rounds:
        lane.node.request("keep", tensors=sent)
    wanted = [{name: hashlib.sha256(tensor.tobytes()).hexdigest() for name, tensor in sent.items()} for sent in rounds]
    assert lane.node.request("kept").body == wanted
