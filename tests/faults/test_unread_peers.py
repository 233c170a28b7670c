"""A peer that we leave unread is not judged by its silence, nor does its silence excuse a stall."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import zmq
from support.peers import EchoWorkers, Peers
from support.processes import halted
from support.proxies import HostedProxy, ProxyProcess
from support.relays import BareRelay
from support.waiting import wait_until, wait_while_steady
from support.zmtp_peer import ZmtpPeer, command, frame, greeting, message, ping, ready

from zproxy.procfs import cpu_share

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]
Start = Callable[..., ProxyProcess]

KIB, MIB = 1 << 10, 1 << 20


def push_until_stuck(peer: ZmtpPeer, block: bytes) -> int:
    taken = 0

    def push() -> int:
        nonlocal taken
        while sent := peer.send_what_fits(block[taken % len(block) :]):
            taken += sent
        return taken

    return wait_while_steady(push)


def fill_budget(proxy: HostedProxy, peers: Peers, routing_id: bytes) -> Any:
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=routing_id, sndhwm=0)
    for _ in range(800):
        client.send(bytes(10_000))
    proxy.wait_for("paused_connections")
    wait_while_steady(lambda: proxy.stats()["requests_in"])
    return client


def test_a_client_we_do_not_read_is_not_judged_by_its_silence(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB, heartbeat=0.2)
    client = fill_budget(proxy, peers, b"alive")
    for _ in range(3):
        silent = raw_peer(proxy.frontend)
        silent.handshake("DEALER")
        silent.read_until_closed()
    stats = proxy.wait_for("closed_heartbeat", 3)
    assert stats["closed_heartbeat"] == 3, "a client over its budget was taken for dead"
    del client


def test_what_peers_said_while_the_relay_stood_still_is_heard(hosted: Host, raw_peer: Connect) -> None:
    """More of them than one look at the poller tells of."""
    proxy = hosted(heartbeat=1.5)
    clients = [raw_peer(proxy.frontend) for _ in range(300)]
    for client in clients:
        client.handshake("DEALER")
    for client in clients:
        assert [client.read_command()[:5] for _ in range(2)] == [b"\x04PING"] * 2
    with halted(proxy.pid):
        for client in clients:
            client.send(command(b"PONG"))
        time.sleep(1.5)  # the third beat itself, not luck
    stats = proxy.wait_for("pongs_in", len(clients))
    assert stats["closed_heartbeat"] == 0


def test_a_holder_we_do_not_read_keeps_its_routing_id(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(connection_memory=MIB)
    client = fill_budget(proxy, peers, b"node-1")
    spoof = raw_peer(proxy.frontend)
    spoof.send(greeting() + ready("DEALER", {"Identity": b"node-1"}))
    wait_until(lambda: proxy.stats()["refused_name_in_use"] + proxy.stats()["closed_fenced"], "judged")
    assert proxy.stats()["closed_fenced"] == 0
    del client


def test_an_heir_is_not_fenced_by_the_next_in_line_without_being_asked(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    silent = raw_peer(proxy.frontend)
    silent.handshake("DEALER", b"node-1")
    proxy.wait_for("frontend_connections")
    heir, next_in_line = raw_peer(proxy.frontend), raw_peer(proxy.frontend)
    for waiting, peer in enumerate((heir, next_in_line)):
        peer.send(greeting() + ready("DEALER", {"Identity": b"node-1"}))
        peer.read_greeting()
        proxy.wait_for("handshaking", waiting + 1)
    with EchoWorkers(proxy.backend):
        assert heir.read_command().startswith(b"\x05READY")
        for number in range(20):
            heir.send_message(b"%d" % number)
            assert heir.read_message() == [b"%d" % number]
    assert proxy.stats()["closed_fenced"] == 1


def test_pings_are_no_progress_of_an_unfinished_message(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(stall=0.3)
    staller = raw_peer(proxy.frontend)
    staller.handshake("DEALER")
    staller.send(frame(bytes(10_000), more=True))

    def closed() -> int:
        with contextlib.suppress(OSError):  # it may just be closing
            staller.send(ping())
        return proxy.stats()["closed_stalled"]

    wait_until(closed, "staller closed")


def test_no_stall_time_at_all_hangs_nobody(raw_peer: Connect) -> None:
    with BareRelay(stall_ms=0) as relay:
        client = raw_peer(relay.frontend)
        client.handshake("DEALER")
        push_until_stuck(client, message(bytes(10_000)))
        assert relay.stats()["paused_connections"] <= 1


def test_a_client_that_waits_for_its_reply_in_a_drain_is_not_judged(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(heartbeat=0.2)
    worker = raw_peer(proxy.backend)
    worker.handshake("DEALER")
    stuck = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    stuck.handshake("DEALER", b"stuck")
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"waits")
    client.send(b"hello")
    worker.read_message()
    for _ in range(100):
        worker.send_message(b"stuck", bytes(100_000))
    proxy.wait_for("replies_in", 100)
    proxy.begin_stop(drain_seconds=20)
    for _ in range(12):
        worker.read_command()  # its PINGs measure the time
        worker.send(command(b"PONG"))
    assert proxy.stats()["closed_heartbeat"] == 0
    worker.send_message(b"waits", b"there")
    assert client.recv() == b"there"
    stuck.close()


def test_a_drain_beside_an_unreachable_endpoint_costs_no_cpu(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(backend_connect=["tcp://127.0.0.1:1"])
    worker = peers.connect(zmq.DEALER, proxy.backend)
    slow = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    slow.handshake("DEALER", b"slow")
    proxy.wait_for("frontend_connections")
    for _ in range(300):
        worker.send_multipart([b"slow", bytes(100_000)])
    proxy.wait_for("replies_in", 300)
    proxy.begin_stop(drain_seconds=20)
    share = cpu_share(proxy.pid, 6.0)  # longer than any backoff
    slow.close()
    assert proxy.wait_stopped()
    assert share < 0.2, share
