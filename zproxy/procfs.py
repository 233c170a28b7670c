"""Figures of a process: its CPU clock (10 ms ticks would be too coarse), and what /proc tells."""

from __future__ import annotations

import os
import time
from pathlib import Path

CPUCLOCK_SCHED = 2  # with the inverted pid above it: the process's CPU clock, in ns (clock_getcpuclockid(3))


def cpu_seconds(pid: int) -> float:
    """CPU time the process has used, all threads."""
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def cpu_share(pid: int, seconds: float) -> float:
    """CPU used by the process over the next `seconds`, as a share of one core."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - started)


def rss_bytes(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory the process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"/proc/{pid}/status has no VmHWM: the process has ended")


def descriptor_count(pid: int) -> int:
    """Open file descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def available_memory_bytes() -> int:
    """What the machine can still give without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def host_id() -> str:
    """Names this boot of this machine, and our user: peers with the same id may share memory with us."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.getuid()}"
