"""The proxy everyone uses today, `zmq.proxy(ROUTER, DEALER)`, behind the options of `zproxy run`.

A program of its own: the tests start it where they also start `zproxy run`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import zmq


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for side in ("frontend", "backend"):
        parser.add_argument(f"--{side}", action="append", default=[])
        parser.add_argument(f"--{side}-connect", action="append", default=[])
    parser.add_argument("--endpoints-file", type=Path, required=True)
    return parser.parse_args()


def open_side(socket: zmq.Socket[bytes], bound: list[str], connected: list[str]) -> list[str]:
    """The endpoints the socket is bound to, port 0 resolved."""
    endpoints = []
    for endpoint in bound:
        socket.bind(endpoint)
        endpoints.append(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    for endpoint in connected:
        socket.connect(endpoint)
    return endpoints


def main() -> None:
    options = arguments()
    context = zmq.Context()
    context.setsockopt(zmq.IPV6, 1)
    context.setsockopt(zmq.LINGER, 0)
    frontend, backend = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    endpoints = {
        "frontend": open_side(frontend, options.frontend, options.frontend_connect),
        "backend": open_side(backend, options.backend, options.backend_connect),
        "pid": os.getpid(),
    }
    unfinished = options.endpoints_file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(endpoints))
    unfinished.replace(options.endpoints_file)
    zmq.proxy(frontend, backend)


if __name__ == "__main__":
    main()
