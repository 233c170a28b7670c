"""`zproxy run` with and without a registry, and what plain pyzmq sockets meet when a key ends."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import zmq
from support.commands import RunningProxy, ended, started_proxies
from support.peers import Peers
from support.registries import RegistryFolder
from support.waiting import wait_until
from zmq.utils import z85

import zproxy
from zproxy.security.keys import KeyPair, fingerprint, new_pair, read_public, read_secret, text_of

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


def key_of_server(pair: KeyPair) -> dict[str, Any]:
    """Options of a socket that binds."""
    return {"curve_server": True, "curve_secretkey": z85.encode(pair.secret)}


def keys(folder: RegistryFolder, *words: str) -> str:
    done = ended("keys", *words, "--registry", str(folder.path))
    assert done.returncode == 0, done
    return done.stdout


def exchange(client: zmq.Socket[bytes], worker: zmq.Socket[bytes]) -> None:
    client.send(b"question")
    assert worker.recv() == b"question"
    worker.send(b"answer")
    assert client.recv() == b"answer"


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
    assert timedelta() <= datetime.now(timezone.utc) - end < timedelta(seconds=20), "about a second, by itself"
    wait_for(proxy, "refused_expired")


# ---- changes by `zproxy keys` ----


def test_every_proxy_of_a_registry_takes_up_a_revocation_by_itself(
    start: Start, proxy: zproxy.Proxy, folder: RegistryFolder, peers: Peers
) -> None:
    """One without a control socket, and one within a program."""
    folder.enter("rank0")
    proxy.reload()
    keys(folder, "new", "rank1", "--out", str(folder.path.parent / "rank1"))
    pair = read_secret(folder.path.parent / "rank1")
    alone = start("--registry", str(folder.path), "--control", "off")
    wait_until(lambda: proxy.generation == 3, "it has heard of rank1")
    for frontend in (alone.frontend, proxy.frontend[0]):
        folder.dial(peers, zmq.DEALER, frontend, pair)
    alone.wait_for("connected")
    wait_for(proxy, "frontend_connections")
    assert "no proxy was told" in keys(folder, "revoke", "rank1")
    wait_for(proxy, "closed_revoked")
    assert alone.wait_for("disconnected")["reason"] == "revoked"
    reloaded = alone.wait_for("reloaded")
    assert (reloaded["generation"], reloaded["revoked"]) == (2, ["rank1"])


def test_the_key_of_a_master_that_binds_is_rotated_without_a_restart(
    folder: RegistryFolder, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    pair, old = folder.enter("rank0"), folder.enter("m1", "master")
    worker = peers.bind(zmq.REP, LOOPBACK, **key_of_server(old))
    endpoint = worker.last_endpoint.decode()
    with zproxy.Proxy(LOOPBACK, backend_connect=f"{endpoint}?server=m1", registry=folder.path) as proxy:
        client = folder.dial(peers, zmq.REQ, proxy.frontend[0], pair)
        exchange(client, worker)
        keys(folder, "rotate", "m1", "--out", str(folder.path.parent / "fresh"))
        fresh = read_secret(folder.path.parent / "fresh")
        wait_until(lambda: proxy.generation == 2, "it has heard of the second key")
        worker.close()
        worker = peers.bind(zmq.REP, endpoint, **key_of_server(fresh))
        exchange(client, worker)
        keys(folder, "revoke", "m1", fingerprint(old.public))
        wait_until(lambda: proxy.generation == 3, "it has heard of the first key's end")
        exchange(client, worker)
        assert proxy.stats()["closed_revoked"] == 0
        keys(folder, "revoke", "m1")
        wait_for(proxy, "closed_revoked")
        wait_until(lambda: "nobody is dialled until it has" in caplog.text, "it is said")
        keys(folder, "add", "m1", text_of(fresh.public), "--role", "master")
        exchange(client, worker)


def test_a_server_with_another_key_than_the_registry_says_is_named_in_the_log(
    folder: RegistryFolder, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "zproxy")
    pair, other = folder.enter("rank0"), new_pair()
    folder.enter("m1", "master")
    worker = peers.bind(zmq.REP, LOOPBACK, **key_of_server(other))
    endpoint = worker.last_endpoint.decode()
    with zproxy.Proxy(LOOPBACK, backend_connect=f"{endpoint}?server=m1", registry=folder.path) as proxy:
        wait_until(lambda: "hung up in the handshake" in caplog.text, "it is said")
        assert f"endpoint={endpoint}" in caplog.text.replace('"', "")
        assert proxy.stats()["backend_connections"] == 0
        folder.enter("m1", "master", "", other)
        proxy.reload()
        exchange(folder.dial(peers, zmq.REQ, proxy.frontend[0], pair), worker)


# ---- the proxy's own key ----


def test_nodes_move_to_another_key_of_the_proxy_one_after_the_other(
    folder: RegistryFolder, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zproxy")
    pair, master = folder.enter("rank0"), folder.enter("m1", "master")
    former = {"curve_serverkey": z85.encode(folder.server.public)}
    assert "is good, too, until" in keys(folder, "renew")
    folder.server = read_secret(folder.path / "server.key_secret")
    assert read_public(folder.path / "server.key") == folder.server.public
    with zproxy.Proxy(LOOPBACK, LOOPBACK, registry=folder.path) as proxy:
        worker = folder.dial(peers, zmq.REP, proxy.backend[0], master, **former)
        exchange(folder.dial(peers, zmq.REQ, proxy.frontend[0], pair), worker)
        exchange(folder.dial(peers, zmq.REQ, proxy.frontend[0], pair, **former), worker)
    lines = [record.getMessage() for record in caplog.records]
    connected = [("name=m1" in line, "server_key=former" in line) for line in lines if line.startswith("connected")]
    assert sorted(connected) == [(False, False), (False, True), (True, True)]
    checked = ended("keys", "check", "--registry", str(folder.path))
    assert (checked.returncode, "server.former.key_secret is good for" in checked.stdout) == (1, True)
    (folder.path / "server.former.key_secret").unlink()
    with zproxy.Proxy(LOOPBACK, LOOPBACK, registry=folder.path) as proxy:
        folder.dial(peers, zmq.REQ, proxy.frontend[0], pair, **former).send(b"for nobody")
        wait_for(proxy, "refused_forged")
