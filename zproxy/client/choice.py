"""Choice: by which of a node's proxies a request goes. Pure: loads in, index out.

Called by the session, for every request of a node that has several endpoints. None stands for a proxy that may not have
it: not there, or stopping.
"""

from __future__ import annotations

from collections.abc import Sequence

MASK = 0xFFFFFFFFFFFFFFFF


def least_loaded(loads: Sequence[int | None], last: int) -> int | None:
    """The one with the least load; among equals the next one behind `last`, which was chosen the time before."""
    count = len(loads)
    best = None
    for step in range(1, count + 1):
        index = (last + step) % count
        load = loads[index]
        if load is not None and (best is None or load < loads[best]):  # type: ignore[operator]  # best has a load
            best = index
    return best


def home_of(key_hash: int, proxies: Sequence[int | None]) -> int | None:
    """The one where this key is at home: for all nodes the same, as long as it is there (rendezvous hashing)."""
    able = [index for index, proxy in enumerate(proxies) if proxy is not None]
    return max(able, key=lambda index: _mixed(key_hash ^ (proxies[index] or 0)), default=None)


def _mixed(number: int) -> int:
    """The finalizer of SplitMix64: each bit of the number stirs all of the result's."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)
