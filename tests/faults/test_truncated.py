"""Row 16: a sender dies in the middle of a message. Nothing of it is delivered, nobody else is disturbed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, message

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

SMALL = message(b"first", b"", b"x" * 40)
LARGE = message(b"first", b"y" * 400_000, b"z" * 300_000)

CUTS = [
    *((SMALL, cut) for cut in (1, 2, 6, 7, 8, 9, 10, 11, len(SMALL) - 1)),
    *((LARGE, cut) for cut in (1, 7, 8, 12, 16, 17, 70_000, 400_015, 400_017, 400_020, len(LARGE) - 1)),
]


@pytest.mark.parametrize("end", [ZmtpPeer.close, ZmtpPeer.reset])
def test_a_request_cut_anywhere_is_not_delivered(
    hosted: Host, peers: Peers, raw_peer: Connect, end: Callable[[ZmtpPeer], None]
) -> None:
    proxy = hosted()
    client = peers.connect(zmq.REQ, proxy.frontend)
    with EchoWorkers(proxy.backend) as workers:
        for number, (spoken, cut) in enumerate(CUTS):
            offender = raw_peer(proxy.frontend)
            offender.handshake("DEALER", b"cut off")
            offender.send(spoken[:cut])
            offender.wait_taken()
            end(offender)
            client.send(b"%d" % number)
            assert client.recv() == b"%d" % number
        stats = proxy.wait_for("connections_closed", len(CUTS))
    assert b"cut off" not in {routing_id for routing_id, *_ in workers.seen}
    assert len(workers.seen) == len(CUTS)
    assert stats["requests_in"] == len(CUTS)
    assert stats["memory_bytes"] < 1 << 20
    if end is ZmtpPeer.close:
        assert stats["truncated_messages"] == len(CUTS)


def test_a_reply_cut_anywhere_is_not_delivered(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node")
    proxy.wait_for("frontend_connections")
    for spoken, cut in CUTS:
        offender = raw_peer(proxy.backend)
        offender.handshake("DEALER")
        offender.send((message(b"node", b"part").replace(b"\x00\x04part", b"\x01\x04part") + spoken)[: cut + 12])
        offender.wait_taken()
        offender.close()
    assert proxy.wait_for("connections_closed", len(CUTS))["truncated_messages"] == len(CUTS)
    with EchoWorkers(proxy.backend):
        client.send(b"whole")
        assert client.recv_multipart() == [b"whole"]
    assert proxy.stats()["replies_in"] == 1


def test_whole_messages_before_the_cut_are_delivered(hosted: Host, peers: Peers, raw_peer: Connect) -> None:
    proxy = hosted()
    offender = raw_peer(proxy.frontend)
    offender.handshake("DEALER", b"node")
    offender.send(message(b"whole", b"1") + message(b"whole", b"2") + LARGE[:-1])
    offender.wait_taken()
    offender.close()
    proxy.wait_for("truncated_messages")
    worker = peers.connect(zmq.DEALER, proxy.backend)
    assert [worker.recv_multipart() for _ in range(2)] == [[b"node", b"whole", b"1"], [b"node", b"whole", b"2"]]
    assert not worker.poll(100)
