"""The demo's proxy process: `zproxy run` on free ports that also tells its counters.

A `zproxy.Proxy` of its own process rather than the command: the figures on the screen are then the relay's, of
all that passed it, not what one peer believes to have seen.
"""

from __future__ import annotations

import signal
import time

from zproxy.demo.reports import Ready, Traffic, say
from zproxy.entries import LOSSES
from zproxy.proxy import Proxy

LOCAL = "tcp://127.0.0.1:0"
TELL_S = 0.25
DROPPED = [name for name in LOSSES if name != "events_lost"]  # of messages, not of log lines


def main() -> None:
    """Relays until SIGTERM; tells its counters whenever they have changed, and at the end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    proxy = Proxy(LOCAL, LOCAL)
    with proxy:
        say(Ready(proxy.frontend[0], proxy.backend[0]))
        told = 0
        while signal.sigtimedwait({signal.SIGTERM}, TELL_S) is None:
            traffic = _traffic(proxy)
            if traffic.messages != told:
                say(traffic)
                told = traffic.messages
    say(_traffic(proxy))


def _traffic(proxy: Proxy) -> Traffic:
    stats = proxy.stats()
    return Traffic(
        at_s=time.monotonic(),
        messages=stats["managed_out"],
        wire_bytes=stats["managed_out_bytes"],
        dropped=sum(stats[name] for name in DROPPED),
    )


if __name__ == "__main__":
    main()
