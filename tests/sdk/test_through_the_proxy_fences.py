"""A frozen peer whose successor has its name: it is told so when it wakes, and is over; nothing of it runs any more."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest
from support.master_process import MasterProcess
from support.processes import halted
from support.proxies import HostedProxy
from support.waiting import wait_until

from zproxy import Node
from zproxy.processes import spawn

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]
Program = Callable[..., "subprocess.Popen[str]"]

ELDER_NODE = """
import sys, zproxy
node = zproxy.Node("node1", sys.argv[1].split(","))
node.request("echo")
futures = [node.submit("hold", number, timeout=600) for number in range(2)]
print("asked", flush=True)
for call in (*[future.result for future in futures], lambda: node.request("echo")):
    try:
        call()
    except zproxy.Fenced as error:
        print(error, flush=True)
node.close()
"""

ELDER_MASTER = """
import os, sys, zproxy
master = zproxy.Master(sys.argv[1], "m1", prefetch=1, drain=60)
@master.service("wait")
def wait(request):
    print("begun", request.body, flush=True)
    os.read(0, 1)
    print("cancelled", request.is_cancelled, flush=True)
try:
    master.run()
except zproxy.Fenced as error:
    print(error, flush=True)
print(master.stats()["discarded"], flush=True)
"""


@pytest.fixture
def program() -> Iterator[Program]:
    """Starts programs, ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        argv = [sys.executable, "-c", source, *arguments]
        started.append(spawn(argv, **pipes, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir()))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_node_whose_successor_has_come_is_over_for_all_it_has_and_for_all_it_asks(
    hosted: Host, master_process: Start, program: Program
) -> None:
    proxy, other = hosted(), hosted()
    master = master_process([proxy.backend, other.backend], concurrency=4)
    elder = program(ELDER_NODE, f"{proxy.frontend},{other.frontend}")
    assert line_of(elder) == "asked"
    master.wait_begun(2)
    with halted(elder.pid), Node("node1", proxy.frontend) as successor:
        assert successor.request("echo", "mine", timeout=25).body == "mine"
    for service in ("hold", "hold", "echo"):
        said = line_of(elder)
        assert said.startswith(f'request of "node1" to "{service}": ')
        assert "another" in said or "successor" in said, said
    assert elder.wait(10) == 0
    master.open_gate()


def test_a_master_whose_successor_has_come_runs_nothing_more_and_says_why(
    hosted: Host, master_process: Start, program: Program
) -> None:
    proxy = hosted()
    elder = program(ELDER_MASTER, proxy.backend)
    with Node("node1", proxy.frontend) as node:
        futures = [node.submit("wait", number, timeout=600) for number in range(2)]
        assert line_of(elder) == "begun 0"
        proxy.wait_for("managed_deliveries", 2)
        with halted(elder.pid):
            successor = program(ELDER_MASTER, proxy.backend)
            assert line_of(successor).startswith("begun ")
        assert elder.stdin is not None and successor.stdin is not None
        proxy.wait_for("managed_refused_fenced")
        elder.stdin.write("x")
        elder.stdin.flush()
        assert line_of(elder) == "cancelled True"
        said = line_of(elder)
        assert said.startswith('peer "m1": ') and "name" in said, said
        assert line_of(elder) == "1", "what waited was never begun"
        successor.stdin.write("xx")
        successor.stdin.flush()
        assert [future.result(20).attempt for future in futures] == [2, 2]
    wait_until(lambda: elder.poll() == 0, "the elder has ended")
