"""Units: sizes and times as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0}
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_size(text: str | int) -> int:
    """Bytes of "64MiB", "1g", "4096". Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(text).strip().lower())
    if not match:
        raise ValueError(f"{text!r} is no size; write for example 64MiB or 1GiB")
    return int(float(match[1]) * SIZES[match[2]])


def parse_time(text: str | float) -> float:
    """Seconds of "100us", "2s", "1.5". Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|)", str(text).strip().lower())
    if not match:
        raise ValueError(f"{text!r} is no time; write for example 100us or 2s")
    return float(match[1]) * TIMES[match[2]]


def default_memory_bytes() -> int:
    """Half of the smaller of RAM and the cgroup's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits) // 2
