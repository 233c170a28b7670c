"""The DEALER of a managed peer: how it comes back."""

from __future__ import annotations

import zmq

from zproxy.client.sockets import RECONNECT_MAX_MS, RECONNECT_MS, ManagedSocket

NOBODY = "tcp://127.0.0.1:1"


def test_a_thousand_nodes_do_not_come_back_at_once() -> None:
    with zmq.Context() as context:
        sockets = [ManagedSocket(context, NOBODY, 0.0) for _ in range(100)]
        firsts = [int(socket._socket.getsockopt(zmq.RECONNECT_IVL)) for socket in sockets]
        lasts = [int(socket._socket.getsockopt(zmq.RECONNECT_IVL_MAX)) for socket in sockets]
        for socket in sockets:
            socket.close()
    for found, (least, most) in ((firsts, RECONNECT_MS), (lasts, RECONNECT_MAX_MS)):
        assert least <= min(found) < max(found) <= most
        assert len(set(found)) > 20
