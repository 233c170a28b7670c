"""What `zproxy demo` refuses before it starts anything: one clear line, exit code 2."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from zproxy.cli import main
from zproxy.demo import supervisor


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(supervisor.Supervisor, "execute", start)


def demo(*options: str) -> Result:
    return CliRunner().invoke(main, ["demo", *options])


@pytest.mark.parametrize(
    "options",
    [
        ("--nodes", "0"),
        ("--nodes", "33"),
        ("--nodes", "four"),
        ("--steps", "0"),
        ("--steps", "10001"),
        ("--patience", "0"),
    ],
)
def test_a_number_out_of_range_is_refused(options: tuple[str, str]) -> None:
    result = demo(*options)
    assert result.exit_code == 2
    assert f"Invalid value for '{options[0]}': " in result.output


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = demo("--plot", "loss.png")
    assert (result.exit_code, result.output) == (
        2,
        "zproxy: --plot needs matplotlib: pip install 'zproxy[plot]'\n",
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [("loss.jpg", "has to end in .png, .svg, .pdf"), ("no/such/loss.png", "the folder no/such is not there")],
)
def test_a_plot_that_cannot_be_written_is_refused(path: str, says: str) -> None:
    result = demo("--plot", path)
    assert result.exit_code == 2
    assert says in result.output and result.output.count("\n") == 1


def test_a_python_without_sources_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    result = demo()
    assert result.exit_code == 2
    assert f"{tmp_path} holds 0 bytes of Python source" in result.output and result.output.count("\n") == 1


def test_zproxy_run_needs_neither_numpy_nor_rich() -> None:
    script = "import sys, zproxy.cli; print({'numpy', 'rich'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
