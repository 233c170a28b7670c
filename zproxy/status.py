"""Status: what a proxy says of itself and of who is there: `zproxy status`, by the control socket.

Made in the proxy's process from one report, so all its rows are of the same moment; read by the command. Ages are
milliseconds. A field may be added; none changes its meaning, so that commands and proxies of two versions go together.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from zproxy import __version__
from zproxy.counters import COUNTER_NAMES, GAUGE_NAMES

if TYPE_CHECKING:
    from zproxy._report import PeerRow, ServiceRow
    from zproxy.proxy import Proxy


# What a worker is in one word, by what keeps it from more work.
WORKER_STATES = ("hello", "draining", "suspect", "resting", "paused", "busy", "ready")


class Service(msgspec.Struct, frozen=True):
    """`was_offered`: by a worker, ever. `oldest_ms`: how long the first that waits has waited. `balance`: policy.

    Of its requests, `accepted` = delivered + failed + expired + cancelled + undelivered + live. The one without a name
    stands for all that are forgotten.
    """

    name: str
    was_offered: bool
    workers: tuple[str, ...]
    waiting: int
    waiting_bytes: int
    oldest_ms: int | None
    balance: str = ""
    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    undelivered: int = 0
    live: int = 0


class Worker(msgspec.Struct, frozen=True):
    """`state`: see `worker_state`. `unread_bytes`: sent to it, and not taken yet. `oldest_ms`: how long it has had the
    first of what is in flight.
    """

    name: str
    address: str
    incarnation: str
    services: tuple[str, ...]
    credit: int
    in_flight: int
    settled: int
    unread_bytes: int
    heard_ms: int
    state: str
    oldest_ms: int | None = None


class Node(msgspec.Struct, frozen=True):
    """`behind`: steps it is behind the foremost node; None where it has told no step. `told_ms`: since it told."""

    name: str
    address: str
    incarnation: str
    open_requests: int
    settled: int
    waiting_bytes: int
    unread_bytes: int
    heard_ms: int
    step: int | None
    behind: int | None
    progress: float | None
    told_ms: int | None
    state: str


class Status(msgspec.Struct, frozen=True):
    """One proxy. Nodes: who is furthest behind comes first. `generation`: so many times its registry was read."""

    pid: int
    version: str
    uptime_ms: int
    frontend: tuple[str, ...]
    backend: tuple[str, ...]
    frontend_connect: tuple[str, ...]
    backend_connect: tuple[str, ...]
    services: tuple[Service, ...]
    workers: tuple[Worker, ...]
    nodes: tuple[Node, ...]
    counters: dict[str, int]
    gauges: dict[str, int]
    registry: str = ""
    generation: int = 0
    is_insecure: bool = False


def status_of(proxy: Proxy, started_s: float) -> Status:
    """As it is now; `started_s` of time.monotonic(). Raises RelayStuck."""
    stats, services, peers = proxy.report()
    return Status(
        pid=os.getpid(),
        version=__version__,
        uptime_ms=round((time.monotonic() - started_s) * 1000),
        frontend=proxy.frontend,
        backend=proxy.backend,
        frontend_connect=proxy.settings.frontend_connect,
        backend_connect=proxy.settings.backend_connect,
        services=tuple(Service(**row._asdict()) for row in sorted(services, key=_name_or_last)),
        workers=tuple(worker_of(row) for row in sorted(peers, key=_name) if row.is_worker),
        nodes=nodes_of([row for row in peers if not row.is_worker]),
        counters={name: stats[name] for name in COUNTER_NAMES},
        gauges={name: stats[name] for name in GAUGE_NAMES},
        registry=proxy.settings.registry,
        generation=proxy.generation,
        is_insecure=proxy.settings.insecure,
    )


def _name(row: PeerRow) -> str:
    return row.name


def _name_or_last(row: ServiceRow) -> tuple[bool, str]:
    return not row.name, row.name


def worker_of(row: PeerRow) -> Worker:
    return Worker(
        name=row.name,
        address=row.address,
        incarnation=f"{row.incarnation:016x}",
        services=tuple(sorted(row.services)),
        credit=row.credit,
        in_flight=row.in_flight,
        settled=row.settled,
        unread_bytes=row.unread_bytes,
        heard_ms=row.heard_ms,
        state=worker_state(row),
        oldest_ms=row.oldest_ms,
    )


def worker_state(row: PeerRow) -> str:
    """One of WORKER_STATES: the first that holds."""
    if not row.is_known:
        return "hello"
    if row.is_leaving:
        return "draining"
    if not row.is_usable:
        return "suspect"
    if row.is_resting:
        return "resting"
    if row.credit == 0:
        return "paused"
    return "busy" if row.in_flight >= row.credit else "ready"


def nodes_of(rows: list[PeerRow]) -> tuple[Node, ...]:
    """Slowest step first, those without a step last, else by name."""
    foremost = max((row.step for row in rows if row.step is not None), default=0)
    nodes = [_node_of(row, None if row.step is None else foremost - row.step) for row in rows]
    return tuple(sorted(nodes, key=lambda node: (node.behind is None, -(node.behind or 0), node.name)))


def _node_of(row: PeerRow, behind: int | None) -> Node:
    return Node(
        name=row.name,
        address=row.address,
        incarnation=f"{row.incarnation:016x}",
        open_requests=row.in_flight,
        settled=row.settled,
        waiting_bytes=row.waiting_bytes,
        unread_bytes=row.unread_bytes,
        heard_ms=row.heard_ms,
        step=row.step,
        behind=behind,
        progress=_per_cent(row.progress),
        told_ms=row.told_ms,
        state=_node_state(row),
    )


def _per_cent(told: float | None) -> float | None:
    """A node may tell any float: NaN, or one beyond 0 to 100, is no progress."""
    return told if told is not None and 0 <= told <= 100 else None


def _node_state(row: PeerRow) -> str:
    if not row.is_known:
        return "hello"
    return "leaving" if row.is_leaving else "ready"
