"""The README's programs, as they stand there: a newcomer copies them first."""

from __future__ import annotations

import re
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
