"""Shells complete commands, options and their words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import ZPROXY, RunningProxy, ended
from support.managed import ManagedPeer

Managed = Callable[..., ManagedPeer]

SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_the_command_and_its_variable(shell: str) -> None:
    said = ended("completion", shell)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"_ZPROXY_COMPLETE={shell}_complete" in said.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["zproxy", "r"], ["run", "reload"]),
        (["zproxy", "run", "--sp"], ["--spin"]),
        (["zproxy", "run", "--spin", ""], ["auto", "off"]),
        (["zproxy", "run", "--heartbeat", "o"], ["off"]),
        (["zproxy", "run", "--control", ""], ["off"]),
        (["zproxy", "s"], ["status"]),
        (["zproxy", "status", "--"], ["--control", "--json", "--watch", "--help"]),
        (["zproxy", "d"], ["drain", "demo"]),
        (["zproxy", "drain", "--"], ["--control", "--timeout", "--no-wait", "--help"]),
        (["zproxy", "call", "x", "--t"], ["--tensor", "--timeout"]),
        (["zproxy", "echo", "--s"], ["--socket-type", "--service", "--server-key"]),
        (["zproxy", "run", "--log-format", "j"], ["json"]),
        (["zproxy", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes_through_the_script(words: list[str], expected: list[str]) -> None:
    assert completed(words) == expected


def test_the_workers_of_the_only_proxy_are_completed(
    tmp_path: Path, managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path / "run"))
    assert completed(["zproxy", "drain", ""]) == []
    with RunningProxy(tmp_path) as proxy:
        workers = [managed(proxy.backend, name) for name in ("m1", "m2", "other")]
        for worker in workers:
            worker.ready("sum")
        assert completed(["zproxy", "drain", "m"]) == ["m1", "m2"]
        path = tmp_path / "run" / f"{proxy.process.pid}.sock"
        assert completed(["zproxy", "drain", "--control", str(path), "o"]) == ["other"]


def completed(words: list[str]) -> list[str]:
    """What bash offers for the last of the words."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    line = " ".join(f"'{word}'" for word in words)
    script = f"""
        source <(zproxy completion bash)
        COMP_WORDS=({line})
        COMP_CWORD={len(words) - 1}
        _zproxy_completion zproxy
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(ZPROXY).parent}:{os.environ['PATH']}"
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert not done.stderr
    return done.stdout.split()
