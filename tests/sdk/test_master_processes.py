"""A master as a process: signals, forks and its exit."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fake_backend import FakeBackend
from support.processes import FORKS_QUIETLY
from support.waiting import DEADLINE_SECONDS

from zproxy.envelope import Kind
from zproxy.processes import spawn

HOST = Path(__file__).parents[1] / "support" / "master_host.py"


class Program:
    """The host, line by line."""

    def __init__(self, endpoint: str, mode: str) -> None:
        self._process = spawn(
            [sys.executable, "-W", "always::ResourceWarning", *FORKS_QUIETLY, str(HOST), endpoint, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit code and its standard error, once it has ended."""
        _, errors = self._process.communicate(timeout=DEADLINE_SECONDS)
        return self._process.returncode, errors

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


Start = Callable[[str], Program]


@pytest.fixture
def start(backend: FakeBackend) -> Iterator[Start]:
    started: list[Program] = []

    def one(mode: str) -> Program:
        started.append(Program(backend.endpoint, mode))
        return started[-1]

    yield one
    for program in started:
        program.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_handler_finish(backend: FakeBackend, start: Start, number: int) -> None:
    program = start("run")
    backend.join()
    backend.request(71, service="hold")
    assert program.read() == "begun"
    backend.request(72, "promised")
    program.signal(number)
    backend.hear(Kind.GOODBYE)  # at once, while the handler runs
    program.write("finished")
    assert backend.reply(71).body == "finished"
    assert backend.reply(72).body == "promised"
    backend.say(Kind.GOODBYE)
    assert program.read() == "ended"
    assert program.end() == (0, "")


def test_a_signal_ends_an_idle_master_with_a_goodbye(backend: FakeBackend, start: Start) -> None:
    program = start("run")
    backend.join()
    program.signal(signal.SIGTERM)
    backend.farewell()
    assert program.read() == "ended"
    assert program.end() == (0, "")


@pytest.mark.parametrize("service", ["hold", "compute"])
def test_a_second_signal_ends_at_once(backend: FakeBackend, start: Start, service: str) -> None:
    program = start("run")
    backend.join()
    backend.request(71, service=service)
    assert program.read() == "begun"
    program.signal(signal.SIGTERM)
    backend.hear(Kind.GOODBYE)
    program.signal(signal.SIGTERM)
    assert program.read() == "ended"
    code, errors = program.end()
    assert code == 0
    assert "handlers run, 1 of them" in errors


def test_a_forked_master_is_its_parents(backend: FakeBackend, start: Start) -> None:
    program = start("fork")
    assert program.read() == "child refused 5"
    assert program.read() == "child ended with 0"
    backend.join()
    assert backend.call(71, 1).body == 1
    program.write("end")
    backend.farewell()
    assert program.read() == "ended"
    assert program.end() == (0, "")


def test_a_program_that_leaves_without_a_stop_does_not_hang(backend: FakeBackend, start: Start) -> None:
    program = start("leave")
    backend.join()
    program.write("leave")
    assert program.read() == "leaves 2 threads"
    code, errors = program.end()
    assert (code, "was dropped while it ran" in errors) == (0, True)


def test_a_program_that_leaves_with_a_handler_running_does_not_hang(backend: FakeBackend, start: Start) -> None:
    program = start("leave")
    backend.join()
    backend.request(71, service="compute")
    assert program.read() == "begun"
    program.write("leave")
    assert program.end()[0] == 0
