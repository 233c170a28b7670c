"""The child processes of a session: `python -m zproxy.loadgen clients` and `… worker`. Lines of JSON (messages.py).

    session ──Place──► clients, worker      once, as soon as the proxy is ready
            ◄─Placed──
            ──Load───► clients              any number of times
            ◄─Result──                      or Failure, and the child ends
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import msgspec

from zproxy.errors import LoadError, SettingError
from zproxy.loadgen import crowds, scripts, sleepers
from zproxy.loadgen.children import Child
from zproxy.loadgen.clients import Clients
from zproxy.loadgen.crowds import Crowd
from zproxy.loadgen.messages import Answer, Failure, Load, Place, Placed, Result
from zproxy.loadgen.newcomers import Newcomers
from zproxy.loadgen.scripts import ScriptClient
from zproxy.loadgen.worker import Worker
from zproxy.procfs import cpu_seconds

Ends = Clients | ScriptClient | Crowd | Newcomers


def answer(said: Answer) -> None:
    """One line to the session."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.flush()


def hear_place() -> Place:
    """The first line of the session."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=Place)


def keys_of(place: Place) -> bytes:
    return b"" if place.keys is None else place.keys.read()


def run(clients: Ends, load: Load) -> Result:
    """One load, with the CPU time the watched process has used meanwhile."""
    before = cpu_seconds(load.watched_pid) if load.watched_pid else None
    tally = clients.run(
        size=load.size, window=load.window, count=load.count, seconds=load.seconds, is_timed=load.is_timed
    )
    used = None if before is None else cpu_seconds(load.watched_pid or 0) - before
    return Result(tally.messages, tally.seconds, tally.rtt_p50_us, tally.rtt_p99_us, used)


def serve_clients(is_managed: bool = False) -> None:
    """Clients, until the session closes the line."""
    place = hear_place()
    timeout_ms = round(place.timeout_s * 1000)
    name = "" if place.keys is None else place.keys.name
    clients = Clients(
        place.endpoint,
        count=place.count,
        timeout_ms=timeout_ms,
        is_managed=is_managed,
        name=name,
        keys=keys_of(place),
    )
    serve_loads(place, clients)


def serve_newcomers() -> None:
    """Connections that come and go, until the session closes the line."""
    place = hear_place()
    serve_loads(place, Newcomers(place.endpoint, place.timeout_s, keys_of(place)))


def serve_python_client(opened: Callable[[str, float], ScriptClient | Crowd]) -> None:
    """One client in Python."""
    place = hear_place()
    serve_loads(place, opened(place.endpoint, place.timeout_s))


def serve_loads(place: Place, clients: Ends) -> None:
    """Load after load, until the session closes the line."""
    answer(Placed(place.endpoint))
    for line in sys.stdin.buffer:
        answer(run(clients, msgspec.json.decode(line, type=Load)))


def serve_script_worker(serve: Callable[[str], NoReturn]) -> None:
    """A worker in Python, until it is killed."""
    place = hear_place()
    answer(Placed(place.endpoint))
    serve(place.endpoint)


def serve_nats_worker() -> None:
    """A subscriber of nats-server, until it is killed."""
    place = hear_place()
    crowds.serve_nats(place.endpoint, lambda: answer(Placed(place.endpoint)))


def serve_processes(start: Callable[[Place], list[Child]]) -> None:
    """Workers in processes of their own, which are killed with this one."""
    place = hear_place()
    children = start(place)
    answer(Placed(place.endpoint))
    sys.stdin.buffer.read()
    for child in children:
        child.close()


def serve_sleepers() -> None:
    """Managed workers that take their time, until they are killed."""
    place = hear_place()
    opened = sleepers.open_sleepers(place.endpoint, place.count)
    answer(Placed(place.endpoint))
    sleepers.serve(opened)


def serve_worker(is_managed: bool = False) -> None:
    """A worker, until it is killed."""
    place = hear_place()
    worker = Worker(is_router=place.is_bound, count=place.count, is_managed=is_managed)
    if place.is_bound:
        answer(Placed(worker.bind(place.endpoint)))
    else:
        worker.connect(place.endpoint, keys_of(place))
        answer(Placed(place.endpoint))
    worker.serve()


ROLES: dict[str, Callable[[], None]] = {
    "clients": serve_clients,
    "worker": serve_worker,
    "newcomers": serve_newcomers,
    "managed-clients": partial(serve_clients, is_managed=True),
    "managed-worker": partial(serve_worker, is_managed=True),
    "sleepers": serve_sleepers,
    "node": partial(serve_python_client, scripts.NodeClient),
    "master": partial(serve_script_worker, scripts.serve_master),
    "node-crowd": partial(serve_python_client, crowds.NodeCrowd),
    "masters": partial(serve_processes, partial(crowds.start_peers, "master")),
    "nats-crowd": partial(serve_python_client, crowds.NatsCrowd),
    "nats-worker": serve_nats_worker,
    "nats-workers": partial(serve_processes, partial(crowds.start_peers, "nats-worker")),
    "view-crowd": partial(serve_python_client, crowds.ViewCrowd),
    "engines": partial(serve_processes, crowds.start_engines),
    "req": partial(serve_python_client, scripts.ReqClient),
    "rep": partial(serve_script_worker, scripts.serve_rep),
}


def main() -> None:
    """The role is the only argument."""
    try:
        ROLES[sys.argv[1]]()
    except (LoadError, OSError, SettingError, ValueError) as error:
        answer(Failure(type(error).__name__, str(error)))


if __name__ == "__main__":
    main()
