"""`zproxy run` from its start to its end: ready, the endpoints file, signals, exit codes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from support.commands import ZPROXY, RunningProxy, descriptor_target, ended, signal_set
from support.peers import EchoWorkers, Peers
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer

from zproxy.processes import spawn

Connect = Callable[..., ZmtpPeer]

MIB = 1 << 20


def assert_serves(frontend: str, backend: str, peers: Peers) -> None:
    with EchoWorkers(backend):
        client = peers.connect(zmq.REQ, frontend)
        client.send(b"hello")
        assert client.recv() == b"hello"


def test_ready_is_said_once_with_the_real_ports(tmp_path: Path, peers: Peers) -> None:
    with RunningProxy(tmp_path, "--frontend", f"ipc://{tmp_path}/also") as proxy:
        frontend, also = proxy.ready["frontend"]
        (backend,) = proxy.ready["backend"]
        assert also == f"ipc://{tmp_path}/also"
        assert not frontend.endswith(":0") and not backend.endswith(":0")
        assert_serves(frontend, backend, peers)
        assert_serves(also, backend, peers)
        assert proxy.stop() == 0
        assert proxy.process.stdout is not None and proxy.process.stdout.read() == ""


def test_the_defaults_are_the_documented_ports(tmp_path: Path) -> None:
    with RunningProxy(tmp_path, endpoints=False) as proxy:
        if "in use" in wait_until(lambda: proxy.stderr, "a first line"):
            pytest.skip("something else has the default ports")
        assert proxy.ready == {"frontend": ["tcp://127.0.0.1:5555"], "backend": ["tcp://127.0.0.1:5556"]}


def test_a_side_that_connects_binds_nothing(tmp_path: Path, peers: Peers) -> None:
    worker = peers.bind(zmq.REP, f"ipc://{tmp_path}/worker")
    arguments = ["--frontend", "tcp://127.0.0.1:0", "--backend-connect", f"ipc://{tmp_path}/worker"]
    with RunningProxy(tmp_path, *arguments, endpoints=False) as proxy:
        assert proxy.ready["backend"] == [""]
        client = peers.connect(zmq.REQ, proxy.frontend)
        client.send(b"hello")
        assert worker.recv() == b"hello"


def test_the_endpoints_file_is_there_while_the_proxy_is(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with RunningProxy(tmp_path, "--endpoints-file", str(path)) as proxy:
        ready = proxy.ready
        assert json.loads(path.read_text()) == {**ready, "pid": proxy.process.pid}
        assert proxy.stop() == 0
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_the_endpoints_file_of_a_later_proxy_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with (
        RunningProxy(tmp_path, "--endpoints-file", str(path)) as first,
        RunningProxy(tmp_path, "--endpoints-file", str(path)) as second,
    ):
        assert first.ready and second.ready
        first_wins = json.loads(path.read_text())["pid"] == first.process.pid
        loser, winner = (second, first) if first_wins else (first, second)
        assert loser.stop() == 0
        assert json.loads(path.read_text())["pid"] == winner.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with RunningProxy(tmp_path, "--drain", "3s") as proxy:
        assert proxy.ready
        proxy.signal(number)
        assert proxy.wait() == 0
        stopping = proxy.log("stopping")
    assert [(line["signal"], line["drain_seconds"]) for line in stopping] == [(number.name, 3.0)]
    assert stopping[0]["sentence"] == "a second signal ends it at once"


def test_a_second_signal_ends_a_drain_at_once(tmp_path: Path, peers: Peers, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path, "--drain", "1h") as proxy:
        stuck = raw_peer(proxy.backend, receive_buffer_bytes=4096)
        stuck.handshake("DEALER")
        proxy.wait_for("connected")
        client = peers.connect(zmq.DEALER, proxy.frontend)
        client.send(bytes(64 * MIB))
        stuck.read_bytes(100)  # it is accepted, and more than any socket's buffer takes
        proxy.signal(signal.SIGTERM)
        proxy.wait_for("stopping")
        assert proxy.process.poll() is None
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        totals = proxy.log("totals")[-1]
    assert totals["level"] == "warning"
    taken = totals["requests_in"] + totals.get("requests_rerouted", 0)
    assert taken == totals["requests_out"] + totals.get("requests_undelivered", 0)
    assert totals["requests_lost"] == 1


def test_a_signal_while_it_starts_ends_it_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with RunningProxy(tmp_path, "--endpoints-file", str(path)) as proxy:
        pid = proxy.process.pid
        wait_until(lambda: "_relay" in Path(f"/proc/{pid}/maps").read_text(), "zproxy is imported")
        wait_until(lambda: path.exists() or signal.SIGINT not in signal_set(pid, "SigCgt"), "it has taken SIGINT")
        proxy.signal(signal.SIGINT)
        assert proxy.wait() in (0, 130, -signal.SIGINT)


def test_a_signal_before_it_is_ready_is_kept_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with RunningProxy(tmp_path, "--endpoints-file", str(path)) as proxy:
        # While it waits for signals the system shows them as not blocked: by then it is ready.
        wait_until(lambda: path.exists() or signal.SIGTERM in signal_set(proxy.process.pid, "SigBlk"), "signals held")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert proxy.ready["frontend"] and proxy.log("totals")
    assert not path.exists()


def test_a_reader_of_stdout_that_has_gone_is_not_missed(tmp_path: Path, peers: Peers) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    path = tmp_path / "endpoints.json"
    with RunningProxy(tmp_path, "--endpoints-file", str(path), stdout=writing) as proxy:
        os.close(writing)
        wait_until(path.exists, "ready")
        endpoints = json.loads(path.read_text())
        assert_serves(endpoints["frontend"][0], endpoints["backend"][0], peers)
        assert proxy.stop() == 0


def test_a_reader_of_the_log_that_has_gone_is_not_missed(tmp_path: Path, peers: Peers) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with RunningProxy(tmp_path, stderr=writing) as proxy:
        os.close(writing)
        assert_serves(proxy.frontend, proxy.backend, peers)
        assert proxy.stop() == 0


def test_closed_standard_streams_are_never_a_peers_connection(tmp_path: Path, peers: Peers) -> None:
    path = tmp_path / "endpoints.json"
    words = f"{ZPROXY} run --frontend tcp://127.0.0.1:0 --backend tcp://127.0.0.1:0 --endpoints-file {path}"
    process = spawn(["/bin/sh", "-c", f"exec {words} <&- >&- 2>&-"])
    try:
        wait_until(path.exists, "ready")
        assert [descriptor_target(process.pid, number) for number in range(3)] == [os.devnull] * 3
        endpoints = json.loads(path.read_text())
        assert_serves(endpoints["frontend"][0], endpoints["backend"][0], peers)
    finally:
        process.terminate()
    assert process.wait(20) == 0


def test_open_files_are_raised_to_the_hard_limit_and_few_are_told(tmp_path: Path) -> None:
    words = f"{ZPROXY} run --frontend tcp://127.0.0.1:0 --backend tcp://127.0.0.1:0"
    limited = ["/bin/sh", "-c", f"ulimit -Sn 256; ulimit -Hn 2000; exec {words}"]
    process = spawn(limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith("ready")
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (2000, 2000)
    process.terminate()
    said = process.communicate(timeout=20)[1]
    assert "2000 open files" in said and "ulimit -n" in said


@pytest.mark.parametrize("words", [["-m", "zproxy"], [ZPROXY]])
def test_the_version_is_the_packages(words: list[str]) -> None:
    import zproxy

    said = subprocess.run([sys.executable, *words, "--version"], capture_output=True, text=True, cwd="/")
    assert said.stdout == f"zproxy {zproxy.__version__}\n"


def test_help_names_units_defaults_and_an_example() -> None:
    said = " ".join(ended("run", "--help").stdout.split())
    for words in (
        "--max-message SIZE",
        "[default: 1GiB]",
        "--spin auto|off|TIME",
        "[default: tcp://127.0.0.1:5555]",
        "Exit code: 0 ended as asked; 2",
        "Example:",
    ):
        assert words in said


def test_ctrl_c_is_tamed_before_what_takes_long_is_imported() -> None:
    script = "import sys, zproxy.__main__, zproxy; print('zproxy.proxy' in sys.modules, 'Proxy' in dir(zproxy))"
    printed = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True).stdout
    assert printed == "False True\n"
