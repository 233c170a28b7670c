"""Control: the Unix socket at which a running proxy answers its operator. Both ends of it.

    zproxy status ─► {"ask": "status"} ─► Control: a thread, one more a client ─► what the question's function returns
                 ◄─ {"answer": …} or {"error": "a sentence"} ◄─┘     (of what it is about, "" where nothing is said)

One line of JSON each way, then the end. `zproxy run` opens it, a Proxy within somebody's program does not. Never on the
relay's thread: a client that hangs costs a thread of Python for CLIENT_S, and messages nothing.

Rule 1. Only our own user and root are answered; the folder is ours alone to write in.
Rule 2. What a client may make us hold is bounded: QUESTION_MAX bytes, CLIENTS_MAX at once, CLIENT_S for its question,
        and CLIENT_S for taking the answer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from zproxy import endpoints
from zproxy.errors import (
    ControlError,
    ControlFailed,
    ControlRefused,
    EndpointError,
    SettingError,
    UnknownWorker,
    ZproxyError,
)

SUFFIX = ".sock"
QUESTION_MAX = 64 << 10
ANSWER_MAX = 256 << 20  # 10,000 peers take about 4 MiB
CLIENTS_MAX = 32
CLIENT_S = 5.0
ASK_S = 15.0  # above the 10 s that a proxy waits for its relay's thread
ACCEPT_PAUSE_S = 0.1
JOIN_S = 1.0
RECEIVE_BYTES = 64 << 10
CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Answers = Mapping[str, Callable[[str], Any]]


class Question(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    ask: str
    about: str = ""


class Answer(msgspec.Struct, omit_defaults=True):
    """`is_refused`: the error is the asker's, who has to ask for something else."""

    answer: msgspec.Raw = msgspec.Raw()
    error: str | None = None
    is_refused: bool = False


# ---- where ----


def runtime_folder() -> Path:
    """The folder of this user's control sockets. It need not be there yet."""
    chosen = os.environ.get("ZPROXY_RUNTIME_DIR")
    if chosen:
        return Path(chosen)
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and _is_ours(session):  # of another user after `su`
        return Path(session, "zproxy")
    try:
        return Path(tempfile.gettempdir(), f"zproxy-{os.geteuid()}")
    except FileNotFoundError as error:
        raise SettingError(f"no folder for a control socket: {error.strerror}: set ZPROXY_RUNTIME_DIR") from error


def _is_ours(folder: str) -> bool:
    try:
        return os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return False


def default_path() -> Path:
    """This process's own, in a folder that is there and ours. Raises SettingError."""
    folder = runtime_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"cannot make {folder} for the control socket: {error.strerror}: set ZPROXY_RUNTIME_DIR, or give --control"
        ) from error
    folder_check(folder)
    return folder / f"{os.getpid()}{SUFFIX}"


def folder_check(folder: Path) -> None:
    """Raises SettingError unless it is a folder of ours that nobody else may write in."""
    found = os.lstat(folder)
    remedy = "set ZPROXY_RUNTIME_DIR to a folder of your own, or give --control"
    if not stat.S_ISDIR(found.st_mode):
        raise SettingError(f"{folder} is no folder: {remedy}")
    if found.st_uid != os.geteuid():
        raise SettingError(f"{folder} belongs to user {found.st_uid}, not to {os.geteuid()}: {remedy}")
    if found.st_mode & OTHERS_WRITE:
        raise SettingError(f"{folder} can be written by others: chmod 700 {folder}, or {remedy}")


def running() -> list[Path]:
    """The control sockets of this user's proxies that somebody listens on. Raises SettingError for a foreign folder."""
    folder = runtime_folder()
    try:
        folder_check(folder)
    except FileNotFoundError:
        return []
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if has_listener(path))


def has_listener(path: Path) -> bool:
    """Does a proxy listen there, whether it answers or not?"""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(os.fspath(path)) in (0, errno.EAGAIN)  # EAGAIN: its backlog is full


# ---- the proxy's end ----


class Control:
    """Binds `path` at once, answers from `start` to `close`; a context manager that closes.

    Raises SettingError where the path cannot be had.
    """

    def __init__(self, path: Path, answers: Answers) -> None:
        self.path = path
        self._answers = answers
        self._places = threading.BoundedSemaphore(CLIENTS_MAX)
        self._is_closing = threading.Event()
        self._answering: set[threading.Thread] = set()
        try:
            self._bound = endpoints.bind(f"ipc://{path}", insecure=False)
        except EndpointError as error:
            raise SettingError(f"control socket: {error} (--control PATH, or --control off)") from error
        os.chmod(path, 0o600)
        self._bound.listener.setblocking(True)
        self._thread = threading.Thread(target=self._run, name="zproxy-control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Nobody is answered any more, but for whose question was read; the socket's file is gone."""
        self._is_closing.set()
        with contextlib.suppress(OSError):  # closed before
            self._bound.listener.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        until = time.monotonic() + JOIN_S
        for thread in tuple(self._answering):  # the answer to a question that ended the proxy
            thread.join(max(0.0, until - time.monotonic()))
        self._bound.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._places.acquire()
            try:
                client, _ = self._bound.listener.accept()
                threading.Thread(target=self._serve, args=(client,), name="zproxy-control-client", daemon=True).start()
            except (OSError, RuntimeError):  # closed; or the system has no descriptor or thread for another client
                self._places.release()
                self._is_closing.wait(ACCEPT_PAUSE_S)

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):  # it has gone, or hangs
                line = msgspec.json.encode(self._answer_to(client)) + b"\n"
                client.settimeout(CLIENT_S)
                client.sendall(line)
        finally:
            self._answering.discard(threading.current_thread())
            self._places.release()

    def _answer_to(self, client: socket.socket) -> Answer:
        uid = peer_uid(client)
        try:
            line = _read_line(client, QUESTION_MAX, time.monotonic() + CLIENT_S)  # else it hears no answer
            if uid not in (0, os.geteuid()):
                return Answer(error=f"this proxy answers user {os.geteuid()} and root, not user {uid}")
            question = msgspec.json.decode(line, type=Question)
        except (*UNREADABLE, ControlFailed) as error:
            return Answer(error=f"this is no question: {error}")
        if question.ask not in self._answers:
            return Answer(error=f"no such question {question.ask!r}: there are {', '.join(self._answers)}")
        self._answering.add(threading.current_thread())
        try:
            return Answer(msgspec.Raw(msgspec.json.encode(self._answers[question.ask](question.about))))
        except (UnknownWorker, SettingError) as error:
            return Answer(error=str(error), is_refused=True)
        except ZproxyError as error:
            return Answer(error=str(error))


# ---- the operator's end ----


def ask(path: Path, question: str, about: str = "", *, timeout: float = ASK_S) -> bytes:
    """The answer's JSON.

    Raises ControlError where no proxy of ours is, ControlFailed where it does not answer, ControlRefused where it
    cannot do what it is asked for.
    """
    with _connected(path, timeout) as proxy:
        return _answer_of(proxy, path, Question(question, about), time.monotonic() + timeout)


def ask_to_end(path: Path, question: str) -> int:
    """The same of a question that ends the proxy: a descriptor, the caller's, that is readable once it has ended."""
    with _connected(path, ASK_S) as proxy:
        try:
            process = os.pidfd_open(peer_pid(proxy))
        except OSError as error:
            raise ControlFailed(f"the end of the proxy at {path} cannot be seen from here: give --no-wait") from error
        try:
            _answer_of(proxy, path, Question(question), time.monotonic() + ASK_S)
        except BaseException:
            os.close(process)
            raise
    return process


def _answer_of(proxy: socket.socket, path: Path, question: Question, deadline: float) -> bytes:
    try:
        proxy.sendall(msgspec.json.encode(question) + b"\n")
        line = _read_line(proxy, ANSWER_MAX, deadline)
        if not line:
            raise ConnectionResetError
        answer = msgspec.json.decode(line, type=Answer)
    except TimeoutError as error:
        raise ControlFailed(_silent(path)) from error
    except OSError as error:
        raise ControlFailed(f"the proxy at {path} hung up: has it ended? see its log") from error
    except (*UNREADABLE, ControlFailed) as error:
        raise ControlFailed(f"what answers at {path} is no zproxy of this version: {error}") from error
    if answer.error is None:
        return bytes(answer.answer)
    if answer.is_refused:
        raise ControlRefused(answer.error)
    raise ControlFailed(f"the proxy at {path} says: {answer.error}")


@contextlib.contextmanager
def _connected(path: Path, timeout: float) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as proxy:
        proxy.settimeout(timeout)
        _connect(proxy, path)
        yield proxy


def _connect(proxy: socket.socket, path: Path) -> None:
    try:
        proxy.connect(os.fspath(path))
    except (TimeoutError, BlockingIOError) as error:
        raise ControlFailed(_silent(path)) from error
    except OSError as error:
        raise ControlError(
            f"no proxy answers at {path}: {error.strerror or error}: `zproxy run` logs its socket as control"
        ) from error
    uid = peer_uid(proxy)
    if uid != 0 and os.geteuid() not in (0, uid):
        raise ControlError(f"who answers at {path} is user {uid}, neither you nor root: ask as that user, or as root")


def _silent(path: Path) -> str:
    return f"the proxy at {path} does not answer: is it stopped or frozen? see its log"


# ---- what both need ----


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, as the system knows it."""
    return _credentials(connection)[1]


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end; 0: it is in another namespace."""
    return _credentials(connection)[0]


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(packed)
    return pid, uid, gid


def _read_line(connection: socket.socket, limit: int, deadline: float) -> bytes:
    """Up to the newline, or the end. Raises ControlFailed beyond `limit` bytes, TimeoutError at the deadline."""
    line = bytearray()
    while True:
        connection.settimeout(_left_s(deadline))
        received, newline, _ = connection.recv(RECEIVE_BYTES).partition(b"\n")
        line += received
        if newline or not received:
            return bytes(line)
        if len(line) > limit:
            raise ControlFailed(f"it has more than {limit} bytes")


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
