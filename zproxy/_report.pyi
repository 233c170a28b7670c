from typing import NamedTuple

class ServiceRow(NamedTuple):
    name: str
    was_offered: bool
    workers: tuple[str, ...]
    waiting: int
    waiting_bytes: int
    oldest_ms: int | None
    balance: str
    accepted: int
    delivered: int
    failed: int
    expired: int
    cancelled: int
    undelivered: int
    live: int

class PeerRow(NamedTuple):
    name: str
    is_worker: bool
    is_known: bool
    is_leaving: bool
    is_usable: bool
    is_resting: bool
    address: str
    incarnation: int
    credit: int
    in_flight: int
    oldest_ms: int | None
    settled: int
    services: tuple[str, ...]
    waiting_bytes: int
    unread_bytes: int
    heard_ms: int
    step: int | None
    progress: float | None
    told_ms: int | None
