"""`zproxy echo`: a worker that answers anything with itself: a plain one, or a master that offers services."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing, suppress
from types import FrameType
from typing import Any, TypeVar

import click
import zmq

from zproxy.cli.logs import log_to_stderr
from zproxy.cli.options import CONNECTABLE, key_options
from zproxy.client.credentials import introduce
from zproxy.client.master import Master
from zproxy.client.request import Request
from zproxy.config import DEFAULT_BACKEND
from zproxy.errors import SettingError
from zproxy.processes import Interrupted, Stop

T = TypeVar("T")

SOCKET_TYPES = {"dealer": zmq.DEALER, "rep": zmq.REP}
LINGER_MS = 1000  # for answers still on their way out when the end is asked for
EPILOG = """\b
Examples: for plain sockets; for `zproxy call greet '"hello"'`
  zproxy echo
  zproxy echo --service greet --service gradients
"""


@click.command(epilog=EPILOG, short_help="Answer every message with itself.")
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
    help="What a plain worker is to the proxy; all clients see the same.  [default: dealer]",
)
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME",
    help="Be a master that offers it to managed nodes, '*': any that nobody names. Repeatable.",
)
@click.option("--name", metavar="NAME", help="With --service: its name.  [default: this host's, and the process]")
@key_options
def echo(
    backend: str,
    socket_type: str | None,
    services: tuple[str, ...],
    name: str | None,
    key: str | None,
    server_key: str | None,
) -> None:
    """Answer every message with itself, as a worker behind a proxy, until SIGINT or SIGTERM.

    Without --service for plain sockets, with it for requests of the SDK and of `zproxy call`: body and tensors come
    back. Start order does not matter: it connects as soon as a proxy is there, and anew when one comes back.
    """
    if not services:
        echo_messages(backend, socket_type or "dealer", key, server_key)
    elif socket_type is None:
        echo_requests(Master(backend, name, key=key, server_key=server_key), backend, services)
    else:
        raise SettingError("--socket-type is for plain messages, --service for requests: give one of them")


def echo_requests(master: Master, backend: str, services: tuple[str, ...]) -> None:
    """As a master."""
    log_to_stderr("auto", "warning")
    for service in services:
        master.service(service)(same)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)  # until `run` hears them itself
    with suppress(Interrupted):
        click.echo(f"echo backend={backend} services={','.join(services)} name={master.name}")
        master.run()
    say_count(master.stats()["replied"], "request")


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def same(request: Request) -> tuple[Any, dict[str, Any]]:
    return request.body, request.tensors


def say_count(count: int, what: str) -> None:
    click.echo(f"echoed {count} {what}{'' if count == 1 else 's'}")


def echo_messages(backend: str, socket_type: str, key: str | None, server_key: str | None) -> None:
    """As a plain socket."""
    (endpoint,), credentials = introduce("echo", backend, key, server_key)
    with closing(Stop()) as stop, stop.on_signals():
        with zmq.Context() as context, context.socket(SOCKET_TYPES[socket_type]) as worker:
            worker.linger = LINGER_MS
            worker.ipv6 = "[" in backend
            if credentials is not None:
                credentials.give(worker, endpoint)
            worker.connect(endpoint)
            click.echo(f"echo backend={backend} socket-type={socket_type}")
            count = serve(worker, stop)
        say_count(count, "message")


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
