"""What `zproxy demo` refuses before it starts anything: one clear line, exit code 2."""

from __future__ import annotations

import errno
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.commands import refused

from zproxy.demo import children, command, corpus, plot, supervisor
from zproxy.demo.plan import Plan


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--nodes", "0"),
        ("--nodes", "33"),
        ("--nodes", "four"),
        ("--steps", "0"),
        ("--steps", "10001"),
        ("--patience", "0"),
        ("--patience", "2h"),
        ("--plot", "/"),
    ],
)
def test_a_value_out_of_range_is_refused(option: str, value: str) -> None:
    assert refused("demo", option, value).startswith(f"zproxy demo: Invalid value for '{option}': ")


@pytest.mark.parametrize(
    ("path", "says"),
    [("loss.jpg", "has to end in .png, .svg, .pdf"), ("/no/such/loss.png", "the folder /no/such is not there")],
)
def test_a_plot_that_could_not_be_written_is_refused(path: str, says: str) -> None:
    assert says in refused("demo", "--plot", path)


@pytest.fixture
def nothing_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(supervisor.Supervisor, "execute", start)


@pytest.mark.usefixtures("nothing_may_start")
def test_without_matplotlib_a_plot_is_refused_and_the_extra_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(plot.PlotError, match=r"needs matplotlib: pip install 'zproxy\[plot\]'"):
        command.perform(Plan(), Path("loss.png"))


@pytest.mark.usefixtures("nothing_may_start")
def test_a_python_without_sources_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(corpus.CorpusError, match=f"{tmp_path} holds 0 bytes of Python source"):
        command.perform(Plan(), None)


def test_a_process_that_cannot_be_started_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spawn(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(children, "spawn", spawn)
    assert command.perform(Plan(), None) == command.FAILED
    assert "zproxy demo: cannot start proxy: no more processes" in capsys.readouterr().err


def test_zproxy_run_needs_neither_numpy_nor_rich() -> None:
    script = "import sys, zproxy.cli.run; print({'numpy', 'rich', 'zmq'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
