from collections.abc import Sequence
from typing import NamedTuple

from zproxy._report import PeerRow, ServiceRow

FRONTEND: int
BACKEND: int
MAX_FRAMES: int
DEDUP_IDS: int
BEAT_MS: int
EVENT_KINDS: tuple[str, ...]

class Question(NamedTuple):
    tag: int
    side: int
    endpoint: int
    key: bytes
    uid: int
    peer: str
    is_managed: bool
    routing_id: bytes

class Event(NamedTuple):
    kind: str
    side: int
    endpoint: int
    reason: str
    peer: str
    routing_id: bytes
    socket_type: str
    size: int
    limit: int
    name: str = ...
    key: bytes = ...
    is_former: bool = ...

class Relay:
    def __init__(
        self,
        *,
        max_message_bytes: int,
        memory_bytes: int,
        connection_bytes: int,
        heartbeat_ms: int = ...,
        stall_ms: int = ...,
        handshake_ms: int = ...,
        spin_us: int = ...,
        spin_auto: bool = ...,
        no_worker_wait_ms: int = ...,
        window_bytes: int = ...,
        queue_bytes: int = ...,
        queue_node_bytes: int = ...,
        queue_service_bytes: int = ...,
        retain_bytes: int = ...,
        dedup_bytes: int = ...,
        dedup_ms: int = ...,
        absence_ms: int = ...,
        policy: int = ...,
        policies: bytes = ...,
        welcome: bytes = ...,
        accepted: bytes = ...,
        asks: bool = ...,
        curve_public: bytes = ...,
        curve_secret: bytes = ...,
        curve_former_public: bytes = ...,
        curve_former_secret: bytes = ...,
    ) -> None: ...
    def add_listener(self, side: int, endpoint: int, fd: int, is_curve: bool = ...) -> None: ...
    def add_connector(
        self, side: int, endpoint: int, address: str | tuple[str, int], server_keys: Sequence[bytes] = ...
    ) -> None: ...
    def set_address(self, endpoint: int, address: str | tuple[str, int]) -> None: ...
    def set_server_keys(self, endpoint: int, server_keys: Sequence[bytes]) -> None: ...
    @property
    def has_started(self) -> bool: ...
    @property
    def has_ended(self) -> bool: ...
    def close(self) -> None: ...
    def start(self) -> None: ...
    def stop(self, drain_ms: int) -> None: ...
    def dismiss(self, name: bytes) -> None: ...
    def revoke(self, key: bytes, is_plain_only: bool = ...) -> None: ...
    def set_permits(self, packed: bytes) -> None: ...
    def questions(self, timeout_ms: int) -> list[Question]: ...
    def answer(self, tag: int, reason: str = ..., name: bytes = ..., permit: int = ...) -> None: ...
    def join(self, timeout_ms: int) -> bool: ...
    def snapshot(self) -> dict[str, int]: ...
    def report(self) -> tuple[dict[str, int], list[ServiceRow], list[PeerRow]]: ...
    def events(self, timeout_ms: int) -> list[Event]: ...
