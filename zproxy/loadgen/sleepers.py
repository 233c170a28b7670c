"""Sleepers: managed workers whose work is waiting, each a request after the other, and the first of them slow.

    taken ──► due: its work's time after the one before ──► answered when due

One process and one thread for all, which sleeps meanwhile: what is measured is where requests wait, and not who gets a
core.
"""

from __future__ import annotations

import heapq
import os
import select
import time
from typing import Any, NoReturn

import zmq

from zproxy.envelope import Envelope, Kind, offers_pack
from zproxy.errors import LoadError

SERVICE = "load"
WORK_SECONDS = 0.002
SLOW_FACTOR = 10
CREDIT = 16  # requests with a worker at once; one is worked on, so up to 15 wait behind it
WELCOME_MS = 10_000

Due = tuple[float, int, list[Any]]  # when, of which, and what is sent then


class Sleeper:
    """One worker. Raises LoadError when it is not accepted."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, number: int, work_s: float) -> None:
        self._number = number
        self._work_s = work_s
        self._free_at = 0.0
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.METADATA, b"X-zproxy:1")
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._introduce()
        self.fd = self._socket.getsockopt(zmq.FD)

    def take(self, now: float) -> list[Due]:
        """What has come, with the time when it is to be answered."""
        taken: list[Due] = []
        while self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            head, *frames = self._socket.recv_multipart()
            request = Envelope.parse(head)
            if request.kind == Kind.REQUEST:
                self._free_at = max(now, self._free_at) + self._work_s
                taken.append((self._free_at, self._number, [request.answer_head(Kind.REPLY), *frames]))
        return taken

    def send(self, frames: list[Any]) -> None:
        self._socket.send_multipart(frames)

    def _introduce(self) -> None:
        conversation = self._await(Kind.WELCOME).conversation
        ready = Envelope(
            Kind.READY,
            name=f"sleeper-{self._number}",
            incarnation=os.getpid(),
            credit=CREDIT,
            conversation=conversation,
        )
        self._socket.send_multipart([ready.pack(), offers_pack([(SERVICE, 0, 0)])])
        self._await(Kind.ACCEPTED)

    def _await(self, kind: int) -> Envelope:
        if not self._socket.poll(WELCOME_MS):
            raise LoadError(f"no proxy has said {Kind(kind).name} within {WELCOME_MS} ms")
        came = Envelope.parse(self._socket.recv_multipart()[0])
        if came.kind != kind:
            raise LoadError(f"the proxy said {came!r} instead of {Kind(kind).name}")
        return came


def open_sleepers(endpoint: str, count: int) -> list[Sleeper]:
    """So many workers, the first of them slow."""
    context: zmq.Context[Any] = zmq.Context.instance()
    return [
        Sleeper(context, endpoint, number, WORK_SECONDS * (1 if number else SLOW_FACTOR)) for number in range(count)
    ]


def serve(sleepers: list[Sleeper]) -> NoReturn:
    """Until the process is killed. select(2) sleeps by the microsecond, poll(2) by the millisecond."""
    fds = [sleeper.fd for sleeper in sleepers]
    under_way: list[Due] = []
    while True:
        now = time.monotonic()
        for sleeper in sleepers:  # all of them: a send has taken the news of its ZMQ_FD
            for due in sleeper.take(now):
                heapq.heappush(under_way, due)
        if under_way and under_way[0][0] <= now:
            _, number, frames = heapq.heappop(under_way)
            sleepers[number].send(frames)
            continue
        select.select(fds, [], [], max(under_way[0][0] - now, 0) if under_way else None)
