"""How long a request is nobody's: from its worker's end until another worker has its second delivery.

    node ──request──► zproxy ──attempt 1──► doomed      closes its socket, or is killed: the clock starts just before
                             ──attempt 2──► heir        the clock stops when its recv returns

Both times are taken in one thread of one process, on bare sockets of ours: what lies between them is the kernel's FIN,
the relay's turn, and the kernel again. What the relay needs from the close it sees until it sends is less than that.
A killed process closes its sockets only after its memory is given back, which the kernel does first.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from rich.box import SIMPLE
from rich.table import Table

import zproxy
from zproxy.content import pack
from zproxy.envelope import Envelope, Kind, offers_pack
from zproxy.errors import LoadError
from zproxy.loadgen.children import START_SECONDS, Child
from zproxy.loadgen.programs import ZPROXY_RUN, bound_endpoints
from zproxy.procfs import rss_bytes

ROW = "redelivery"
SERVICE = "load"
BODY = b"\xa5" * 64
ANSWER = bytes(pack(None, {})[0])
TARGET_MS = 1.0
DOOMED = Path(__file__).with_name("doomed.py")
CLOSES, KILLS = 300, 20
BALLAST_MIB = 512

MORE, LONG, COMMAND = 1, 2, 4
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL".ljust(55, b"\0")
READY_COMMAND = b"\x04\x2a\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08X-zproxy\x00\x00\x00\x011"


class Waits(msgspec.Struct, frozen=True):
    """What one way of ending came to, each time in milliseconds."""

    title: str
    transport: str
    samples_ms: list[float]
    target_ms: float | None = None
    resident_bytes: int | None = None  # of the process that was killed

    @property
    def median_ms(self) -> float:
        return statistics.median(self.samples_ms)

    @property
    def is_met(self) -> bool:
        return self.target_ms is None or self.median_ms <= self.target_ms


class BareWorker:
    """A managed worker of one request on a bare socket (RFC 37): closing it and reading it have a time of their own."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._socket = connected(endpoint)
        self._unread = bytearray()
        self._socket.sendall(GREETING + READY_COMMAND)
        self._bytes(len(GREETING))
        welcome = self.read()
        ready = Envelope(
            Kind.READY, name=name, incarnation=secrets.randbits(63) | 1, credit=1, conversation=welcome.conversation
        )
        self._send(ready.pack(), offers_pack([(SERVICE, 0, 0)]))
        self.read()  # ACCEPTED
        self.answer = self._send

    def read(self) -> Envelope:
        """The envelope of the next message, all of which is read."""
        frames = []
        while True:
            flags = self._bytes(1)[0]
            body = self._bytes(int.from_bytes(self._bytes(8 if flags & LONG else 1), "big"))
            if flags & COMMAND:
                continue
            frames.append(body)
            if not flags & MORE:
                return Envelope.parse(frames[0])

    def close(self) -> None:
        self._socket.close()

    def _send(self, head: bytes, body: bytes) -> None:
        """Two short frames, one message."""
        self._socket.sendall(bytes([MORE, len(head)]) + head + bytes([0, len(body)]) + body)

    def _bytes(self, count: int) -> bytes:
        while len(self._unread) < count:
            came = self._socket.recv(1 << 16)
            if not came:
                raise LoadError("zproxy has closed a worker's connection: see its log")
            self._unread += came
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken


def connected(endpoint: str) -> socket.socket:
    """A socket there, `tcp://` or `ipc://`."""
    transport, _, address = endpoint.partition("://")
    host, _, port = address.rpartition(":")
    opened = socket.socket(socket.AF_UNIX if transport == "ipc" else socket.AF_INET)
    opened.settimeout(START_SECONDS)
    opened.connect(address if transport == "ipc" else (host, int(port)))
    return opened


class Stage:
    """A proxy with one node. Workers come and go; the request in their hands is the node's only one."""

    def __init__(self, stack: ExitStack, transport: str) -> None:
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zproxy-redelivery-")))
        self._stack = stack
        self._number = 0
        sides = [f"ipc://{self._directory}/{side}" if transport == "ipc" else "tcp://127.0.0.1:0" for side in "fb"]
        proxy = self._start([*ZPROXY_RUN, "--frontend", sides[0], "--backend", sides[1]])
        bound = bound_endpoints("zproxy", proxy)
        self._backend = bound["backend"]
        self._node = stack.enter_context(zproxy.Node("load", bound["frontend"]))

    def close_one(self) -> float:
        """Milliseconds from a worker's close(2) to the second delivery of what it had."""
        doomed = self._bare_worker()
        asked = self._node.submit(SERVICE, BODY)
        doomed.read()
        return self._inherited(doomed.close, asked.result)

    def kill_one(self, mebibytes: int) -> tuple[float, int]:
        """Milliseconds from SIGKILL to the second delivery, and the bytes the killed Master had resident."""
        doomed = self._start([sys.executable, str(DOOMED), self._backend, self._name(), str(mebibytes)])
        asked = self._node.submit(SERVICE, BODY)
        doomed.read_line(START_SECONDS)
        resident = rss_bytes(doomed.pid)
        waited_ms = self._inherited(lambda: os.kill(doomed.pid, signal.SIGKILL), asked.result)
        doomed.close()
        return waited_ms, resident

    def _inherited(self, end: Callable[[], None], settled: Callable[[float], object]) -> float:
        """Ends who has the request; the heir joins before, so that nothing is waited for but the news of it."""
        heir = self._bare_worker()
        began = time.monotonic_ns()
        end()
        delivery = heir.read()
        waited_ms = (time.monotonic_ns() - began) / 1e6
        if delivery.kind != Kind.REQUEST or delivery.attempt != 2:
            raise LoadError(f"the second delivery is {delivery!r}")
        heir.answer(delivery.answer_head(Kind.REPLY), ANSWER)
        settled(START_SECONDS)
        heir.close()
        return waited_ms

    def _bare_worker(self) -> BareWorker:
        return BareWorker(self._backend, self._name())

    def _name(self) -> str:
        self._number += 1
        return f"worker-{self._number}"

    def _start(self, argv: list[str]) -> Child:
        child = Child(argv, self._directory / "children.log")
        self._stack.callback(child.close)
        return child


@contextmanager
def stage(transport: str) -> Iterator[Stage]:
    """A stage, all of it ended at the end."""
    with ExitStack() as stack:
        yield Stage(stack, transport)


def measure(transport: str, closes: int = CLOSES, kills: int = KILLS, ballast_mib: int = BALLAST_MIB) -> list[Waits]:
    """A worker's closed socket; and over TCP a killed Master, bare and with so much memory. Raises LoadError."""
    with stage(transport) as set_up:
        found = [Waits("socket closed", transport, [set_up.close_one() for _ in range(closes)], TARGET_MS)]
        for title, mebibytes in (("kill -9", 0), (f"kill -9, {ballast_mib} MiB more", ballast_mib)):
            if transport == "tcp":
                killed = [set_up.kill_one(mebibytes) for _ in range(kills)]
                resident = round(statistics.median(each for _, each in killed))
                found.append(Waits(title, transport, [waited for waited, _ in killed], None, resident))
    return found


def columns(waits: Waits) -> list[str]:
    """As the tables have them."""
    samples = sorted(waits.samples_ms)
    return [
        waits.title,
        waits.transport,
        f"{waits.median_ms:.2f} ms",
        "–" if waits.target_ms is None else f"≤ {waits.target_ms:g} ms",
        f"{samples[len(samples) * 9 // 10]:.2f} ms",
        f"{samples[-1]:.2f} ms",
        f"{len(samples)}",
        "–" if waits.resident_bytes is None else f"{waits.resident_bytes / (1 << 20):.0f} MiB",
    ]


HEADINGS = ("worker's end", "over", "median", "target", "p90", "longest", "times", "resident")


def table(all_waits: list[Waits]) -> Table:
    """For people."""
    shown = Table(title="from a worker's end to the second delivery of its request", box=SIMPLE)
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right", no_wrap=True)
    for waits in all_waits:
        shown.add_row(*columns(waits), style="" if waits.is_met else "red")
    return shown
