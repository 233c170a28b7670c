"""Shells complete commands, options and their words."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commands import ZPROXY, ended

SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_the_command_and_its_variable(shell: str) -> None:
    said = ended("completion", shell)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"_ZPROXY_COMPLETE={shell}_complete" in said.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["zproxy", "r"], ["run"]),
        (["zproxy", "run", "--sp"], ["--spin"]),
        (["zproxy", "run", "--spin", ""], ["auto", "off"]),
        (["zproxy", "run", "--heartbeat", "o"], ["off"]),
        (["zproxy", "run", "--control", ""], ["off"]),
        (["zproxy", "s"], ["status"]),
        (["zproxy", "status", "--"], ["--control", "--json", "--watch", "--help"]),
        (["zproxy", "call", "x", "--t"], ["--tensor", "--timeout"]),
        (["zproxy", "echo", "--s"], ["--socket-type", "--service"]),
        (["zproxy", "run", "--log-format", "j"], ["json"]),
        (["zproxy", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes_through_the_script(words: list[str], expected: list[str]) -> None:
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
    assert done.stdout.split() == expected, done.stderr
