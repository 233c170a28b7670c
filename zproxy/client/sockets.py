"""Sockets: the DEALER of a managed peer, how it is opened, watched, read and written.

Called by a node's line and by a master's link, under their lock: a ZeroMQ socket belongs to one thread at a time.
Never blocks, never starts a thread, knows no session.

    EVENTS ── is anything to read? ──► receive ──► frames           send ──► True, or False: 100 messages wait
    monitor ── what libzmq does ─────► is_connected, is_given_up                     already

Rule 1. `descriptor` may be polled by any thread, without the lock. It tells edges: it is readable again only for what
        happens after `is_readable` was last False, and every send may have eaten one. So ask after each send.
Rule 2. What `send` refuses stays with its caller. What it took for a connection that ended meanwhile goes out on the
        next one, under the number of a conversation that is over: the session says it again.
Rule 3. IMMEDIATE is not set. With it libzmq throws away what it has received as soon as the connection ends, read or
        not: of 20 nodes whose proxy drained, 13 never saw their last reply.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress

import zmq
from zmq.utils.monitor import recv_monitor_message

from zproxy.client.credentials import Credentials
from zproxy.client.transfer import Transfer
from zproxy.errors import EndpointError

METADATA = b"X-zproxy:1"
NAMELESS_MARK = b"\0ZPX\1"  # begins the routing id of a managed peer whose libzmq cannot set METADATA

SEND_LIMIT = 100  # messages; more would age in libzmq, with the time they were given already written into them
RECEIVE_LIMIT = 1000  # messages; above it TCP's window holds the proxy back, and PINGs wait with the rest
# Between them, by chance for each socket: libzmq doubles without any, and a thousand nodes would come at once.
RECONNECT_MS = 100, 200  # at first
RECONNECT_MAX_MS = 500, 1000  # a proxy that comes back is found within a second
CONNECT_MS = 5000
HANDSHAKE_MS = 5000  # a network may swallow it; libzmq's own 30 s are longer than many a request has
BEAT_MS = 2000
SILENT_MS = 6000  # three beats
GIVEN_UP_S = 1.0  # libzmq says at once that it will try again; when it says nothing for so long, it will not

ENDED = {
    int(zmq.Event.DISCONNECTED),
    int(zmq.Event.CLOSED),
    int(zmq.Event.HANDSHAKE_FAILED_NO_DETAIL),
    int(zmq.Event.HANDSHAKE_FAILED_PROTOCOL),
    int(zmq.Event.HANDSHAKE_FAILED_AUTH),
}
CONNECTED = int(zmq.Event.HANDSHAKE_SUCCEEDED)
WATCHED = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.CONNECT_RETRIED | zmq.Event.CONNECT_DELAYED
for _event in ENDED:
    WATCHED |= _event


class ManagedSocket:
    """A DEALER that announces itself as managed, connected to one endpoint; libzmq reconnects it, within its limits.

    Raises EndpointError for what libzmq cannot connect to.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, now: float, credentials: Credentials | None = None
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self.opened_at = now
        self.is_connected = False
        self._ended_at = 0.0  # the last event said that the connection ended; 0: it said something else
        self._socket = context.socket(zmq.DEALER)
        self._monitor: zmq.Socket[bytes] | None = None
        self._transfer = Transfer(self._socket)
        try:
            self._open()
        except BaseException as error:
            self.close()
            if not isinstance(error, zmq.ZMQError):
                raise
            remedy = "write tcp://HOST:PORT or ipc://PATH"
            raise EndpointError(f"cannot connect to {endpoint}: {error}; {remedy}") from None
        self.descriptor = int(self._socket.getsockopt(zmq.FD))
        self.receive = self._transfer.receive  # the frames of the next message; None: there is none
        self.send = self._transfer.send  # of all frames of a message; False: it cannot be taken now

    def _open(self) -> None:
        socket = self._socket
        try:
            socket.setsockopt(zmq.METADATA, METADATA)
        except (zmq.ZMQError, AttributeError):
            socket.setsockopt(zmq.ROUTING_ID, NAMELESS_MARK + os.urandom(12))
        socket.linger = 0
        socket.sndhwm = SEND_LIMIT
        socket.rcvhwm = RECEIVE_LIMIT
        socket.reconnect_ivl = random.randint(*RECONNECT_MS)
        socket.reconnect_ivl_max = random.randint(*RECONNECT_MAX_MS)
        socket.connect_timeout = CONNECT_MS
        socket.handshake_ivl = HANDSHAKE_MS
        socket.heartbeat_ivl = BEAT_MS
        socket.heartbeat_timeout = SILENT_MS
        socket.ipv6 = "[" in self.endpoint
        if self._credentials is not None:
            self._credentials.give(socket, self.endpoint)
        self._monitor = socket.get_monitor_socket(WATCHED)
        self._monitor.linger = 0
        socket.connect(self.endpoint)

    @property
    def is_readable(self) -> bool:
        """Is a message there? Takes the edge of `descriptor`."""
        return self._transfer.is_readable()

    def watch(self, now: float) -> None:
        """Takes in what libzmq has done meanwhile: call it a few times a second while something is waited for."""
        if self._monitor is None:
            return
        with suppress(zmq.Again):
            while True:
                event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
                self.is_connected = event == CONNECTED
                self._ended_at = now if event in ENDED else 0.0

    def is_given_up(self, now: float) -> bool:
        """libzmq will not connect it again, as after a ZMTP ERROR: close it and open another."""
        return self._ended_at != 0.0 and now - self._ended_at > GIVEN_UP_S

    def close(self, linger_ms: int = 0) -> None:
        """For good, at once; `linger_ms` leaves libzmq that long in the background for what was sent."""
        if self._monitor is not None:
            with suppress(zmq.ZMQError):
                self._socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        self._transfer.close()
        self._socket.close(linger_ms)
