"""A relay at its limits of memory goes on for everybody who can go on, and keeps to them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest
import zmq
from support.peers import Peers
from support.processes import halted
from support.proxies import HostedProxy, ProxyProcess
from support.waiting import wait_until, wait_while_steady
from support.zmtp_peer import ZmtpPeer, frame_header, greeting, message

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


def send_rest(client: ZmtpPeer) -> None:
    with contextlib.suppress(OSError):  # closed with the test
        client.send(bytes(15 * MIB - 10_000))


def test_a_connection_paused_within_a_turn_is_read_again(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(memory=4 * MIB)
    count = 80
    clients, workers = [], []
    for number in range(count):
        clients.append(raw_peer(proxy.frontend))
        clients[-1].handshake("DEALER", b"client %d" % number)
        workers.append(raw_peer(proxy.backend))
        workers[-1].handshake("DEALER")
    late = raw_peer(proxy.frontend)
    late.handshake("DEALER", b"late")
    proxy.wait_for("backend_connections", count)
    with halted(proxy.pid):
        for number, worker in enumerate(workers):
            worker.send_message(b"client %d" % number, bytes(50_000))
        late.send_message(b"hello")
    proxy.wait_for("replies_in", count)
    stats = proxy.wait_for("requests_in")
    assert stats["paused_connections"] == 0


def test_all_together_stay_within_memory_though_each_message_is_whole(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted(memory=32 * MIB, max_message=16 * MIB)
    senders = []
    for _ in range(8):
        client = raw_peer(proxy.frontend)
        client.handshake("DEALER")
        client.send(frame_header(15 * MIB) + bytes(10_000))
        senders.append(threading.Thread(target=send_rest, args=(client,), daemon=True))
    for sender in senders:
        sender.start()
    peak = 0

    def grown() -> int:
        nonlocal peak
        peak = max(peak, proxy.stats()["memory_bytes"])
        return peak

    wait_while_steady(grown, 1.0)
    assert peak <= 32 * MIB + 17 * MIB, f"{peak / MIB:.0f} MiB of 32"


def test_who_has_not_shaken_hands_takes_no_memory(hosted: Host, raw_peer: Connect) -> None:
    """No budget binds it: nothing is read behind the header of a message that has no place there."""
    proxy = hosted(memory=16 * MIB)
    for _ in range(4):
        stranger = raw_peer(proxy.frontend)
        with contextlib.suppress(OSError):  # it is closed on its way
            stranger.send(greeting() + frame_header(900 * MIB) + bytes(60 * MIB))
    stats = proxy.wait_for("refused_malformed", 4)
    assert stats["memory_bytes"] < MIB


def test_slow_readers_delay_nobody_else(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted(memory=64 * MIB, connection_memory=8 * MIB)
    worker = peers.connect(zmq.DEALER, proxy.backend, sndhwm=0)
    for number in range(16):
        slow = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
        slow.handshake("DEALER", b"slow %d" % number)
    proxy.wait_for("frontend_connections", 16)
    for _ in range(120):
        for number in range(16):
            worker.send_multipart([b"slow %d" % number, bytes(100 * KIB)])
    proxy.wait_for("replies_in", 120 * 16)
    other = peers.connect(zmq.DEALER, proxy.frontend)
    other.send(b"hello")
    routing_id, body = worker.recv_multipart()
    worker.send_multipart([routing_id, body])
    assert other.recv() == b"hello"


@pytest.mark.soak  # they are looked for every 10 s
def test_clients_that_fill_all_memory_and_read_nothing_are_closed(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(memory=64 * MIB, max_message=16 * MIB, connection_memory=8 * MIB, stall=1)
    worker = peers.connect(zmq.DEALER, proxy.backend, sndhwm=0, rcvtimeo=60_000)
    other = peers.connect(zmq.DEALER, proxy.frontend, rcvtimeo=60_000)
    for number in range(8):
        raw_peer(proxy.frontend, receive_buffer_bytes=4096).handshake("DEALER", b"slow %d" % number)
    proxy.wait_for("frontend_connections", 9)
    for number in range(8):
        worker.send_multipart([b"slow %d" % number, bytes(12 * MIB)])
    wait_while_steady(lambda: proxy.stats()["memory_bytes"], 1.0)
    other.send(b"hello")
    worker.send_multipart(worker.recv_multipart())
    assert other.recv() == b"hello"
    assert proxy.stats()["closed_stalled"] > 0


def test_a_worker_that_answers_before_it_reads_on_works_off_a_full_relay(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted(memory=32 * MIB, connection_memory=8 * MIB)
    clients = [peers.connect(zmq.DEALER, proxy.frontend, sndhwm=0, rcvhwm=0, routing_id=b"%d" % n) for n in range(6)]
    for _ in range(15):
        for client in clients:
            client.send(bytes(MIB))
    wait_while_steady(lambda: proxy.stats()["requests_in"], 0.5)
    before = proxy.stats()
    worker = raw_peer(proxy.backend, receive_buffer_bytes=65536)
    worker.handshake("DEALER")
    done = 0
    try:
        while done < 6 * 15:
            worker.send_message(*worker.read_message())
            done += 1
    except (TimeoutError, AssertionError) as error:
        raise AssertionError(f"stuck after {done} of 90: {before} {proxy.stats()}") from error


def test_large_replies_that_come_together_reach_a_client_that_reads(start_proxy: Start, peers: Peers) -> None:
    proxy = start_proxy()
    workers = [peers.connect(zmq.DEALER, proxy.backend) for _ in range(3)]
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node")
    unknown = set(workers)
    while unknown:
        client.send(b"x")
        wait_until(lambda: any(w.poll(0) for w in workers), "taken")
        for w in workers:
            while w.poll(0):
                w.recv_multipart()
                unknown.discard(w)
    for worker in workers:
        worker.send_multipart([b"node", bytes(40 * MIB)])
    assert [len(client.recv()) for _ in workers] == [40 * MIB] * 3


def test_what_waits_is_charged_for_the_memory_it_holds(hosted: Host, raw_peer: Connect) -> None:
    budget = 4 * MIB
    proxy = hosted(connection_memory=budget)
    client = raw_peer(proxy.frontend)
    client.handshake("DEALER")
    spoken = message(bytes(4200))
    for _ in range(budget // len(spoken) + 10):
        if proxy.stats()["paused_connections"]:
            break
        client.send(spoken[:2000])
        client.wait_taken()
        wait_until(lambda: proxy.stats()["memory_bytes"] >= 0, "the first half is read")
        client.send(spoken[2000:])
    stats = proxy.stats()
    assert stats["memory_bytes"] <= 2 * budget, f"{stats['memory_bytes'] / budget:.0f} times the budget"


def test_a_flood_delays_another_client_no_more_than_through_zmq_proxy(start_proxy: Start, peers: Peers) -> None:
    proxy = start_proxy()
    worker = peers.connect(zmq.DEALER, proxy.backend, rcvhwm=1)
    flooder = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"flooder")

    def flood() -> int:
        while flooder.poll(0, zmq.POLLOUT) and sent[0] < 80_000:
            flooder.send(bytes(1000))
            sent[0] += 1
        return sent[0]

    sent = [0]
    wait_while_steady(flood, 0.5, 20)
    victim = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"victim")
    victim.send(b"one")
    before = 0
    while worker.recv_multipart()[0] != b"victim":
        before += 1
    assert before < 20_000
