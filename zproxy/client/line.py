"""Line: a node's session and its wires, one an endpoint, step by step.

Called by Node under its lock, and by AsyncNode in its loop; the same steps for both. Never waits, starts no thread.

    push: ─────────────────► write ─► read ─► write …        a request was made
    step: read ─► look, tick ► write ─► read ─► write …      a descriptor is readable, or time has passed

Rule 1. After `push` and `step` nothing that was readable is unread while anything is open, so `descriptors` may be
        waited for. A node with nothing open reads nothing.
Rule 2. Who wakes for no message looks what became of its connections: one has come, or gone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import zmq

from zproxy.client.credentials import Key, ServerKey, introduce
from zproxy.client.session import Session
from zproxy.client.wire import Wire
from zproxy.errors import SettingError

TICK_S = 0.25  # how late a lost connection is noticed at most, for four looks a second while something is open
UNREAD_S = 0.05  # after so long, look for an end and a WELCOME before a request is sent into what may be over


class Line:
    """Raises SettingError and EndpointError for what can never work."""

    def __init__(
        self,
        name: str,
        endpoints: str | Sequence[str],
        now: float,
        key: Key | None = None,
        server_key: ServerKey | None = None,
    ) -> None:
        addresses, credentials = introduce(name, endpoints, key, server_key)
        if not addresses:
            raise SettingError("a node needs an endpoint, like 'tcp://127.0.0.1:5555': give a proxy's frontend")
        self.session = Session(name, int.from_bytes(os.urandom(8), "little") | 1, addresses)
        self.descriptors: tuple[int, ...] = ()  # another tuple whenever one has changed
        self.is_busy = False  # in the middle of a step: an exception may have torn it
        self._read_at = now
        self._tick_at = now + TICK_S
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._wires: list[Wire] = []
        try:
            for conversation in self.session.conversations:
                self._wires.append(Wire(self._context, self.session, conversation, now, credentials))
        except BaseException:
            self.close()
            raise
        self._collect()

    def due_in(self, now: float) -> float:
        """Seconds until `step` is due even if nothing comes."""
        due_at = min(self._tick_at, self.session.due_at)
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
            self._look(now)
            self._read(now)
        self._exchange(now)
        self.is_busy = False

    def step(self, now: float) -> None:
        """Takes in what has come and what is due, and sends what the session says to that."""
        self.is_busy = True
        if now >= self._tick_at or now >= self.session.due_at:
            self._read(now)
            self._tick(now)
        elif not self._read(now):
            self._look(now)
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
            for wire in self._wires:
                wire.reopen(now)
            self._collect()

    def close(self) -> None:
        """For good. What the sockets still hold is dropped: let the session leave before."""
        for wire in self._wires:
            wire.close()
        self._collect()
        self._context.term()

    def _exchange(self, now: float) -> None:
        """What one wire brings may be for another to send."""
        has_read = True
        while has_read:
            has_read = False
            for wire in self._wires:
                if wire.conversation.has_messages and wire.exchange(now):
                    has_read = True

    def _read(self, now: float) -> bool:
        """True if anything came."""
        self._read_at = now
        has_read = False
        for wire in self._wires:
            if wire.read(now):
                has_read = True
        return has_read

    def _look(self, now: float) -> None:
        for wire in self._wires:
            wire.look(now)

    def _tick(self, now: float) -> None:
        self._tick_at = now + TICK_S
        self._look(now)
        self.session.tick(now)
        for wire in self._wires:
            wire.tick(now)
        self._collect()

    def _collect(self) -> None:
        found = tuple(wire.descriptor for wire in self._wires if wire.descriptor >= 0)
        if found != self.descriptors:
            self.descriptors = found
