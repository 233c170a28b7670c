"""A TCP proxy that hurts what passes: slow, thin, sliced, stalled, reset, swallowed, altered, as a process.

    client ─► FaultProxy.endpoint ─► [flip ─► wait for its time ─► hold ─► slice, thin] ─► target

Each direction of each connection is two threads: one reads and says when what it read is due, one sends it then, so
that delay costs no rate. Loopback only; it ends with the tests.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections import deque

from support.processes import Servant, serve

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
READ_BYTES = 1 << 16
UNDER_WAY_BYTES = 1 << 20  # of one direction, read and not yet due: beyond it the sender has to wait
SEED = 11

TO_TARGET, TO_CLIENT = "to_target", "to_client"


class FaultProxy:
    """The tests' handle on the process."""

    def __init__(self, target: str) -> None:
        self._servant = Servant("tcp_fault", target)
        self.endpoint: str = self._servant.ask("endpoint")

    def slice(self, size_bytes: int) -> None:
        """From now on, pass on at most so many bytes at once (0: all)."""
        self._servant.ask("slice", size=size_bytes)

    def delay(self, seconds: float, jitter_seconds: float = 0.0) -> None:
        """What is read from now on comes so much later, give or take the jitter, and in order."""
        self._servant.ask("delay", seconds=seconds, jitter=jitter_seconds)

    def thin(self, bytes_per_second: float) -> None:
        """Each direction of a connection passes so much (0: all there is)."""
        self._servant.ask("thin", rate=bytes_per_second)

    def flip(self, every_bytes: int) -> None:
        """One bit of about so many bytes on their way to the target is another (0: none)."""
        self._servant.ask("flip", every=every_bytes)

    def swallow(self, direction: str) -> None:
        """What goes TO_TARGET or TO_CLIENT vanishes, its end too, on connections there are and those to come.

        After `restore`, those stay as they are: their streams have a gap.
        """
        self._servant.ask("swallow", direction=direction)

    def restore(self) -> None:
        self._servant.ask("restore")

    def hold(self) -> None:
        """Pass nothing on, in neither direction; connections stay open."""
        self._servant.ask("hold")

    def release(self) -> None:
        self._servant.ask("release")

    def stall_every(self, seconds: float, for_seconds: float) -> None:
        """`hold` and `release` by itself (0: no more)."""
        self._servant.ask("stall_every", seconds=seconds, length=for_seconds)

    def reset(self) -> int:
        """RST to both ends of every connection; how many there were."""
        count: int = self._servant.ask("reset")
        return count

    def flips(self) -> int:
        """Bits that were flipped."""
        count: int = self._servant.ask("flips")
        return count

    def close(self) -> None:
        self._servant.kill()


class Calls:
    """The process's side: what is done to the bytes, and the connections."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self.slice_bytes = 0
        self.delay_seconds = self.jitter_seconds = 0.0
        self.rate = 0.0
        self.flip_every = 0
        self.flip_count = 0
        self.open = threading.Event()
        self.open.set()
        self.random = random.Random(SEED)
        self._swallowed = ""
        self._stall_number = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lanes: list[Lane] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def slice(self, size: int) -> None:
        self.slice_bytes = size

    def delay(self, seconds: float, jitter: float) -> None:
        self.delay_seconds, self.jitter_seconds = seconds, jitter

    def thin(self, rate: float) -> None:
        self.rate = rate

    def flip(self, every: int) -> None:
        self.flip_every = every

    def flips(self) -> int:
        return self.flip_count

    def swallow(self, direction: str) -> None:
        with self._lock:
            self._swallowed = direction
            for lane in self._lanes:
                lane.is_swallowed |= lane.direction == direction

    def restore(self) -> None:
        with self._lock:
            self._swallowed = ""

    def hold(self) -> None:
        self.open.clear()

    def release(self) -> None:
        self.open.set()

    def stall_every(self, seconds: float, length: float) -> None:
        self._stall_number += 1
        if seconds:
            threading.Thread(target=self._stall, args=(self._stall_number, seconds, length), daemon=True).start()

    def reset(self) -> int:
        with self._lock:
            pairs, self._pairs, self._lanes = self._pairs, [], []
        for end in (end for pair in pairs for end in pair):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes the thread in recv, which would keep the connection open
            end.close()
        return len(pairs)

    def is_known(self, source: socket.socket) -> bool:
        """Is its connection still there, and not one that was reset?"""
        with self._lock:
            return any(source in pair for pair in self._pairs)

    def _stall(self, number: int, seconds: float, length: float) -> None:
        while number == self._stall_number:
            time.sleep(seconds)
            self.open.clear()
            time.sleep(length)
            self.open.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
                for source, sink, direction in ((near, far, TO_TARGET), (far, near, TO_CLIENT)):
                    lane = Lane(self, source, sink, direction)
                    lane.is_swallowed = direction == self._swallowed
                    self._lanes.append(lane)
                    lane.start()


class Lane:
    """One direction of one connection."""

    def __init__(self, faults: Calls, source: socket.socket, sink: socket.socket, direction: str) -> None:
        self.direction = direction
        self.is_swallowed = False
        self._faults = faults
        self._source, self._sink = source, sink
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._under_way_bytes = 0
        self._free_at = 0.0
        self._changed = threading.Condition()

    def start(self) -> None:
        for work in (self._read, self._send):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        due = 0.0
        while True:
            try:
                data = self._source.recv(READ_BYTES)
            except OSError:  # reset by either end, or by us
                data = b""
            faults = self._faults
            jitter = faults.random.uniform(-faults.jitter_seconds, faults.jitter_seconds)
            due = max(due, time.monotonic() + faults.delay_seconds + jitter)
            with self._changed:
                self._changed.wait_for(lambda: self._under_way_bytes < UNDER_WAY_BYTES)
                self._under_way.append((due, self._flipped(data)))
                self._under_way_bytes += len(data)
                self._changed.notify_all()
            if not data:
                return

    def _send(self) -> None:
        data = b"-"
        while data:
            with self._changed:
                self._changed.wait_for(lambda: self._under_way)
                due, data = self._under_way.popleft()
                self._under_way_bytes -= len(data)
                self._changed.notify_all()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self._pass_on(data)
            except OSError:  # reset by either end, or by us: what still comes is read, and goes nowhere
                self.is_swallowed = True

    def _pass_on(self, data: bytes) -> None:
        """`data`, or the end if there is none."""
        if not data:
            self._end()
        step = self._faults.slice_bytes or len(data) or 1
        for start in range(0, len(data), step):
            self._faults.open.wait()
            if self.is_swallowed:
                return
            part = data[start : start + step]
            self._sink.sendall(part)
            if self._faults.rate:
                self._free_at = max(self._free_at, time.monotonic()) + len(part) / self._faults.rate
                time.sleep(max(0.0, self._free_at - time.monotonic()))

    def _end(self) -> None:
        self._faults.open.wait()
        if not self.is_swallowed and self._faults.is_known(self._source):
            self._sink.shutdown(socket.SHUT_WR)

    def _flipped(self, data: bytes) -> bytes:
        every = self._faults.flip_every
        if not every or self.direction != TO_TARGET or self._faults.random.random() * every >= len(data):
            return data
        self._faults.flip_count += 1
        altered = bytearray(data)
        altered[self._faults.random.randrange(len(data))] ^= 1 << self._faults.random.randrange(8)
        return bytes(altered)


def main(target: str) -> None:
    serve(Calls(target))
