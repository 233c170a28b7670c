"""What a user does wrong is one line that names the value and says what to write, and exit code 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ZPROXY, RunningProxy, ended, refused

from zproxy import cli
from zproxy.cli.run import run

ENDPOINT = "write tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH"


@pytest.mark.parametrize(
    ("option", "value", "advice"),
    [
        ("--max-message", "0", "write 1KiB to 1024TiB"),
        ("--max-message", "lots", "write for example 64MiB or 1GiB"),
        ("--max-message", "9" * 40, "write 1KiB to 1024TiB"),
        ("--memory", "12", "write half, or 1MiB to 1024TiB"),
        ("--memory", "-1", "write for example 64MiB or 1GiB, or half"),
        ("--connection-memory", "0", "write 4KiB to 1024TiB"),
        ("--drain", "-1", "write for example 100us, 2s or 1.5"),
        ("--drain", "2d", "write for example 100us, 2s or 1.5"),
        ("--drain", "48h", "write 0s to 24h"),
        ("--stall", "0", "write 100ms to 24h"),
        ("--heartbeat", "0", "write off, or 100ms to 24h"),
        ("--heartbeat", "0.01", "write off, or 100ms to 24h"),
        ("--heartbeat", "nan", "write for example 100us, 2s or 1.5, or off"),
        ("--spin", "0", "write auto, or off, or 1us to 100ms"),
        ("--spin", "2s", "write auto, or off, or 1us to 100ms"),
        ("--spin", "sometimes", "write for example 100us, 2s or 1.5, or auto, or off"),
        ("--balance", "fastest", "write least_outstanding, least_bytes, round_robin, two_choices or hash"),
        ("--balance", "echo=fastest", "write least_outstanding, least_bytes, round_robin, two_choices or hash"),
        ("--balance", "*=hash", "is for all without a policy of their own: write 'hash'"),
        ("--frontend", "tcp://127.0.0.1", ENDPOINT),
        ("--frontend", "tcp://127.0.0.1:70000", ENDPOINT),
        ("--frontend", "tcp://:5555", ENDPOINT),
        ("--frontend", "tcp://::1:5555", ENDPOINT),
        ("--frontend", "127.0.0.1:5555", ENDPOINT),
        ("--backend", "inproc://x", ENDPOINT),
        ("--backend-connect", "ipc://", "write ipc:// and a path"),
        ("--backend", "ipc://@abstract", "write ipc:// and a path"),
        ("--backend", "ipc:///" + "x" * 120, "a path of 121 bytes, limit 107: choose a shorter one"),
        ("--log-format", "xml", "is not one of"),
    ],
)
def test_a_bad_value_is_refused_while_parsing(option: str, value: str, advice: str) -> None:
    said = refused("run", option, value)
    assert said.startswith(f"zproxy run: Invalid value for '{option}': ")
    assert value in said
    assert advice in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "zproxy: no such command 'rum': did you mean 'run'?"),
        (["run", "--frontent", "x"], "zproxy run: No such option"),
        (["run", "tcp://127.0.0.1:5555"], "zproxy run: Got unexpected extra argument"),
        (["--frontend", "tcp://127.0.0.1:5555"], "zproxy: No such option"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
    ],
)
def test_a_wrong_word_is_refused(arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frontend", "tcp://no.such.host.invalid:5"], "cannot resolve 'no.such.host.invalid'"),
        (["--backend-connect", "tcp://no.such.host.invalid:5"], "cannot resolve 'no.such.host.invalid'"),
        (["--backend-connect", "tcp://127.0.0.1:0"], "name the host and the port"),
        (["--backend-connect", "tcp://*:5555"], "name the host and the port"),
        (["--frontend", "tcp://*:0"], "--insecure"),
        (["--frontend", "tcp://0.0.0.0:0"], "--insecure"),
        (["--frontend", "tcp://[::]:0"], "--insecure"),
        (["--frontend", "tcp://192.0.2.1:5555", "--insecure"], "give an address of this host"),
        (["--frontend", "ipc:///proc/zproxy/frontend"], "choose a directory that can be made"),
        (["--frontend", "ipc:///dev/null/frontend"], "choose another path"),
        (["--endpoints-file", "/proc/zproxy"], "cannot write /proc/zproxy"),
        (["--endpoints-file", "/"], "is a directory"),
        (["--endpoints-file", ""], "it is a directory: choose a file"),
    ],
)
def test_an_endpoint_that_cannot_be_had_is_refused(arguments: list[str], said: str) -> None:
    sides = ["--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0"]
    assert said in refused("run", *sides, *arguments)


def test_a_port_in_use_is_refused_whoever_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        endpoint = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        said = refused("run", "--frontend", "tcp://127.0.0.1:0", "--backend", endpoint)
    assert said == f"zproxy: {endpoint} is in use: stop the other process or choose another endpoint"


def test_a_path_that_another_proxy_holds_is_refused_and_left_alone(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    with RunningProxy(tmp_path, "--frontend", endpoint, "--backend", "tcp://127.0.0.1:0", endpoints=False) as proxy:
        assert proxy.frontend == endpoint
        assert f"which holds {tmp_path}/frontend.lock" in refused("run", "--frontend", endpoint)
        assert proxy.stop() == 0


def test_nothing_is_served_when_the_endpoints_file_cannot_be_written(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    refused("run", "--frontend", endpoint, "--backend", "tcp://127.0.0.1:0", "--endpoints-file", f"{tmp_path}/no/file")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_that_no_command_takes_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "callback", interrupted)
    monkeypatch.setattr(sys, "argv", ["zproxy", "run"])
    with pytest.raises(SystemExit) as ended_with:
        cli.main()
    assert (ended_with.value.code, capsys.readouterr().out) == (130, "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "bash"]])
def test_a_full_disk_is_told_in_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([ZPROXY, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "zproxy: cannot write all of the output: its disk is full\n")


@pytest.mark.parametrize(
    ("arguments", "encoding"),
    [(["demo", "--nodes", "1", "--steps", "3"], "latin-1"), (["bench", "--count", "10"], "ascii")],
)
def test_an_output_without_our_letters_is_no_fault(arguments: list[str], encoding: str) -> None:
    done = ended(*arguments, env={**os.environ, "PYTHONIOENCODING": encoding}, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


def test_zproxy_alone_and_its_help_exit_well() -> None:
    alone, help = ended(), ended("--help")
    assert (alone.returncode, help.returncode, alone.stderr) == (0, 0, "")
    assert "run " in alone.stdout and alone.stdout == help.stdout
