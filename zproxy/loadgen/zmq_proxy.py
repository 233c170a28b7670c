"""The proxy everyone uses today, `zmq.proxy(ROUTER, DEALER)`, behind the options of `zproxy run`.

A program of its own, started by its file (`ZMQ_PROXY` in programs.py): benchmarks and tests start it where they also
start `zproxy run`. It imports nothing of zproxy. pyzmq runs libzmq's C function without the GIL. `--library pyomq` is
the same of another ZMTP engine. With a key file it speaks CURVE on that side, with whoever comes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path
from typing import Any


def arguments() -> argparse.Namespace:
    """The options of `zproxy run` that it has an equal of."""
    parser = argparse.ArgumentParser()
    for side in ("frontend", "backend"):
        parser.add_argument(f"--{side}", action="append", default=[])
        parser.add_argument(f"--{side}-connect", action="append", default=[])
        parser.add_argument(f"--{side}-key", metavar="FILE", help="a secret one, as zmq.auth writes them")
    parser.add_argument("--endpoints-file", type=Path)
    parser.add_argument("--high-water-mark", type=int, default=1000, help="messages per peer; 0 is none")
    parser.add_argument("--library", choices=["zmq", "pyomq"], default="zmq")
    return parser.parse_args()


def encrypt(socket: Any, key_file: str) -> None:
    """CURVE's server. Without an authenticator libzmq lets everybody in."""
    from zmq.auth import load_certificate

    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = load_certificate(key_file)


def open_side(socket: Any, bound: list[str], connected: list[str]) -> list[str]:
    """The endpoints the socket is bound to, port 0 resolved."""
    endpoints = []
    if any("[" in endpoint for endpoint in (*bound, *connected)):
        socket.ipv6 = True
    for endpoint in bound:
        socket.bind(endpoint)
        endpoints.append(socket.last_endpoint.decode())
    for endpoint in connected:
        socket.connect(endpoint)
    return endpoints


def write_endpoints(path: Path, endpoints: dict[str, Any]) -> None:
    """At once: who sees the file sees all of it."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(endpoints))
    unfinished.replace(path)


def main() -> None:
    """Until it is killed."""
    options = arguments()
    library = importlib.import_module(options.library)
    context = library.Context()
    frontend, backend = context.socket(library.ROUTER), context.socket(library.DEALER)
    for socket, key_file in ((frontend, options.frontend_key), (backend, options.backend_key)):
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = options.high_water_mark
        if key_file is not None:
            encrypt(socket, key_file)
    bound = {
        "frontend": open_side(frontend, options.frontend, options.frontend_connect),
        "backend": open_side(backend, options.backend, options.backend_connect),
    }
    if options.endpoints_file is not None:
        write_endpoints(options.endpoints_file, {**bound, "pid": os.getpid()})
    print("ready", *(f"{side}={','.join(endpoints)}" for side, endpoints in bound.items()), flush=True)
    library.proxy(frontend, backend)


if __name__ == "__main__":
    main()
