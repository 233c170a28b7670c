"""A CURVE client on a bare socket, for precise and for hostile tests: each command can be changed on its way.

Its cryptography is the relay's own; libzmq and pyomq stand for an independent one in the tests of patterns.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import zmq
from zmq.utils import z85

from support.zmtp_peer import LONG, READ_SECONDS, ZmtpPeer, frame, frame_header, greeting, message, property_bytes
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

    def __init__(
        self, endpoint: str | ZmtpPeer, server_key: bytes, keys: tuple[bytes, bytes] | None = None
    ) -> None:
        self.public, secret = keys or key_pair()
        self.peer = endpoint if isinstance(endpoint, ZmtpPeer) else ZmtpPeer.connect(endpoint)
        self.curve = CurveProbe(self.public, secret, server_key)

    def greet(self) -> None:
        self.peer.send(greeting(mechanism=b"CURVE"))
        self.peer.read_greeting()

    def hello(self, change: Change = unchanged) -> None:
        """HELLO goes."""
        self.peer.send(frame(change(body_of(self.curve.begin())), command=True))

    def initiate(self, socket_type: str = "DEALER", change: Change = unchanged, more: bytes = b"") -> None:
        """WELCOME comes, and INITIATE goes, with more properties."""
        properties = property_bytes("Socket-Type", socket_type.encode()) + more
        code, answer, _ = self.curve.take(self.peer.read_command(), properties)
        assert code == "ok", f"WELCOME is {code}"
        self.peer.send(frame(change(body_of(answer)), command=True))

    def ready(self) -> None:
        """READY comes: messages may pass."""
        code, _, _ = self.curve.take(self.peer.read_command(), b"")
        assert code == "ok", f"READY is {code}"
        self.cipher = CipherProbe(*self.curve.keys())

    def shake_hands(self, socket_type: str = "DEALER", more: bytes = b"") -> None:
        self.greet()
        self.hello()
        self.initiate(socket_type, more=more)
        self.ready()

    def closed(self, *frames: bytes) -> bytes:
        """A message, as it goes out."""
        return self.sealed(message(*frames))

    def sealed(self, whole: bytes) -> bytes:
        """Frames, as they go out."""
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


class SealedPeer(ZmtpPeer):
    """A ZmtpPeer whose messages go and come in boxes, on a connection that there is; `send` sends bytes as they are."""

    def __init__(self, connected: ZmtpPeer, server_key: bytes, keys: tuple[bytes, bytes]) -> None:
        super().__init__(connected.socket)
        self.curve = CurvePeer(self, server_key, keys)

    def handshake(
        self, socket_type: str, identity: bytes = b"", minor: int = 1, is_managed: bool = False
    ) -> bytes:
        """Up to the other side's READY, whose properties are not kept."""
        self.curve.shake_hands(socket_type, properties_of(identity, is_managed))
        return b""

    def knock(self, identity: bytes = b"", is_managed: bool = False) -> None:
        """The same up to its INITIATE, which need not be answered."""
        self.curve.greet()
        self.curve.hello()
        self.curve.initiate(more=properties_of(identity, is_managed))

    def wire(self, plain: bytes) -> bytes:
        return self.curve.sealed(plain)

    def begun(self, size: int) -> bytes:
        """Up to the byte that says whether more frames follow, which is in the box: as if it were the next one's."""
        head = body_of(self.wire(frame(b"")))
        return frame_header(len(head) + size) + head

    def read_message(self, deadline_seconds: float = READ_SECONDS) -> list[bytes]:
        return frames_of(self.curve.read_message())


def properties_of(identity: bytes, is_managed: bool) -> bytes:
    return (property_bytes("Identity", identity) if identity else b"") + (
        property_bytes("X-zproxy", b"1") if is_managed else b""
    )


def frames_of(wire: bytes) -> list[bytes]:
    """The bodies of a message's frames."""
    bodies = []
    while wire:
        is_long = wire[0] & LONG
        begin = 9 if is_long else 2
        end = begin + int.from_bytes(wire[1:begin], "big")
        bodies.append(wire[begin:end])
        wire = wire[end:]
    return bodies
