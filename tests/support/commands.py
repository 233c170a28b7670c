"""The `zproxy` command as a process: what it says on stdout and in its log, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from support.waiting import wait_until
from zproxy.processes import end, spawn

ZPROXY = str(Path(sys.executable).parent / "zproxy")
SECONDS = 20.0


def ended(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, with all it said."""
    return subprocess.run([ZPROXY, *arguments], capture_output=True, text=True, timeout=SECONDS, **options)


def refused(*arguments: str, **options: Any) -> str:
    """The one line on stderr of a command that ends with exit code 2 and does nothing."""
    done = ended(*arguments, stdin=subprocess.DEVNULL, **options)
    assert (done.returncode, done.stdout) == (2, ""), done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


class RunningProxy:
    """`zproxy run` on free ports, ready; a context manager that ends it. Its log is JSON, unless told otherwise."""

    def __init__(self, directory: Path, *arguments: str, endpoints: bool = True, **options: Any) -> None:
        self._log = directory / "log"
        ports = ["--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0"] if endpoints else []
        with self._log.open("a") as log:
            self.process = spawn(
                [ZPROXY, "run", *ports, *arguments],
                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log, **options},
            )
        self._said = ""

    @property
    def ready(self) -> dict[str, list[str]]:
        """The bound endpoints of each side, as the ready line says."""
        if not self._said:
            assert self.process.stdout is not None
            self._said = self.process.stdout.readline()
        word, *sides = self._said.split()
        assert word == "ready", (self._said, self.stderr)
        return {side: endpoints.split(",") for side, endpoints in (each.split("=", 1) for each in sides)}

    @property
    def frontend(self) -> str:
        return self.ready["frontend"][0]

    @property
    def backend(self) -> str:
        return self.ready["backend"][0]

    @property
    def stderr(self) -> str:
        return self._log.read_text()

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's lines so far, or those of one event."""
        lines = [json.loads(line) for line in self.stderr.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if event in (None, line["event"])]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The latest line of an event, once there are `count`."""
        return wait_until(lambda: self.log(event)[count - 1 :], f"{count} {event} in the log")[-1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, when it ends by itself."""
        return self.process.wait(SECONDS)

    def stop(self) -> int:
        """Its exit code after a SIGTERM."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def totals(self) -> dict[str, Any]:
        """The last line of its log, after a stop with exit code 0."""
        assert self.stop() == 0, self.stderr
        last = self.log()[-1]
        assert last["event"] == "totals", self.stderr
        return last

    def __enter__(self) -> RunningProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        end(self.process)
        if self.process.stdout is not None:
            self.process.stdout.close()
        assert "Traceback" not in self.stderr, self.stderr


def signal_set(pid: int, kind: str) -> set[int]:
    """Signals of a process by kind: SigBlk, SigCgt, SigIgn (its first thread)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, mask = line.partition(":")
        if name == kind:
            return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}
    raise AssertionError(f"/proc/{pid}/status has no {kind}")


def descriptor_target(pid: int, descriptor: int) -> str:
    """What an open file of the process is."""
    return os.readlink(f"/proc/{pid}/fd/{descriptor}")


def started_proxies(directory: Path) -> Iterator[Callable[..., RunningProxy]]:
    """For a fixture: starts proxies, ready, and ends them, without patience for what the test leaves open."""
    started: list[RunningProxy] = []

    def start(*arguments: str) -> RunningProxy:
        started.append(RunningProxy(directory, "--drain", "100ms", *arguments).__enter__())
        assert started[-1].ready
        return started[-1]

    yield start
    for proxy in started:
        proxy.__exit__(None, None, None)
