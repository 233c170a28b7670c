"""Link: what a socket tells only once is not missed."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import zmq

from zproxy.client import link as module
from zproxy.client.answers import Answers
from zproxy.client.link import Link
from zproxy.client.worker_session import WorkerSession
from zproxy.envelope import Envelope, Kind

WELCOME = [Envelope(Kind.WELCOME, conversation=7).pack(), b"\x80"]
ACCEPTED = [Envelope(Kind.ACCEPTED, conversation=7).pack(), b"\x80"]
REQUEST = [
    Envelope(
        Kind.REQUEST, service="sum", incarnation=5, sequence=1, lease=71, remaining_ms=30_000, conversation=7
    ).pack(),
    b"\x91\xc0",
]


class Socket:
    """Takes messages, and has new ones as soon as one was sent, as when a send takes the edge of what came."""

    descriptor = 0

    def __init__(self, context: object, endpoint: str, now: float, credentials: None) -> None:
        self.incoming = deque([WELCOME])
        self.after_sending = deque([ACCEPTED, REQUEST])
        self.has_room = True

    def receive(self) -> list[bytes] | None:
        return self.incoming.popleft() if self.incoming else None

    def send(self, message: list[Any]) -> bool:
        if self.has_room:
            self.incoming.extend(self.after_sending)
            self.after_sending.clear()
        return self.has_room


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setattr(module, "ManagedSocket", Socket)
    session = WorkerSession("master1", 9, [("sum", 0, 0)], 1, Answers())
    return Link(zmq.Context.instance(), "tcp://127.0.0.1:1", session, lambda before, after: None, 0.0)


def test_what_came_while_it_was_sending_is_heard_before_anybody_waits(link: Link) -> None:
    link.read(0.0)
    assert link.session.take(0.0) is not None


def test_a_socket_without_room_is_not_tried_for_ever(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Socket, "send", lambda self, message: False)
    link.read(0.0)
    assert link.session.outbox
