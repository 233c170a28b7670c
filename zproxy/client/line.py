"""Line: a node's session and the socket it speaks through, step by step.

Called by Node under its lock, and by AsyncNode in its loop; the same steps for both. Never waits, starts no thread.

    push: ────────────────► write ─► read ─► write …         a request was made
    step: read ─► tick ───► write ─► read ─► write …         `descriptor` is readable, or time has passed

Rule 1. After `push` and `step` nothing that was readable is unread while anything is open, so `descriptor` may be
        waited for. A node with nothing open reads nothing.
Rule 2. A socket that is of no use is replaced: one that libzmq gave up, one whose proxy says no WELCOME or does
        not answer HELLO, and, where there are several endpoints, one whose proxy is not there or stops.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import zmq

from zproxy.client.session import Session, State
from zproxy.client.sockets import ManagedSocket
from zproxy.endpoints import connectable
from zproxy.errors import EndpointError, SettingError

logger = logging.getLogger("zproxy.node")

TICK_S = 0.25  # how late a lost connection is noticed, for four looks a second while something is open
UNREAD_S = 0.05  # after so long, look for a WELCOME before a request is sent into a conversation that may be over
MOVE_S = 1.0  # a proxy may be unreachable for so long before the next endpoint is tried
WELCOME_S = 5.0  # connected for so long without one: after a ZMTP ERROR libzmq stays away, and tells no monitor
REOPEN_S = 1.0  # before a socket without use is replaced, doubled each time
REOPEN_MAX_S = 10.0


class Line:
    """Raises SettingError and EndpointError for what can never work."""

    def __init__(self, name: str, endpoints: str | Sequence[str], now: float) -> None:
        self._endpoints = connectable(endpoints)
        if not self._endpoints:
            raise SettingError("a node needs an endpoint, like 'tcp://127.0.0.1:5555': give a proxy's frontend")
        self.session = Session(name, int.from_bytes(os.urandom(8), "little") | 1, ", ".join(self._endpoints))
        self.descriptor = -1  # changes with the socket
        self.is_busy = False  # in the middle of a step: an exception may have torn it
        self._turn = 0
        self._patience_s = REOPEN_S
        self._poor_since: float | None = now  # no proxy accepts us
        self._read_at = now
        self._tick_at = now + TICK_S
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: ManagedSocket | None = None
        try:
            self._open(now)
        except BaseException:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        """The present one."""
        return self._endpoints[self._turn]

    def due_in(self, now: float) -> float:
        """Seconds until `step` is due even if nothing comes."""
        tick_at, expiry = self._tick_at, self.session.next_expiry
        due_at = tick_at if tick_at < expiry else expiry
        return due_at - now if due_at > now else 0.0

    def stats(self) -> dict[str, int]:
        """The session's counts, and how things stand."""
        session = self.session
        ids, ms = session.dedup_window
        return {**session.counts, "open": session.open_count, "dedup_ids": ids, "dedup_ms": ms}

    def push(self, now: float) -> None:
        """Sends what the session has to say."""
        self.is_busy = True
        if now - self._read_at > UNREAD_S:
            self._read(now)
        self._exchange(now)
        self.is_busy = False

    def step(self, now: float) -> None:
        """Takes in what has come and what is due, and sends what the session says to that."""
        self.is_busy = True
        self._read(now)
        if now >= self._tick_at or now >= self.session.next_expiry:
            self._tick(now)
        if self.session.has_messages:
            self._exchange(now)
        self.is_busy = False

    def leave(self, now: float) -> None:
        """As Session.leave; a lost connection is noticed, so that nobody waits for a GOODBYE by it."""
        self._look(now)
        self.session.leave()

    def repair(self, now: float) -> None:
        """After an exception within a step, such as Ctrl-C's: begins anew, and nothing is lost."""
        if self.is_busy:
            self.is_busy = False
            self._reopen(now)

    def close(self) -> None:
        """For good. What the socket still holds is dropped: let the session leave before."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.descriptor = -1
        self._context.term()

    def _exchange(self, now: float) -> None:
        """Writes, and reads what a send may have hidden, until there is neither."""
        while self._write(now) and self._read(now):
            pass

    def _read(self, now: float) -> bool:
        """True if anything came."""
        self._read_at = now
        socket, session = self._socket, self.session
        has_read = False
        while socket is not None and (message := socket.receive()) is not None:
            session.receive(message, now)
            has_read = True
            if not session.is_waiting:
                break
        return has_read

    def _write(self, now: float) -> bool:
        """True if the socket was touched: sent through, or asked in vain."""
        socket, session = self._socket, self.session
        has_touched = False
        while socket is not None and (message := session.next_message(now)) is not None:
            has_touched = True
            if not socket.send(message):
                break
            session.message_sent(now)
            if not session.has_messages:
                break
        return has_touched

    def _tick(self, now: float) -> None:
        self._tick_at = now + TICK_S
        self._look(now)
        self.session.tick(now)
        self._judge(now)
        if self.session.state is State.FENCED:
            self._shut()
        elif self._is_useless(now):
            self._move(now)

    def _look(self, now: float) -> None:
        """What has become of the connection?"""
        if self._socket is not None:
            self._socket.watch(now)
            self.session.is_lost = not self._socket.is_connected and self.session.state is not State.AWAY

    def _judge(self, now: float) -> None:
        """Has a proxy been without use, and since when?"""
        is_connected = self._socket is not None and self._socket.is_connected
        if is_connected and self.session.state in (State.ACCEPTED, State.REFUSED):
            self._poor_since = None
            self._patience_s = REOPEN_S
        elif self._poor_since is None:
            self._poor_since = now

    def _is_useless(self, now: float) -> bool:
        socket, session = self._socket, self.session
        if socket is None:
            return True
        if socket.is_given_up(now) or session.wants_connection or self._is_mute(socket, now):
            return now - socket.opened_at >= self._patience_s
        if len(self._endpoints) == 1:
            return False
        if session.is_draining and socket.is_connected:
            return session.with_proxy == 0
        return self._poor_since is not None and now - self._poor_since >= MOVE_S

    def _is_mute(self, socket: ManagedSocket, now: float) -> bool:
        """Connected, says libzmq, and nobody is there."""
        is_away = socket.is_connected and self.session.state is State.AWAY
        return is_away and self._poor_since is not None and now - self._poor_since > WELCOME_S

    def _move(self, now: float) -> None:
        self._patience_s = min(2 * self._patience_s, REOPEN_MAX_S)
        self._turn = (self._turn + 1) % len(self._endpoints)
        self._reopen(now)

    def _reopen(self, now: float) -> None:
        """The new one before the old one is closed: a number of both would hide the change from who polls it."""
        old, self._socket, self.descriptor = self._socket, None, -1
        try:
            self._open(now)
        except (zmq.ZMQError, EndpointError) as error:
            logger.warning("no socket to %s: %s", self.endpoint, error)
        if old is not None:
            old.close()

    def _open(self, now: float) -> None:
        self._poor_since = now
        self.session.begin(self.endpoint)
        self._socket = ManagedSocket(self._context, self.endpoint, now)
        self.descriptor = self._socket.descriptor

    def _shut(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.descriptor = -1
