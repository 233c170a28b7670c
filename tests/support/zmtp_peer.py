"""A ZMTP 3.1 speaker (RFC 37) on a bare socket, for precise and for hostile tests.

It says exactly what it is told to, right or wrong, and reads under deadlines. It shares no code with the relay.

    peer = ZmtpPeer.connect(endpoint)      greeting is not sent yet
    peer.handshake("DEALER")               greeting and READY both ways
    peer.send_message(b"", b"hello")       frames of one message
    peer.read_message()                    frames; commands met on the way are kept in `peer.commands`
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from dataclasses import dataclass
from typing import NamedTuple

from support.waiting import wait_until

READ_SECONDS = 10.0
READ_BYTES = 1 << 20

MORE, LONG, COMMAND = 1, 2, 4

ERROR = b"\x05ERROR"  # how the body of an ERROR command begins

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Frame(NamedTuple):
    """One frame as it came."""

    flags: int
    body: bytes

    @property
    def is_command(self) -> bool:
        return bool(self.flags & COMMAND)

    @property
    def has_more(self) -> bool:
        return bool(self.flags & MORE)


@dataclass(frozen=True)
class Greeting:
    """The 64 bytes each side begins with."""

    major: int
    minor: int
    mechanism: str
    as_server: bool


class ConnectionClosed(Exception):
    """The other side closed or reset the connection."""


def greeting(major: int = 3, minor: int = 1, mechanism: bytes = b"NULL", as_server: bool = False) -> bytes:
    """64 bytes: signature, version, mechanism, role, filler."""
    signature = b"\xff" + bytes(8) + b"\x7f"
    return signature + bytes([major, minor]) + mechanism.ljust(20, b"\0") + bytes([as_server]) + bytes(31)


def frame(body: bytes, *, more: bool = False, command: bool = False, long: bool | None = None) -> bytes:
    """A frame; `long` forces the 8-byte length, which is legal for short bodies too."""
    return frame_header(len(body), more=more, command=command, long=long) + body


def frame_header(size: int, *, more: bool = False, command: bool = False, long: bool | None = None) -> bytes:
    """Flags and length of a frame of `size` bytes that need never come."""
    is_long = size > 255 if long is None else long
    flags = MORE * more | LONG * is_long | COMMAND * command
    return bytes([flags]) + (struct.pack(">Q", size) if is_long else bytes([size]))


def message(*frames: bytes) -> bytes:
    """All frames of one message."""
    last = len(frames) - 1
    return b"".join(frame(body, more=index < last) for index, body in enumerate(frames))


def command(name: bytes, payload: bytes = b"") -> bytes:
    """A command frame."""
    return frame(bytes([len(name)]) + name + payload, command=True)


def ping(context: bytes = b"", ttl_deciseconds: int = 0) -> bytes:
    return command(b"PING", struct.pack(">H", ttl_deciseconds) + context)


def ready(socket_type: str, properties: dict[str, bytes] | None = None) -> bytes:
    """READY with the socket type and any properties."""
    named = {"Socket-Type": socket_type.encode(), **(properties or {})}
    return command(b"READY", b"".join(property_bytes(name, value) for name, value in named.items()))


def property_bytes(name: str, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">I", len(value)) + value


def open_socket(endpoint: str, receive_buffer_bytes: int | None = None) -> socket.socket:
    """A connected socket to `tcp://` or `ipc://`."""
    transport, _, address = endpoint.partition("://")
    host, _, port = address.rpartition(":")
    if transport == "ipc":
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        opened = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET, socket.SOCK_STREAM)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer_bytes is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    opened.settimeout(READ_SECONDS)
    opened.connect(address if transport == "ipc" else (host.strip("[]"), int(port)))
    return opened


class ZmtpPeer:
    """One connection, spoken by hand."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.commands: list[bytes] = []
        self.answers_pings = True
        self._unread = bytearray()

    @classmethod
    def connect(cls, endpoint: str, receive_buffer_bytes: int | None = None) -> ZmtpPeer:
        return cls(open_socket(endpoint, receive_buffer_bytes))

    def handshake(
        self, socket_type: str, identity: bytes = b"", minor: int = 1, is_managed: bool = False
    ) -> bytes:
        """Greeting and READY both ways; the body of the other side's READY."""
        properties = {"Identity": identity} if identity else {}
        if is_managed:
            properties["X-zproxy"] = b"1"
        self.send(greeting(minor=minor) + ready(socket_type, properties))
        self.read_greeting()
        answer = self.read_frame()
        assert answer.is_command and answer.body.startswith(b"\x05READY"), f"no READY but {answer}"
        return answer.body

    def send(self, data: bytes) -> None:
        self.socket.settimeout(READ_SECONDS)
        self.socket.sendall(data)

    def wire(self, plain: bytes) -> bytes:
        """Frames as they go out."""
        return plain

    def begun(self, size: int) -> bytes:
        """So much of a frame of `size` bytes that its size is known."""
        return frame_header(size)

    def send_message(self, *frames: bytes) -> None:
        self.send(self.wire(message(*frames)))

    def send_what_fits(self, data: bytes) -> int:
        """Bytes the connection took at once."""
        self.socket.setblocking(False)
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def wait_taken(self) -> None:
        """Until the other side's kernel (TCP) or program (Unix socket) has taken every byte sent."""

        def unsent() -> int:
            answer = fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4))
            return int(struct.unpack("i", answer)[0])

        wait_until(lambda: unsent() == 0, "all bytes taken")

    def read_greeting(self) -> Greeting:
        data = self.read_bytes(64)
        assert data[0] == 0xFF and data[9] == 0x7F, f"no ZMTP signature: {data!r}"
        return Greeting(data[10], data[11], data[12:32].rstrip(b"\0").decode(), bool(data[32]))

    def read_frame(self, deadline_seconds: float = READ_SECONDS) -> Frame:
        flags = self.read_bytes(1, deadline_seconds)[0]
        size = int.from_bytes(self.read_bytes(8 if flags & LONG else 1, deadline_seconds), "big")
        return Frame(flags, self.read_bytes(size, deadline_seconds))

    def read_message(self, deadline_seconds: float = READ_SECONDS) -> list[bytes]:
        """The frames of the next message. PINGs are answered unless `answers_pings` is off."""
        frames = []
        while True:
            found = self.read_frame(deadline_seconds)
            if found.is_command:
                self._take_command(found.body)
                continue
            frames.append(found.body)
            if not found.has_more:
                return frames

    def read_command(self, deadline_seconds: float = READ_SECONDS) -> bytes:
        """The body of the next frame, which has to be a command."""
        found = self.read_frame(deadline_seconds)
        assert found.is_command, f"a message's frame where a command was due: {found}"
        return found.body

    def read_error(self) -> None:
        """Read on until an ERROR command has come (what follows the marker is left unread)."""
        while ERROR not in self._unread:
            if not self._fill(READ_SECONDS):
                raise ConnectionClosed(f"closed without ERROR: {bytes(self._unread[:200])!r}")

    def read_until_closed(self, deadline_seconds: float = READ_SECONDS) -> bytes:
        """Everything up to FIN or RST."""
        while self._fill(deadline_seconds):
            pass
        return bytes(self._unread)

    def read_bytes(self, count: int, deadline_seconds: float = READ_SECONDS) -> bytes:
        end = time.monotonic() + deadline_seconds
        while len(self._unread) < count:
            if not self._fill(end - time.monotonic()):
                raise ConnectionClosed(f"closed with {len(self._unread)} of {count} bytes read")
        data = bytes(self._unread[:count])
        del self._unread[:count]
        return data

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.close()

    def _take_command(self, body: bytes) -> None:
        self.commands.append(body)
        if self.answers_pings and body.startswith(b"\x04PING"):
            self.send(command(b"PONG", body[7:]))

    def _fill(self, deadline_seconds: float) -> bool:
        """Read once; False when the connection is closed."""
        self.socket.settimeout(max(deadline_seconds, 0.001))
        try:
            data = self.socket.recv(READ_BYTES)
        except ConnectionError:
            return False
        except TimeoutError:
            raise AssertionError(f"nothing to read in time; unread: {bytes(self._unread[:80])!r}") from None
        self._unread += data
        return bool(data)
