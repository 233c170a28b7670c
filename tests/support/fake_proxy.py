"""A proxy's frontend by hand, for tests of nodes: what it says, and when, is the test's to choose.

It speaks ZMTP on bare connections, so it may speak first, as WELCOME has to, fall silent, reset, or say ERROR.

    with FakeProxy() as proxy:                 every connection: WELCOME; HELLO is accepted; requests are echoed
        proxy.answers[Kind.REQUEST] = silent   another answer to a kind: called with the connection and what was heard
        proxy.heard                            all messages so far
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec

from support.waiting import wait_until
from support.zmtp_peer import ConnectionClosed, ZmtpPeer, command, greeting, ready
from zproxy.envelope import Code, Envelope, Kind, Tlv, tlvs_pack

PATIENCE_S = 3600.0  # a test ends its connections itself
WORKER = "worker1"
LIMITS = {"proxy": 1, "version": 1, "max_message": 1 << 28, "max_frames": 1024}
DEDUP = [4096, 600_000]


@dataclass
class Heard:
    """One message of a node."""

    on: Connection
    envelope: Envelope
    frames: list[bytes]

    @property
    def kind(self) -> int:
        return self.envelope.kind

    @property
    def sequence(self) -> int:
        return self.envelope.sequence

    @property
    def body(self) -> Any:
        return msgspec.msgpack.decode(self.frames[0])[0]


Answer = Callable[[Heard], None]


class Connection:
    """One of a node's connections. It is read in a thread of its own; `say` may be called anywhere."""

    def __init__(self, proxy: FakeProxy, accepted: socket.socket, number: int) -> None:
        self.proxy = proxy
        self.conversation = number
        self.properties = b""  # the node's READY
        self._peer = ZmtpPeer(accepted)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def say(self, kind: int, content: bytes = b"", *tensors: bytes, **fields: Any) -> None:
        fields.setdefault("conversation", self.conversation)
        self.say_frames(Envelope(kind, **fields).pack(), content, *tensors)

    def say_frames(self, *frames: bytes) -> None:
        with self._lock, suppress(OSError):
            self._peer.send_message(*frames)

    def welcome(self, **changes: Any) -> None:
        self.say(Kind.WELCOME, msgspec.msgpack.encode({**LIMITS, **self.proxy.limits, **changes}))

    def accept(self) -> None:
        self.say(Kind.ACCEPTED, msgspec.msgpack.encode({"dedup": self.proxy.dedup}))

    def reply(self, to: Heard, body: Any = None, **fields: Any) -> None:
        content = msgspec.msgpack.encode([body])
        self.say(Kind.REPLY, content, **{**_about(to), "name": WORKER, "attempt": 1, **fields})

    def error(self, code: int, to: Heard | None = None, sentence: str = "", detail: Any = None, **fields: Any) -> None:
        content = msgspec.msgpack.encode(detail) if detail is not None else b""
        tlvs = tlvs_pack({Tlv.SENTENCE: sentence.encode()}) if sentence else b""
        self.say(Kind.ERROR, content, **{"code": code, "tlvs": tlvs, **(_about(to) if to else {}), **fields})

    def zmtp_error(self) -> None:
        """After which libzmq never connects again."""
        with self._lock, suppress(OSError):
            self._peer.send(command(b"ERROR", b"\x06reason"))

    def close(self) -> None:
        with suppress(OSError):
            self._peer.socket.shutdown(socket.SHUT_RDWR)
        self._peer.close()

    def _talk(self) -> None:
        with suppress(OSError, ConnectionClosed, ValueError, AssertionError):
            self._peer.send(greeting() + ready("ROUTER"))
            self._peer.read_greeting()
            self.properties = self._peer.read_frame().body
            self.proxy.on_connection(self)
            while True:
                self._take(self._peer.read_message(PATIENCE_S))

    def _take(self, frames: list[bytes]) -> None:
        heard = Heard(self, Envelope.parse(frames[0]), frames[1:])
        answer = self.proxy.answers.get(Kind(heard.kind), silent)  # first: who has seen it heard may set another one
        self.proxy.heard.append(heard)
        answer(heard)


class FakeProxy:
    """Listens on a free port, or on that of an earlier one, `at`."""

    def __init__(self, at: str = "", **limits: Any) -> None:
        self.heard: list[Heard] = []
        self.connections: list[Connection] = []
        self.limits = limits
        self.dedup = DEDUP
        self.on_connection: Callable[[Connection], None] = Connection.welcome
        self.answers: dict[Kind, Answer] = {
            Kind.HELLO: lambda heard: heard.on.accept(),
            Kind.REQUEST: echo,
            Kind.CANCEL: lambda heard: heard.on.error(Code.CANCELLED, heard),
            Kind.GOODBYE: lambda heard: heard.on.say(Kind.GOODBYE),
        }
        port = int(at.rpartition(":")[2]) if at else 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FakeProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """As a process that ends."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()

    def drop_all(self) -> None:
        """All connections end; new ones are taken."""
        for connection in list(self.connections):
            connection.close()

    def all_of(self, kind: Kind) -> list[Heard]:
        return [heard for heard in list(self.heard) if heard.kind == kind]

    def wait_for(self, kind: Kind, count: int = 1) -> list[Heard]:
        """The first `count` messages of that kind."""
        wait_until(lambda: len(self.all_of(kind)) >= count, f"{count} of {kind.name} heard")
        return self.all_of(kind)[:count]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(self, accepted, 1000 + len(self.connections))
                self.connections.append(connection)  # first: what a node has heard of must be there to look at
                connection.begin()


def welcome_after(gate: threading.Event) -> Callable[[Connection], None]:
    """For `on_connection`: WELCOME comes once the gate is open."""

    def welcome(connection: Connection) -> None:
        gate.wait(PATIENCE_S)
        connection.welcome()

    return welcome


def silent(heard: Heard) -> None:
    """No answer."""


def echo(heard: Heard) -> None:
    """The same content and tensors."""
    content, *tensors = heard.frames
    heard.on.say(Kind.REPLY, content, *tensors, name=WORKER, attempt=1, **_about(heard))


def failing(code: int, **options: Any) -> Answer:
    """Answers everything with that error."""
    return lambda heard: heard.on.error(code, heard, **options)


def _about(heard: Heard) -> dict[str, Any]:
    return {"incarnation": heard.envelope.incarnation, "sequence": heard.envelope.sequence}
