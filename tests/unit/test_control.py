"""The control socket: who is answered, what a client may cost, and what is refused at either end."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

from zproxy import control
from zproxy.control import Answers, Control
from zproxy.errors import ControlError, ControlFailed, ControlRefused, RelayStuck, SettingError, UnknownWorker

Open = Callable[..., Control]
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"  # ours may lie where other users cannot reach it
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists(SYSTEM_PYTHON), reason="needs to be root")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a control socket that answers, closed after the test."""
    controls: list[Control] = []

    def open(answers: Answers, path: Path = tmp_path / "control") -> Control:
        controls.append(Control(path, answers))
        controls[-1].start()
        return controls[-1]

    yield open
    for each in controls:
        each.close()


def nothing(about: str) -> dict[str, Any]:
    return {}


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(os.fspath(path))
    return client


def said(path: Path, line: bytes) -> dict[str, Any]:
    """The answer to a line."""
    with connected(path) as client:
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        answer: dict[str, Any] = json.loads(client.makefile().readline())
    return answer


def user_of(control: Control, words: str) -> str:
    """What Python as another user prints, with `path` in its hands."""
    script = f"import socket; path = {str(control.path)!r}; client = socket.socket(socket.AF_UNIX); {words}"
    argv = [SYSTEM_PYTHON, "-ISc", script]
    done = subprocess.run(argv, cwd="/", user=NOBODY, group=NOBODY, capture_output=True, text=True)
    return done.stdout + done.stderr


# ---- questions and answers ----


def test_a_question_gets_its_answer(opened: Open) -> None:
    path = opened({"status": lambda about: {"pid": 7}, "other": lambda about: None}).path
    assert json.loads(control.ask(path, "status")) == {"pid": 7}
    assert said(path, b'{"ask": "status"}\n') == {"answer": {"pid": 7}}
    assert said(path, b'{"ask": "status"}') == {"answer": {"pid": 7}}


def test_a_question_says_what_it_is_about(opened: Open) -> None:
    path = opened({"drain_worker": lambda about: {"about": about}}).path
    assert json.loads(control.ask(path, "drain_worker", "m1")) == {"about": "m1"}
    assert said(path, b'{"ask": "drain_worker"}\n') == {"answer": {"about": ""}}


def test_what_the_asker_has_to_change_is_told_apart(opened: Open) -> None:
    def refuse(about: str) -> None:
        raise UnknownWorker(f"no worker {about!r}: there are m1")

    path = opened({"drain_worker": refuse}).path
    with pytest.raises(ControlRefused, match="^no worker 'm2': there are m1$"):
        control.ask(path, "drain_worker", "m2")


def test_a_question_that_was_read_is_answered_before_the_end(opened: Open) -> None:
    """Else nobody who ends a proxy would hear that it was heard."""
    begun, ending = threading.Event(), threading.Event()

    def end(about: str) -> str:
        begun.set()
        assert ending.wait(10)
        return "it ends"

    shown = opened({"drain": end})
    with connected(shown.path) as client:
        client.sendall(b'{"ask": "drain"}\n')
        assert begun.wait(10)
        closing = threading.Thread(target=shown.close)
        closing.start()
        ending.set()
        closing.join()
        assert json.loads(client.makefile().readline()) == {"answer": "it ends"}


def test_the_end_of_the_process_that_answers_can_be_waited_for(opened: Open) -> None:
    path = opened({"drain": nothing}).path
    process = control.ask_to_end(path, "drain")
    assert select.select([process], [], [], 0) == ([], [], [])  # it is this one, which goes on
    os.close(process)


def test_an_unknown_question_is_told_which_there_are(opened: Open) -> None:
    path = opened({"status": nothing, "other": nothing}).path
    assert said(path, b'{"ask": "statsu"}\n') == {"error": "no such question 'statsu': there are status, other"}
    with pytest.raises(ControlFailed, match=f"the proxy at {path} says: no such question 'statsu'"):
        control.ask(path, "statsu")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"status\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\xfe\n",
        b'{"ask": "\xff"}\n',
        b"{}\n",
        b"[]\n",
        b'{"ask": 1}\n',
        b'{"ask": "status", "more": 1}\n',
        b'{"ask": ' + b"[" * 30_000 + b"\n",
        b'{"ask": "status"',
        b"x" * (control.QUESTION_MAX + 1),
    ],
    ids=range(12),
)
def test_what_is_no_question_is_answered_with_an_error(opened: Open, line: bytes) -> None:
    path = opened({"status": nothing}).path
    assert said(path, line)["error"].startswith("this is no question: ")


def test_what_a_question_raises_is_its_answer(opened: Open) -> None:
    def stuck(about: str) -> None:
        raise RelayStuck("the relay does not answer")

    path = opened({"status": stuck}).path
    assert said(path, b'{"ask": "status"}\n') == {"error": "the relay does not answer"}


# ---- clients that do as they like ----


def test_clients_that_hang_hold_up_nobody_else(opened: Open) -> None:
    path = opened({"status": nothing}).path
    hanging = [connected(path) for _ in range(control.CLIENTS_MAX - 1)]
    assert control.ask(path, "status") == b"{}"
    for client in hanging:
        client.close()


def test_a_client_that_hangs_is_dropped_for_the_next(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CLIENT_S", 0.05)
    path = opened({"status": nothing}).path
    hanging = [connected(path) for _ in range(2 * control.CLIENTS_MAX)]
    assert control.ask(path, "status") == b"{}"
    for client in hanging:
        assert client.recv(1) == b""
        client.close()


def test_an_answer_that_is_not_read_is_given_up(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    path = opened({"status": lambda about: "x" * (8 << 20)}).path
    with monkeypatch.context() as hasty, connected(path) as client:  # whoever reads has all the time there is
        hasty.setattr(control, "CLIENT_S", 0.05)
        client.sendall(b'{"ask": "status"}\n')
        assert client.recv(1)
        wait_until(lambda: not any(each.name == "zproxy-control-client" for each in threading.enumerate()), "given up")
        assert len(client.makefile("rb").read()) < 8 << 20  # the system's buffer
    assert len(control.ask(path, "status")) == (8 << 20) + 2


def test_many_clients_at_once_are_all_answered(opened: Open) -> None:
    path = opened({"status": lambda about: threading.current_thread().ident}).path
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(control.ask(path, "status")))
        for _ in range(3 * control.CLIENTS_MAX)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(threads)


def test_another_user_is_not_answered(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    path = opened({"status": nothing}).path
    monkeypatch.setattr(control, "peer_uid", lambda connection: os.geteuid() + 1)
    assert "answers user" in said(path, b'{"ask": "status"}\n')["error"]


@AS_ROOT
def test_another_user_neither_reaches_it_nor_is_answered() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        with Control(Path(folder, "control"), {"status": nothing}) as shown:
            shown.start()
            assert "PermissionError" in user_of(shown, "client.connect(path)")
            os.chmod(shown.path, 0o666)
            printed = user_of(shown, "client.connect(path); client.send(b'{}\\n'); print(client.recv(999))")
            assert f"this proxy answers user 0 and root, not user {NOBODY}" in printed


# ---- where it is ----


def test_the_folder_is_the_first_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/temporary")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", "/chosen")
    assert control.runtime_folder() == Path("/chosen")
    monkeypatch.delenv("ZPROXY_RUNTIME_DIR")
    assert control.runtime_folder() == tmp_path / "zproxy"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert control.runtime_folder() == Path(f"/temporary/zproxy-{os.geteuid()}")


def test_the_session_folder_of_another_user_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZPROXY_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert tmp_path not in control.runtime_folder().parents
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert tmp_path not in control.runtime_folder().parents


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(folder))
    assert control.default_path() == folder / f"{os.getpid()}.sock"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert control.default_path() == folder / f"{os.getpid()}.sock"


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_folder_that_others_may_write_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(mode)
    for find in (control.default_path, control.running):
        with pytest.raises(SettingError, match=f"{tmp_path} can be written by others: chmod 700 {tmp_path}"):
            find()


def test_the_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    for find in (control.default_path, control.running):
        with pytest.raises(SettingError, match=f"{tmp_path} belongs to user {tmp_path.stat().st_uid}, not to "):
            find()


def test_a_link_or_a_file_in_the_folders_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(tmp_path, target_is_directory=True)
    file.touch()
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(link))
    with pytest.raises(SettingError, match="link is no folder"):
        control.default_path()
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(file))
    with pytest.raises(SettingError, match="cannot make .*file for the control socket"):
        control.default_path()


def test_running_are_those_that_somebody_listens_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open
) -> None:
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path / "none"))
    assert control.running() == []
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    leave_stale(tmp_path / "1.sock")
    (tmp_path / "2.sock").touch()
    (tmp_path / "3.sock").mkdir()
    living = opened({}, tmp_path / "4.sock")
    assert control.running() == [living.path]
    living.close()
    assert control.running() == []


# ---- opening and closing ----


def leave_stale(path: Path) -> None:
    """As a process leaves it that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_only_the_owner_may_connect_and_the_file_is_gone_when_it_closes(tmp_path: Path, opened: Open) -> None:
    shown = opened({"status": nothing})
    assert shown.path.stat().st_mode & 0o777 == 0o600
    shown.close()
    shown.close()
    assert list(tmp_path.iterdir()) == []
    assert not any(thread.name == "zproxy-control" for thread in threading.enumerate())


def test_one_that_never_answered_closes_as_well(tmp_path: Path) -> None:
    with Control(tmp_path / "control", {}):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_dead_process_is_taken_over(tmp_path: Path, opened: Open) -> None:
    leave_stale(tmp_path / "control")
    assert control.ask(opened({"status": nothing}).path, "status") == b"{}"


def test_what_is_not_ours_to_replace_is_left_alone(tmp_path: Path, opened: Open) -> None:
    living = opened({"status": nothing})
    with pytest.raises(SettingError, match=r"control socket: .* belongs to a running proxy.*--control off"):
        Control(living.path, {})
    assert control.ask(living.path, "status") == b"{}"
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(SettingError, match=r"control socket: .*no socket is there"):
        Control(file, {})
    assert file.read_text() == "precious"
    with pytest.raises(SettingError, match="limit 107: choose a shorter one"):
        Control(tmp_path / ("x" * 107), {})


# ---- asking ----


def test_nobody_there_is_told_from_somebody_silent(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with pytest.raises(ControlError, match=f"no proxy answers at {path}: No such file") as absent:
        control.ask(path, "status")
    assert not isinstance(absent.value, ControlFailed)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        with pytest.raises(ControlError, match="Connection refused"):
            control.ask(path, "status")
        silent.listen()
        with pytest.raises(ControlFailed, match=f"the proxy at {path} does not answer"):
            control.ask(path, "status", timeout=0.05)


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"", "hung up"), (b"HTTP/1.1 400\r\n\r\n", "is no zproxy"), (b'{"answer": ', "is no zproxy"), (b"[]\n", "is no")],
)
def test_what_another_program_says_is_no_answer(tmp_path: Path, answer: bytes, says: str) -> None:
    path = tmp_path / "control"
    with socket.create_server(str(path), family=socket.AF_UNIX) as other:

        def serve() -> None:
            client, _ = other.accept()
            with client:
                client.recv(999)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ControlFailed, match=says):
            control.ask(path, "status")
        thread.join()


def test_a_proxy_of_another_user_is_not_believed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    path = opened({"status": nothing}).path
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(control, "peer_uid", lambda connection: 1002)
    with pytest.raises(ControlError, match="who answers at .* is user 1002, neither you nor root"):
        control.ask(path, "status")


def test_it_costs_a_start_neither_numpy_nor_rich() -> None:
    script = "import sys, zproxy.control, zproxy.status; print({'numpy', 'rich', 'zmq', 'asyncio'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
