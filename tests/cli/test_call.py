"""`zproxy call`: one request from a shell. What comes back is printed and written, and nothing of it is ever run."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from support.commands import ZPROXY, ended, refused
from support.processes import halted
from support.proxies import ProxyProcess
from support.waiting import wait_until

from zproxy import ApplicationError, Master, Request, control
from zproxy.cli.call import as_json, shown, written
from zproxy.processes import spawn

NOBODY = "tcp://127.0.0.1:1"


def named(request: Request) -> Any:
    """Tensors under the names and of the dtypes that the body lists."""
    return None, {name: np.zeros((2, 0), dtype) for name, dtype in request.body}


def strange(request: Request) -> Any:
    return {"bytes": b"\x00\xff", "nan": float("nan"), "deep": [[float("-inf")]], "text": "\x1b[31m梯度\n"}


def failing(request: Request) -> Any:
    raise ZeroDivisionError("no learning\nrate")


def own_error(request: Request) -> Any:
    raise ApplicationError("not this batch", code=0x8007)


@pytest.fixture(scope="module")
def control_path() -> Iterator[Path]:
    """Of the proxy's own socket: others may run during the tests."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "control")


@pytest.fixture(scope="module")
def proxy(control_path: Path) -> Iterator[ProxyProcess]:
    running = ProxyProcess("zproxy", options=("--control", str(control_path), "--drain", "100ms"))
    assert running.frontend
    yield running
    running.assert_ends_well()


@pytest.fixture(scope="module")
def served(proxy: ProxyProcess) -> Iterator[ProxyProcess]:
    """A proxy with a master behind it."""
    master = Master(proxy.backend, "m1", concurrency=2)
    master.service("echo")(lambda request: (request.body, request.tensors))
    master.service("who")(lambda request: [request.node, request.remaining])
    for handler in (named, strange, failing, own_error):
        master.service(handler.__name__)(handler)
    with master:
        yield proxy


def called(proxy: ProxyProcess, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return ended("call", *arguments, "--frontend", proxy.frontend, **options)


def replied(proxy: ProxyProcess, *arguments: str, **options: Any) -> list[str]:
    """The lines of stdout of a call that went well."""
    done = called(proxy, *arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def failed(proxy: ProxyProcess, *arguments: str) -> str:
    """The one line on stderr of a call that brought no reply."""
    done = called(proxy, *arguments)
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    return line


# ---- bodies ----


@pytest.mark.parametrize("body", ["null", "true", "1.5", '"text"', '{"a":3,"b":[1,[],{}]}', "18446744073709551615"])
def test_the_first_line_is_the_body_as_json(served: ProxyProcess, body: str) -> None:
    assert replied(served, "echo", body) == [body]


def test_without_a_body_it_is_null(served: ProxyProcess) -> None:
    assert replied(served, "echo") == ["null"]


def test_a_body_comes_through_a_pipe(served: ProxyProcess) -> None:
    assert replied(served, "echo", "-", input=' {"a":\n [1]}\n') == ['{"a":[1]}']


def test_what_json_has_no_word_for_is_a_map_with_one(served: ProxyProcess) -> None:
    (line,) = replied(served, "strange")
    assert json.loads(line) == {
        "bytes": {"base64": "AP8="},
        "nan": {"float": "nan"},
        "deep": [[{"float": "-inf"}]],
        "text": "\x1b[31m梯度\n",
    }
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("body", "printed"),
    [
        ({1: 2}, '{"1":2}'),
        ({None: b"x"}, '{"null":{"base64":"eA=="}}'),
        ({b"x": (1, float("inf"))}, r'{"{\"base64\":\"eA==\"}":[1,{"float":"inf"}]}'),
    ],
)
def test_keys_that_other_languages_send_are_text(body: Any, printed: str) -> None:
    assert msgspec.json.encode(as_json(body)).decode() == printed


# ---- who asks, and how long ----


def test_every_call_has_a_name_of_its_own_unless_it_is_given_one(served: ProxyProcess) -> None:
    names = {json.loads(replied(served, "who")[0])[0] for _ in range(2)}
    assert len(names) == 2 and all(name.startswith("call-") for name in names)
    assert json.loads(replied(served, "who", "--node", "rank7")[0])[0] == "rank7"


def test_the_timeout_is_the_requests(served: ProxyProcess) -> None:
    (line,) = replied(served, "who", "--timeout", "5m")
    assert 290 < json.loads(line)[1] <= 300


def test_the_frontend_may_stand_in_the_environment(served: ProxyProcess) -> None:
    done = ended("call", "echo", "1", env={**os.environ, "ZPROXY_FRONTEND": f"{NOBODY},{served.frontend}"})
    assert (done.returncode, done.stdout) == (0, "1\n")


# ---- tensors ----


def test_tensors_go_out_from_files_and_come_back_as_files(served: ProxyProcess, tmp_path: Path) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "scalar": np.array(7, dtype=np.uint8),
        "time": np.array(["2026-01-31"], dtype="datetime64[D]"),
        "梯度": np.zeros((0, 4), dtype=np.complex64),
    }
    options = []
    for number, (name, array) in enumerate(arrays.items()):
        np.save(tmp_path / f"{number}=.npy", array)
        options += ["--tensor", f"{name}={tmp_path}/{number}=.npy"]
    folder = tmp_path / "a" / "b"
    body, *lines = replied(served, "echo", '"kept"', *options, "--output", str(folder))
    assert body == '"kept"'
    assert lines == [
        f"w float32 [2, 3] {folder}/w.npy",
        f"fortran int64 [2, 3] {folder}/fortran.npy",
        f"scalar uint8 [] {folder}/scalar.npy",
        f"time datetime64[D] [1] {folder}/time.npy",
        f"梯度 complex64 [0, 4] {folder}/梯度.npy",
    ]
    for name, array in arrays.items():
        back = np.load(folder / f"{name}.npy", allow_pickle=False)
        assert back.dtype == array.dtype and back.tolist() == array.tolist()
    assert replied(served, "echo", *options)[1] == "w float32 [2, 3]"


def test_a_tensors_name_leads_nowhere_else(served: ProxyProcess, tmp_path: Path) -> None:
    folder = tmp_path / "replies"
    names = ["../up", "/etc/x", "..", "a b", "50%", "new\nline", "\x1b[31m", "nul\0"]
    body = json.dumps([[name, "float32"] for name in names])
    _, *lines = replied(served, "named", body, "--output", str(folder))
    assert len(lines) == len(names) and "\x1b" not in "".join(lines)
    assert lines[:2] == [
        f"../up float32 [2, 0] {folder}/..%2Fup.npy",
        f"/etc/x float32 [2, 0] {folder}/%2Fetc%2Fx.npy",
    ]
    assert len(list(folder.iterdir())) == len(names)
    assert [each.name for each in tmp_path.iterdir()] == ["replies"]


def test_names_that_are_no_word_are_quoted() -> None:
    assert [shown(name) for name in ("w", "梯度", "a b", 'a"', "\x1b[1m")] == [
        "w",
        "梯度",
        '"a b"',
        '"a\\""',
        '"\\u001b[1m"',
    ]


def test_a_tensor_that_cannot_be_written_is_told(served: ProxyProcess, tmp_path: Path) -> None:
    done = called(served, "named", json.dumps([["n" * 255, "int8"]]), "--output", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "null\n")
    (line,) = done.stderr.splitlines()
    assert "cannot write" in line and "File name too long" in line


def test_two_names_never_share_a_file(tmp_path: Path) -> None:
    names = ["a/b", "a%2Fb", "a%252Fb", "A"]
    assert len({written(tmp_path, name, np.zeros(1)) for name in names}) == len(names)


# ---- what is refused before anything is sent ----


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("hello", "'hello' is no JSON"),
        ("", "'' is no JSON"),
        ("{'a': 1}", "is no JSON"),
        ("NaN", "is no JSON"),
        ("1 2", "is no JSON"),
        ("[" * 5000, "is no JSON"),
        (b"\xff", "is no JSON"),
        ("[" * 101 + "]" * 101, "100 levels"),
        ("18446744073709551616", "2**64-1"),
    ],
    ids=range(9),
)
def test_a_body_that_cannot_be_sent_is_refused(body: str, says: str) -> None:
    assert says in refused("call", "echo", body, "--frontend", NOBODY)


@pytest.mark.parametrize("given", ["", "x", "\x00"])
def test_a_pipe_without_json_is_refused(given: str) -> None:
    done = ended("call", "echo", "-", "--frontend", NOBODY, input=given)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("zproxy: stdin is no JSON: ") and len(done.stderr.splitlines()) == 1


def test_a_closed_stdin_is_refused() -> None:
    words = f"{ZPROXY} call echo - --frontend {NOBODY} <&-"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "zproxy: stdin is closed: give the body as an argument\n")


class Mine:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_file_that_would_run_what_it_says_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    np.save(tmp_path / "objects.npy", np.array([Mine(trap)], dtype=object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Mine(trap)))
    for name in ("objects.npy", "pickle.npy"):
        said = refused("call", "echo", "--tensor", f"w={tmp_path / name}", "--frontend", NOBODY)
        assert f"{tmp_path / name} is no .npy file that can be sent" in said
    assert not trap.exists()


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", np.arange(1000))
    np.savez(tmp_path / "several.npy", a=np.arange(3))
    head = (tmp_path / "whole.npy").read_bytes()[:128]
    (tmp_path / "cut.npy").write_bytes(head)
    (tmp_path / "huge.npy").write_bytes(head.replace(b"(1000,), }      ", b"(1" + b"0" * 12 + b",),}"))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("hello" * 100)
    (tmp_path / "several.npy.npz").rename(tmp_path / "zip.npy")
    # AddressSanitizer ends a process that asks for so much.
    huge = () if os.environ.get("ZPROXY_BUILD") == "sanitize" else ("huge",)
    for name in ("cut", *huge, "empty", "text", "zip"):
        said = refused("call", "echo", "--tensor", f"w={tmp_path}/{name}.npy", "--frontend", NOBODY)
        assert f"{name}.npy is no .npy file that can be sent" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument 'SERVICE'"),
        (["bad service"], "bad service 'bad service': 1 to 64 of"),
        (["s" * 65], "1 to 64 of"),
        ([""], "bad service ''"),
        (["echo", "--node", "a b"], "bad node name 'a b'"),
        (["echo", "--timeout", "0"], "write 1ms to 24h"),
        (["echo", "--frontend", "nowhere"], "write tcp://HOST:PORT"),
        (["echo", "--tensor", "w"], "'w' is no tensor: write NAME=FILE.npy"),
        (["echo", "--tensor", "=w.npy"], "is no tensor: write NAME=FILE.npy"),
        (["echo", "--tensor", "w=/no/such.npy"], "cannot read /no/such.npy: No such file"),
        (["echo", "--tensor", "w=/"], "cannot read /: Is a directory"),
        (["echo", "--output", "/proc/x"], "cannot make /proc/x"),
        (["echo", "--output", "/dev/null"], "cannot make /dev/null: File exists"),
        (["echo", "1", "2"], "unexpected extra argument"),
    ],
)
def test_a_wrong_word_is_refused(arguments: list[str], says: str) -> None:
    assert says in refused("call", *arguments)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.zeros(1))
    tensor = ("--tensor", f"w={tmp_path}/w.npy")
    assert "two tensors are named 'w'" in refused("call", "echo", *tensor, *tensor)


# ---- no reply ----


def test_an_error_names_its_code_its_service_and_what_to_do(served: ProxyProcess) -> None:
    said = failed(served, "nobody", "--timeout", "2s")
    assert said.startswith("zproxy: UNKNOWN_SERVICE: request of ")
    assert '"nobody"' in said and "check the name" in said


def test_a_handlers_error_is_one_line_with_its_type_and_text(served: ProxyProcess) -> None:
    said = failed(served, "failing")
    assert "HANDLER_ERROR" in said and "ZeroDivisionError: no learning rate" in said and '"m1"' in said
    own = failed(served, "own_error")
    assert "0x8007" in own and "not this batch" in own


def test_without_a_proxy_it_says_where_it_looked() -> None:
    done = ended("call", "echo", "--frontend", NOBODY, "--timeout", "200ms")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("zproxy: TIMEOUT: ") and len(done.stderr.splitlines()) == 1
    assert f"no proxy has answered at {NOBODY}" in done.stderr


def test_a_name_in_use_is_told(served: ProxyProcess, control_path: Path) -> None:
    waiting = spawn(
        [ZPROXY, "call", "nobody", "--node", "rank1", "--frontend", served.frontend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: "rank1" in nodes_at(control_path), "the first is there")
        said = failed(served, "echo", "--node", "rank1", "--timeout", "5s")
        assert "NAME_IN_USE" in said, said
    finally:
        waiting.kill()
        waiting.communicate()


def nodes_at(control_path: Path) -> list[str]:
    return [node["name"] for node in json.loads(control.ask(control_path, "status"))["nodes"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_it_without_a_word(
    served: ProxyProcess, control_path: Path, number: signal.Signals
) -> None:
    waiting = spawn(
        [ZPROXY, "call", "nobody", "--node", "rank2", "--frontend", served.frontend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: "rank2" in nodes_at(control_path), "it asks")
    waiting.send_signal(number)
    output, errors = waiting.communicate(timeout=15)
    assert (waiting.returncode, output, errors.strip()) == (128 + number, "", "")
    wait_until(lambda: "rank2" not in nodes_at(control_path), "it has said GOODBYE")


def test_a_reply_waits_for_a_proxy_that_stands_still(served: ProxyProcess) -> None:
    with halted(served.pid):
        asking = spawn(
            [ZPROXY, "call", "echo", "1", "--frontend", served.frontend], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        wait_until(lambda: "libzmq" in Path(f"/proc/{asking.pid}/maps").read_text(), "it has begun")
    output, errors = asking.communicate(timeout=15)
    assert (asking.returncode, output, errors) == (0, "1\n", "")


# ---- outputs ----


def test_a_closed_stdout_is_no_fault(served: ProxyProcess) -> None:
    words = f"{ZPROXY} call echo 1 --frontend {served.frontend} >&-"
    done = subprocess.run(["sh", "-c", words], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_gone_is_no_traceback(served: ProxyProcess) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    argv = [ZPROXY, "call", "echo", "1", "--frontend", served.frontend]
    done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_help_shows_how() -> None:
    said = " ".join(ended("call", "--help").stdout.split())
    for words in ("--tensor NAME=FILE.npy", "[default: 1m]", "Exit code: 0 a reply came; 1", "Examples:", "base64"):
        assert words in said


def test_status_and_run_do_not_pay_for_it() -> None:
    script = "import sys, zproxy.cli.run, zproxy.cli.status; print({'numpy', 'zmq'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
