"""Nodes report to a master and a client asks a service, in plain pyzmq, with a proxy process between them.

    TrainingNode ─ REQ ─► frontend [ zproxy run ] backend ◄─ REP ─ MasterControl, MessageService

Neither side knows the other's address: both connect to the proxy. Run it:

    python examples/seed_walkthrough.py
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import zmq

FREE_PORT = "tcp://127.0.0.1:0"
ANSWER_MS = 10_000


class TrainingNode:
    """Tells how far it has come, and prints what it is answered."""

    def __init__(self, name: str, frontend: str = "tcp://127.0.0.1:5555") -> None:
        self.name = name
        self.frontend = frontend

    def send_progress(self, percent: int) -> None:
        answer = ask(self.frontend, f"{self.name} - 当前进度: {percent}%")
        print(f"[节点 {self.name}] 收到响应: {answer}")


class Worker:
    """Answers, one after the other, what the proxy hands it, while its context is open."""

    def __init__(self, backend: str = "tcp://127.0.0.1:5556") -> None:
        self.backend = backend
        self.context = zmq.Context()
        self.thread = threading.Thread(target=self.serve)

    def answer(self, message: str) -> str:
        raise NotImplementedError

    def serve(self) -> None:
        with self.context.socket(zmq.REP) as socket, contextlib.suppress(zmq.ContextTerminated):
            socket.connect(self.backend)
            while True:
                socket.send_string(self.answer(socket.recv_string()))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.context.term()  # wakes the thread out of its recv
        self.thread.join()


class MasterControl(Worker):
    """Prints what the nodes say."""

    def answer(self, message: str) -> str:
        print(f"[主控] 收到消息: {message}")
        return "消息已接收"


class MessageService(Worker):
    """Works on messages."""

    def answer(self, message: str) -> str:
        return f"已处理: {message}"


def ask(frontend: str, message: str) -> str:
    """The answer of whichever worker the proxy picks; zmq.Again if there is none in time."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = ANSWER_MS
        socket.connect(frontend)
        socket.send_string(message)
        return socket.recv_string()


@contextlib.contextmanager
def running_proxy() -> Iterator[tuple[str, str]]:
    """The frontend and the backend of a proxy process on free ports."""
    command = [sys.executable, "-m", "zproxy", "run", "--frontend", FREE_PORT, "--backend", FREE_PORT]
    # Its log is left out here. From "/", so that -m finds the installed zproxy and not a checkout's folder.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/") as proxy:
        assert proxy.stdout is not None
        try:
            ready = proxy.stdout.readline()  # ready frontend=tcp://127.0.0.1:40001 backend=tcp://127.0.0.1:40002
            if not ready:
                sys.exit("zproxy run did not start; try it by hand to see why")
            _, frontend, backend = ready.split()
            yield frontend.removeprefix("frontend="), backend.removeprefix("backend=")
        finally:
            proxy.terminate()


def main() -> None:
    with running_proxy() as (frontend, backend), MasterControl(backend):
        TrainingNode("Node1", frontend).send_progress(50)
        TrainingNode("Node2", frontend).send_progress(75)
    # Another proxy: a plain proxy takes turns among all its workers, whatever they can do.
    with running_proxy() as (frontend, backend), MessageService(backend):
        print(ask(frontend, "Hello, this is a test message."))


if __name__ == "__main__":
    main()
