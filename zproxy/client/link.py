"""Link: one endpoint of a master: its socket, and the session whose messages it carries.

Called by the crew, which holds its lock for every call. Never blocks, never runs a handler.

    read     what came ─► session ─► what it says to that ─► out       watch     the connection ended: so does the
    flush    what the session says ─► out                                        conversation; given up: a new socket;
                                                                                 needless: none, until it is needed
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from zproxy.client.credentials import Credentials
from zproxy.client.sockets import ManagedSocket
from zproxy.client.worker_session import State, WorkerSession
from zproxy.errors import EndpointError


class Link:
    """`moved` is called when another descriptor is to be polled from now on; -1 stands for none."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        session: WorkerSession,
        moved: Callable[[int, int], None],
        now: float,
        credentials: Credentials | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.session = session
        self._context = context
        self._moved = moved
        self._credentials = credentials
        self._socket: ManagedSocket | None = ManagedSocket(context, endpoint, now, credentials)
        self.is_connected = False  # at the last `watch`

    @property
    def descriptor(self) -> int:
        return -1 if self._socket is None else self._socket.descriptor

    @property
    def is_readable(self) -> bool:
        """Takes the edge of `descriptor`."""
        return self._socket is not None and self._socket.is_readable

    def read(self, now: float) -> None:
        """Hands the session all that has come, sends what is due, and reads again what sending may have hidden."""
        session, socket = self.session, self._socket
        has_sent = socket is not None
        while socket is not None and has_sent:
            while (message := socket.receive()) is not None:
                session.hear(message, now)
            if session.due_at is not None:
                session.tick(now)
            has_sent = bool(session.outbox) and self.flush()

    def flush(self) -> bool:
        """Sends what the session has to say, as far as libzmq takes it. True if anything went."""
        outbox, socket = self.session.outbox, self._socket
        has_sent = False
        while outbox and socket is not None and socket.send(outbox[0]):
            outbox.popleft()
            has_sent = True
        return has_sent

    def watch(self, now: float) -> None:
        """Takes in what became of the connection."""
        socket = self._socket
        if socket is not None:
            socket.watch(now)
        self.is_connected = socket is not None and socket.is_connected
        if self.session.state is State.TWIN and self.session.is_needless:
            self._use(None)
            return
        if not self.is_connected:
            self.session.lose()
        if socket is None or socket.is_given_up(now) or self.session.state is State.TWIN:
            self._replace_socket(now)

    def _replace_socket(self, now: float) -> None:
        try:
            fresh = ManagedSocket(self._context, self.endpoint, now, self._credentials)
        except (zmq.ZMQError, EndpointError):
            return  # no descriptor is left, say: the next look tries again
        self.session.lose()
        self._use(fresh)

    def _use(self, socket: ManagedSocket | None) -> None:
        before, self._socket = self._socket, socket
        if before is None and socket is None:
            return
        self._moved(-1 if before is None else before.descriptor, self.descriptor)
        if before is not None:
            before.close()

    def close(self, linger_ms: int) -> None:
        self.session.lose()
        if self._socket is not None:
            self._socket.close(linger_ms)
