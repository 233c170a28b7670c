"""A process that has imported what the tests' children need, and forks one for each that is asked for.

    fork_child ──► nursery: os.fork ──► child: support.MODULE.main(*arguments)

Imports cost a child 0.3 to 0.6 s of a core, a fork a few milliseconds. A child has its own three standard streams, and
from its nursery what a child inherits; so there is a nursery for each environment, folder and limit that tests set. It
ends with the pytest process, however that ends, and its children with it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.path.remove(str(Path(__file__).parent))

from zproxy.processes import STOP_SECONDS

MODULES = ("proxy_host", "service_host", "load_node", "load_master", "tcp_fault")
REQUEST_BYTES = 1 << 16
PR_SET_PDEATHSIG = 1


class Nursery:
    """The tests' handle on one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        weakref.finalize(self, _end, self._socket, process)

    def fork(self, module: str, arguments: tuple[str, ...]) -> Child:
        child_in, stdin = os.pipe()
        stdout, child_out = os.pipe()
        try:
            request = json.dumps([module, *arguments]).encode()
            socket.send_fds(self._socket, [request], [child_in, child_out, 2])
        finally:
            os.close(child_in)
            os.close(child_out)
        answer, [pidfd], _, _ = socket.recv_fds(self._socket, REQUEST_BYTES, 1)
        return Child(self, int(answer), pidfd, stdin, stdout)


class Child:
    """One child; whoever asked for it ends it."""

    def __init__(self, nursery: Nursery, pid: int, pidfd: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin = open(stdin, "w")
        self.stdout = open(stdout)
        self._nursery = nursery  # its children die with it
        self._pidfd = pidfd
        weakref.finalize(self, os.close, pidfd)

    def has_ended(self, timeout_seconds: float = 0.0) -> bool:
        return bool(select.select([self._pidfd], [], [], timeout_seconds)[0])

    def kill(self) -> None:
        """SIGKILL, and its end."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        assert self.has_ended(STOP_SECONDS), f"{self.pid} does not end"
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()


def fork_child(module: str, *arguments: str) -> Child:
    """A child that runs `main` of support/MODULE.py; its stderr is ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    inherited = (frozenset(environment.items()), os.getcwd(), resource.getrlimit(resource.RLIMIT_NOFILE))
    return _nursery(inherited).fork(module, arguments)


@functools.lru_cache(maxsize=2)
def _nursery(inherited: Any) -> Nursery:
    return Nursery()


def _end(asked: socket.socket, process: subprocess.Popen[bytes]) -> None:
    asked.close()
    process.wait()


# ---- the nursery's side ----


def _main(asked: socket.socket) -> None:
    mains = {name: importlib.import_module(f"support.{name}").main for name in MODULES}
    gc.freeze()
    child = _nurse(asked, mains)
    if child is not None:
        child()


def _nurse(asked: socket.socket, mains: dict[str, Callable[..., None]]) -> Callable[[], None] | None:
    """Forks until nobody can ask any more; in a child, what it is to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        request, streams, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 3)
        if not request:
            return None
        pid = os.fork()
        if pid == 0:
            asked.close()
            _settle(streams)
            module, *arguments = json.loads(request)
            return functools.partial(mains[module], *arguments)
        pidfd = os.pidfd_open(pid)
        socket.send_fds(asked, [str(pid).encode()], [pidfd])
        for descriptor in (pidfd, *streams):
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _settle(streams: list[int]) -> None:
    """Make a forked child a process like any other, which ends with its nursery."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
