"""A program that runs one master at the endpoint it is given; says on stdout what happens, is told on stdin.

    python master_host.py ENDPOINT MODE

Modes: `run` until a signal; `fork`: a child tries what belongs to its parent; `leave`: ends without a stop.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import zproxy


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hold(request: zproxy.Request) -> Any:
    """Until something comes on stdin; not by sys.stdin, whose lock the end of Python would wait for."""
    say("begun")
    return os.read(0, 100).decode().strip()


def compute(request: zproxy.Request) -> Any:
    """Without end, and never in a call that a signal would interrupt."""
    say("begun")
    while True:
        time.monotonic()


def made(endpoint: str) -> zproxy.Master:
    master = zproxy.Master(endpoint, "m1", drain=60)
    master.service("echo")(lambda request: request.body)
    master.service("hold")(hold)
    master.service("compute")(compute)
    return master


def run(endpoint: str) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    made(endpoint).run()
    after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    say("ended" if before == after and signal.set_wakeup_fd(-1) == -1 else f"ended with {after}")


def fork(endpoint: str) -> None:
    master = made(endpoint)
    master.start()
    child = os.fork()
    if child == 0:
        refused = []
        for call in (master.stop, master.run, master.start, master.stats, lambda: master.service("new")(hold)):
            try:
                call()
            except zproxy.ForkedMaster:
                refused.append(call)
        say(f"child refused {len(refused)}")
        sys.exit(0)  # as any program: with all that runs at an exit
    say(f"child ended with {os.waitpid(child, 0)[1]}")
    sys.stdin.readline()
    master.stop()
    say("ended")


def leave(endpoint: str) -> None:
    master = made(endpoint)
    master.start()
    sys.stdin.readline()
    say(f"leaves {threading.active_count() - 1} threads")


if __name__ == "__main__":
    {"run": run, "fork": fork, "leave": leave}[sys.argv[2]](sys.argv[1])
