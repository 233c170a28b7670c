"""A proxy with a registry, by real sockets: who has a key is served by its name and its rights, and nobody else is."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import zmq
from support.peers import Peers
from support.registries import RegistryFolder
from support.waiting import wait_until
from zmq.utils import z85

import zproxy
from zproxy.entries import Entry
from zproxy.errors import Denied, EndpointError, InsecureBind, RequestTimeout, SettingError
from zproxy.security.keys import KeyPair, fingerprint, new_pair, write_public, write_secret

LOOPBACK = "tcp://127.0.0.1:0"
Started = Callable[..., zproxy.Proxy]


@pytest.fixture
def folder(tmp_path: Path) -> RegistryFolder:
    return RegistryFolder(tmp_path / "registry")


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What is entered here ends with the test, the latest first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def started(folder: RegistryFolder, opened: ExitStack) -> Started:
    """Starts a proxy with the registry."""

    def start(**options: Any) -> zproxy.Proxy:
        given = {"frontend": LOOPBACK, "backend": LOOPBACK, "registry": folder.path, **options}
        return opened.enter_context(zproxy.Proxy(**given))

    return start


def serve(opened: ExitStack, proxy: zproxy.Proxy, folder: RegistryFolder, *services: str) -> None:
    """A master m1 that echoes."""
    pair = folder.enter("m1", "master")
    proxy.reload()
    master = zproxy.Master(proxy.backend, "m1", key=pair, server_key=folder.server.public)
    for service in services or ("echo",):
        master.service(service)(lambda request: request.body)
    master.start()
    opened.callback(master.stop, 0)


def node(opened: ExitStack, proxy: zproxy.Proxy, folder: RegistryFolder, pair: KeyPair, name: str) -> zproxy.Node:
    return opened.enter_context(zproxy.Node(name, proxy.frontend, key=pair, server_key=folder.server.public))


def wait_for(proxy: zproxy.Proxy, counter: str, at_least: int = 1) -> None:
    wait_until(lambda: proxy.stats()[counter] >= at_least, f"{counter} >= {at_least}")


def test_a_node_with_a_key_is_served_and_another_hears_so(
    started: Started, folder: RegistryFolder, opened: ExitStack
) -> None:
    allowed = folder.enter("rank0")
    denied = folder.enter("rank1", "node", 'groups = []\nallow = ["progress"]')
    proxy = started()
    serve(opened, proxy, folder, "gradients")
    assert node(opened, proxy, folder, allowed, "rank0").request("gradients", 3).body == 3
    with pytest.raises(Denied, match='无权访问.*node "rank1" may not use service "gradients"'):
        node(opened, proxy, folder, denied, "rank1").request("gradients", 3)
    assert proxy.stats()["managed_refused_denied"] == 1
    (line,) = wait_until(lambda: [line for line in audited(folder) if line["event"] == "denied"], "audited")
    assert (line["node"], line["fingerprint"]) == ("rank1", fingerprint(denied.public))


def test_who_calls_himself_otherwise_than_his_key_hears_so(
    started: Started, folder: RegistryFolder, opened: ExitStack
) -> None:
    pair = folder.enter("rank0")
    folder.enter("rank1")
    proxy = started()
    with pytest.raises(Denied, match='the key belongs to node "rank0", not to "rank1"'):
        node(opened, proxy, folder, pair, "rank1").request("echo", timeout=5)


def test_a_key_nobody_knows_gets_nothing(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    proxy = started()
    with pytest.raises(RequestTimeout):
        node(opened, proxy, folder, new_pair(), "rank0").request("echo", timeout=0.5)
    wait_for(proxy, "refused_unknown_key")
    assert proxy.stats()["managed_in"] == 0


def test_a_key_whose_time_is_over_gets_nothing(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("rank0", "node", "not_after = 2020-01-01")
    proxy = started()
    with pytest.raises(RequestTimeout):
        node(opened, proxy, folder, pair, "rank0").request("echo", timeout=0.5)
    wait_for(proxy, "refused_expired")
    proxy.stop()
    (line,) = [line for line in audited(folder) if line["event"] == "refused"][:1]
    assert (line["node"], line["reason"], line["side"]) == ("rank0", "expired", "frontend")


def audited(folder: RegistryFolder) -> list[dict[str, Any]]:
    path = folder.path / "audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_log_says_who_was_refused_and_why_and_nothing_of_it_passes(
    started: Started, folder: RegistryFolder, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong server's key, an unknown key, an expired one and a revoked one."""
    caplog.set_level(logging.INFO, "zproxy")

    def logged(kind: str) -> list[Mapping[str, Any]]:
        entries = [record.msg for record in caplog.records if isinstance(record.msg, Entry)]
        return [entry.fields for entry in entries if entry.event == kind]

    misled, revoked, unknown = folder.enter("misled"), folder.enter("revoked"), new_pair()
    expired = folder.enter("expired", "node", "not_after = 2020-01-01")
    proxy = started()
    (frontend,) = proxy.frontend
    folder.dial(peers, zmq.DEALER, frontend, revoked)
    wait_until(lambda: logged("connected"), "it is in")
    folder.leave("revoked")
    proxy.reload()
    (closed,) = wait_until(lambda: logged("disconnected"), "its end")
    assert (closed["name"], closed["reason"]) == ("revoked", "revoked")
    wait_until(lambda: [line["address"] for line in audited(folder) if line["event"] == "closed"], "audited")
    other_server = z85.encode(new_pair().public)
    for pair, options in ((unknown, {}), (expired, {}), (misled, {"curve_serverkey": other_server})):
        folder.dial(peers, zmq.DEALER, frontend, pair, **options).send(b"for nobody")
    whom = {
        ("unknown_key", None, fingerprint(revoked.public)),
        ("unknown_key", None, fingerprint(unknown.public)),
        ("expired", "expired", fingerprint(expired.public)),
        ("forged", None, None),  # its key is in what we cannot open: its address is told
    }

    def refused() -> set[tuple[object, object, object]]:
        return {(line["reason"], line.get("name"), line.get("fingerprint")) for line in logged("refused")}

    wait_until(lambda: refused() == whom, "a line of each")
    assert all(str(line["peer"]).startswith("127.0.0.1:") for line in logged("refused"))
    assert proxy.stats()["requests_in"] == 0


def test_a_master_at_the_frontend_gets_nothing(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("m1", "master")
    proxy = started()
    with pytest.raises(RequestTimeout):
        node(opened, proxy, folder, pair, "m1").request("echo", timeout=0.5)
    wait_for(proxy, "refused_wrong_role")


def test_a_proxy_with_another_key_is_not_spoken_to(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("rank0")
    proxy = started()
    asking = opened.enter_context(zproxy.Node("rank0", proxy.frontend, key=pair, server_key=new_pair().public))
    with pytest.raises(RequestTimeout):
        asking.request("echo", timeout=0.5)
    wait_for(proxy, "refused_forged")
    wait_until(lambda: any(line.get("reason") == "forged" for line in audited(folder)), "audited")


def test_a_revoked_key_ends_its_connection_at_once(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("rank0")
    proxy = started()
    serve(opened, proxy, folder)
    asking = node(opened, proxy, folder, pair, "rank0")
    assert asking.request("echo", 1).body == 1
    folder.leave("rank0")
    assert proxy.reload().revoked == ["rank0"]
    wait_for(proxy, "closed_revoked")
    with pytest.raises(RequestTimeout):
        asking.request("echo", 2, timeout=0.5)


def test_two_keys_are_good_while_one_is_rotated(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    old, fresh = new_pair(), new_pair()
    folder.enter("rank0", "node", "", old, fresh)
    proxy = started()
    serve(opened, proxy, folder)
    with zproxy.Node("rank0", proxy.frontend, key=old, server_key=folder.server.public) as before:
        assert before.request("echo", 1).body == 1
    folder.enter("rank0", "node", "", fresh)
    proxy.reload()
    assert node(opened, proxy, folder, fresh, "rank0").request("echo", 2).body == 2


def test_narrowed_rules_hold_for_who_is_there_already(
    started: Started, folder: RegistryFolder, opened: ExitStack
) -> None:
    pair = folder.enter("rank0")
    proxy = started()
    serve(opened, proxy, folder)
    asking = node(opened, proxy, folder, pair, "rank0")
    assert asking.request("echo", 1).body == 1
    folder.regroup('[groups.nodes]\nallow = ["progress"]\n[groups.masters]\nserve = ["*"]\n')
    proxy.reload()
    with pytest.raises(Denied):
        asking.request("echo", 2)
    assert proxy.stats()["closed_revoked"] == 0


def test_a_mistake_at_a_reload_leaves_the_old_rules(
    started: Started, folder: RegistryFolder, opened: ExitStack
) -> None:
    pair = folder.enter("rank0")
    proxy = started()
    serve(opened, proxy, folder)
    folder.regroup("[groups.nodes]\nallow = 1\n")
    with pytest.raises(SettingError, match="groups.nodes.allow: it is no list"):
        proxy.reload()
    assert proxy.generation == 2
    assert node(opened, proxy, folder, pair, "rank0").request("echo", 1).body == 1


def test_plain_sockets_need_the_service_raw(started: Started, folder: RegistryFolder, peers: Peers) -> None:
    allowed, master = folder.enter("rank0"), folder.enter("m1", "master")
    denied = folder.enter("rank1", "node", 'groups = []\nallow = ["progress"]')
    proxy = started()
    (frontend,), (backend,) = proxy.frontend, proxy.backend
    worker = folder.dial(peers, zmq.REP, backend, master)
    client = folder.dial(peers, zmq.REQ, frontend, allowed)
    client.send(b"question")
    assert worker.recv() == b"question"
    worker.send(b"answer")
    assert client.recv() == b"answer"
    folder.dial(peers, zmq.REQ, frontend, denied).send(b"question")
    wait_for(proxy, "refused_denied")
    assert proxy.stats()["requests_in"] == 1


def test_workers_that_bind_are_known_by_their_key(started: Started, folder: RegistryFolder, peers: Peers) -> None:
    node_pair, pair = folder.enter("rank0"), folder.enter("m1", "master")
    worker = peers.bind(zmq.REP, LOOPBACK, curve_server=True, curve_secretkey=z85.encode(pair.secret))
    endpoint = worker.last_endpoint.decode()
    proxy = started(backend=None, backend_connect=f"{endpoint}?server=m1")
    client = folder.dial(peers, zmq.REQ, proxy.frontend[0], node_pair)
    client.send(b"question")
    assert worker.recv() == b"question"
    worker.send(b"answer")
    assert client.recv() == b"answer"


@pytest.mark.parametrize("server", ["", "?server=nobody"])
def test_whom_to_connect_to_has_to_be_known(folder: RegistryFolder, server: str) -> None:
    with pytest.raises(SettingError, match=r"\?server=NAME"):
        zproxy.Proxy(LOOPBACK, backend_connect=f"tcp://127.0.0.1:9{server}", registry=folder.path)
    with pytest.raises(SettingError, match="give --registry DIR"):
        zproxy.Proxy(LOOPBACK, backend_connect="tcp://127.0.0.1:9?server=m1")
    with pytest.raises(EndpointError, match="write a name of the registry"):
        zproxy.Proxy(LOOPBACK, backend_connect="tcp://127.0.0.1:9?server=a b")


def test_a_neighbour_of_our_user_may_name_itself(
    started: Started, folder: RegistryFolder, opened: ExitStack, tmp_path: Path
) -> None:
    proxy = started(backend=f"ipc://{tmp_path}/b")
    pair = folder.enter("rank0")
    master = zproxy.Master(proxy.backend, "whoever")
    master.service("echo")(lambda request: request.body)
    master.start()
    opened.callback(master.stop, 0)
    proxy.reload()
    assert node(opened, proxy, folder, pair, "rank0").request("echo", os.getpid()).body == os.getpid()


def test_without_a_registry_only_this_host_is_served() -> None:
    with pytest.raises(InsecureBind, match="zproxy keys init"):
        zproxy.Proxy("tcp://0.0.0.0:0", LOOPBACK)


def test_with_a_registry_the_network_is_served(started: Started) -> None:
    assert started(frontend="tcp://0.0.0.0:0").frontend[0].startswith("tcp://0.0.0.0:")


def test_a_registry_and_insecure_exclude_each_other(folder: RegistryFolder) -> None:
    with pytest.raises(SettingError, match="leave one out"):
        zproxy.Proxy(LOOPBACK, LOOPBACK, registry=folder.path, insecure=True)


def test_a_servers_secret_that_others_can_read_is_refused(folder: RegistryFolder) -> None:
    (folder.path / "server.key_secret").chmod(0o644)
    with pytest.raises(SettingError, match="chmod 600"):
        zproxy.Proxy(LOOPBACK, LOOPBACK, registry=folder.path)


def test_a_rate_is_held_and_the_node_is_told_how_long_to_wait(
    started: Started, folder: RegistryFolder, opened: ExitStack
) -> None:
    folder.regroup('[groups.nodes]\nallow = ["*"]\nrate = 2\n[groups.masters]\nserve = ["*"]\n')
    pair = folder.enter("rank0")
    proxy = started()
    serve(opened, proxy, folder)
    asking = node(opened, proxy, folder, pair, "rank0")
    replies = [future.result().body for future in [asking.submit("echo", number) for number in range(5)]]
    assert replies == [0, 1, 2, 3, 4], "BUSY is waited for, and asked again"
    assert proxy.stats()["managed_refused_rate"] >= 1


LIMITED = '[groups.nodes]\nallow = ["*"]\n{}\n[groups.masters]\nserve = ["*"]\n'


class Limited(NamedTuple):
    """A proxy whose nodes have a limit, and plain DEALERs of rank0, who asks, and of m1, who is asked."""

    proxy: zproxy.Proxy
    pair: KeyPair
    client: zmq.Socket[bytes]
    worker: zmq.Socket[bytes]


@pytest.fixture
def limited(started: Started, folder: RegistryFolder, peers: Peers) -> Callable[[str], Limited]:
    """All of it, with this line in the nodes' group."""

    def start(limit: str) -> Limited:
        folder.regroup(LIMITED.format(limit))
        pair, master = folder.enter("rank0"), folder.enter("m1", "master")
        proxy = started()
        worker = folder.dial(peers, zmq.DEALER, proxy.backend[0], master)
        return Limited(proxy, pair, folder.dial(peers, zmq.DEALER, proxy.frontend[0], pair), worker)

    return start


def test_a_plain_client_over_its_rate_is_not_read_until_it_may_send_on(
    limited: Callable[[str], Limited],
) -> None:
    proxy, _, client, worker = limited("rate = 4")
    began = time.monotonic()
    for number in range(7):
        client.send(b"%d" % number)
    assert [worker.recv_multipart()[1] for _ in range(7)] == [b"%d" % number for number in range(7)], "nothing is lost"
    wait_for(proxy, "rate_pauses")
    client.send(b"after")
    assert worker.recv_multipart()[1] == b"after"
    assert time.monotonic() - began >= 0.95, "four at once, four more in the second after them"


def test_another_connection_does_not_get_round_a_rate(
    limited: Callable[[str], Limited], folder: RegistryFolder, peers: Peers
) -> None:
    proxy, pair, client, worker = limited("rate_bytes = 1000")
    client.send(bytes(1 << 20))
    worker.recv_multipart()
    wait_for(proxy, "rate_pauses")
    client.close()
    again = folder.dial(peers, zmq.DEALER, proxy.frontend[0], pair)
    again.send(b"again")
    wait_for(proxy, "rate_pauses", 2)
    assert proxy.stats()["requests_in"] == 1
    folder.regroup(LIMITED.format(""))
    proxy.reload()
    assert worker.recv_multipart()[1] == b"again", "nobody waits for a rate that is no more"


def test_a_plain_message_may_be_as_large_as_the_rules_say(
    limited: Callable[[str], Limited], folder: RegistryFolder
) -> None:
    proxy, _, client, worker = limited('max_message = "1KiB"')
    client.send(bytes(1000))
    assert len(worker.recv_multipart()[1]) == 1000
    folder.regroup(LIMITED.format('max_message = "2KiB"'))
    proxy.reload()
    proxy.stats()  # has all that was commanded before
    client.send(bytes(2000))
    assert len(worker.recv_multipart()[1]) == 2000, "who is in already is asked no less than others"
    client.send(bytes(3000))
    wait_for(proxy, "closed_too_large")
    assert proxy.stats()["requests_in"] == 2


@pytest.mark.parametrize(
    ("name", "service", "said"),
    [
        ("m2", "echo", 'the key belongs to worker "m1", not to "m2"'),
        ("m1", "secrets", 'worker "m1" may not serve "secrets"'),
    ],
)
def test_a_master_that_may_not_hears_so_and_ends(
    started: Started, folder: RegistryFolder, name: str, service: str, said: str
) -> None:
    pair = folder.enter("m1", "master", 'groups = []\nserve = ["echo"]')
    proxy = started()
    master = zproxy.Master(proxy.backend, name, key=pair, server_key=folder.server.public)
    master.service(service)(lambda request: request.body)
    with pytest.raises(Denied) as caught:
        master.run()
    assert "无权访问" in str(caught.value)
    assert said in str(caught.value)


def test_keys_are_found_by_name_where_the_endpoint_asks_for_them(
    started: Started, folder: RegistryFolder, opened: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "zproxy" / "keys"
    keys.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write_secret(keys / "rank0.key_secret", folder.enter("rank0"))
    write_public(keys / "server.key", folder.server.public)
    proxy = started()
    serve(opened, proxy, folder)
    curve = proxy.frontend[0].replace("tcp://", "curve+tcp://")
    assert opened.enter_context(zproxy.Node("rank0", curve)).request("echo", 1).body == 1
    with pytest.raises(SettingError, match="rank1.key_secret"):
        zproxy.Node("rank1", curve)
    with pytest.raises(SettingError, match="server.key"):
        (keys / "server.key").unlink()
        zproxy.Node("rank0", curve)


@pytest.mark.parametrize("key", [5, b"x", "no/such/file"])
def test_what_is_no_key_is_refused_before_anything_is_sent(folder: RegistryFolder, key: Any) -> None:
    with pytest.raises(SettingError) as caught:
        zproxy.Node("rank0", LOOPBACK.replace(":0", ":9"), key=key, server_key=folder.server.public)
    assert "key" in str(caught.value)


def test_an_async_node_has_keys_too(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("rank0")
    proxy = started()
    serve(opened, proxy, folder)

    async def ask() -> Any:
        async with zproxy.AsyncNode("rank0", proxy.frontend, key=pair, server_key=folder.server.public) as asking:
            return (await asking.request("echo", 7)).body

    assert asyncio.run(ask()) == 7


def test_large_tensors_pass_encrypted(started: Started, folder: RegistryFolder, opened: ExitStack) -> None:
    pair = folder.enter("rank0")
    proxy = started()
    master_pair = folder.enter("m1", "master")
    proxy.reload()
    master = zproxy.Master(proxy.backend, "m1", key=master_pair, server_key=folder.server.public)
    master.service("double")(lambda request: (None, {"w": request.tensors["w"] * 2}))
    master.start()
    opened.callback(master.stop, 0)
    asking = node(opened, proxy, folder, pair, "rank0")
    for count in (1, 1000, 100_000, 3_000_000):
        array = np.arange(count, dtype=np.float64)
        reply = asking.request("double", tensors={"w": array})
        assert np.array_equal(reply.tensors["w"], array * 2)
