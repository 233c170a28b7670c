"""`zproxy bench` measures for real, checks what comes back, and says in one line what is wrong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.commands import ZPROXY, RunningProxy, ended, refused
from support.waiting import wait_until

import zproxy
from zproxy.processes import spawn

PACKAGE = Path(zproxy.__file__).parent
FEW = ("--count", "200", "--window", "10")
NOBODY, NOBODY_ELSE = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


@pytest.mark.parametrize(("size", "terminal"), [("0", {}), ("100KiB", {"COLUMNS": "40", "FORCE_COLOR": "1"})])
def test_it_compares_with_zmq_proxy_and_a_narrow_terminal_cuts_no_figure_off(
    size: str, terminal: dict[str, str]
) -> None:
    done = ended("bench", *FEW, "--size", size, env={**os.environ, **terminal})
    assert done.returncode == 0 and (terminal or not done.stderr), done  # there it shows that it works
    assert "zproxy / zmq.proxy" in " ".join(done.stdout.split())
    for row in ("messages", "cpu", *(["payload"] if size != "0" else [])):
        assert row in done.stdout
    assert "…" not in done.stdout


def test_it_loads_a_proxy_that_runs(tmp_path: Path) -> None:
    with RunningProxy(tmp_path) as proxy:
        done = ended("bench", *FEW, "--clients", "3", "--frontend", proxy.frontend, "--backend", proxy.backend)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert "200 messages of 64 bytes" in done.stdout
        assert "round trip p50" in done.stdout
        totals = proxy.totals()
    assert totals["requests_in"] == totals["requests_out"] == totals["replies_in"] == totals["replies_out"]
    assert totals["requests_out"] >= 2 * 200  # the load, then one at a time; warm-ups beside


def test_it_takes_the_endpoints_from_the_environment(tmp_path: Path) -> None:
    with RunningProxy(tmp_path) as proxy:
        environment = {**os.environ, "ZPROXY_FRONTEND": proxy.frontend, "ZPROXY_BACKEND": proxy.backend}
        done = ended("bench", *FEW, env=environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert "200 messages of 64 bytes" in done.stdout


@pytest.fixture(scope="module")
def unanswered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """What it says without a proxy, and with one that refuses the load: both take as long as it waits."""
    with RunningProxy(tmp_path_factory.mktemp("proxy"), "--max-message", "1KiB") as proxy, ThreadPoolExecutor() as pool:
        by_case = {
            "absent": [*FEW, "--frontend", NOBODY, "--backend", NOBODY_ELSE],
            "refusing": ["--size", "2KiB", "--frontend", proxy.frontend, "--backend", proxy.backend],
        }
        asked = {case: pool.submit(ended, "bench", *arguments) for case, arguments in by_case.items()}
        return {case: future.result() for case, future in asked.items()}


def test_without_a_proxy_it_says_so_and_where_it_looked(
    unanswered: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    done = unanswered["absent"]
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"no proxy has answered at {NOBODY}" in done.stderr
    assert f"--backend {NOBODY_ELSE}" in done.stderr


def test_a_proxy_that_refuses_the_load_is_not_called_absent(
    unanswered: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    done = unanswered["refusing"]
    assert done.returncode == 1
    assert "100 of 100 requests" in done.stderr
    assert "were never answered: see the proxy's log" in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--size", "many"),
        ("--size", "2TiB"),
        ("--window", "0"),
        ("--clients", "-1"),
        ("--clients", "1001"),
        ("--seconds", "0"),
        ("--seconds", "2h"),
        ("--frontend", "nowhere"),
        ("--backend", "tcp://127.0.0.1:0"),
    ],
)
def test_what_cannot_be_measured_is_refused(option: str, value: str) -> None:
    assert value in refused("bench", option, value)


def test_many_clients_are_not_held_up_by_the_shells_limit_of_open_files() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (90, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = ended("bench", "--clients", "100", "--window", "1", "--count", "200", preexec_fn=limit)
    assert (done.returncode, done.stderr) == (0, ""), done


def test_more_than_the_memory_is_refused_before_it_starts() -> None:
    said = refused("bench", "--size", "1TiB", "--clients", "64")
    assert "64 x 100 messages of 1TiB under way take" in said
    assert "lower --size, --window or --clients" in said


def test_a_closed_stdout_is_no_fault() -> None:
    done = subprocess.run(["sh", "-c", f"{ZPROXY} bench --count 10 >&-"], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    process = spawn(
        [ZPROXY, "bench", "--count", "100000000"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # By its name: before it, Python tries TMPDIR with a file of its own.
    wait_until(lambda: list(tmp_path.glob("zproxy-load-*")), "a session's folder")
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert (process.returncode, errors) == (128 + number, "")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_it_at_once() -> None:
    process = spawn([ZPROXY, "bench", "--count", "100000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: f"{PACKAGE}/" in maps.read_text(), "the command is imported")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode != 0
    assert "Traceback" not in errors
