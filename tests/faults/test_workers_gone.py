"""Row 5: all workers gone. Clients wait within their budgets, at no CPU, and are served when a worker returns."""

from __future__ import annotations

from collections.abc import Callable

import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.waiting import wait_while_steady

from zproxy.procfs import cpu_share

Host = Callable[..., HostedProxy]

MIB = 1 << 20


def test_when_all_workers_have_gone_clients_wait_bounded_and_are_served_later(hosted: Host, peers: Peers) -> None:
    proxy = hosted(connection_memory=MIB)
    clients = [peers.connect(zmq.DEALER, proxy.frontend, sndhwm=10) for _ in range(4)]
    with EchoWorkers(proxy.backend, count=3):
        proxy.wait_for("backend_connections", 3)
        for client in clients:
            client.send(b"warm-up")
            client.recv()
    proxy.wait_for("connections_closed", 3)
    sent = [0] * len(clients)

    def send_what_fits() -> list[int]:
        for index, client in enumerate(clients):
            while client.poll(0, zmq.POLLOUT):
                client.send_multipart([b"%d" % sent[index], bytes(10_000)])
                sent[index] += 1
        return list(sent)

    wait_while_steady(send_what_fits)
    stats = proxy.stats()
    assert stats["waiting_requests"] > 0
    assert stats["waiting_bytes"] <= len(clients) * (MIB + 100_000)
    assert cpu_share(proxy.pid, 0.4) < 0.1
    with EchoWorkers(proxy.backend):
        for index, client in enumerate(clients):
            assert [int(client.recv_multipart()[0]) for _ in range(sent[index])] == list(range(sent[index]))
    stats = proxy.stats()
    assert (stats["waiting_requests"], stats["requests_lost"]) == (0, 0)
