"""Python children that answer lines of JSON; processes that stand still."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from support.waiting import wait_until
from zproxy.processes import STOP_SECONDS, spawn

SUPPORT = Path(__file__).parent

# From 3.12 on CPython warns of any fork beside a thread.
FORKS_QUIETLY = ("-W", "ignore:This process:DeprecationWarning")


class Servant:
    """A Python child that answers one line of JSON with one line of JSON."""

    def __init__(self, script: str, *arguments: str, log: IO[str] | None = None) -> None:
        self._script = script
        self.process = spawn(
            [sys.executable, str(SUPPORT / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, call: str, **arguments: Any) -> Any:
        """What the child's `call` returned; AssertionError if it raised or is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise AssertionError(f"{self._script} died with {self.process.wait(STOP_SECONDS)} at {call!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{call}: {answer['error']}")
        return answer["result"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def serve(calls: Any) -> None:
    """Answer lines on stdin with the methods of `calls` until stdin ends. The child's side of a Servant."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(calls, request.pop("call"))(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


@contextmanager
def halted(pid: int) -> Iterator[None]:
    """The process stands still: what its peers do meanwhile, it finds at once."""
    os.kill(pid, signal.SIGSTOP)
    try:
        # The kernel stops a process thread by thread, after the signal: one that runs may still answer a message.
        wait_until(lambda: all(map(_is_stopped, Path(f"/proc/{pid}/task").iterdir())), f"{pid} stands still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_stopped(task: Path) -> bool:
    """Whether a thread stands still, by its state: the field after its name, which may hold anything (proc(5))."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
