"""A proxy's backend by hand: what a test says to one master, and hears from it, message by message.

A bound DEALER: unlike a ROUTER it may speak first, as WELCOME has to. One master at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec
import zmq

from support.waiting import wait_until
from zproxy.envelope import Code, Envelope, Kind, Tlv, tlvs_pack, tlvs_parse

RECEIVE_MS = 10_000
NODE = 77  # the incarnation of the only node
MAX_MESSAGE = 1 << 28


@dataclass
class Heard:
    """One message of the master."""

    envelope: Envelope
    frames: list[bytes]

    @property
    def kind(self) -> int:
        return self.envelope.kind

    @property
    def code(self) -> int:
        return self.envelope.code

    @property
    def lease(self) -> int:
        return self.envelope.lease

    @property
    def content(self) -> Any:
        return msgspec.msgpack.decode(self.frames[0])

    @property
    def body(self) -> Any:
        return self.content[0]

    @property
    def sentence(self) -> str:
        return tlvs_parse(self.envelope.tlvs)[int(Tlv.SENTENCE)].decode()


class FakeBackend:
    def __init__(self, endpoint: str = "", **welcome: Any) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvtimeo = self._socket.sndtimeo = RECEIVE_MS
        self.endpoint = endpoint or f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        if endpoint:
            wait_until(self._binds, f"{endpoint} free")
        self.conversation = 0
        self._welcome = {"proxy": 1, "version": 1, "max_message": MAX_MESSAGE, "max_frames": 1024, **welcome}

    def __enter__(self) -> FakeBackend:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(0)

    def _binds(self) -> bool:
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            return False
        return True

    # ---- what is said ----

    def say(self, kind: int, frames: list[bytes] | None = None, **fields: Any) -> None:
        envelope = Envelope(kind, **{"conversation": self.conversation, **fields}).pack()
        self._socket.send_multipart([envelope, *(frames or [])])

    def raw(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def welcome(self) -> None:
        self.conversation += 1
        self.say(Kind.WELCOME, [msgspec.msgpack.encode(self._welcome)])

    def join(self) -> Heard:
        """A conversation begins, until the master serves; its READY."""
        self.welcome()
        ready = self.hear(Kind.READY)
        self.say(Kind.ACCEPTED, [msgspec.msgpack.encode({"dedup": [4096, 600_000]})])
        return ready

    def request(
        self, lease: int, body: Any = None, tensors: list[tuple[Any, ...]] | None = None, *, kind: int = Kind.REQUEST,
        frames: list[bytes] | None = None, **fields: Any,
    ) -> None:
        asked = {"service": "echo", "name": "node1", "incarnation": NODE, "attempt": 1}
        given = {**asked, "sequence": self.sequence_of(lease), "lease": lease, "remaining_ms": 30_000, **fields}
        content = msgspec.msgpack.encode([body, tensors or []])
        self.say(kind, [content, *(frames or [])], **given)

    def sequence_of(self, lease: int) -> int:
        """Another request in each conversation, unless a test says otherwise."""
        return 1000 * self.conversation + lease

    def cancel(self, lease: int) -> None:
        self.say(Kind.CANCEL, incarnation=NODE, sequence=self.sequence_of(lease), lease=lease)

    def refuse(self, code: int, sentence: str = "because", **fields: Any) -> None:
        self.say(Kind.ERROR, code=code, tlvs=tlvs_pack({Tlv.SENTENCE: sentence.encode()}), **fields)

    # ---- what is heard ----

    def hear(self, kind: int | None = None) -> Heard:
        """The master's next message, which has to be of `kind`."""
        envelope, *frames = self._socket.recv_multipart()
        heard = Heard(Envelope.parse(envelope), frames)
        assert kind is None or heard.kind == kind, f"{heard.envelope!r} came instead of {Kind(kind).name}"
        assert heard.envelope.conversation == self.conversation or heard.kind == Kind.GOODBYE, heard.envelope
        return heard

    def reply(self, lease: int) -> Heard:
        """The reply under this lease, which has to come next."""
        heard = self.hear(Kind.REPLY)
        envelope = heard.envelope
        assert (envelope.lease, envelope.sequence, envelope.incarnation) == (lease, self.sequence_of(lease), NODE)
        return heard

    def error(self, lease: int, code: int) -> Heard:
        """The error under this lease, which has to come next."""
        heard = self.hear(Kind.ERROR)
        assert (heard.lease, heard.envelope.sequence) == (lease, self.sequence_of(lease))
        assert heard.code == code, f"{heard.code}, not {Code(code).name}: {heard.sentence}"
        return heard

    def call(self, lease: int, body: Any = None, **fields: Any) -> Heard:
        """A request and its reply."""
        self.request(lease, body, **fields)
        return self.reply(lease)

    def wait_gone(self) -> None:
        """Nobody is connected."""
        wait_until(lambda: not self._socket.poll(0, zmq.POLLOUT), "the master away")

    def silence(self) -> None:
        """Nothing waits here. Only of use once something later has been heard."""
        assert self._socket.poll(0) == 0, self.hear()

    def metadata(self) -> str:
        """What the master's READY or INITIATE says of `X-zproxy`, of its next message, which is lost."""
        frames = self._socket.recv_multipart(copy=False)
        return str(frames[0].get("X-zproxy"))

    def farewell(self) -> None:
        """Hears the master's GOODBYE and says it back."""
        self.hear(Kind.GOODBYE)
        self.say(Kind.GOODBYE)
