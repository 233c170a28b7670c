"""A proxy and a client whose network vanishes with bytes on the way. Run it in a network namespace of its own.

Prints the proxy's counters once it has noticed, or when the given seconds are over.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.remove(str(Path(__file__).parent))

import zmq

from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer
from zproxy import Proxy

LOCAL = "tcp://127.0.0.1:0"


def main(seconds: float) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with zmq.Context() as context, Proxy(frontend=LOCAL, backend=LOCAL) as proxy, context.socket(zmq.DEALER) as worker:
        worker.linger = 0
        worker.connect(proxy.backend[0])
        client = ZmtpPeer.connect(proxy.frontend[0])
        client.handshake("DEALER")
        client.send_message(b"go")
        routing_id, _ = worker.recv_multipart()
        client.socket.setblocking(False)
        worker.send_multipart([routing_id, bytes(64 << 20)])
        wait_until(lambda: proxy.stats()["replies_out"], "the reply is on its way")
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        wait_until(lambda: proxy.stats()["closed_unacknowledged"], "the dead end is noticed", seconds)
        print(json.dumps(proxy.stats()))


main(float(sys.argv[1]))
