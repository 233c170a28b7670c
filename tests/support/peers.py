"""Plain ZeroMQ sockets of one test, of pyzmq or of pyomq, closed together."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

import zmq

from support.waiting import wait_until

RECEIVE_MS = 10_000


class Peers:
    """Opens sockets that neither wait for ever nor linger."""

    def __init__(self, library: Any = zmq) -> None:
        self.context = library.Context()
        self._sockets: list[Any] = []  # a socket nobody holds would be collected, and closed

    def open(self, kind: int, **options: Any) -> Any:
        """A socket that goes nowhere yet."""
        opened = self.context.socket(kind)
        self._sockets.append(opened)
        for name, value in {"linger": 0, "rcvtimeo": RECEIVE_MS, "sndtimeo": RECEIVE_MS, **options}.items():
            setattr(opened, name, value)
        return opened

    def connect(self, kind: int, *endpoints: str, **options: Any) -> Any:
        """A socket connected to the endpoints; `options` are its attributes, set before."""
        opened = self.open(kind, **options)
        for endpoint in endpoints:
            opened.connect(endpoint)
        return opened

    def bind(self, kind: int, endpoint: str, **options: Any) -> Any:
        """A socket bound to the endpoint, as soon as its last holder has let go of it."""
        opened = self.open(kind, **options)
        wait_until(lambda: self._binds(opened, endpoint), f"{endpoint} free")
        return opened

    def close(self) -> None:
        self.context.destroy(0)

    @staticmethod
    def _binds(opened: Any, endpoint: str) -> bool:
        try:
            opened.bind(endpoint)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            return False
        return True


class EchoWorkers:
    """Threads that send every message back, each with a DEALER of its own, and keep what they saw."""

    def __init__(self, endpoint: str, count: int = 1) -> None:
        self.seen: list[list[bytes]] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(endpoint,), daemon=True) for _ in range(count)]

    def __enter__(self) -> EchoWorkers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, endpoint: str) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as worker:
            worker.linger = 0
            worker.sndhwm = 0  # the proxy may end before all is sent back: that must not block
            worker.connect(endpoint)
            while not self._stopping.is_set():
                if worker.poll(20):
                    message = worker.recv_multipart()
                    self.seen.append(message)
                    worker.send_multipart(message)
