"""Processes: children that end no later than their parent, what ends the parent, and how many files all may open."""

from __future__ import annotations

import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STOP_SECONDS = 15.0

# PR_SET_PDEATHSIG survives exec: SIGKILL comes when the parent dies, however it dies.
DIE_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


class Interrupted(BaseException):
    """A signal wants all to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as a shell says it


def spawn(argv: list[str], **options: Any) -> subprocess.Popen[str]:
    """`argv` as a child that is killed with us; `options` are Popen's. Call it in a thread that lives as long as we."""
    return subprocess.Popen([sys.executable, "-ISc", DIE_WITH_PARENT, *argv], text=True, **options)


def end(process: subprocess.Popen[str]) -> int:
    """SIGTERM, then after a while SIGKILL; the exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def raise_descriptor_limit() -> int:
    """Open files this process, and those it starts from now, may have: as many as the system lets it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def interruptible() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP raises Interrupted; while all is being ended, more of them change nothing."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Stop:
    """The wish that something ends, from any thread or a signal, as something to wait for together with sockets."""

    def __init__(self) -> None:
        self.is_asked = False
        self.signals = 0  # how many have asked
        self.arrival, self._wakeup = socket.socketpair()
        self.arrival.setblocking(False)
        self._wakeup.setblocking(False)
        self._arrivals = select.poll()
        self._arrivals.register(self.arrival, select.POLLIN)

    def ask(self) -> None:
        """Takes no lock: signal handlers may call it, whatever they interrupt."""
        self.is_asked = True
        self.wake()

    def wake(self) -> None:
        """Ends a `sleep`, this one or the next."""
        with suppress(BlockingIOError, OSError):  # full: it is awake already; closed: nobody sleeps any more
            self._wakeup.send(b"\0")

    def sleep(self, seconds: float | None) -> None:
        """Until somebody asks or wakes, or the time is over; None: without end."""
        if self._arrivals.poll(None if seconds is None else max(0.0, seconds * 1000)):
            with suppress(BlockingIOError):
                self.arrival.recv(4096)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask; afterwards they do what they did before. Main thread only."""
        descriptor = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)

    def close(self) -> None:
        self.arrival.close()
        self._wakeup.close()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1
        self.ask()
