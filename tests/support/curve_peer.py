"""A CURVE client on a bare socket, for precise and for hostile tests: each command can be changed on its way.

Its cryptography is the relay's own; libzmq and pyomq stand for an independent one in the tests of patterns.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import zmq
from zmq.utils import z85

from support.zmtp_peer import LONG, ZmtpPeer, frame, greeting, message, property_bytes
from zproxy.relay.cipher import CipherProbe
from zproxy.relay.curve import CurveProbe

Change = Callable[[bytes], bytes]
PIPE_BYTES = 1 << 20
COPIED_BYTES = 60_000  # more is not copied into a block


def key_pair() -> tuple[bytes, bytes]:
    """(public, secret), 32 bytes each."""
    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


def unchanged(body: bytes) -> bytes:
    return body


def body_of(whole: bytes) -> bytes:
    """Of a frame."""
    return whole[9:] if whole[0] & LONG else whole[2:]


def drain(cipher: CipherProbe) -> bytes:
    """Everything in the cipher's outbox, as it goes out."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        found = bytearray()
        while cipher.bytes_left:
            cipher.flush(ours.fileno())
            with contextlib.suppress(BlockingIOError):
                while data := theirs.recv(PIPE_BYTES):
                    found += data
        return bytes(found)


class CurvePeer:
    """One connection to a relay that speaks CURVE."""

    def __init__(self, endpoint: str, server_key: bytes, keys: tuple[bytes, bytes] | None = None) -> None:
        self.public, secret = keys or key_pair()
        self.peer = ZmtpPeer.connect(endpoint)
        self.curve = CurveProbe(self.public, secret, server_key)

    def greet(self) -> None:
        self.peer.send(greeting(mechanism=b"CURVE"))
        self.peer.read_greeting()

    def hello(self, change: Change = unchanged) -> None:
        """HELLO goes."""
        self.peer.send(frame(change(body_of(self.curve.begin())), command=True))

    def initiate(self, socket_type: str = "DEALER", change: Change = unchanged) -> None:
        """WELCOME comes, and INITIATE goes."""
        properties = property_bytes("Socket-Type", socket_type.encode())
        code, answer, _ = self.curve.take(self.peer.read_command(), properties)
        assert code == "ok", f"WELCOME is {code}"
        self.peer.send(frame(change(body_of(answer)), command=True))

    def ready(self) -> None:
        """READY comes: messages may pass."""
        code, _, _ = self.curve.take(self.peer.read_command(), b"")
        assert code == "ok", f"READY is {code}"
        self.cipher = CipherProbe(*self.curve.keys())

    def shake_hands(self, socket_type: str = "DEALER") -> None:
        self.greet()
        self.hello()
        self.initiate(socket_type)
        self.ready()

    def closed(self, *frames: bytes) -> bytes:
        """A message, as it goes out."""
        whole = message(*frames)
        put = self.cipher.link if len(whole) > COPIED_BYTES else self.cipher.copy
        put(whole)
        return drain(self.cipher)

    def read_message(self) -> bytes:
        """The next message, as plain frames."""
        found: list[tuple[str, bytes]] = []
        while not [what for what, _ in found if what != "command"]:
            flags, body = self.peer.read_frame()
            found += self.cipher.feed(frame(body, long=bool(flags & LONG)))
        what, wire = found[-1]
        assert what == "message", found
        return wire

    def close(self) -> None:
        self.peer.close()
