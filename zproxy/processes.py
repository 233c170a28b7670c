"""Child processes that end no later than their parent, however that ends, and how a signal ends the parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
