"""`zproxy demo` as a user runs it: it trains and checks, and whoever dies, it says who and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from support.commands import ZPROXY
from support.waiting import wait_until

from zproxy.demo.children import Children
from zproxy.processes import spawn

LONG = ("--nodes", "3", "--steps", "10000")  # far more than any test waits for


class Demo:
    """A running demo, read line by line."""

    def __init__(self, folder: Path, *options: str, **streams: Any) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.lines: list[str] = []
        self._errors = folder / "stderr"
        with self._errors.open("w") as errors:
            self.process = spawn(
                [ZPROXY, "demo", *options],
                env={**os.environ, "TERM": "xterm", "TMPDIR": str(self.temporary)},
                **{"stdout": subprocess.PIPE, "stderr": errors, **streams},
            )

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes the demo has named so far."""
        named = (re.match(r"(\w+) pid (\d+)", line) for line in self.lines)
        return {found[1]: int(found[2]) for found in named if found}

    def read_until(self, beginning: str) -> None:
        """Returns at the first line that begins so."""
        assert self.process.stdout is not None
        while not (self.lines and self.lines[-1].startswith(beginning)):
            line = self.process.stdout.readline()
            assert line, f"ended with {self.process.wait()} before {beginning!r}: {self.lines} {self.errors}"
            self.lines.append(line)

    def finish(self) -> int:
        """Reads to the end; the exit code."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout
        return self.process.wait()

    def wait_processes_gone(self) -> None:
        wait_until(lambda: not any(is_running(pid) for pid in self.pids.values()), "all processes gone")

    def assert_nothing_is_left(self) -> None:
        """No process and no file."""
        self.wait_processes_gone()
        assert not list(self.temporary.iterdir())


def is_running(pid: int) -> bool:
    """Does it exist, and is it more than an entry nobody has reaped?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Demo] = []

    def begin(*options: str, **streams: Any) -> Demo:
        started.append(Demo(tmp_path, *options, **streams))
        return started[-1]

    yield begin
    for demo in started:
        demo.process.kill()
        demo.process.wait()
        if demo.process.stdout is not None:
            demo.process.stdout.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A small demo that has run to its end, and drawn its curve."""
    folder = tmp_path_factory.mktemp("demo")
    demo = Demo(folder, "--nodes", "2", "--steps", "20", "--plot", str(folder / "loss.png"))
    demo.finish()
    assert demo.process.stdout is not None
    demo.process.stdout.close()
    return demo


def found(demo: Demo, pattern: str) -> tuple[str, ...]:
    """The groups of the one line that the pattern matches."""
    matches = [match for match in (re.search(pattern, line) for line in demo.lines) if match]
    assert len(matches) == 1, f"{pattern!r} in {demo.lines} {demo.errors}"
    return matches[0].groups()


def test_a_training_through_the_proxy_equals_one_by_a_single_process(finished: Demo) -> None:
    assert finished.process.returncode == 0
    assert finished.errors == ""
    difference, allowed = found(finished, r"^ok +parameters equal .*: largest difference (\S+), allowed (\S+)$")
    assert 0 < float(difference) <= float(allowed) < 1e-4


def test_all_nodes_hold_the_same_parameters(finished: Demo) -> None:
    found(finished, r"^ok +all nodes hold the master's parameters")


def test_the_loss_on_unseen_text_falls(finished: Demo) -> None:
    before, after = found(finished, r"^ok +loss .* fell: (\S+) → (\S+)$")
    assert float(after) < float(before) - 0.5


def test_the_proxys_own_counters_tell_every_message(finished: Demo) -> None:
    messages, megabytes, dropped = found(finished, r"(\d+) messages, (\d+) MB through the proxy, (\d+) lost or dropped")
    asked = 2 * (1 + 20 * 2)  # by two nodes: for parameters, then 20 times progress and gradients
    assert int(messages) == 2 * asked + 3 * 3, "each with its answer; to each of three peers WELCOME, ACCEPTED, GOODBYE"
    assert int(megabytes) > 2 * 2 * 20 * 0.3
    assert dropped == "0"


def test_the_loss_curve_is_drawn(finished: Demo) -> None:
    picture = finished.temporary.parent / "loss.png"
    assert f"plot: {picture}\n" in finished.lines
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_finished_demo_leaves_nothing_and_says_what_to_try_next(finished: Demo) -> None:
    assert set(finished.pids) == {"proxy", "master", "node1", "node2", "reference"}
    finished.assert_nothing_is_left()
    assert any("zproxy demo --nodes" in line for line in finished.lines)


@pytest.mark.parametrize("victim", ["node2", "master", "proxy"])
def test_kill_9_ends_the_demo_and_names_the_dead(start: Start, victim: str) -> None:
    demo = start(*LONG)
    demo.read_until("step ")
    os.kill(demo.pids[victim], signal.SIGKILL)
    assert demo.finish() == 1
    dead = f"{victim} (pid {demo.pids[victim]}) was killed by SIGKILL"
    assert demo.errors == f"zproxy demo: {dead}; all other processes were ended\n"
    assert set(demo.pids) == {"proxy", "master", "node1", "node2", "node3"}
    demo.assert_nothing_is_left()


def test_a_killed_process_is_named_before_those_it_takes_along() -> None:
    with Children() as children:
        master = children.start("master", "zproxy.demo.proxy")
        node = children.start("node", "zproxy.demo.node")
        assert node.process.wait() == 1
        assert children.cause(node) is node
        master.process.kill()
        wait_until(lambda: master.process.poll() is not None, "the master is gone")
        assert children.cause(node) is master


def test_a_frozen_node_is_named_within_the_patience(start: Start) -> None:
    demo = start("--nodes", "2", "--steps", "10000", "--patience", "2s")
    demo.read_until("step ")
    os.kill(demo.pids["node2"], signal.SIGSTOP)
    assert demo.finish() == 1
    assert re.search(r"node1 \(pid \d+\) ended with code 1: .*nothing from node2 in 2 s, at step \d+;", demo.errors)
    demo.assert_nothing_is_left()


def test_a_node_that_dies_before_the_first_step_is_named(start: Start) -> None:
    demo = start(*LONG)
    demo.read_until("node3 pid")
    os.kill(demo.pids["node1"], signal.SIGKILL)
    assert demo.finish() == 1
    assert f"node1 (pid {demo.pids['node1']}) was killed by SIGKILL" in demo.errors
    demo.assert_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_at_once(start: Start, number: signal.Signals) -> None:
    demo = start(*LONG)
    demo.read_until("step ")
    demo.process.send_signal(number)
    assert demo.finish() == 128 + number
    assert demo.errors == f"zproxy demo: ended by {number.name}, with all processes\n"
    demo.assert_nothing_is_left()


def test_a_signal_while_the_result_is_checked_ends_all_too(start: Start) -> None:
    demo = start("--nodes", "1", "--steps", "100")
    demo.read_until("reference pid")
    demo.process.send_signal(signal.SIGINT)
    assert demo.finish() == 130
    demo.assert_nothing_is_left()


def test_a_killed_demo_takes_its_processes_along(start: Start) -> None:
    demo = start(*LONG)
    demo.read_until("step ")
    demo.process.kill()
    demo.finish()
    demo.wait_processes_gone()


@pytest.mark.parametrize("columns", [40, 100])
def test_on_a_terminal_it_draws_and_ends_with_its_checks(start: Start, columns: int) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
    demo = start("--nodes", "1", "--steps", "3", stdout=theirs, stdin=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    assert demo.process.wait() == 0, shown
    assert "step 3/3" in shown and "█" in shown
    assert shown.count("ok    ") == 3
    assert "Traceback" not in shown


def read_terminal(descriptor: int) -> str:
    """All that is written there until the last writer has closed it."""
    written = b""
    while True:
        try:
            written += os.read(descriptor, 1 << 16)
        except OSError:  # EIO: closed on the other side
            os.close(descriptor)
            return written.decode()
