"""Wire: one endpoint of a node: its socket, and the conversation whose messages it carries.

Called by a line, which holds its owner's lock, or is alone in a loop. Never waits, starts no thread.

    exchange   what the conversation says ─► out, what came meanwhile ─► in, until there is neither
    look       the connection ended: so does the conversation
    tick       a socket of no use is replaced; one that another endpoint makes needless is closed until it is needed

A lost connection is libzmq's to restore: after 0.1 to 0.2 s, doubled up to 0.5 to 1 s. It gives up after a ZMTP ERROR,
and tells no monitor: then we open another socket.
"""

from __future__ import annotations

import logging

import zmq

from zproxy.client.conversation import Conversation, State
from zproxy.client.credentials import Credentials
from zproxy.client.session import Session
from zproxy.client.sockets import ManagedSocket
from zproxy.errors import EndpointError

logger = logging.getLogger("zproxy.node")

WELCOME_S = 5.0  # connected for so long without one: after a ZMTP ERROR libzmq stays away, and tells no monitor
REOPEN_S = 1.0  # before a socket without use is replaced, doubled each time
REOPEN_MAX_S = 10.0


class Wire:
    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        session: Session,
        conversation: Conversation,
        now: float,
        credentials: Credentials | None = None,
    ) -> None:
        self.conversation = conversation
        self._session = session
        self.descriptor = -1  # changes with the socket
        self._context = context
        self._credentials = credentials
        self._patience_s = REOPEN_S
        self._poor_since: float | None = now  # no proxy accepts us
        self._socket: ManagedSocket | None = None
        self._open(now)

    def exchange(self, now: float) -> bool:
        """Writes, and reads what a send may have hidden, until there is neither. True if anything came."""
        has_read = False
        while self._write(now) and self.read(now):
            has_read = True
        return has_read

    def read(self, now: float) -> bool:
        """True if anything came. Stops when nothing is waited for any more."""
        socket = self._socket
        has_read = False
        while socket is not None and (message := socket.receive()) is not None:
            self.conversation.receive(message, now)
            has_read = True
            if not self._session.is_waiting:
                break
        return has_read

    def _write(self, now: float) -> bool:
        """True if the socket was touched: sent through, or asked in vain."""
        socket, conversation = self._socket, self.conversation
        has_touched = False
        while socket is not None and (message := conversation.next_message(now)) is not None:
            has_touched = True
            if not socket.send(message):
                break
            conversation.message_sent(now)
            if not conversation.has_messages:
                break
        return has_touched

    def look(self, now: float) -> None:
        """What has become of the connection?"""
        if self._socket is not None:
            self._socket.watch(now)
            if not self._socket.is_connected:
                self.conversation.lose()

    def tick(self, now: float) -> None:
        """After `look`: is the socket still of use?"""
        self._judge(now)
        if self.conversation.state is State.FENCED or self.conversation.is_needless:
            self.close()
        elif self._is_useless(now):
            self._patience_s = min(2 * self._patience_s, REOPEN_MAX_S)
            self.reopen(now)

    def reopen(self, now: float) -> None:
        """The new one before the old one is closed: a number of both would hide the change from who polls it."""
        old, self._socket, self.descriptor = self._socket, None, -1
        try:
            self._open(now)
        except (zmq.ZMQError, EndpointError) as error:
            logger.warning("no socket to %s: %s", self.conversation.endpoint, error)
        if old is not None:
            old.close()

    def close(self) -> None:
        """What the socket still holds is dropped."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.descriptor = -1

    def _open(self, now: float) -> None:
        self._poor_since = now
        self.conversation.begin()
        self._socket = ManagedSocket(self._context, self.conversation.endpoint, now, self._credentials)
        self.descriptor = self._socket.descriptor

    def _judge(self, now: float) -> None:
        """Has a proxy been without use, and since when?"""
        is_connected = self._socket is not None and self._socket.is_connected
        if is_connected and self.conversation.state in (State.ACCEPTED, State.REFUSED):
            self._poor_since = None
            self._patience_s = REOPEN_S
        elif self._poor_since is None:
            self._poor_since = now

    def _is_useless(self, now: float) -> bool:
        socket, conversation = self._socket, self.conversation
        if socket is None or conversation.state is State.TWIN:  # and needed, or it would have been closed
            return True
        if socket.is_given_up(now) or conversation.wants_connection or self._is_mute(socket, now):
            return now - socket.opened_at >= self._patience_s
        return False

    def _is_mute(self, socket: ManagedSocket, now: float) -> bool:
        """Connected, says libzmq, and nobody is there."""
        is_away = socket.is_connected and self.conversation.state is State.AWAY
        return is_away and self._poor_since is not None and now - self._poor_since > WELCOME_S
