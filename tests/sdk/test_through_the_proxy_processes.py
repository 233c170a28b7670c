"""Programs with nodes and masters at a real proxy: Ctrl-C, forks, and their end, which never hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
from support.master_process import MasterProcess
from support.processes import FORKS_QUIETLY
from support.proxies import HostedProxy

from zproxy.processes import spawn

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]
Program = Callable[..., "subprocess.Popen[str]"]

CHILD_SECONDS = 20
AT_ONCE_SECONDS = 15.0  # on a loaded machine; the requests would wait for 600

HEAD = """
import asyncio, os, sys, threading, time, zproxy
frontend, backend = sys.argv[1:]
"""


@pytest.fixture
def program() -> Iterator[Program]:
    """Runs a script with `frontend` and `backend` of a proxy, as a program that has the terminal's Ctrl-C."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, proxy: HostedProxy) -> subprocess.Popen[str]:
        flags = ["-W", "always::ResourceWarning", *FORKS_QUIETLY]
        argv = [sys.executable, *flags, "-c", HEAD + script, proxy.frontend, proxy.backend]
        pipe = subprocess.PIPE
        started.append(spawn(argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd=tempfile.gettempdir()))
        return started[-1]

    yield run
    for child in started:
        child.kill()
        child.communicate()


WAITS = {
    "request": """
with zproxy.Node("node1", frontend) as node:
    try:
        node.request("hold", "waiting", timeout=600)
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
    print(node.request("echo", "after").body, flush=True)
""",
    "beside another thread's": """
with zproxy.Node("node1", frontend) as node:
    other = threading.Thread(target=node.request, args=("hold", "other"), daemon=True)
    other.start()
    while not node.stats()["open"]:
        os.sched_yield()
    try:
        node.request("hold", "waiting", timeout=600)
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
    print(node.request("echo", "after").body, flush=True)
    sys.stdin.readline()
    other.join()
""",
    "future": """
with zproxy.Node("node1", frontend) as node:
    future = node.submit("hold", "waiting", timeout=600)
    try:
        future.result()
    except KeyboardInterrupt:
        future.cancel()
        print(time.monotonic(), flush=True)
    print(node.request("echo", "after").body, flush=True)
""",
    "task": """
async def main():
    async with zproxy.AsyncNode("node1", frontend) as node:
        try:
            await node.request("hold", "waiting", timeout=600)
        except asyncio.CancelledError:
            print(time.monotonic(), flush=True)
            print((await node.request("echo", "after")).body, flush=True)
            raise
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
""",
}


@pytest.mark.parametrize("wait", sorted(WAITS))
def test_control_c_ends_a_waiting_request_at_once_and_cancels_it(
    hosted: Host, master_process: Start, program: Program, wait: str
) -> None:
    proxy = hosted()
    master = master_process(proxy.backend, concurrency=4)
    child = program(WAITS[wait], proxy)
    held = 2 if "thread" in wait else 1
    master.wait_begun(held)
    pressed_at = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    assert child.stdout is not None
    assert float(child.stdout.readline()) - pressed_at < AT_ONCE_SECONDS
    assert child.stdout.readline().strip() == "after"
    master.wait_cancelled("waiting")
    assert [each["cancelled"] for each in master.begun()].count(True) == 1, "no other one"
    master.open_gate()
    _, errors = child.communicate("go on\n", timeout=CHILD_SECONDS)
    assert (child.returncode, errors) == (0, "")


def test_a_fork_leaves_nodes_and_masters_to_the_parent(hosted: Host, program: Program) -> None:
    proxy = hosted()
    child = program(
        """
def refused(error, *calls):
    count = 0
    for call in calls:
        try:
            call()
        except error:
            count += 1
    return count

master = zproxy.Master(backend, "m1", concurrency=2)
may_end = threading.Event()
master.service("echo")(lambda request: request.body)
master.service("hold")(lambda request: may_end.wait(60) and request.body)
master.start()
node = zproxy.Node("node1", frontend)
anode = zproxy.AsyncNode("anode1", frontend)
print(node.request("echo", "before").body, flush=True)
held = node.submit("hold", "held over the fork")
pid = os.fork()
if pid == 0:
    nodes = refused(
        zproxy.ForkedNode, lambda: node.request("echo"), lambda: node.submit("echo"), lambda: node.post("echo"),
        lambda: node.send_progress(1), node.stats, node.close, lambda: asyncio.run(anode.request("echo")),
    )
    masters = refused(zproxy.ForkedMaster, master.stop, master.run, master.start, master.stats)
    with zproxy.Node("child1", frontend) as own:
        print(nodes, masters, own.request("echo", "child").body, flush=True)
    sys.exit(0)
print("child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
may_end.set()
print(held.result(20).body, "/", node.request("echo", "parent").body, flush=True)
asyncio.run(anode.close())
node.close()
master.stop()
""",
        proxy,
    )
    out, errors = child.communicate(timeout=CHILD_SECONDS)
    assert out.splitlines() == [
        "before", "7 4 child", "child ended with 0", "held over the fork / parent",
    ]  # fmt: skip
    assert (child.returncode, errors) == (0, "")
    assert proxy.stats()["managed_cancelled"] == 0


def test_a_program_that_ends_without_a_close_does_not_hang(
    hosted: Host, master_process: Start, program: Program
) -> None:
    proxy = hosted(absence="0s")
    master = master_process(proxy.backend, concurrency=2)
    child = program(
        """
master = zproxy.Master(backend, "m2")
master.service("here")(lambda request: request.body)
master.start()
node = zproxy.Node("node1", frontend)
future = node.submit("hold", "open at the end", timeout=600)
thread = threading.Thread(target=node.request, args=("hold", "waited for"), kwargs={"timeout": 600}, daemon=True)
thread.start()
print(node.request("here", 1).body, flush=True)
sys.stdin.readline()
""",
        proxy,
    )
    master.wait_begun(2)
    out, errors = child.communicate("end\n", timeout=CHILD_SECONDS)
    assert (child.returncode, out.strip()) == (0, "1")
    assert "Fatal" not in errors, errors
    for body in ("open at the end", "waited for"):
        master.wait_cancelled(body)
