"""Row 17, routing ids: nobody takes over a live peer's routing id, and nobody is locked out by a dead one's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, greeting, message, ready

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]


HIJACK = message(b"hijack")


def claim(peer: ZmtpPeer, routing_id: bytes, then: bytes = b"") -> None:
    """Say a whole handshake with this routing id, and more, without waiting for an answer."""
    peer.send(greeting() + ready("DEALER", {"Identity": routing_id}) + then)


@pytest.mark.parametrize("then", [b"", HIJACK])
def test_a_live_routing_id_is_not_taken_over(hosted: Host, peers: Peers, raw_peer: Connect, then: bytes) -> None:
    proxy = hosted()
    holder = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-1")
    with EchoWorkers(proxy.backend) as workers:
        holder.send(b"before")
        assert holder.recv() == b"before"
        spoof = raw_peer(proxy.frontend)
        claim(spoof, b"node-1", then)
        stats = proxy.wait_for("refused_name_in_use")
        holder.send(b"after")
        assert holder.recv() == b"after"
        spoof.read_until_closed()
    assert [body for _, body in workers.seen] == [b"before", b"after"]
    assert (stats["frontend_connections"], stats["closed_fenced"]) == (1, 0)


def test_a_live_holder_that_is_busy_talking_stays(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    holder = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node-1")
    with EchoWorkers(proxy.backend) as workers:
        claims = 0
        for number in range(500):
            holder.send(b"%d" % number)
            if number % 100 == 50:
                claim(raw_peer(proxy.frontend), b"node-1", HIJACK if claims % 2 else b"")
                claims += 1
            assert holder.recv() == b"%d" % number
        proxy.wait_for("refused_name_in_use", claims)
    assert all(body != b"hijack" for _, body in workers.seen)


def test_a_silent_holder_is_fenced_and_the_newcomer_takes_over(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    silent, newcomer = raw_peer(proxy.frontend), raw_peer(proxy.frontend)
    silent.handshake("DEALER", b"node-1")
    proxy.wait_for("frontend_connections")
    with EchoWorkers(proxy.backend):
        newcomer.handshake("DEALER", b"node-1")
        newcomer.send_message(b"me")
        assert newcomer.read_message() == [b"me"]
    silent.read_until_closed()
    stats = proxy.wait_for("closed_fenced")
    assert (stats["frontend_connections"], stats["refused_name_in_use"]) == (1, 0)


@pytest.mark.parametrize("leave", [ZmtpPeer.close, ZmtpPeer.reset])
def test_a_holder_that_has_left_frees_its_routing_id_at_once(
    hosted: Host, raw_peer: Connect, leave: Callable[[ZmtpPeer], None]
) -> None:
    proxy = hosted()
    with EchoWorkers(proxy.backend):
        for visit in range(20):
            client = raw_peer(proxy.frontend)
            client.handshake("DEALER", b"node-1")
            client.send_message(b"%d" % visit)
            assert client.read_message() == [b"%d" % visit]
            leave(client)
    stats = proxy.stats()
    assert (stats["refused_name_in_use"], stats["closed_fenced"]) == (0, 0)


@pytest.mark.parametrize("routing_id", [b"\0", b"\0\0\0\0\1", b"\0ZPX-node", bytes(255)])
def test_a_routing_id_that_begins_with_zero_is_refused(
    hosted: Host, peers: Peers, raw_peer: Connect, routing_id: bytes
) -> None:
    proxy = hosted()
    spoof = raw_peer(proxy.frontend)
    claim(spoof, routing_id, HIJACK)
    spoof.read_error()
    assert proxy.wait_for("refused_routing_id")["requests_in"] == 0
    with EchoWorkers(proxy.backend):
        client = peers.connect(zmq.REQ, proxy.frontend)
        client.send(b"hello")
        assert client.recv() == b"hello"


def test_a_generated_routing_id_cannot_be_claimed(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend)
    client.send(b"hello")
    generated, _ = worker.recv_multipart()
    spoof = raw_peer(proxy.frontend)
    claim(spoof, generated, HIJACK)
    proxy.wait_for("refused_routing_id")
    worker.send_multipart([generated, b"for you only"])
    assert client.recv() == b"for you only"


def test_a_workers_routing_id_means_nothing_to_clients(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    worker = peers.connect(zmq.DEALER, proxy.backend, routing_id=b"same")
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"same")
    client.send(b"hello")
    assert worker.recv_multipart() == [b"same", b"hello"]
    worker.send_multipart([b"same", b"welcome"])
    assert client.recv() == b"welcome"
