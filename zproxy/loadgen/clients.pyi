from typing import NamedTuple

CLIENTS_MAX: int
WINDOW_MAX: int

class Tally(NamedTuple):
    messages: int
    seconds: float
    rtt_p50_us: float | None
    rtt_p99_us: float | None

class Clients:
    def __init__(
        self,
        endpoint: str,
        *,
        count: int = ...,
        timeout_ms: int = ...,
        is_managed: bool = ...,
        name: str = ...,
        keys: bytes = ...,
    ) -> None: ...
    def run(
        self, *, size: int, window: int, count: int = ..., seconds: float = ..., is_timed: bool = ...
    ) -> Tally: ...
