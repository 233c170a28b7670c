"""Messages: what a session and its child processes tell each other, as lines of JSON; see __main__.py."""

from __future__ import annotations

import msgspec

from zproxy.loadgen.throwaway import KeyFiles


class Place(msgspec.Struct, frozen=True, tag=True):
    """To a child: open `count` sockets there. A worker binds its only one instead when `is_bound`."""

    endpoint: str
    count: int
    is_bound: bool = False
    timeout_s: float = 10.0
    keys: KeyFiles | None = None  # without them it speaks NULL


class Placed(msgspec.Struct, frozen=True, tag=True):
    """The child's answer; of a bound worker with its port."""

    endpoint: str


class Load(msgspec.Struct, frozen=True, tag=True):
    """To the clients: requests of `size` bytes, `window` of each client under way, until `count` or `seconds`."""

    size: int
    window: int
    count: int = 0
    seconds: float = 0.0
    is_timed: bool = False  # its round trips are wanted, whatever the window
    watched_pid: int | None = None  # whose CPU clock is read before and after


class Result(msgspec.Struct, frozen=True, tag=True):
    """What a load came to; a message is one request and its reply. Round trips of timed ones and one at a time."""

    messages: int
    seconds: float
    rtt_p50_us: float | None
    rtt_p99_us: float | None
    watched_cpu_s: float | None


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The child's last words; `kind` is the exception's name."""

    kind: str
    text: str


Answer = Placed | Result | Failure
