"""`zproxy run` with and without a registry, and what plain pyzmq sockets meet when a key ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import zmq
from support.commands import RunningProxy, ended, started_proxies
from support.peers import Peers
from support.registries import RegistryFolder
from support.waiting import wait_until

import zproxy
from zproxy.security.keys import text_of

LOOPBACK = "tcp://127.0.0.1:0"
Start = Callable[..., RunningProxy]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of their own for the control sockets of this test's proxies."""
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    yield from started_proxies(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> RegistryFolder:
    return RegistryFolder(tmp_path / "registry")


@pytest.fixture
def proxy(folder: RegistryFolder) -> Iterator[zproxy.Proxy]:
    with zproxy.Proxy(LOOPBACK, LOOPBACK, registry=folder.path) as running:
        yield running


def wait_for(proxy: zproxy.Proxy, counter: str) -> None:
    wait_until(lambda: proxy.stats()[counter] > 0, counter)


# ---- the command ----


def test_insecure_is_said_at_the_start_and_in_every_status(start: Start) -> None:
    proxy = start("--insecure")
    (warning,) = proxy.log("settings")
    assert warning["level"] == "warning" and warning["sentence"].startswith("--insecure: whoever reaches")
    assert re.search(r"^security +none: --insecure", ended("status").stdout, re.MULTILINE)


def test_the_environment_may_name_the_registry(
    start: Start, folder: RegistryFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZPROXY_REGISTRY", str(folder.path))
    assert start().log("starting")[0]["registry"] == str(folder.path)
    assert f"{folder.path}, generation 1" in ended("status").stdout


def test_a_secret_is_nowhere_but_in_its_file(start: Start, folder: RegistryFolder, peers: Peers) -> None:
    pair = folder.enter("rank0")
    proxy = start("--registry", str(folder.path))
    folder.dial(peers, zmq.REQ, proxy.frontend, pair)
    proxy.wait_for("connected")
    wait_until((folder.path / "audit.log").exists, "the audit's first line")
    process = Path(f"/proc/{proxy.process.pid}")
    said = [
        ended("status", "--json").stdout,
        ended("keys", "list", "--registry", str(folder.path)).stdout,
        ended("keys", "check", "--registry", str(folder.path)).stdout,
        (process / "cmdline").read_text(),
        (process / "environ").read_text(),
        (folder.path / "audit.log").read_text(),
        proxy.stderr,
    ]
    for secret in (folder.server.secret, pair.secret):
        assert not any(shown in text for text in said for shown in (text_of(secret), secret.hex(), repr(secret)))


# ---- plain sockets ----


def test_a_plain_socket_whose_key_is_revoked_is_closed_and_heard_no_more(
    proxy: zproxy.Proxy, folder: RegistryFolder, peers: Peers
) -> None:
    pair = folder.enter("rank0")
    proxy.reload()
    client = folder.dial(peers, zmq.DEALER, proxy.frontend[0], pair)
    client.send(b"before")
    wait_for(proxy, "requests_in")
    folder.leave("rank0")
    assert proxy.reload().revoked == ["rank0"]
    wait_for(proxy, "closed_revoked")
    client.send(b"after")
    wait_for(proxy, "refused_unknown_key")  # libzmq tries again, with the message in hand
    assert proxy.stats()["requests_in"] == 1


def test_a_connection_ends_when_the_time_of_its_key_does(
    proxy: zproxy.Proxy, folder: RegistryFolder, peers: Peers
) -> None:
    pair = folder.enter("rank0")
    proxy.reload()
    folder.dial(peers, zmq.DEALER, proxy.frontend[0], pair).send(b"before")
    wait_for(proxy, "requests_in")
    end = datetime.now(timezone.utc) + timedelta(seconds=1)
    folder.enter("rank0", "node", f"not_after = {end.isoformat()}", pair)
    assert proxy.reload().revoked == []
    wait_for(proxy, "closed_revoked")
    assert timedelta() <= datetime.now(timezone.utc) - end < timedelta(seconds=5), "about a second, on a busy machine"
    wait_for(proxy, "refused_expired")
