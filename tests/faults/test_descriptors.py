"""Row 20: no descriptors left. The proxy lives, says so, does not spin, serves those it has, and recovers."""

from __future__ import annotations

import resource
from collections.abc import Callable

import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer, greeting, ready

from zproxy.procfs import cpu_share, descriptor_count

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

DESCRIPTORS = 64
HELD_MAX = 1024  # REFUSED_HELD_MAX of relay/hub.pxd


def test_without_descriptors_the_proxy_serves_those_it_has_and_recovers(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted()
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    client = peers.connect(zmq.REQ, proxy.frontend)
    with EchoWorkers(proxy.backend):
        client.send(b"before")
        assert client.recv() == b"before"
        crowd = [raw_peer(proxy.frontend) for _ in range(2 * DESCRIPTORS)]
        for peer in crowd:
            peer.send(greeting() + ready("DEALER"))
        stats = proxy.wait_for("accept_failures")
        assert stats["frontend_connections"] < DESCRIPTORS
        assert descriptor_count(proxy.pid) <= DESCRIPTORS
        assert cpu_share(proxy.pid, 0.5) < 0.2
        client.send(b"during")
        assert client.recv() == b"during"
        for peer in crowd:
            peer.close()
        wait_until(lambda: proxy.stats()["frontend_connections"] == 1, "the crowd has gone")
        newcomer = peers.connect(zmq.REQ, proxy.frontend)
        newcomer.send(b"after")
        assert newcomer.recv() == b"after"
    stats = proxy.stats()
    assert (stats["requests_in"], stats["replies_out"], stats["requests_lost"]) == (3, 3, 0)


def test_connections_that_come_and_go_leave_no_descriptor_behind(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    proxy.stats()
    before = descriptor_count(proxy.pid)
    for number in range(300):
        peer = raw_peer(proxy.frontend if number % 2 else proxy.backend)
        peer.send(greeting() + ready("ROUTER") if number % 3 else greeting()[:20])
        peer.close()
    proxy.wait_for("connections_closed", 300)
    assert descriptor_count(proxy.pid) == before


def test_a_crowd_that_is_refused_is_held_up_to_a_limit(hosted: Host, raw_peer: Connect) -> None:
    proxy = hosted()
    crowd = [raw_peer(proxy.frontend) for _ in range(1500)]
    held = 0
    for peer in crowd:
        peer.send(greeting(2)[:12])

    def refused() -> bool:
        nonlocal held
        stats = proxy.stats()
        held = max(held, stats["connections_accepted"] - stats["connections_closed"] - stats["handshaking"])
        return stats["refused_version"] == len(crowd)

    wait_until(refused, "all are refused")
    assert 0 < held <= HELD_MAX
