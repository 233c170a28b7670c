"""Scripts: the two ends of a request as Python programs write them: Node and Master, and pyzmq's REQ and REP.

What is compared is the Python at both ends, with its proxy between them: one request at a time, each reply checked.
"""

from __future__ import annotations

import os
import statistics
import time
from abc import ABC, abstractmethod
from typing import NoReturn

import zmq

import zproxy
from zproxy.errors import NoAnswer, WrongReply
from zproxy.loadgen.clients import Tally

SERVICE = "load"


class ScriptClient(ABC):
    """One client that asks, waits, checks, and asks again."""

    @abstractmethod
    def ask(self, payload: bytes) -> bytes:
        """The payload as it came back. Raises NoAnswer."""

    def run(self, *, size: int, window: int, count: int = 0, seconds: float = 0, is_timed: bool = False) -> Tally:
        """As Clients.run, for a window of 1; always timed."""
        payload = os.urandom(size)
        samples: list[float] = []
        began = now = time.perf_counter()
        while now - began < seconds if seconds else len(samples) < count:
            if self.ask(payload) != payload:
                raise WrongReply("a reply is not its request: does another worker answer there?")
            sent, now = now, time.perf_counter()
            samples.append(now - sent)
        quantiles = statistics.quantiles(samples, n=100) if len(samples) > 1 else samples * 99
        return Tally(len(samples), now - began, quantiles[49] * 1e6, quantiles[98] * 1e6)


class NodeClient(ScriptClient):
    """A Node."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._node = zproxy.Node("load", endpoint)

    def ask(self, payload: bytes) -> bytes:
        try:
            body = self._node.request(SERVICE, payload, timeout=self._timeout_s).body
        except zproxy.RequestTimeout as error:
            raise NoAnswer(str(error)) from error
        assert isinstance(body, bytes)
        return body


class ReqClient(ScriptClient):
    """A REQ socket."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
        self._socket.setsockopt(zmq.RCVTIMEO, round(timeout_s * 1000))
        self._socket.connect(endpoint)

    def ask(self, payload: bytes) -> bytes:
        try:
            self._socket.send(payload)
            reply: bytes = self._socket.recv()
        except zmq.Again as error:
            raise NoAnswer("a request was never answered: see the proxy's log") from error
        return reply


def serve_master(endpoint: str) -> NoReturn:
    """A Master that answers with the body it is sent, until it is killed."""
    master = zproxy.Master(endpoint, name="load", concurrency=1)

    @master.service(SERVICE)
    def load(request: zproxy.Request) -> object:
        return request.body

    master.run()
    raise SystemExit


def serve_rep(endpoint: str) -> NoReturn:
    """A REP socket that does the same."""
    worker: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
    worker.connect(endpoint)
    while True:
        worker.send(worker.recv())
