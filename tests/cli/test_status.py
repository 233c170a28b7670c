"""`zproxy status` and the control socket of `zproxy run`: found, asked, and gone when the proxy is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from support.commands import ZPROXY, RunningProxy, ended, refused, started_proxies
from support.managed import ManagedPeer
from support.peers import EchoWorkers, Peers
from support.processes import halted
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer

from zproxy import Master, Node
from zproxy.counters import OUTCOMES
from zproxy.envelope import Kind
from zproxy.processes import spawn

Start = Callable[..., RunningProxy]
Connect = Callable[..., ZmtpPeer]
Managed = Callable[..., ManagedPeer]

CONTENT = b"\x92\xc0\x90"
BOOKED = ("accepted", *OUTCOMES, "live")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of this test's proxies."""
    path = tmp_path / "run"
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts proxies, ready, and ends them."""
    yield from started_proxies(tmp_path)


def told(*arguments: str) -> str:
    done = ended("status", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


# ---- what it says ----


def test_the_only_proxy_needs_no_name(start: Start, peers: Peers) -> None:
    proxy = start()
    with EchoWorkers(proxy.backend):
        client = peers.connect(zmq.REQ, proxy.frontend)
        client.send(b"hello")
        client.recv()
    text = told()
    for words in (f"pid {proxy.process.pid}", proxy.frontend, proxy.backend, "requests_in=1", "requests_in_bytes="):
        assert words in text


def test_json_has_every_counter_in_one_line(start: Start) -> None:
    proxy = start()
    (line,) = told("--json").splitlines()
    said = json.loads(line)
    assert said["pid"] == proxy.process.pid
    assert {"frontend": said["frontend"], "backend": said["backend"]} == proxy.ready
    assert said["counters"]["requests_in"] == 0 and "turns" in said["counters"] and "memory_bytes" in said["gauges"]
    assert (said["services"], said["workers"], said["nodes"]) == ([], [], [])
    assert said["uptime_ms"] >= 0


def test_the_log_names_the_socket(start: Start, folder: Path) -> None:
    proxy = start()
    assert proxy.log("starting")[0]["control"] == str(folder / f"{proxy.process.pid}.sock")
    assert start("--control", "off").log("starting")[-1]["control"] == "off"


def test_a_path_of_ones_own_is_asked_by_its_name(start: Start, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "mine" / "control"
    proxy = start("--control", str(path))
    assert f"pid {proxy.process.pid}" in told("--control", str(path))
    assert not folder.exists()
    assert proxy.stop() == 0
    assert list(path.parent.iterdir()) == []


def test_watching_says_it_again_until_it_is_ended(start: Start) -> None:
    start()
    watcher = spawn([ZPROXY, "status", "--json", "--watch", "100ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None
    uptimes = [json.loads(watcher.stdout.readline())["uptime_ms"] for _ in range(3)]
    assert uptimes == sorted(set(uptimes))
    assert_ends_quietly(watcher)


def test_a_watcher_without_a_time_has_one_of_its_own(start: Start) -> None:
    start()
    watcher = spawn([ZPROXY, "status", "--watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None
    read_until(watcher, "zproxy ", 1)
    assert_ends_quietly(watcher)


def test_a_watcher_in_a_pipe_appends_and_draws_nothing(start: Start) -> None:
    proxy = start()
    watcher = spawn([ZPROXY, "status", "--watch", "100ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = read_until(watcher, "zproxy ", 3)
    assert said.count(proxy.frontend) == 2
    assert "\x1b" not in said
    assert_ends_quietly(watcher)


def test_a_watcher_on_a_terminal_draws_over_the_last_picture(start: Start) -> None:
    start()
    environment = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}
    argv = [ZPROXY, "status", "--watch", "100ms"]
    watcher = spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    read_until(watcher, "\x1b[2J", 3)
    assert_ends_quietly(watcher)


def read_until(watcher: subprocess.Popen[str], words: str, count: int) -> str:
    """What it says until the words have come so often."""
    assert watcher.stdout is not None
    said = ""
    while said.count(words) < count:
        line = watcher.stdout.readline()
        assert line, said
        said += line
    return said


def assert_ends_quietly(watcher: subprocess.Popen[str]) -> None:
    watcher.send_signal(signal.SIGINT)
    _, errors = watcher.communicate(timeout=15)
    assert (watcher.returncode, errors.strip()) == (0, "")


def test_a_watcher_is_told_when_its_proxy_ends(start: Start) -> None:
    proxy = start()
    watcher = spawn([ZPROXY, "status", "--watch", "100ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None and watcher.stdout.readline()
    assert proxy.stop() == 0
    _, errors = watcher.communicate(timeout=15)
    assert watcher.returncode == 2
    assert len(errors.splitlines()) == 1 and "has ended" in errors


def test_it_shows_how_each_service_is_balanced(start: Start) -> None:
    proxy = start("--balance", "two_choices", "--balance", "gradients=hash")
    master = Master(proxy.backend, "m1")
    master.service("sum")(lambda request: None)
    with master, Node("rank0", proxy.frontend) as node:
        node.request("sum", key=b"7")
        services = json.loads(told("--json"))["services"]
        assert [(each["name"], each["balance"]) for each in services] == [("gradients", "hash"), ("sum", "two_choices")]
        assert "two_choices" in told()


def test_it_shows_who_serves_who_asks_and_who_is_behind(start: Start) -> None:
    proxy = start()
    never = spawn([ZPROXY, "call", "gradeints", "--node", "lost", "--frontend", proxy.frontend], stdout=subprocess.PIPE)
    master = Master(proxy.backend, "m1", concurrency=2)
    for service in ("progress", "gradients"):
        master.service(service)(lambda request: None)
    with master, Node("rank0", proxy.frontend) as ahead, Node("rank1", proxy.frontend) as behind:
        ahead.send_progress(50.0, step=1044)
        behind.send_progress(49.5, step=1041)
        ahead.request("gradients", step=1045)
        said = wait_until(lambda: status_with(node_count=3, waiting="gradeints"), "all are there")
        text = told()
    never.kill()
    never.communicate()
    (worker,) = said["workers"]
    assert (worker["name"], worker["services"], worker["state"]) == ("m1", ["gradients", "progress"], "ready")
    assert (worker["credit"], worker["in_flight"], worker["settled"]) == (4, 0, 3)
    assert [(each["name"], each["step"], each["behind"], each["progress"]) for each in said["nodes"]] == [
        ("rank1", 1041, 4, 49.5),
        ("rank0", 1045, 0, 50.0),
        ("lost", None, None, None),
    ]
    services = {each["name"]: each for each in said["services"]}
    assert services["gradients"]["workers"] == ["m1"]
    assert (services["gradeints"]["was_offered"], services["gradeints"]["waiting"]) == (False, 1)
    for words in ("never offered: is its name right?", "gradients, progress", "-4", "49.5%"):
        assert words in text


def test_it_shows_what_each_worker_does_and_what_became_of_each_services_requests(
    start: Start, managed: Managed
) -> None:
    proxy = start()
    node = managed(proxy.frontend, "rank0")
    node.hello()
    busy, paused, idle = (managed(proxy.backend, name) for name in ("busy", "paused", "idle"))
    busy.ready("sum")
    paused.ready("product", credit=0)
    for number in range(3):
        node.request("sum", CONTENT)
        delivery, _ = busy.read(Kind.REQUEST)
        if number < 2:
            busy.answer(delivery, CONTENT)
    node.request("product", CONTENT)
    idle.ready("other", credit=3)
    said = json.loads(told("--json"))
    workers = {each["name"]: each for each in said["workers"]}
    assert {name: (each["state"], each["in_flight"], each["credit"]) for name, each in workers.items()} == {
        "busy": ("busy", 1, 1),
        "paused": ("paused", 0, 0),
        "idle": ("ready", 0, 3),
    }
    assert workers["busy"]["oldest_ms"] >= 0
    assert workers["idle"]["oldest_ms"] is workers["paused"]["oldest_ms"] is None
    services = {each["name"]: each for each in said["services"]}
    booked = {name: {outcome: each[outcome] for outcome in BOOKED} for name, each in services.items()}
    nothing = dict.fromkeys(BOOKED, 0)
    assert booked == {
        "sum": {**nothing, "accepted": 3, "delivered": 2, "live": 1},
        "product": {**nothing, "accepted": 1, "live": 1},
        "other": nothing,
    }
    assert services["product"]["oldest_ms"] >= 0
    assert "accepted=3 delivered=2 live=1" in told()


def status_with(node_count: int, waiting: str) -> dict[str, Any]:
    """The status, once so many nodes are there and a request waits for the service; else nothing."""
    said: dict[str, Any] = json.loads(told("--json"))
    waits = any(each["name"] == waiting and each["waiting"] for each in said["services"])
    return said if len(said["nodes"]) == node_count and waits else {}


# ---- which one ----


def test_without_a_proxy_it_says_what_to_do(folder: Path) -> None:
    said = refused("status")
    assert said == (
        f"zproxy: no proxy of yours runs here, none is in {folder}: start one by `zproxy run`, or give --control PATH"
    )


def test_of_several_proxies_one_has_to_be_picked(start: Start) -> None:
    first, second = start(), start()
    done = ended("status")
    assert (done.returncode, done.stdout) == (2, "")
    head, *lines = done.stderr.splitlines()
    assert head == "zproxy status: 2 proxies run here, pick one by --control PATH:"
    assert len(lines) == 2
    for proxy in (first, second):
        (line,) = [line for line in lines if proxy.frontend in line and proxy.backend in line]
        flag, path = line.split()[:2]
        assert f"pid {proxy.process.pid}" in told(flag, path)


def test_one_that_hangs_is_listed_and_holds_up_no_other(start: Start) -> None:
    first, second = start(), start()
    with halted(second.process.pid):
        done = ended("status")
        assert done.returncode == 2
        assert "(does not answer)" in done.stderr and first.frontend in done.stderr


def test_the_socket_of_a_proxy_that_was_killed_is_nobodys(start: Start, folder: Path) -> None:
    killed = start()
    killed.process.kill()
    killed.process.wait()
    assert (folder / f"{killed.process.pid}.sock").exists()
    assert "no proxy of yours runs here" in refused("status")
    assert f"pid {start().process.pid}" in told()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/no/such/socket", "No such file or directory"),
        ("/", "Connection refused"),
        ("/dev/null", "Connection refused"),
        ("x" * 200, "AF_UNIX path too long"),
        ("", "no proxy answers at ."),
    ],
)
def test_a_path_where_no_proxy_is_is_refused(path: str, says: str) -> None:
    said = refused("status", "--control", path)
    assert says in said and "logs its socket as control" in said


@pytest.mark.parametrize(("option", "value"), [("--watch", "0"), ("--watch", "soon"), ("--no-such", "x")])
def test_a_wrong_option_is_refused(option: str, value: str) -> None:
    assert refused("status", option, value).startswith("zproxy status: ")


# ---- its end, and what is refused ----


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_nothing_is_left_when_the_proxy_ends(start: Start, folder: Path, numbers: list[int]) -> None:
    proxy = start()
    assert list(folder.iterdir())
    for number in numbers:
        proxy.signal(number)
    assert proxy.wait() in (0, -signal.SIGTERM)
    if proxy.process.returncode == 0:
        assert list(folder.iterdir()) == []


def test_a_proxy_that_drains_still_answers(start: Start, peers: Peers, raw_peer: Connect, folder: Path) -> None:
    proxy = start("--drain", "1h")
    stuck = raw_peer(proxy.backend, receive_buffer_bytes=4096)
    stuck.handshake("DEALER")
    proxy.wait_for("connected")
    peers.connect(zmq.DEALER, proxy.frontend).send(bytes(64 << 20))
    stuck.read_bytes(100)  # it is accepted, and more than any socket's buffer takes
    proxy.signal(signal.SIGTERM)
    proxy.wait_for("stopping")
    assert f"pid {proxy.process.pid}" in told()
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/proc/zproxy/control", "choose a directory that can be made"),
        ("/dev/null/control", "choose another path"),
        ("/dev/null", "no socket is there"),
        ("x" * 200, "limit 107: choose a shorter one"),
        ("", "no socket is there"),
    ],
)
def test_a_control_socket_that_cannot_be_had_is_refused(path: str, says: str) -> None:
    sides = ["--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0"]
    said = refused("run", "--log-level", "warning", *sides, "--control", path)
    assert said.startswith("zproxy: control socket: ") and says in said and "--control off" in said


def test_the_socket_of_a_running_proxy_is_not_taken(start: Start, tmp_path: Path) -> None:
    path = f"{tmp_path}/control"
    proxy = start("--control", path)
    sides = ["--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0"]
    assert "belongs to a running proxy" in refused("run", *sides, "--control", path)
    assert f"pid {proxy.process.pid}" in told("--control", path)


def test_a_folder_others_may_write_in_is_refused_by_both_ends(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    sides = ["--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0"]
    for said in (refused("run", *sides), refused("status")):
        assert f"{folder} can be written by others: chmod 700 {folder}" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_of_another_user_is_refused_by_both_ends(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    sides = ["--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0"]
    for said in (refused("run", *sides), refused("status")):
        assert f"{folder} belongs to user 65534, not to 0" in said


# ---- outputs ----


def test_a_narrow_terminal_cuts_nothing_off(start: Start) -> None:
    proxy = start()
    done = ended("status", env={**os.environ, "COLUMNS": "40", "FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "…" not in done.stdout
    assert proxy.frontend in done.stdout


def test_a_closed_stdout_is_no_fault(start: Start) -> None:
    start()
    for option in ("", "--json"):
        done = subprocess.run(["sh", "-c", f"{ZPROXY} status {option} >&-"], stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_gone_is_no_traceback(start: Start) -> None:
    start()
    for option in ("", "--json"):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([ZPROXY, "status", *option.split()], stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_told_in_one_line(start: Start) -> None:
    start()
    with open("/dev/full", "w") as full:
        done = subprocess.run([ZPROXY, "status"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "zproxy: cannot write all of the output: its disk is full\n")
