"""A proxy that connects to a port nobody serves, on a host with next to no other port to connect from.

Prints the proxy's counters after some attempts. Run it in a network namespace of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.remove(str(Path(__file__).parent))

from support.waiting import wait_until
from zproxy import Proxy

ATTEMPTS = 6


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001")
    with Proxy(frontend="tcp://127.0.0.1:50000", backend_connect="tcp://127.0.0.1:40000") as proxy:
        wait_until(
            lambda: proxy.stats()["connect_failures"] >= ATTEMPTS or proxy.stats()["connections_connected"], "tried"
        )
        print(json.dumps(proxy.stats()))


main()
