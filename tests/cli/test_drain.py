"""`zproxy drain`: a proxy ends as by SIGTERM, a worker finishes what it holds; the command knows when."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import ZPROXY, RunningProxy, ended, refused, started_proxies
from support.managed import ManagedPeer
from support.masters import Gate
from support.waiting import wait_until, wait_until_draining

from zproxy import Master, Node
from zproxy.envelope import Kind
from zproxy.processes import end, spawn

Start = Callable[..., RunningProxy]
Managed = Callable[..., ManagedPeer]
Ask = Callable[..., subprocess.Popen[str]]

CONTENT = b"\x92\xc0\x90"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of this test's proxies."""
    path = tmp_path / "run"
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts proxies, ready, and ends them; without patience for what the test leaves open."""
    yield from started_proxies(tmp_path)


@pytest.fixture
def draining() -> Iterator[Ask]:
    """Begins a `zproxy drain` that waits."""
    begun: list[subprocess.Popen[str]] = []

    def drain(*arguments: str) -> subprocess.Popen[str]:
        begun.append(spawn([ZPROXY, "drain", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return begun[-1]

    yield drain
    for command in begun:
        end(command)


def said_by(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr, once it has ended."""
    said, errors = command.communicate(timeout=15)
    return command.returncode, said.strip(), errors.strip()


def worker_row(name: str) -> dict[str, Any]:
    rows = json.loads(ended("status", "--json").stdout)["workers"]
    found: dict[str, Any] = next(row for row in rows if row["name"] == name)
    return found


def pair(proxy: RunningProxy, managed: Managed, credit: int = 2) -> tuple[ManagedPeer, ManagedPeer]:
    """A node and a worker "m1" of "sum"."""
    node = managed(proxy.frontend, "rank0")
    node.hello()
    worker = managed(proxy.backend, "m1")
    worker.ready("sum", credit=credit)
    return node, worker


# ---- the proxy ----


def test_an_idle_proxy_has_ended_when_the_command_has(start: Start) -> None:
    proxy = start("--drain", "10s")
    done = ended("drain")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the proxy at ") and done.stdout.endswith("has ended\n")
    assert proxy.process.wait(0) == 0
    (stopping,) = proxy.log("stopping")
    assert (stopping["signal"], stopping["drain_seconds"]) == ("none", 10.0)
    assert proxy.log()[-1]["event"] == "totals"


def test_what_a_worker_has_is_answered_and_what_is_new_refused(start: Start, draining: Ask) -> None:
    proxy = start("--drain", "1h")
    gate = Gate()
    master = Master(proxy.backend, "m1")
    master.service("hold")(gate)
    with master, Node("rank0", proxy.frontend) as node:
        held = node.submit("hold")
        gate.wait_begun()
        command = draining()
        proxy.wait_for("stopping")
        wait_until_draining(node, "hold")
        assert command.poll() is None
        gate.open()
        assert held.result(10).body == {"begun": 1}
        code, said, errors = said_by(command)
    assert (code, errors) == (0, "") and said.endswith("has ended")
    assert proxy.wait() == 0


def test_to_ask_again_hastens_nothing_and_a_signal_does(start: Start, draining: Ask, managed: Managed) -> None:
    proxy = start("--drain", "1h")
    node, worker = pair(proxy, managed)
    node.request("sum", CONTENT)
    worker.read(Kind.REQUEST)
    done = ended("drain", "--no-wait")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("drains\n")
    proxy.wait_for("stopping")
    commands = [draining(), draining()]
    late = ended("drain", "--timeout", "300ms")
    assert late.returncode == 1
    assert "has not ended within 300ms, 1 managed requests are live" in late.stderr
    assert len(proxy.log("stopping")) == 1
    proxy.signal(signal.SIGTERM)
    for command in commands:
        assert said_by(command)[0] == 0
    assert proxy.wait() == 0


def test_a_drain_after_a_signal_waits_for_the_same_end(start: Start, draining: Ask, managed: Managed) -> None:
    proxy = start("--drain", "1h")
    node, worker = pair(proxy, managed)
    node.request("sum", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    proxy.signal(signal.SIGTERM)
    proxy.wait_for("stopping")
    command = draining()
    assert ended("drain", "--timeout", "100ms").returncode == 1
    worker.answer(delivery, CONTENT)
    assert said_by(command)[0] == 0
    assert proxy.wait() == 0


# ---- one worker ----


def test_an_idle_worker_takes_nothing_more_and_the_others_go_on(start: Start, managed: Managed) -> None:
    proxy = start()
    node, worker = pair(proxy, managed)
    other = managed(proxy.backend, "m2")
    other.ready("sum", credit=9)
    done = ended("drain", "m1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "m1 has finished\n", "")
    assert worker.read()[0].kind == Kind.GOODBYE
    for _ in range(5):
        node.request("sum", CONTENT)
        other.read(Kind.REQUEST)
    assert worker.hears_nothing()
    row = worker_row("m1")
    assert (row["state"], row["in_flight"], row["services"]) == ("draining", 0, [])
    assert worker_row("m2")["state"] == "ready"
    (logged,) = proxy.log("draining")
    assert logged["worker"] == "m1"


def test_the_command_waits_for_what_the_worker_holds(start: Start, draining: Ask, managed: Managed) -> None:
    proxy = start()
    node, worker = pair(proxy, managed)
    deliveries = []
    for _ in range(2):
        node.request("sum", CONTENT)
        deliveries.append(worker.read(Kind.REQUEST)[0])
    command = draining("m1")
    assert worker.read()[0].kind == Kind.GOODBYE
    late = ended("drain", "m1", "--timeout", "200ms")
    assert late.returncode == 1
    assert "worker m1 still holds 2 requests after 200ms, the oldest for " in late.stderr
    for delivery in deliveries:
        assert command.poll() is None
        worker.answer(delivery, CONTENT)
        assert node.read(Kind.REPLY)[0].sequence == delivery.sequence
    assert said_by(command) == (0, "m1 has finished", "")


def test_a_master_of_the_sdk_finishes_and_stays(start: Start, draining: Ask) -> None:
    proxy = start()
    gate = Gate()
    masters = [Master(proxy.backend, name) for name in ("m1", "m2")]
    masters[0].service("hold")(gate)
    masters[1].service("echo")(lambda request: request.body)
    with masters[0], masters[1], Node("rank0", proxy.frontend) as node:
        held = node.submit("hold")
        gate.wait_begun()
        command = draining("m1")
        wait_until(lambda: worker_row("m1")["state"] == "draining", "it drains")
        assert node.request("echo", 3).body == 3
        gate.open()
        assert held.result(10).body == {"begun": 1}
        assert said_by(command) == (0, "m1 has finished", "")
        assert masters[0].is_running


def test_one_that_goes_instead_is_told(start: Start, draining: Ask, managed: Managed) -> None:
    proxy = start()
    node, worker = pair(proxy, managed)
    node.request("sum", CONTENT)
    worker.read(Kind.REQUEST)
    command = draining("m1")
    assert worker.read()[0].kind == Kind.GOODBYE
    worker.close()
    assert said_by(command) == (0, "m1 has closed its connection", "")


def test_one_that_comes_back_takes_requests_again_and_that_is_told(
    start: Start, draining: Ask, managed: Managed
) -> None:
    proxy = start()
    node, worker = pair(proxy, managed)
    node.request("sum", CONTENT)
    worker.read(Kind.REQUEST)
    command = draining("m1")
    assert worker.read()[0].kind == Kind.GOODBYE
    back = managed(proxy.backend, "m1", incarnation=worker.incarnation)
    back.ready("sum")
    back.read(Kind.REQUEST)
    code, said, errors = said_by(command)
    assert (code, said) == (1, "")
    assert "m1 came back on a new connection, and takes requests again" in errors


def test_without_waiting_it_asks_and_ends(start: Start, managed: Managed) -> None:
    proxy = start()
    node, worker = pair(proxy, managed)
    node.request("sum", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    done = ended("drain", "m1", "--no-wait")
    assert (done.returncode, done.stdout, done.stderr) == (0, "m1 takes no more\n", "")
    worker.answer(delivery, CONTENT)
    assert node.read(Kind.REPLY)[0].sequence == delivery.sequence


def test_a_proxy_that_dies_meanwhile_is_told(start: Start, draining: Ask, managed: Managed) -> None:
    proxy = start()
    node, worker = pair(proxy, managed)
    node.request("sum", CONTENT)
    worker.read(Kind.REQUEST)
    command = draining("m1")
    assert worker.read()[0].kind == Kind.GOODBYE
    proxy.process.kill()
    code, said, errors = said_by(command)
    assert code != 0 and said == ""
    assert len(errors.splitlines()) == 1 and "ended" in errors  # or "hung up: has it ended?", to the first question


# ---- what is refused ----


def test_an_unknown_name_is_told_which_there_are(start: Start, managed: Managed) -> None:
    proxy = start()
    assert refused("drain", "m1") == "zproxy: no worker 'm1': no worker is there that speaks the managed protocol"
    node, worker = pair(proxy, managed)
    other = managed(proxy.backend, "m0")
    other.ready("sum")
    assert refused("drain", "m2") == "zproxy: no worker 'm2': there are m0, m1"
    assert refused("drain", "rank0") == "zproxy: no worker 'rank0': there are m0, m1"
    assert worker_row("m1")["state"] == "ready"


def test_an_empty_name_does_not_end_the_proxy(start: Start) -> None:
    start()
    assert "WORKER is empty" in refused("drain", "")
    assert json.loads(ended("status", "--json").stdout)["workers"] == []


def test_without_a_proxy_it_says_what_to_do(folder: Path) -> None:
    assert "no proxy of yours runs here" in refused("drain")
    assert "no proxy answers at /no/such/socket" in refused("drain", "m1", "--control", "/no/such/socket")


def test_of_several_proxies_one_has_to_be_picked(start: Start, folder: Path) -> None:
    first, second = start(), start()
    done = ended("drain")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("zproxy drain: 2 proxies run here, pick one by --control PATH:\n")
    assert ended("drain", "--control", str(folder / f"{first.process.pid}.sock")).returncode == 0
    assert first.wait() == 0
    assert second.process.poll() is None
