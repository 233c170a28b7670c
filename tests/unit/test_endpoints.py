"""Endpoints: what is bound is what was meant, one holder at a time, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zproxy import EndpointError, EndpointInUse, InsecureBind, endpoints


def answers(monkeypatch: pytest.MonkeyPatch, *ips: str) -> None:
    """From here on every name stands for these addresses."""

    def getaddrinfo(host: str, port: int, **kinds: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        families = [socket.AF_INET6 if ":" in ip else socket.AF_INET for ip in ips]
        return [(family, socket.SOCK_STREAM, 6, "", (ip, port)) for family, ip in zip(families, ips, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://127.0.0.1:5555", "127.0.0.1", 5555),
        ("tcp://[::1]:0", "::1", 0),
        ("tcp://*:1", "*", 1),
        ("tcp://a.b:2", "a.b", 2),
    ],
)
def test_tcp_endpoints_are_host_and_port(text: str, host: str, port: int) -> None:
    parsed = endpoints.parse(text)
    assert (parsed.host, parsed.port, parsed.path) == (host, port, "")


@pytest.mark.parametrize(
    "text",
    [
        *("tcp://[]:1", "tcp://a:", "tcp://a:٣", "tcp://a:-1", "udp://a:1", "tcp:/a:1", "", "ipc://*", "ipc://a\0b"),
        *("tcp://a\nb:1", "tcp://a\u202e:1", "ipc:///a\x1b[2J", "ipc:///a\ud800"),
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(EndpointError, match="bad endpoint") as caught:
        endpoints.parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.timeout(20)
def test_a_long_run_of_blanks_is_read_once() -> None:
    with pytest.raises(EndpointError, match="bad endpoint"):
        endpoints.connectable("tcp://127.0.0.1:1" + " " * 200_000 + "x")


@given(st.tuples(st.sampled_from(["", "tcp://", "ipc://", "tcp://a:"]), st.text()).map("".join))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    try:
        parsed = endpoints.parse(text)
    except EndpointError:
        return
    assert parsed.text == text
    assert bool(parsed.path) != bool(parsed.host)
    assert 0 <= parsed.port <= 65535


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://[::1]:0"])
def test_port_0_binds_a_free_port_and_says_which(text: str) -> None:
    bound = endpoints.bind(text, insecure=False)
    port = bound.listener.getsockname()[1]
    assert bound.text == text.replace(":0", f":{port}")
    bound.close()


def test_a_name_is_bound_where_libzmqs_sockets_look_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "::1", "127.0.0.1")
    bound = endpoints.bind("tcp://localhost:0", insecure=False)
    assert bound.text.startswith("tcp://127.0.0.1:")
    bound.close()


def test_a_name_is_connected_to_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "::1", "127.0.0.1", "::1")
    assert endpoints.resolve(endpoints.parse("tcp://localhost:7")) == [("::1", 7), ("127.0.0.1", 7)]


def test_a_name_that_leads_off_this_host_needs_to_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "192.0.2.1")
    with pytest.raises(InsecureBind, match="allow it with --insecure"):
        endpoints.bind("tcp://rank0:5555", insecure=False)


def test_a_wildcard_is_every_ipv4_address() -> None:
    bound = endpoints.bind("tcp://*:0", insecure=True)
    port = bound.listener.getsockname()[1]
    assert bound.text == f"tcp://0.0.0.0:{port}"
    socket.create_connection(("127.0.0.1", port)).close()
    bound.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "choose a port of 1024 or above"),
        (errno.EADDRINUSE, "stop the other process"),
        (errno.EMFILE, "cannot bind"),
    ],
)
def test_what_the_system_refuses_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    def create_server(*arguments: object, **options: object) -> socket.socket:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket, "create_server", create_server)
    with pytest.raises(EndpointError, match=said) as caught:
        endpoints.bind("tcp://127.0.0.1:80", insecure=False)
    assert isinstance(caught.value, EndpointInUse) == (code == errno.EADDRINUSE)


def test_an_ipc_endpoint_makes_private_directories_and_leaves_no_file(tmp_path: Path) -> None:
    bound = endpoints.bind(f"ipc://{tmp_path}/run/zproxy/frontend", insecure=False)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("run", "run/zproxy")] == [0o700, 0o700]
    bound.close()
    assert files(tmp_path) == ["run", "run/zproxy"]


def test_one_path_has_one_holder_and_the_next_takes_over(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    first = endpoints.bind(endpoint, insecure=False)
    with pytest.raises(EndpointInUse, match="belongs to a running proxy"):
        endpoints.bind(endpoint, insecure=False)
    first.close()
    endpoints.bind(endpoint, insecure=False).close()


def test_a_socket_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = f"{tmp_path}/frontend"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    bound = endpoints.bind(f"ipc://{path}", insecure=False)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
    bound.close()


def test_a_socket_that_another_program_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = f"{tmp_path}/frontend"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(EndpointInUse, match="in use"):
            endpoints.bind(f"ipc://{path}", insecure=False)
        assert files(tmp_path) == ["frontend"]


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    with pytest.raises(EndpointError, match="no socket"):
        endpoints.bind(f"ipc://{thesis}", insecure=False)
    assert thesis.read_text() == "years of work"
    assert files(tmp_path) == ["thesis.txt"]


def test_a_lock_whose_file_was_removed_meanwhile_is_not_taken_for_the_live_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = endpoints.parse(f"ipc://{tmp_path}/frontend")
    open_before = os.open
    opens = []

    def open_and_lose_the_file(name: str, *arguments: int) -> int:
        opened = open_before(name, *arguments)
        opens.append(opened)
        if len(opens) == 1:
            Path(name).unlink()
        return opened

    monkeypatch.setattr(os, "open", open_and_lose_the_file)
    lock = endpoints.lock_take(endpoint)
    assert os.path.samestat(os.fstat(lock), os.stat(f"{tmp_path}/frontend.lock"))
    endpoints.lock_release(endpoint.path, lock)
    assert files(tmp_path) == []
