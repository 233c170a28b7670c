"""Units: sizes and times as people write them, and back."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

Size = int | str
Time = float | str


def parse_size(given: Size) -> int:
    """Bytes of "64MiB", "64m", "1.5g" (all powers of 1024) or of a number. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,99})(\.[0-9]{1,99})?\s*([kmgt]?)(?:i?b)?", str(given).strip().lower())
    if not match:
        raise ValueError(f"{given!r} is no size: write for example 64MiB or 1GiB")
    return int(match[1]) * SIZES[match[3]] + round(float(match[2] or 0) * SIZES[match[3]])


def parse_time(given: Time) -> float:
    """Seconds of "100us", "2s", "1.5", "5m" or of a number. Raises ValueError."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        if 0 <= given <= sys.float_info.max:
            return float(given)
    elif match := re.fullmatch(r"([0-9]{1,99}(?:\.[0-9]{1,99})?)\s*(us|ms|s|m|h|)", str(given).strip().lower()):
        return float(match[1]) * TIMES[match[2]]
    raise ValueError(f"{given!r} is no time: write for example 100us, 2s or 1.5")


def show_size(count: int) -> str:
    """As people write it: 1GiB, 1.2MiB, 700B."""
    for unit in ("t", "g", "m", "k"):
        if count >= SIZES[unit]:
            return f"{count / SIZES[unit]:.4g}{unit.upper()}iB"
    return f"{count}B"


def show_time(seconds: float) -> str:
    """As people write it: 30s, 1.5s, 100us, 2h."""
    for unit, least in (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= least:
            return f"{seconds / TIMES[unit]:.4g}{unit}"
    return f"{seconds / TIMES['us']:.4g}us" if seconds else "0s"


def machine_memory_bytes() -> int:
    """The smaller of RAM and the cgroup's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)
