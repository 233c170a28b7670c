"""A client and a worker written from docs/protocol.md alone: a ZeroMQ socket, MessagePack, and what that document says.

Imports nothing of zproxy but what starts a proxy. Where this file has to know more than the document says, the document
is at fault.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from support.peers import Peers
from support.proxies import ProxyProcess

WELCOME, HELLO, READY, CREDIT, GOODBYE, ACCEPTED = 1, 2, 3, 4, 5, 6
REQUEST, POST, REPLY, ERROR, CANCEL, PROGRESS = 16, 17, 18, 19, 20, 21
MALFORMED, NEED_HELLO, UNKNOWN_SERVICE, HANDLER_ERROR = 1, 2, 6, 15
SENTENCE, AGENT = 1, 2

# magic | kind, priority | flags, code, attempt | service_bytes, 0 | tlv_bytes | incarnation, sequence, lease |
# remaining_ms, credit | key_hash, stream, offset, step | progress, trace | max_attempts, name_bytes, 0 | total |
# conversation, 0
HEAD = struct.Struct("<4s BB HHH Bx H QQQ II QQQQ f25s BBx Q I4x")
MAGIC = b"ZPX\x01"
INCARNATION = 0x5EED
TIME_MS = 10_000

ANNOUNCED_BY: dict[str, dict[str, Any]] = {
    "metadata": {"metadata": b"X-zproxy:1"},
    "routing id": {"routing_id": b"\0ZPX\1alone"},
}


@dataclass
class Message:
    """An envelope's fields that are used here, and the frames behind it."""

    kind: int
    service: str = ""
    name: str = ""
    tlvs: dict[int, bytes] = field(default_factory=dict)
    code: int = 0
    attempt: int = 0
    incarnation: int = 0
    sequence: int = 0
    lease: int = 0
    remaining_ms: int = 0
    credit: int = 0
    conversation: int = 0
    frames: list[bytes] = field(default_factory=list)

    def written(self) -> list[bytes]:
        service, name = self.service.encode(), self.name.encode()
        tlvs = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in self.tlvs.items())
        head = HEAD.pack(
            MAGIC, self.kind, 1, 0, self.code, self.attempt, len(service), len(tlvs), self.incarnation, self.sequence,
            self.lease, self.remaining_ms, self.credit, 0, 0, 0, 0, 0.0, bytes(25), 0, len(name), 0, self.conversation,
        )  # fmt: skip
        return [head + service + name + tlvs, *self.frames]


def read(frames: list[bytes]) -> Message:
    envelope, *rest = frames
    (
        magic, kind, _, _, code, attempt, service_bytes, tlv_bytes, incarnation, sequence, lease, remaining_ms, credit,
        *_, name_bytes, _, conversation,
    ) = HEAD.unpack_from(envelope)  # fmt: skip
    assert magic == MAGIC
    assert len(envelope) == 128 + service_bytes + name_bytes + tlv_bytes
    name_at, tlvs_at = 128 + service_bytes, 128 + service_bytes + name_bytes
    return Message(
        kind, envelope[128:name_at].decode(), envelope[name_at:tlvs_at].decode(), tlvs_of(envelope[tlvs_at:]), code,
        attempt, incarnation, sequence, lease, remaining_ms, credit, conversation, rest,
    )  # fmt: skip


def tlvs_of(rest: bytes) -> dict[int, bytes]:
    found = {}
    while rest:
        kind, count = struct.unpack_from("<HH", rest)
        found[kind], rest = rest[4 : 4 + count], rest[4 + count :]
    return found


def offered(service: str, lease_ms: int = 0) -> bytes:
    """One service of READY's frame 1."""
    return struct.pack("<BBxxI", 0, len(service), lease_ms) + service.encode()


class ManagedPeer:
    """A DEALER that has announced itself, within the newest conversation."""

    def __init__(self, peers: Peers, endpoint: str, **announcement: Any) -> None:
        announcement = announcement or ANNOUNCED_BY["metadata"]
        self.socket = peers.connect(zmq.DEALER, endpoint, heartbeat_ivl=2000, **announcement)
        self.welcome = self.hear(WELCOME)

    def say(self, message: Message) -> None:
        message.conversation = message.conversation or self.welcome.conversation
        self.socket.send_multipart(message.written())

    def hear(self, kind: int) -> Message:
        """The next message, which is of this kind and of this conversation."""
        message = read(self.socket.recv_multipart())
        assert message.kind == kind, message
        if kind != WELCOME:
            assert message.conversation == self.welcome.conversation
        return message

    def greet(self, greeting: Message) -> None:
        """HELLO or READY, and what it is answered with."""
        self.say(greeting)
        accepted = self.hear(ACCEPTED)
        assert accepted.sequence == 0
        assert isinstance(msgspec.msgpack.decode(accepted.frames[0]), dict)


def node_at(peers: Peers, endpoint: str, name: str = "rank7", **announcement: Any) -> ManagedPeer:
    node = ManagedPeer(peers, endpoint, **announcement)
    node.greet(Message(HELLO, name=name, incarnation=INCARNATION, tlvs={AGENT: b"alone/1"}))
    return node


def worker_at(peers: Peers, endpoint: str, service: str, **announcement: Any) -> ManagedPeer:
    worker = ManagedPeer(peers, endpoint, **announcement)
    worker.greet(Message(READY, name="master-1", incarnation=INCARNATION, credit=1, frames=[offered(service)]))
    return worker


def request(service: str, sequence: int, *frames: bytes, remaining_ms: int = TIME_MS) -> Message:
    return Message(
        REQUEST, service, incarnation=INCARNATION, sequence=sequence, remaining_ms=remaining_ms, frames=list(frames)
    )


def answer(to: Message, kind: int, *frames: bytes, **fields: Any) -> Message:
    """What a worker says about a request: lease, incarnation and sequence unchanged."""
    return Message(
        kind, lease=to.lease, incarnation=to.incarnation, sequence=to.sequence, frames=list(frames), **fields
    )


def content(body: object, *entries: list[Any]) -> bytes:
    return msgspec.msgpack.encode([body, entries] if entries else [body])


@pytest.fixture
def managed() -> Iterator[ProxyProcess]:
    """A zproxy that has to outlive the test and then end well."""
    process = ProxyProcess("zproxy")
    process.endpoints("frontend")
    yield process
    process.assert_ends_well()


def test_welcome_tells_the_limits(managed: ProxyProcess, peers: Peers) -> None:
    for endpoint in (managed.frontend, managed.backend):
        welcome = ManagedPeer(peers, endpoint).welcome
        told = msgspec.msgpack.decode(welcome.frames[0])
        assert welcome.conversation != 0 and told["version"] == 1
        assert all(told[limit] > 0 for limit in ("proxy", "max_message", "max_frames", "chunk", "beat_ms"))
        assert isinstance(told["host"], str)


@pytest.mark.parametrize("announced", ANNOUNCED_BY)
def test_a_request_with_a_tensor_gets_its_reply(managed: ProxyProcess, peers: Peers, announced: str) -> None:
    worker = worker_at(peers, managed.backend, "double", **ANNOUNCED_BY[announced])
    node = node_at(peers, managed.frontend, **ANNOUNCED_BY[announced])
    gradients = np.arange(6, dtype="<f4").reshape(2, 3)
    node.say(request("double", 1, content({"step": 3}, ["gradients", "float32", [2, 3]]), gradients.tobytes()))

    came = worker.hear(REQUEST)
    assert (came.service, came.name, came.incarnation, came.sequence) == ("double", "rank7", INCARNATION, 1)
    assert came.lease != 0 and came.attempt == 1 and 1 <= came.remaining_ms <= TIME_MS
    body, [[name, dtype, shape]] = msgspec.msgpack.decode(came.frames[0])
    assert (body, name, dtype, shape) == ({"step": 3}, "gradients", "float32", [2, 3])
    doubled = 2 * np.frombuffer(came.frames[1], "<f4").reshape(shape)
    worker.say(answer(came, REPLY, content("done", ["doubled", "float32", shape]), doubled.tobytes()))

    reply = node.hear(REPLY)
    assert (reply.name, reply.incarnation, reply.sequence) == ("master-1", INCARNATION, 1)
    assert reply.lease == 0 and reply.attempt == 1
    assert msgspec.msgpack.decode(reply.frames[0]) == ["done", [["doubled", "float32", [2, 3]]]]
    assert reply.frames[1] == (2 * gradients).tobytes()


def test_a_request_waits_for_its_service(managed: ProxyProcess, peers: Peers) -> None:
    node = node_at(peers, managed.frontend)
    node.say(request("late", 1, content("early")))
    worker = worker_at(peers, managed.backend, "late")
    came = worker.hear(REQUEST)
    assert msgspec.msgpack.decode(came.frames[0]) == ["early"]
    worker.say(answer(came, REPLY, content(None)))
    assert node.hear(REPLY).sequence == 1


def test_an_unknown_service_is_an_error_at_the_deadline(managed: ProxyProcess, peers: Peers) -> None:
    node = node_at(peers, managed.frontend)
    node.say(request("nobody", 1, content(None), remaining_ms=300))
    error = node.hear(ERROR)
    assert (error.code, error.incarnation, error.sequence) == (UNKNOWN_SERVICE, INCARNATION, 1)
    assert error.attempt == 0  # it was surely never begun
    assert error.tlvs[SENTENCE].decode()


def test_what_a_handler_raises_reaches_the_node(managed: ProxyProcess, peers: Peers) -> None:
    worker = worker_at(peers, managed.backend, "fail")
    node = node_at(peers, managed.frontend)
    node.say(request("fail", 1, content(None)))
    raised = msgspec.msgpack.encode({"type": "ValueError", "text": "没有这一步"})
    worker.say(
        answer(worker.hear(REQUEST), ERROR, raised, code=HANDLER_ERROR, tlvs={SENTENCE: "没有这一步".encode()})
    )
    error = node.hear(ERROR)
    assert (error.code, error.sequence, error.name) == (HANDLER_ERROR, 1, "master-1")
    assert error.frames == [raised] and error.tlvs[SENTENCE].decode() == "没有这一步"


def test_credit_is_how_many_requests_a_worker_has_at_once(managed: ProxyProcess, peers: Peers) -> None:
    worker = worker_at(peers, managed.backend, "count")
    node = node_at(peers, managed.frontend)
    for sequence in (1, 2, 3):
        node.say(request("count", sequence, content(sequence)))
    for sequence in (1, 2, 3):
        came = worker.hear(REQUEST)
        assert came.sequence == sequence
        worker.say(answer(came, REPLY, content(None)))
        assert node.hear(REPLY).sequence == sequence


def test_a_request_before_hello_is_answered_and_can_be_sent_again(managed: ProxyProcess, peers: Peers) -> None:
    worker = worker_at(peers, managed.backend, "patient")
    node = ManagedPeer(peers, managed.frontend)
    node.say(request("patient", 1, content(None)))
    refused = node.hear(ERROR)
    assert (refused.code, refused.sequence) == (NEED_HELLO, 1)
    node.greet(Message(HELLO, name="rank7", incarnation=INCARNATION))
    node.say(request("patient", 1, content(None)))
    worker.say(answer(worker.hear(REQUEST), REPLY, content(None)))
    assert node.hear(REPLY).sequence == 1


def test_goodbye_comes_back_when_all_before_it_was_read(managed: ProxyProcess, peers: Peers) -> None:
    node = node_at(peers, managed.frontend)
    node.say(Message(GOODBYE))
    assert node.hear(GOODBYE).frames in ([], [b""])
