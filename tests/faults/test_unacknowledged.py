"""Who keeps its window shut lives on; who acknowledges nothing for 30 s is gone. Both take most of a minute."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.peers import Peers
from support.processes import SUPPORT
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer
from zmq import DEALER

from zproxy.processes import spawn

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

REPLY_BYTES = 1 << 20
REPLIES = 16
SHUT_SECONDS = 45.0  # longer than the 30 s and the 10 s between two looks
DEAD_SECONDS = 90.0

pytestmark = pytest.mark.soak


def test_a_client_that_does_not_read_for_long_keeps_its_connection(
    hosted: Host, peers: Peers, raw_peer: Connect
) -> None:
    proxy = hosted()
    worker = peers.connect(DEALER, proxy.backend)
    client = raw_peer(proxy.frontend, receive_buffer_bytes=4096)
    client.handshake("DEALER", b"sleepy")
    client.send_message(b"wake me")
    routing_id, _ = worker.recv_multipart()
    for number in range(REPLIES):
        worker.send_multipart([routing_id, b"%02d" % number + bytes(REPLY_BYTES)])
    proxy.wait_for("replies_out", REPLIES)
    started = proxy.stats()
    with pytest.raises(AssertionError):
        proxy.wait_for("connections_closed", started["connections_closed"] + 1, SHUT_SECONDS)
    for number in range(REPLIES):
        assert client.read_message() == [b"%02d" % number + bytes(REPLY_BYTES)]
    assert proxy.stats()["closed_unacknowledged"] == 0


@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0,
    reason="needs a network namespace of its own, which only root may make",
)
def test_a_peer_whose_host_has_vanished_is_closed_and_counted() -> None:
    host = spawn(
        ["unshare", "--net", sys.executable, str(SUPPORT / "vanishing_host.py"), str(DEAD_SECONDS)],
        stdout=subprocess.PIPE,
    )
    output, _ = host.communicate(timeout=DEAD_SECONDS + 30)
    found = json.loads(output)
    assert found["closed_unacknowledged"] == 1
    assert found["frontend_connections"] == 0
