"""Children: processes that speak in reports, and never outlive us, however we end.

Called by the supervisor only. One selector over their outputs tells both what they say and that they are gone: the
kernel closes a dead process's pipe at once.

Rule 1. A child dies with us: even kill -9 of the supervisor leaves no process behind.
Rule 2. A child sees no Ctrl-C of its own (a session of its own); the supervisor ends it.
Rule 3. A child's errors go to a file: what it said last is quoted when it dies, a traceback never reaches the screen.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from zproxy.demo import reports
from zproxy.demo.reports import Report
from zproxy.processes import spawn

READ_BYTES = 1 << 16
END_S = 2.0  # between SIGTERM and SIGKILL

# A child is one of several on a few cores: more threads would only fight each other.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass
class Child:
    """One process and what it has said."""

    name: str
    process: subprocess.Popen[str]
    errors: Path
    unfinished: bytes = b""  # a line whose end has not come yet

    @property
    def pid(self) -> int:
        return self.process.pid

    def end_in_words(self) -> str:
        """How it ended: "node2 (pid 12) was killed by SIGKILL"."""
        code = self.process.wait()
        if code < 0:
            return f"{self.name} (pid {self.pid}) was killed by {signal.Signals(-code).name}"
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return f"{self.name} (pid {self.pid}) ended with code {code}" + (f": {lines[-1]}" if lines else "")


class Children:
    """All processes of a run. A context: leaving it ends them all."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zproxy-demo-"))
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, Child] = {}  # by the descriptor of its output

    def start(self, name: str, module: str, *arguments: str) -> Child:
        """`python -m module arguments` as a child. Its folder is ours, empty: no module can be shadowed there."""
        errors = self.folder / f"{name}.stderr"
        with errors.open("wb") as stderr:
            process = spawn(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=self.folder,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )
        assert process.stdout is not None
        child = Child(name, process, errors)
        os.set_blocking(process.stdout.fileno(), False)
        self._running[process.stdout.fileno()] = child
        self._selector.register(process.stdout, selectors.EVENT_READ)
        return child

    def wait(self, timeout_s: float) -> list[tuple[Child, Report | None]]:
        """What was said meanwhile, in order; None is a child's end. Returns early as soon as there is anything."""
        heard: list[tuple[Child, Report | None]] = []
        for key, _ in self._selector.select(timeout_s):
            child = self._running[key.fd]
            try:
                text = os.read(key.fd, READ_BYTES)
            except BlockingIOError:
                continue
            *lines, child.unfinished = (child.unfinished + text).split(b"\n")
            heard += [(child, reports.hear(line)) for line in lines]
            if not text:
                self._selector.unregister(key.fd)
                del self._running[key.fd]
                heard.append((child, None))
        return heard

    @property
    def running(self) -> list[Child]:
        """Those whose end has not been heard of, in the order of their start."""
        return list(self._running.values())

    def cause(self, ended: Child) -> Child:
        """Who is to be named when `ended` failed: one that was killed takes others along, and may be heard of later."""
        killed = [child for child in (ended, *self.running) if (child.process.poll() or 0) < 0]
        return killed[0] if killed else ended

    def end(self) -> None:
        """SIGTERM to all, after a while SIGKILL; returns when they are gone."""
        for child in self.running:
            child.process.terminate()
        until = time.monotonic() + END_S
        for child in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, until - time.monotonic()))
        for child in self.running:
            child.process.kill()
            child.process.wait()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()
        self._selector.close()
        shutil.rmtree(self.folder, ignore_errors=True)

