"""Plain REP workers: each request goes to the one with the fewest to answer; other plain workers take turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

SIZES = [0, 300, 5000, 100_000, 1_000_000]  # copied, in blocks of its own, in several of them


def joined(proxy: HostedProxy, raw_peer: Connect, *kinds: str) -> list[ZmtpPeer]:
    """Workers of these socket types, who join in this order."""
    workers = []
    for kind in kinds:
        count = proxy.stats()["backend_connections"]
        workers.append(raw_peer(proxy.backend))
        workers[-1].handshake(kind)
        proxy.wait_for("backend_connections", count + 1)
    return workers


def asked(client: ZmtpPeer, worker: ZmtpPeer, *frames: bytes) -> list[bytes]:
    """The message as this worker has it, which is the one that is to have it."""
    client.send_message(*frames)
    routing_id, *rest = worker.read_message()
    assert rest == list(frames)
    return [routing_id, *rest]


@pytest.fixture
def client(proxy_of_reps: HostedProxy, raw_peer: Connect) -> ZmtpPeer:
    opened = raw_peer(proxy_of_reps.frontend)
    opened.handshake("DEALER", b"node1")
    return opened


@pytest.fixture
def proxy_of_reps(hosted: Host) -> HostedProxy:
    return hosted()


@pytest.mark.parametrize("size", SIZES)
def test_whoever_has_answered_gets_the_next_request(
    proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect, size: int
) -> None:
    slow, fast = joined(proxy_of_reps, raw_peer, "REP", "REP")
    held = asked(client, slow, b"", bytes(size))
    for number in range(5):
        reply = asked(client, fast, b"", bytes(size), b"%d" % number)
        fast.send_message(*reply)
        assert client.read_message() == reply[1:]
    slow.send_message(*held)
    assert client.read_message() == held[1:]
    for worker in (fast, slow):  # equals: whoever has been idle for longer comes first
        asked(client, worker, b"", b"x")


@pytest.mark.parametrize("size", SIZES)
def test_what_has_waited_counts_as_well(
    proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect, size: int
) -> None:
    for number in range(4):
        client.send_message(b"", b"%d" % number, bytes(size))
    proxy_of_reps.wait_for("waiting_requests", 4)
    (first,) = joined(proxy_of_reps, raw_peer, "REP")
    for number in range(4):
        assert first.read_message()[2] == b"%d" % number
    (second,) = joined(proxy_of_reps, raw_peer, "REP")
    for _ in range(4):
        asked(client, second, b"", bytes(size))


def test_what_a_rep_drops_without_an_answer_is_not_counted(
    proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect
) -> None:
    """Without an empty frame in front of more it is no request: a worker would never be free of it."""
    first, second = joined(proxy_of_reps, raw_peer, "REP", "REP")
    for frames in ([b"no delimiter"], [b""], [b"a", b"", b"b"]):
        for worker in (first, second):
            asked(client, worker, *frames)
    held = asked(client, first, b"", b"request")
    for _ in range(3):
        asked(client, second, b"no delimiter")
    second.send_message(*held)  # nobody asked it
    assert client.read_message() == held[1:]
    asked(client, second, b"", b"request")
    asked(client, first, b"", b"another: both have one now, and it has been second for longer")


def test_a_reply_that_is_dropped_is_an_answer(proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect) -> None:
    first, second = joined(proxy_of_reps, raw_peer, "REP", "REP")
    leaver = raw_peer(proxy_of_reps.frontend)
    leaver.handshake("DEALER", b"leaver")
    held = asked(leaver, first, b"", b"a")
    asked(client, second, b"", b"b")
    leaver.close()
    proxy_of_reps.wait_for("connections_closed")
    first.send_message(*held)
    proxy_of_reps.wait_for("dropped_client_gone")
    asked(client, first, b"", b"c")


def test_a_worker_that_comes_anew_has_nothing_to_answer(
    proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect
) -> None:
    first, second = joined(proxy_of_reps, raw_peer, "REP", "REP")
    for worker in (first, second) * 3:
        asked(client, worker, b"", b"x")
    first.close()
    proxy_of_reps.wait_for("connections_closed")
    (back,) = joined(proxy_of_reps, raw_peer, "REP")
    for _ in range(3):
        asked(client, back, b"", b"x")


def test_beside_a_rep_that_hangs_the_others_keep_their_turns(
    proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect
) -> None:
    hangs, answers, dealer = joined(proxy_of_reps, raw_peer, "REP", "REP", "DEALER")
    asked(client, hangs, b"", b"x")
    for turn in [answers, dealer] + [answers, answers, dealer] * 3:
        reply = asked(client, turn, b"", b"x")
        turn.send_message(*reply)
        assert client.read_message() == reply[1:]


def test_dealers_take_turns_whatever_they_answer(
    proxy_of_reps: HostedProxy, client: ZmtpPeer, raw_peer: Connect
) -> None:
    workers = joined(proxy_of_reps, raw_peer, "DEALER", "ROUTER", "DEALER")
    for _ in range(3):
        for worker in workers:
            asked(client, worker, b"", b"x")


def test_a_slow_rep_holds_up_only_its_own_client(proxy_of_reps: HostedProxy, peers: Peers) -> None:
    workers = [peers.connect(zmq.REP, proxy_of_reps.backend) for _ in range(2)]
    proxy_of_reps.wait_for("backend_connections", 2)
    waits, goes_on = (peers.connect(zmq.REQ, proxy_of_reps.frontend) for _ in range(2))
    waits.send(b"long")
    poller = zmq.Poller()
    for worker in workers:
        poller.register(worker, zmq.POLLIN)
    [(slow, _)] = poller.poll(10_000)
    [fast] = [worker for worker in workers if worker is not slow]
    assert slow.recv() == b"long"
    for number in range(50):
        goes_on.send(b"%d" % number)
        fast.send(fast.recv())
        assert goes_on.recv() == b"%d" % number
    slow.send(b"done")
    assert waits.recv() == b"done"


def test_reps_and_dealers_together_lose_nothing(proxy_of_reps: HostedProxy, peers: Peers) -> None:
    with EchoWorkers(proxy_of_reps.backend) as dealers:
        reps = [peers.connect(zmq.REP, proxy_of_reps.backend) for _ in range(2)]
        proxy_of_reps.wait_for("backend_connections", 3)
        client = peers.connect(zmq.DEALER, proxy_of_reps.frontend)
        for number in range(300):
            client.send_multipart([b"", b"%d" % number])
        poller = zmq.Poller()
        for socket in (client, *reps):
            poller.register(socket, zmq.POLLIN)
        answered: list[int] = []
        while len(answered) < 300:
            ready = dict(poller.poll(10_000))
            assert ready, f"{len(answered)} of 300 are answered"
            for worker in reps:
                if worker in ready:
                    worker.send(worker.recv())
            if client in ready:
                answered.append(int(client.recv_multipart()[1]))
    assert sorted(answered) == list(range(300))
    assert len(dealers.seen) == 100
    stats = proxy_of_reps.stats()
    assert stats["requests_in"] == stats["replies_out"] == 300
