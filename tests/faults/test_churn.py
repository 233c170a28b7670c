"""Workers and clients that come, crash and go while messages of all sizes pass: whole, at most once."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.waiting import wait_until
from support.zmtp_peer import ConnectionClosed, ZmtpPeer, frame_header

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

CLIENTS = 4
MESSAGES = 250
SIZES = [0, 1, 255, 256, 4000, 8191, 8192, 65_535, 65_536, 70_000, 300_000]
DIGEST_BYTES = 8


def sealed(owner: int, number: int, size: int) -> list[bytes]:
    """A message that shows whether it is whole: who, which, a filling, and a digest over all."""
    head = b"%d/%d" % (owner, number)
    filling = random.Random(number).randbytes(size)
    return [head, b"", filling, hashlib.blake2b(head + filling, digest_size=DIGEST_BYTES).digest()]


def is_whole(frames: list[bytes]) -> bool:
    head, empty, filling, digest = frames
    return not empty and digest == hashlib.blake2b(head + filling, digest_size=DIGEST_BYTES).digest()


class Crowd:
    """Raw workers that read a few messages, perhaps begin one of their own, and leave in one of several ways."""

    def __init__(self, proxy: HostedProxy, seed: int) -> None:
        self.seen: list[list[bytes]] = []
        self._proxy = proxy
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            worker = ZmtpPeer.connect(self._proxy.backend, self._random.choice([None, 4096, 30_000]))
            try:
                worker.handshake(self._random.choice(["DEALER", "REP", "ROUTER"]))
                self._work(worker)
            except (ConnectionClosed, ConnectionError):
                pass
            finally:
                self._random.choice([worker.close, worker.reset])()

    def _work(self, worker: ZmtpPeer) -> None:
        for _ in range(self._random.randrange(30)):
            if self._stopping.is_set():
                return
            try:
                self.seen.append(worker.read_message(0.05))
            except AssertionError:  # nothing to do just now
                return
        if self._random.random() < 0.3:
            worker.send(frame_header(100_000) + bytes(self._random.randrange(90_000)))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_request_is_delivered_twice_or_torn_while_workers_crash(hosted: Host, peers: Peers, seed: int) -> None:
    proxy = hosted(connection_memory=1 << 20)
    clients = [peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"%d" % owner) for owner in range(CLIENTS)]
    sizes = random.Random(seed)
    crowds = [Crowd(proxy, 10 * seed + index) for index in range(3)]
    for number in range(MESSAGES):
        for owner, client in enumerate(clients):
            client.send_multipart(sealed(owner, number, sizes.choice(SIZES)))
        if number % 50 == 0:
            proxy.assert_books_balance()
    for crowd in crowds:
        crowd.stop()
    with EchoWorkers(proxy.backend) as last:
        for client in clients:
            client.send_multipart(sealed(99, 0, 10))
        for client in clients:
            while client.recv_multipart()[0] != b"99/0":
                pass
    stats = proxy.stats()
    assert stats["requests_in"] == CLIENTS * (MESSAGES + 1)
    for crowd in crowds:
        assert all(is_whole(frames) and frames[0].startswith(owner) for owner, *frames in crowd.seen)
    assert all(is_whole(frames) for _, *frames in last.seen)
    everything = [*last.seen, *(message for crowd in crowds for message in crowd.seen)]
    deliveries = [(owner, head) for owner, head, *_ in everything]
    assert len(set(deliveries)) == len(deliveries), "a request was delivered twice"
    assert len(deliveries) + stats["requests_lost"] <= stats["requests_in"]
    wait_until(lambda: proxy.stats()["memory_bytes"] < 1 << 20, "memory given back")


def test_clients_that_crash_in_the_middle_leave_the_others_replies_whole(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted()
    source = random.Random(3)
    stays = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"stays")
    with EchoWorkers(proxy.backend, count=2):
        for number in range(100):
            crashes = raw_peer(proxy.frontend)
            crashes.handshake("DEALER", b"crashes %d" % number)
            for index in range(source.randrange(5)):
                crashes.send_message(*sealed(1, index, source.choice(SIZES)))
            crashes.send(frame_header(70_000) + bytes(source.randrange(60_000)))
            stays.send_multipart(sealed(2, number, source.choice(SIZES)))
            source.choice([crashes.close, crashes.reset])()
            frames = stays.recv_multipart()
            assert is_whole(frames)
            assert frames[0] == b"2/%d" % number
    proxy.wait_for("connections_closed", 100)
