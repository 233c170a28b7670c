"""The README's programs, as they stand there: a newcomer copies them first."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.proxies import HostedProxy

from zproxy.processes import end, spawn

README = (Path(__file__).parents[2] / "README.md").read_text()


def programs(heading: str) -> dict[str, str]:
    """The two programs of a section, by whom they are of."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return {"master" if ":5556" in program else "node": program for program in found}


@pytest.mark.parametrize(
    ("heading", "printed"),
    [
        ("A node and a master", "master1 {'step': 4} [0.5 0.5 0.5 0.5]\n"),
        ("In front of your own sockets", "seen: gradients of step 3\n"),
    ],
)
def test_a_node_of_the_readme_is_answered_by_its_master(
    hosted: Callable[..., HostedProxy], heading: str, printed: str
) -> None:
    proxy = hosted()
    found = programs(heading)
    assert set(found) == {"master", "node"}

    def start(of: str) -> subprocess.Popen[str]:
        here = found[of].replace("tcp://127.0.0.1:5555", proxy.frontend).replace("tcp://127.0.0.1:5556", proxy.backend)
        return spawn([sys.executable, "-c", here], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    master = start("master")
    try:
        assert start("node").communicate() == (printed, "")
    finally:
        end(master)
        master.communicate()


def commands(heading: str) -> list[list[str]]:
    """The words of a section's commands, in order."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [shlex.split(line) for line in re.findall(r"^\$ (zproxy .*)$", section, re.MULTILINE)]


def test_the_commands_with_keys_lead_to_an_encrypted_answer(tmp_path: Path) -> None:
    """Two on the proxy's side and one on the node's; endpoints are the test's own, and a master answers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZPROXY_", "XDG_"))}
    environment = {**kept, "HOME": str(tmp_path), "ZPROXY_RUNTIME_DIR": str(tmp_path)}

    def started(words: list[str]) -> subprocess.Popen[str]:
        full = [word.replace("~", str(tmp_path)) for word in words[1:]]
        return spawn(
            [sys.executable, "-m", "zproxy", *full], cwd=tmp_path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    init, run, call = commands("With keys")
    assert started(init).wait() == 0
    local = [re.sub(r"tcp://0\.0\.0\.0:\d+", "tcp://127.0.0.1:0", word) for word in run]
    assert local != run
    proxy = started(local)
    try:
        assert proxy.stdout is not None
        frontend, backend = re.findall(r"tcp://\S+", proxy.stdout.readline())
        keys = ["--key", "master1.key_secret", *call[call.index("--server-key") :]]
        master = started(["zproxy", "echo", "--service", "greet", "--name", "master1", "--backend", backend, *keys])
        try:
            assert started([*call, "--frontend", frontend]).communicate() == ('"hello"\n', "")
        finally:
            end(master)
            master.communicate()
    finally:
        end(proxy)
        _, log = proxy.communicate()
    assert '"refused' not in log
