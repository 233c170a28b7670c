"""Cases: what is measured. Rows: which figure of a case is compared, and the ratio zproxy promises."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from operator import attrgetter

import msgspec
import numpy as np

from zproxy.loadgen.messages import Load
from zproxy.loadgen.programs import (
    CROWD,
    CURVE,
    CURVE_RIVAL,
    FRONT,
    FRONT_RIVAL,
    IPYPARALLEL,
    MANAGED,
    NATS,
    NEWCOMERS,
    NEWCOMERS_RIVAL,
    REQ_REP,
    RIVAL,
    RULED,
    SDK,
    SLEEPERS,
    UNRULED,
    ZPROXY,
    of_interpreter,
)
from zproxy.loadgen.session import Figures, Session

GIB = 1 << 30


class Case(msgspec.Struct, frozen=True):
    """One load and the processes it needs. `options` are for `zproxy run` alone.

    A pair is one run of each of the two programs, or of one program under this load and under the rival's.
    """

    name: str
    size: int
    window: int
    clients: int = 1
    workers: int = 1
    count: int = 0  # 0: until the run's seconds are over
    options: tuple[str, ...] = ()
    memory_bytes: int = 0  # free memory it takes, of all its processes
    programs: tuple[str, str] = (ZPROXY, RIVAL)
    is_timed: bool = False  # round trips are wanted, whatever the window
    transports: tuple[str, ...] = ("tcp", "ipc")  # over which its programs can be measured
    rival: Case | None = None  # the other side's load; None: the same
    is_after_restart: bool = False  # the proxy is killed and started again, and the load begins when it is ready

    @property
    def sides(self) -> tuple[str, str]:
        """What a pair compares: the two programs, or the two loads."""
        return self.programs if self.rival is None else (self.name, self.rival.name)

    def load(self, seconds: float) -> Load:
        """What the clients are told. A case with a count takes the time it takes."""
        return Load(self.size, self.window, self.count, 0.0 if self.count else seconds, self.is_timed)


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of each side's run of a case, and their ratio."""

    name: str
    case: Case
    title: str
    unit: str
    figure: Callable[[Figures], float | None]  # None: this program has no such figure
    target: float | None  # None: shown for orientation
    is_at_least: bool
    is_against_size: bool = False  # the ratio is to the message's size, not to the rival's figure

    def value(self, figures: Figures) -> float:
        """The figure of a proxy, which has them all."""
        value = self.figure(figures)
        assert value is not None, self.name
        return value

    def ratio(self, own: Figures, rival: Figures) -> float:
        """Of one pair."""
        return self.value(own) / (own.size if self.is_against_size else self.value(rival))

    def is_met(self, ratio: float) -> bool:
        if self.target is None:
            return True
        return ratio >= self.target if self.is_at_least else ratio <= self.target


def touch_memory(byte_count: int) -> None:
    """Writes to every page of so much memory and gives it back.

    A virtual machine's host takes free memory back, and the first touch after that is slower than any proxy: 0.4 GB/s
    were measured. Otherwise whoever comes first in a pair would pay for both.
    """
    if byte_count:
        with mmap.mmap(-1, byte_count) as memory:
            np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE] = 1


def measure(program: str, case: Case, transport: str, seconds: float) -> Figures:
    """One run of one case: fresh processes, a warm-up, one load. Raises LoadError and its kinds."""
    load = case.load(seconds)
    touch_memory(case.memory_bytes)
    with Session(
        program, transport=transport, clients=case.clients, workers=case.workers, options=case.options
    ) as session:
        first = session.warm_up(load)
        if case.is_after_restart:
            session.restart()
        figures = session.run(load)
    return msgspec.structs.replace(figures, first_s=first.seconds) if case.count else figures


def many_or_few(program: str, kind: str = "") -> Case:
    """1,000 clients with little under way each, against ten with as much together."""
    few = Case(f"10 x 1000{kind}", 64, 1000, clients=10, workers=4, programs=(program, program))
    return msgspec.structs.replace(few, name=f"1000 x 10{kind}", window=10, clients=1000, rival=few)


SMALL = Case("64B", 64, 1000)
ONE = Case("rtt", 64, 1)
ONE_SPINNING = Case("rtt-spin", 64, 1, options=("--spin", "100us"))
KIB = Case("1KiB", 1 << 10, 1000)
LARGE = Case("16MiB", 16 << 20, 4)
HUGE = Case("1GiB", GIB, 1, count=1, memory_bytes=5 * GIB)
MANY = Case("200x5", 64, 5, clients=200, workers=4)
SMALL_MANAGED = Case("64B-managed", 64, 1000, programs=(MANAGED, ZPROXY))
SMALL_MANAGED_RIVAL = msgspec.structs.replace(SMALL_MANAGED, name="64B-managed-rival", programs=(MANAGED, RIVAL))
ONE_SDK = Case("sdk", 64, 1, programs=(SDK, REQ_REP))
BY_TURN = Case(
    "round_robin",
    64,
    16,
    workers=8,
    options=("--balance", "round_robin"),
    programs=(SLEEPERS, SLEEPERS),
    is_timed=True,
)
BY_LOAD = msgspec.structs.replace(
    BY_TURN, name="least_outstanding", options=("--balance", "least_outstanding"), rival=BY_TURN
)
MANY_MANAGED = many_or_few(MANAGED)
MANY_PLAIN = many_or_few(ZPROXY, " plain")
MANY_RIVAL = many_or_few(RIVAL, " zmq.proxy")
WITH_NATS = Case("nats", 64, 64, workers=4, programs=(CROWD, NATS), is_timed=True, transports=("tcp",))
WITH_VIEWS = msgspec.structs.replace(WITH_NATS, name="ipyparallel", programs=(CROWD, IPYPARALLEL))
SMALL_CURVE = Case("64B CURVE", 64, 1000, programs=(CURVE, CURVE_RIVAL), transports=("tcp",))
MIB_CURVE = msgspec.structs.replace(SMALL_CURVE, name="1MiB CURVE", size=1 << 20, window=4)
MIB_FRONT = msgspec.structs.replace(MIB_CURVE, name="1MiB CURVE in front", programs=(FRONT, FRONT_RIVAL))
WITH_RULES = msgspec.structs.replace(SMALL_CURVE, name="rules", programs=(RULED, UNRULED))
COMING = Case("newcomers", 16, 16, programs=(NEWCOMERS, NEWCOMERS_RIVAL), transports=("tcp",))
COMING_BACK = msgspec.structs.replace(
    SMALL_CURVE, name="reconnect", size=16, window=1, clients=1000, count=1000, is_after_restart=True
)

RATE = attrgetter("messages_per_s")
CPU = attrgetter("cpu_us_per_message")
BYTES = attrgetter("megabytes_per_s")

ROWS = (
    Row("64B", SMALL, "64 B, window 1000", "messages/s", RATE, 1.4, True),
    Row("64B-cpu", SMALL, "proxy CPU per 64 B message", "µs", CPU, 0.30, False),
    Row("rtt", ONE, "round trip p50, one at a time", "µs", attrgetter("rtt_p50_us"), 0.75, False),
    Row("rtt-spin", ONE_SPINNING, "the same, --spin 100us", "µs", attrgetter("rtt_p50_us"), 0.55, False),
    Row("1KiB", KIB, "1 KiB, window 1000", "messages/s", RATE, 1.4, True),
    Row("16MiB", LARGE, "16 MiB, window 4", "MB/s", BYTES, 0.9, True),
    Row("1GiB", HUGE, "1 GiB message, memory in use before", "s", attrgetter("seconds_per_message"), 0.8, False),
    Row("1GiB-first", HUGE, "the proxy's first 1 GiB message", "s", attrgetter("first_s"), None, False),
    Row(
        "1GiB-memory",
        HUGE,
        "1 GiB messages, proxy memory / size",
        "bytes",
        attrgetter("proxy_peak_bytes"),
        1.1,
        False,
        is_against_size=True,
    ),
    Row("managed-cpu", SMALL_MANAGED, "proxy CPU per 64 B message", "µs", CPU, 1.5, False),
    Row("managed-rival-cpu", SMALL_MANAGED_RIVAL, "proxy CPU per 64 B message", "µs", CPU, 0.5, False),
    Row("managed", SMALL_MANAGED, "64 B, window 1000", "messages/s", RATE, None, True),
    Row("1000x10", MANY_MANAGED, "1,000 nodes x 10, 64 B, 4 workers", "messages/s", RATE, 0.8, True),
    Row("1000x10-plain", MANY_PLAIN, "the same, plain messages", "messages/s", RATE, None, True),
    Row("1000x10-rival", MANY_RIVAL, "the same, plain, zmq.proxy", "messages/s", RATE, None, True),
    Row("slow-worker", BY_LOAD, "p99, 1 of 8 workers 10x slower", "µs", attrgetter("rtt_p99_us"), 0.5, False),
    Row("sdk", ONE_SDK, "64 B, one at a time, in Python", "messages/s", RATE, 0.8, True),
    Row("curve-64B", SMALL_CURVE, "64 B, window 1000, both sides", "messages/s", RATE, 1.3, True),
    Row("curve-64B-cpu", SMALL_CURVE, "proxy CPU per 64 B message", "µs", CPU, None, False),
    Row("curve-1MiB", MIB_CURVE, "1 MiB, window 4, both sides", "MB/s", BYTES, 1.2, True),
    Row("curve-1MiB-cpu", MIB_CURVE, "proxy CPU per 1 MiB message", "µs", CPU, 0.8, False),
    Row("curve-1MiB-front", MIB_FRONT, "1 MiB, window 4, frontend only", "MB/s", BYTES, 1.0, True),
    Row("rules-cpu", WITH_RULES, "proxy CPU per 64 B message, managed", "µs", CPU, 1.1, False),
    Row("handshakes", COMING, "new connections, 16 at once", "messages/s", RATE, None, True),
    Row("handshakes-cpu", COMING, "proxy CPU per new connection", "µs", CPU, None, False),
    Row("reconnect", COMING_BACK, "1,000 nodes served again", "s", attrgetter("seconds"), None, False),
    Row("nats", WITH_NATS, "64 outstanding, 4 Python workers", "messages/s", RATE, None, True),
    Row("nats-p99", WITH_NATS, "p99 of these", "µs", attrgetter("rtt_p99_us"), None, False),
    Row("ipyparallel", WITH_VIEWS, "64 outstanding, 4 Python workers", "messages/s", RATE, None, True),
    Row("ipyparallel-p99", WITH_VIEWS, "p99 of these", "µs", attrgetter("rtt_p99_us"), None, False),
    Row("200x5", MANY, "200 clients x 5, 64 B, 4 workers", "messages/s", RATE, 1.4, True),
)


def rows_named(names: Iterable[str]) -> list[Row]:
    """The rows of these names; all of them for none. Raises ValueError."""
    wanted = list(names)
    known = [row.name for row in ROWS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}: there are {', '.join(known)}")
    return [row for row in ROWS if not wanted or row.name in wanted]


def rows_against(rows: Iterable[Row], python: str) -> list[Row]:
    """The rows of zproxy, each beside the zproxy of another interpreter; nothing is promised of them."""
    found = []
    for row in rows:
        own = row.case.programs[0]
        programs = (own, of_interpreter(own, python))
        case = msgspec.structs.replace(row.case, programs=programs, rival=None)
        found.append(replace(row, case=case, target=None))
    return found


def custom_rows(case: Case) -> list[Row]:
    """What there is to say about a case of the user's own; nothing is promised of it."""
    rows = [
        Row("messages", case, "messages a second", "messages/s", RATE, None, True),
        Row("cpu", case, "proxy CPU per message", "µs", CPU, None, False),
    ]
    if case.size:
        rows.append(Row("payload", case, "payload, one way", "MB/s", BYTES, None, True))
    if (case.window, case.clients) == (1, 1):
        rows.append(Row("rtt", case, "round trip p50", "µs", attrgetter("rtt_p50_us"), None, False))
    return rows


def cases_of(rows: Iterable[Row]) -> list[Case]:
    """Each case once, in the order of the rows."""
    return list({row.case.name: row.case for row in rows}.values())
