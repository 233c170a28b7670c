"""`zproxy echo`: a plain worker that answers anything with itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import click
import zmq

from zproxy.cli.options import CONNECTABLE
from zproxy.config import DEFAULT_BACKEND
from zproxy.processes import Stop

T = TypeVar("T")

SOCKET_TYPES = {"dealer": zmq.DEALER, "rep": zmq.REP}
LINGER_MS = 1000  # for answers still on their way out when the end is asked for


@click.command(short_help="Answer every message with itself.")
@click.option(
    "--backend",
    envvar="ZPROXY_BACKEND",
    show_envvar=True,
    type=CONNECTABLE,
    default=DEFAULT_BACKEND,
    show_default=True,
    metavar="ENDPOINT",
    help="The proxy's endpoint for masters.",
)
@click.option(
    "--socket-type",
    type=click.Choice(list(SOCKET_TYPES)),
    default="dealer",
    show_default=True,
    help="What the worker is to the proxy; all clients see the same.",
)
def echo(backend: str, socket_type: str) -> None:
    """Answer every message with itself, as a worker behind a proxy, until SIGINT or SIGTERM.

    Start order does not matter: it connects as soon as a proxy is there, and anew when one comes back.
    """
    with closing(Stop()) as stop, stop.on_signals():
        with zmq.Context() as context, context.socket(SOCKET_TYPES[socket_type]) as worker:
            worker.linger = LINGER_MS
            worker.ipv6 = "[" in backend
            worker.connect(backend)
            click.echo(f"echo backend={backend} socket-type={socket_type}")
            count = serve(worker, stop)
        click.echo(f"echoed {count} {'message' if count == 1 else 'messages'}")


def serve(worker: zmq.Socket[bytes], stop: Stop) -> int:
    """Echoes until the end is asked for; how many messages were answered."""
    count = 0
    while True:
        frames = attempt(lambda: worker.recv_multipart(zmq.NOBLOCK, copy=False), worker, zmq.POLLIN, stop)
        if frames is None or not answer(worker, frames, stop):
            return count
        count += 1


def answer(worker: zmq.Socket[bytes], frames: list[zmq.Frame], stop: Stop) -> bool:
    """Sends the frames back as they are, route included; False if the end came first."""

    def send() -> bool:
        worker.send_multipart(frames, zmq.NOBLOCK, copy=False)
        return True

    return attempt(send, worker, zmq.POLLOUT, stop) is not None


def attempt(call: Callable[[], T], worker: zmq.Socket[bytes], event: int, stop: Stop) -> T | None:
    """What `call` returns, once the socket is ready for it; None if the end is asked for first."""
    while not stop.is_asked:
        try:
            return call()
        except zmq.Again:
            poller = zmq.Poller()
            poller.register(worker, event)
            poller.register(stop.arrival, zmq.POLLIN)
            poller.poll()
    return None
