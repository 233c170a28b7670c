"""A bare `Relay` in the test process, for settings that `zproxy.Proxy` does not offer."""

from __future__ import annotations

import socket
from types import TracebackType

from support.waiting import wait_until
from zproxy._relay import BACKEND, FRONTEND, Event, Question, Relay

MIB = 1 << 20
JOIN_MS = 10_000


class BareRelay:
    """A relay with one TCP listener a side, which speak CURVE where it is given `keys` (public, secret).

    A context manager.
    """

    def __init__(
        self,
        *,
        handshake_ms: int = 5_000,
        stall_ms: int = 30_000,
        heartbeat_ms: int = 0,
        keys: tuple[bytes, bytes] = (b"", b""),
        asks: bool = False,
    ) -> None:
        self._is_curve = keys[0] != b""
        self._asked: list[Question] = []
        self.relay = Relay(
            max_message_bytes=MIB,
            memory_bytes=64 * MIB,
            connection_bytes=MIB,
            handshake_ms=handshake_ms,
            stall_ms=stall_ms,
            heartbeat_ms=heartbeat_ms,
            asks=asks,
            curve_public=keys[0],
            curve_secret=keys[1],
        )
        self.frontend = self._listen(FRONTEND, 0)
        self.backend = self._listen(BACKEND, 1)

    def __enter__(self) -> BareRelay:
        self.relay.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.relay.stop(0)
        assert self.relay.join(JOIN_MS), "the relay does not end"

    def connect_out(self, side: int, address: tuple[str, int], server_key: bytes) -> None:
        """Before the start: it connects there, to the CURVE server of that key."""
        self.relay.add_connector(side, 2, address, [server_key])

    def stats(self) -> dict[str, int]:
        return self.relay.snapshot()

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        return self.relay.events(0)

    def question(self) -> Question:
        """The next one; several may come at once."""
        if not self._asked:
            self._asked += wait_until(lambda: self.relay.questions(100), "a question")
        return self._asked.pop(0)

    def wait_for(self, counter: str, at_least: int = 1) -> None:
        wait_until(lambda: self.stats()[counter] >= at_least, f"{counter} >= {at_least}")

    def _listen(self, side: int, endpoint: int) -> str:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        self.relay.add_listener(side, endpoint, listener.detach(), self._is_curve)
        return f"tcp://127.0.0.1:{port}"
