"""Child processes that end no later than their parent, however that ends."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

STOP_SECONDS = 15.0

# PR_SET_PDEATHSIG survives exec: SIGKILL comes when the parent dies, however it dies.
DIE_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


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
