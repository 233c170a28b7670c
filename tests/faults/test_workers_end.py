"""What a worker said before its end is delivered, what it did not get goes to another."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import zmq
from support.peers import Peers
from support.processes import halted
from support.proxies import HostedProxy, ProxyProcess
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]
Start = Callable[..., ProxyProcess]


@pytest.mark.parametrize("size", [10, 30_000])
def test_replies_a_worker_sent_before_it_closed_are_delivered(
    start_proxy: Start, peers: Peers, raw_peer: Connect, size: int
) -> None:
    """Over TCP: a Unix socket may lose them before either proxy could see them."""
    proxy = start_proxy()
    worker = raw_peer(proxy.backend)
    worker.handshake("DEALER")
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"node")
    client.send(b"a request the worker leaves unread, so that its close is a reset")
    wait_until(lambda: worker.socket.recv(100, socket.MSG_PEEK), "a request is there")
    with halted(proxy.pid):
        for number in range(3):
            worker.send_message(b"node", b"%d" % number, bytes(size))
        worker.close()
    assert [client.recv_multipart()[0] for number in range(3)] == [b"0", b"1", b"2"]


def test_requests_that_come_with_a_workers_end_go_to_another(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    leaves, stays = raw_peer(proxy.backend), raw_peer(proxy.backend)
    client = raw_peer(proxy.frontend)
    for peer in (leaves, stays, client):
        peer.handshake("DEALER", b"peer")
    proxy.wait_for("backend_connections", 2)
    with halted(proxy.pid):
        leaves.close()
        for number in range(10):
            client.send_message(b"%d" % number)
    proxy.wait_for("requests_in", 10)
    seen = [int(stays.read_message()[1]) for _ in range(10)]
    assert sorted(seen) == list(range(10))
    assert proxy.stats()["requests_lost"] == 0
