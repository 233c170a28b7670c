"""Session: one program with its worker and its clients, each a process of its own, ready to be loaded.

    with Session("zproxy", transport="tcp", clients=1, workers=1) as session:
        session.warm_up(load)
        figures = session.run(load)

`measure` does this once, with fresh processes.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec

from zproxy.loadgen.children import START_SECONDS, Peer
from zproxy.loadgen.messages import Load, Place, Placed, Result
from zproxy.loadgen.programs import Lane, Room, restart, roles, start
from zproxy.procfs import peak_rss_bytes

GREETING = Load(size=16, window=1)
WARM_UP_SECONDS = 0.1
TIMEOUT_SECONDS = 30.0


class Figures(msgspec.Struct, frozen=True):
    """What one load came to. A message is one request and its reply; bytes are counted one way."""

    messages: int
    seconds: float
    size: int
    rtt_p50_us: float | None  # of timed loads and one at a time
    rtt_p99_us: float | None
    proxy_cpu_s: float | None  # of the whole proxy process during the load; None without one of ours
    proxy_peak_bytes: int | None  # resident, at most, since the process began
    first_s: float | None = None  # the time of the very first of these loads, all memory fresh; of counted loads only

    @property
    def messages_per_s(self) -> float:
        return self.messages / self.seconds

    @property
    def seconds_per_message(self) -> float:
        return self.seconds / self.messages

    @property
    def megabytes_per_s(self) -> float:
        """10⁶ bytes of payload a second."""
        return self.messages_per_s * self.size / 1e6

    @property
    def cpu_us_per_message(self) -> float | None:
        return None if self.proxy_cpu_s is None else self.proxy_cpu_s * 1e6 / self.messages


class Session:
    """Raises LoadError, NoAnswer or WrongReply wherever something does not come up or does not come back.

    With `endpoints` (frontend, backend) the proxy is one that runs already, and `program` is only its name.
    """

    def __init__(
        self,
        program: str,
        *,
        transport: str = "tcp",
        clients: int = 1,
        workers: int = 1,
        options: Iterable[str] = (),
        endpoints: tuple[str, str] | None = None,
        timeout_s: float = TIMEOUT_SECONDS,
    ) -> None:
        self._program = program
        self._client_count = clients
        self._timeout_s = timeout_s
        self._stack = ExitStack()
        try:
            directory = Path(tempfile.gettempdir()) / f"zproxy-load-{secrets.token_hex(8)}"
            self._stack.callback(shutil.rmtree, directory, ignore_errors=True)  # known before a signal can come between
            directory.mkdir(mode=0o700)
            of_clients, of_worker = roles(program)
            self._clients = self._open(of_clients, directory)
            worker = self._open(of_worker, directory)
            self._room = room = Room(directory, self._stack, worker, workers, transport, tuple(options))
            self._lane = lane = start(program, room) if endpoints is None else join(room, *endpoints)
            place = Place(lane.frontend, clients, timeout_s=timeout_s, keys=lane.keys)
            self._clients.ask(place, Placed, START_SECONDS)
        except BaseException:
            self._stack.close()
            raise

    def warm_up(self, load: Load) -> Result:
        """One round trip for every client, then a moment of the load itself, or all of a counted one: its result."""
        self._ask(msgspec.structs.replace(GREETING, count=self._client_count))
        return self._ask(msgspec.structs.replace(load, seconds=WARM_UP_SECONDS if load.seconds else 0.0))

    def restart(self) -> None:
        """The proxy is killed, and is there again when this returns; its peers find it by themselves."""
        self._lane = restart(self._program, self._room, self._lane)

    def run(self, load: Load) -> Figures:
        """The figures of one load."""
        pid = None if self._lane.proxy is None else self._lane.proxy.pid
        result = self._ask(msgspec.structs.replace(load, watched_pid=pid))
        return Figures(
            messages=result.messages,
            seconds=result.seconds,
            size=load.size,
            rtt_p50_us=result.rtt_p50_us,
            rtt_p99_us=result.rtt_p99_us,
            proxy_cpu_s=result.watched_cpu_s,
            proxy_peak_bytes=None if pid is None else peak_rss_bytes(pid),
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _open(self, role: str, directory: Path) -> Peer:
        peer = Peer(role, directory / f"{role}.log")
        self._stack.callback(peer.close)
        return peer

    def _ask(self, load: Load) -> Result:
        return self._clients.ask(load, Result, self._timeout_s + load.seconds + START_SECONDS)


def join(room: Room, frontend: str, backend: str) -> Lane:
    """A proxy that runs already gets our workers. The children run elsewhere: a relative ipc path is ours."""
    room.connect_workers(absolute(backend))
    return Lane(absolute(frontend))


def absolute(endpoint: str) -> str:
    """The endpoint, an ipc path made absolute."""
    return f"ipc://{Path(endpoint[6:]).absolute()}" if endpoint.startswith("ipc://") else endpoint
