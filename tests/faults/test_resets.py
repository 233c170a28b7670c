"""Row 10: a storm of resets between the peers and the proxy; and what else a bad network does to a stream."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.tcp_fault import FaultProxy
from support.waiting import wait_until

from zproxy.procfs import descriptor_count

Host = Callable[..., HostedProxy]
Fault = Callable[[str], FaultProxy]

RESEND_MS = 150
STORM_SECONDS = 2.0
RESET_EVERY_SECONDS = 0.2


def ask_until_answered(client: Any, body: bytes) -> list[bytes]:
    """Send and resend until the answer to this very body is there; all answers that came meanwhile."""
    answers = []
    for _ in range(100):
        client.send(body)
        while client.poll(RESEND_MS):
            answers.append(client.recv())
            if answers[-1] == body:
                return answers
    raise AssertionError(f"no answer to {body!r}")


def test_a_storm_of_resets_loses_nothing_that_is_resent(hosted: Host, peers: Peers, faulty: Fault) -> None:
    proxy = hosted()
    to_frontend, to_backend = faulty(proxy.frontend), faulty(proxy.backend)
    descriptors = descriptor_count(proxy.pid)
    answers: list[bytes] = []
    client = peers.connect(zmq.DEALER, to_frontend.endpoint, routing_id=b"shaken", reconnect_ivl=10)
    number, resets, end = 0, 0, time.monotonic() + STORM_SECONDS
    next_reset = time.monotonic()
    with EchoWorkers(to_backend.endpoint, count=2), EchoWorkers(proxy.backend) as safe:
        while (is_storm := time.monotonic() < end or resets < 3) or number < resets or not safe.seen:
            if is_storm and time.monotonic() > next_reset:
                resets += to_frontend.reset() + to_backend.reset()
                next_reset += RESET_EVERY_SECONDS
            answers += ask_until_answered(client, b"%d" % number)
            number += 1
    client.close()
    wait_until(lambda: descriptor_count(proxy.pid) == descriptors, "no descriptor is left of any connection")
    stats = proxy.stats()
    assert {int(answer) for answer in answers} == set(range(number)), "an answer is lost, or nobody asked for it"
    assert (stats["memory_bytes"], stats["waiting_requests"]) == (0, 0)
    assert stats["closed_malformed"] + stats["refused_malformed"] == 0
    assert all(routing_id == b"shaken" and int(body) < number for routing_id, body in safe.seen)


def test_a_stream_cut_into_small_slices_is_put_together_again(hosted: Host, peers: Peers, faulty: Fault) -> None:
    proxy = hosted()
    to_frontend, to_backend = faulty(proxy.frontend), faulty(proxy.backend)
    worker = peers.connect(zmq.DEALER, to_backend.endpoint)
    client = peers.connect(zmq.DEALER, to_frontend.endpoint)
    for size_bytes in (1, 3, 7, 64, 1000):
        to_frontend.slice(size_bytes)
        to_backend.slice(size_bytes)
        frames = [b"", random.Random(size_bytes).randbytes(300 * size_bytes), b"", b"end"]
        client.send_multipart(frames)
        routing_id, *seen = worker.recv_multipart()
        assert seen == frames
        worker.send_multipart([routing_id, *reversed(frames)])
        assert client.recv_multipart() == frames[::-1]


def test_a_stalled_network_delays_only_those_behind_it(hosted: Host, peers: Peers, faulty: Fault) -> None:
    proxy = hosted()
    wire = faulty(proxy.frontend)
    stalled = peers.connect(zmq.DEALER, wire.endpoint, routing_id=b"stalled")
    other = peers.connect(zmq.DEALER, proxy.frontend)
    with EchoWorkers(proxy.backend):
        stalled.send(b"first")
        assert stalled.recv() == b"first"
        wire.hold()
        stalled.send(bytes(1 << 20))
        for number in range(100):
            ask_until_answered(other, b"%d" % number)
        assert not stalled.poll(0)
        wire.release()
        assert len(stalled.recv()) == 1 << 20
