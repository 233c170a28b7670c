"""A TCP proxy that hurts what passes: slices, stalls, resets. A program of its own, and its handle.

    client ─► FaultProxy.endpoint ─► [slice | hold | reset] ─► target

Loopback only; it ends with the tests.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.path.remove(str(Path(__file__).parent))

from support.processes import Servant, serve

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
READ_BYTES = 1 << 16


class FaultProxy:
    """The tests' handle on the process."""

    def __init__(self, target: str) -> None:
        self._servant = Servant("tcp_fault.py", target)
        self.endpoint: str = self._servant.ask("endpoint")

    def slice(self, size_bytes: int) -> None:
        """From now on, pass on at most so many bytes at once (0: all)."""
        self._servant.ask("slice", size=size_bytes)

    def hold(self) -> None:
        """Pass nothing on, in neither direction; connections stay open."""
        self._servant.ask("hold")

    def release(self) -> None:
        self._servant.ask("release")

    def reset(self) -> int:
        """RST to both ends of every connection; how many there were."""
        count: int = self._servant.ask("reset")
        return count

    def close(self) -> None:
        self._servant.kill()


class Calls:
    """The process's side: a thread for each direction of each connection."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._slice_bytes = 0
        self._open = threading.Event()
        self._open.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def slice(self, size: int) -> None:
        self._slice_bytes = size

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def reset(self) -> int:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes the thread in recv, which would keep the connection open
            end.close()
        return len(pairs)

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
            threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # reset by either end, or by us
            while data := source.recv(READ_BYTES):
                step = self._slice_bytes or len(data)
                for start in range(0, len(data), step):
                    self._open.wait()
                    sink.sendall(data[start : start + step])
            with self._lock:
                if any(source in pair for pair in self._pairs):
                    sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    serve(Calls(sys.argv[1]))
