"""Python children that answer lines of JSON; processes that stand still."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.nursery import fork_child
from support.waiting import wait_until

SUPPORT = Path(__file__).parent

# From 3.12 on CPython warns of any fork beside a thread.
FORKS_QUIETLY = ("-W", "ignore:This process:DeprecationWarning")


class Servant:
    """A child that runs support/MODULE.py and answers one line of JSON with one line of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._child = fork_child(module, *arguments)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        return not self._child.has_ended()

    def ask(self, call: str, **arguments: Any) -> Any:
        """What the child's `call` returned; AssertionError if it raised or is gone."""
        try:
            self._child.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise AssertionError(f"{self._module} died at {call!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{call}: {answer['error']}")
        return answer["result"]

    def kill(self) -> None:
        self._child.kill()


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
