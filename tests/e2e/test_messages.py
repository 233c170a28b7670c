"""Messages of every shape pass unchanged and whole, through zmq.proxy and through zproxy."""

from __future__ import annotations

import hashlib
import random

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import Lane

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

FRAME_SIZES = [0, 1, 254, 255, 256, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB, 16 * MIB]


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not look like their neighbours."""
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", FRAME_SIZES)
def test_a_frame_of_any_size_passes_unchanged(proxy: Lane, peers: Peers, size: int) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    body = noise(size)
    client.send(body)
    routing_id, seen = worker.recv_multipart()
    assert seen == body
    worker.send_multipart([routing_id, seen])
    assert client.recv() == body


@pytest.mark.soak
def test_a_frame_of_one_gib_passes_unchanged(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend, rcvtimeo=120_000)
    client = peers.connect(zmq.DEALER, proxy.frontend, sndtimeo=120_000)
    body = noise(MIB) * (GIB // MIB - 1) + noise(MIB, seed=2)
    client.send(body, copy=False)
    _, seen = worker.recv_multipart(copy=False)
    assert len(seen.buffer) == GIB
    assert hashlib.blake2b(seen.buffer).digest() == hashlib.blake2b(body).digest()


@pytest.mark.parametrize("count", [1, 2, 3, 16, 255, 1000])
def test_a_message_of_any_number_of_frames_passes_unchanged(proxy: Lane, peers: Peers, count: int) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    frames = [noise(index % 300, seed=index) for index in range(count)]
    client.send_multipart(frames)
    routing_id, *seen = worker.recv_multipart()
    assert seen == frames
    worker.send_multipart([routing_id, *reversed(frames)])
    assert client.recv_multipart() == frames[::-1]


@pytest.mark.parametrize("frames", [[b""], [b"", b""], [b"", b"x", b""], [b"x", b"", b"", b"y"], [b""] * 100])
def test_empty_frames_keep_their_places(proxy: Lane, peers: Peers, frames: list[bytes]) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    client.send_multipart(frames)
    routing_id, *seen = worker.recv_multipart()
    assert seen == frames
    worker.send_multipart([routing_id, *seen])
    assert client.recv_multipart() == frames


def test_messages_of_mixed_sizes_arrive_whole_and_in_order(proxy: Lane, peers: Peers) -> None:
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    sizes = [size for _ in range(20) for size in (0, 5, 255, 256, 9000, 70_000, 300_000)]
    messages = [[b"%d" % index, noise(size, seed=size), b""] for index, size in enumerate(sizes)]
    for sent in messages:
        client.send_multipart(sent)
    for sent in messages:
        routing_id, *seen = worker.recv_multipart()
        assert seen == sent
        worker.send_multipart([routing_id, *seen])
    for sent in messages:
        assert client.recv_multipart() == sent


def test_messages_of_many_clients_are_never_mixed(proxy: Lane, peers: Peers) -> None:
    clients = [peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"client-%d" % n) for n in range(20)]
    sent = [
        [[b"%d/%d" % (owner, number)] * (1 + (owner + number) % 7) for number in range(50)]
        for owner in range(len(clients))
    ]
    with EchoWorkers(proxy.backend, count=2) as workers:
        for number in range(50):
            for owner, client in enumerate(clients):
                client.send_multipart(sent[owner][number])
        answers = [sorted(client.recv_multipart() for _ in range(50)) for client in clients]
    assert answers == [sorted(messages) for messages in sent]
    for routing_id, *frames in workers.seen:
        assert routing_id == b"client-%d" % int(frames[0].split(b"/")[0])
        assert len(set(frames)) == 1
