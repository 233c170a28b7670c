"""Corpus: text that every machine has, the source of Python's own standard library, as numbers.

    symbols = read()                      one uint8 a character, the same in every process of a machine
    seen, unseen = split(symbols)         what is trained on, and what the loss is judged by
    shard(seen, 4, 0)                     one node's part
    sample(part, 512, 16, key)            windows of 16 characters and the one after each
"""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zproxy.errors import ZproxyError

Symbols = NDArray[np.uint8]
Examples = tuple[NDArray[np.intp], NDArray[np.intp]]  # contexts (count, context), the characters that follow (count,)

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
OTHER = len(CHARACTERS)  # tabs, and every byte of a character outside ASCII
VOCABULARY = OTHER + 1

LIMIT_BYTES = 4 << 20  # read in 10 ms; more would not show in 200 steps
LEAST_BYTES = 256 << 10
UNSEEN = 32 << 10


class CorpusError(ZproxyError):
    """There is nothing to train on."""


def read(folder: Path | None = None) -> Symbols:
    """The first modules of the standard library, by name, up to LIMIT_BYTES. Raises CorpusError."""
    folder = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    text = bytearray()
    for path in sorted(folder.glob("*.py")):
        text += path.read_bytes()
        if len(text) >= LIMIT_BYTES:
            break
    if len(text) < LEAST_BYTES:
        raise CorpusError(
            f"{folder} holds {len(text)} bytes of Python source, {LEAST_BYTES} are needed:"
            " the demo trains on the source of the standard library, so install a Python that comes with it"
        )
    return encode(bytes(text[:LIMIT_BYTES]))


def encode(text: bytes) -> Symbols:
    """One number below VOCABULARY a byte."""
    table = np.full(256, OTHER, np.uint8)
    table[np.frombuffer(CHARACTERS.encode(), np.uint8)] = np.arange(OTHER, dtype=np.uint8)
    return table[np.frombuffer(text, np.uint8)]


def digest(symbols: Symbols) -> str:
    """Tells two corpora apart: nodes of another Python would train on other text."""
    return hashlib.sha256(symbols.tobytes()).hexdigest()[:16]


def split(symbols: Symbols) -> tuple[Symbols, Symbols]:
    """The part that is trained on, and the end, which is not."""
    return symbols[:-UNSEEN], symbols[-UNSEEN:]


def shard(symbols: Symbols, count: int, index: int) -> Symbols:
    """Part `index` of `count` equal ones."""
    size = len(symbols) // count
    return symbols[index * size : (index + 1) * size]


def sample(part: Symbols, count: int, context: int, key: Any) -> Examples:
    """`count` windows of the part; the same `key` (numbers) draws the same ones, in any process."""
    starts = np.random.default_rng(key).integers(0, len(part) - context, count)
    windows = part[starts[:, None] + np.arange(context + 1)].astype(np.intp)
    return windows[:, :-1], windows[:, -1]
