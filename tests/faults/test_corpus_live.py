"""Row 19: every stream of the parser's corpus, said to a live relay at both ends. Nobody else is disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from support.peers import EchoWorkers, Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, greeting, ready

Host = Callable[..., HostedProxy]
Connect = Callable[..., ZmtpPeer]

CORPUS = Path(__file__).parents[1] / "protocol" / "corpus"
CONNECTIONS = sorted((CORPUS / "connections").iterdir())
FRAMES = sorted((CORPUS / "frames").iterdir())


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_nobody_notices_what_others_say(hosted: Host, peers: Peers, raw_peer: Connect, side: str) -> None:
    proxy = hosted(max_message=65536)
    client = peers.connect(zmq.REQ, proxy.frontend)
    streams = [path.read_bytes() for path in CONNECTIONS]
    streams += [greeting() + ready("DEALER") + path.read_bytes() for path in FRAMES]
    with EchoWorkers(proxy.backend, count=2):
        for number, stream in enumerate(streams):
            offender = raw_peer(getattr(proxy, side))
            offender.send(stream)
            offender.wait_taken()
            offender.close()
            if side == "frontend":
                client.send(b"%d" % number)
                assert client.recv() == b"%d" % number
    proxy.wait_for("connections_closed", len(streams))
    proxy.assert_books_balance()
    served = peers.connect(zmq.REQ, proxy.frontend)
    with EchoWorkers(proxy.backend):
        proxy.wait_for("backend_connections")
        served.send(b"still here")
        assert served.recv() == b"still here"
