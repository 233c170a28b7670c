"""Settings: what one proxy runs by.

One field is one option: the flags of `zproxy run`, the arguments of `zproxy.Proxy` and the table of
docs/operations.md are made from it or held to it by a test. An option is named as its field less the unit:

    max_message_bytes  ◄─ --max-message 1GiB  ◄─ Proxy(max_message="1GiB")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from zproxy import endpoints, units
from zproxy.broker.policy import POLICIES
from zproxy.errors import SettingError
from zproxy.naming import NAME_RULE, is_name

DEFAULT_FRONTEND = "tcp://127.0.0.1:5555"
DEFAULT_BACKEND = "tcp://127.0.0.1:5556"

KIB, MIB, PIB = 1 << 10, 1 << 20, 1 << 50
DAY_S = 86400.0
SPIN_AUTO_US = 100  # a first sketch's RTT p50 fell with it from 125-170 us to 70-104 us

Endpoints = str | Iterable[str] | None
Balances = str | Iterable[str] | None


class Spin(NamedTuple):
    """How long the relay polls before it blocks; `is_auto`: only while single messages come that fast."""

    limit_us: int
    is_auto: bool


class Balance(NamedTuple):
    """Which policy picks the worker of a managed request: `default`, or that of its service (name, policy)."""

    default: str
    services: tuple[tuple[str, str], ...]


class Unit(NamedTuple):
    """How a quantity is read and written."""

    parse: Callable[[Any], float]
    show: Callable[[Any], str]


BYTES = Unit(units.parse_size, units.show_size)
SECONDS = Unit(units.parse_time, units.show_time)


@dataclass(frozen=True)
class Kind:
    """What an option takes. `parse` turns what was given into the field's value or raises ValueError."""

    metavar: str
    parse: Callable[[Any], Any]
    words: tuple[str, ...] = ()
    is_list: bool = False
    is_flag: bool = False

    @property
    def shape(self) -> str:
        """As usage texts show it: off|TIME."""
        return "|".join(filter(None, (*self.words, self.metavar)))


@dataclass(frozen=True)
class Option:
    """One row: `default` is as an operator would write it, `help` one sentence or two."""

    name: str
    kind: Kind
    default: str
    group: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parse(self, given: Any) -> Any:
        """The field's value. Raises SettingError or EndpointError that say what to write."""
        try:
            return self.kind.parse(given)
        except SettingError as error:
            raise SettingError(f"{self.name}: {error}") from None


def _listed(given: Any) -> list[Any]:
    """What may be given as one or as several."""
    if isinstance(given, (str, bytes)):
        return [given]
    if not isinstance(given, Iterable):
        raise SettingError(f"{given!r} is neither text nor a list of texts: write one of them")
    return list(given)


def _says_something(given: Any) -> bool:
    """Not None, "" or an empty list; False and 0 are mistakes, of which the parser tells."""
    return given is not None and not (isinstance(given, Sized) and len(given) == 0)


def _endpoints(given: Endpoints) -> tuple[str, ...]:
    return tuple(endpoints.parse(text).text for text in _listed(given))


def _endpoints_out(given: Endpoints) -> tuple[str, ...]:
    found = []
    for text in _listed(given):
        endpoint, server = endpoints.split_server(text) if isinstance(text, str) else (text, "")
        found.append(endpoints.parse(endpoint).text + (f"{endpoints.SERVER}{server}" if server else ""))
    return tuple(found)


def _folder(given: Any) -> str:
    path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else b""
    if not isinstance(path, str) or not path or "\0" in path:
        raise SettingError(f"{given!r} names no folder: write its path, as zproxy keys init was given it")
    return os.path.abspath(os.path.expanduser(path))


def bounded(given: Any, unit: Unit, least: float, most: float, words: Iterable[str] = ()) -> float:
    """A number of `unit` that is neither too small nor too large; `words` could be written instead.

    Raises SettingError.
    """
    try:
        value = unit.parse(given)
    except ValueError as error:
        raise SettingError("".join((str(error), *(f", or {word}" for word in words)))) from None
    if not least <= value <= most:
        choice = "".join(f"{word}, or " for word in words)
        raise SettingError(f"{given!r} is out of range: write {choice}{unit.show(least)} to {unit.show(most)}")
    return value


def _size(least: int, words: Mapping[str, Callable[[], int]] = MappingProxyType({})) -> Kind:
    def parse(given: units.Size) -> int:
        if isinstance(given, str) and given in words:
            return words[given]()
        return int(bounded(given, BYTES, least, PIB, words))

    return Kind("SIZE", parse, tuple(words))


def _milliseconds(least: float, most: float, words: Mapping[str, int] = MappingProxyType({})) -> Kind:
    def parse(given: units.Time) -> int:
        if isinstance(given, str) and given in words:
            return words[given]
        return round(1e3 * bounded(given, SECONDS, least, most, words))

    return Kind("TIME", parse, tuple(words))


def _spin() -> Kind:
    words = {"auto": Spin(SPIN_AUTO_US, True), "off": Spin(0, False)}

    def parse(given: units.Time) -> Spin:
        if isinstance(given, str) and given in words:
            return words[given]
        return Spin(round(1e6 * bounded(given, SECONDS, 1e-6, 0.1, words)), False)

    return Kind("TIME", parse, tuple(words))


def _balance_row(text: Any) -> tuple[str, str]:
    """(service, policy) of one [SERVICE=]POLICY; service "" where none is named."""
    if not isinstance(text, str):
        raise SettingError(f"{text!r} is no policy: write it as text, like 'hash' or 'gradients=hash'")
    service, _, policy = text.rpartition("=")
    if policy not in POLICIES:
        raise SettingError(f"{text!r} names no policy: write {', '.join(POLICIES[:-1])} or {POLICIES[-1]}")
    if service == "*":
        raise SettingError(f"{text!r} is for all without a policy of their own: write {policy!r}")
    if not is_name(service) and "=" in text:
        raise SettingError(f"{text!r} names no service: write {NAME_RULE}")
    return service, policy


def _balance(given: Balances) -> Balance:
    policies: dict[str, str] = {}
    for text in _listed(given):
        service, policy = _balance_row(text)
        if service in policies:
            whose = f"service {service!r}" if service else "the default"
            raise SettingError(f"{whose} is given two policies, {policies[service]} and {policy}: keep one")
        policies[service] = policy
    return Balance(policies.pop("", POLICIES[0]), tuple(sorted(policies.items())))


def _choice(*words: str) -> Kind:
    def parse(given: Any) -> str:
        if given not in words:
            raise SettingError(f"{given!r} is no choice: write {' or '.join(words)}")
        return str(given)

    return Kind("", parse, words)


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):  # "no" would mean yes
        raise SettingError(f"{given!r} is no flag: write True or False")
    return given


EIGHTH = -1  # of the memory, which another option says
ENDPOINTS = Kind("ENDPOINT", _endpoints, is_list=True)
ENDPOINTS_OUT = Kind("ENDPOINT[?server=NAME]", _endpoints_out, is_list=True)
FOLDER = Kind("DIR", _folder)
BALANCE = Kind("[SERVICE=]POLICY", _balance, is_list=True)
FLAG = Kind("", _flag, is_flag=True)
UNITS = ("_bytes", "_ms")


def _option(kind: Kind, default: str, group: str, help: str) -> Any:
    def value() -> Any:
        if kind.is_list:
            return kind.parse(())
        return False if kind.is_flag else kind.parse(default) if default else ""

    return field(default_factory=value, metadata={"kind": kind, "default": default, "group": group, "help": help})


@dataclass(frozen=True)
class Settings:
    """All options with their values. Sizes in bytes, times in milliseconds."""

    frontend: tuple[str, ...] = _option(
        ENDPOINTS, DEFAULT_FRONTEND, "Endpoints", "Bind here for nodes (REQ, DEALER, ROUTER). Repeatable."
    )
    backend: tuple[str, ...] = _option(
        ENDPOINTS, DEFAULT_BACKEND, "Endpoints", "Bind here for masters (REP, DEALER, ROUTER). Repeatable."
    )
    frontend_connect: tuple[str, ...] = _option(
        ENDPOINTS_OUT, "", "Endpoints", "Connect out to a node that binds there; NAME: the registry's. Repeatable."
    )
    backend_connect: tuple[str, ...] = _option(
        ENDPOINTS_OUT, "", "Endpoints", "Connect out to a master that binds there, likewise. Repeatable."
    )
    registry: str = _option(
        FOLDER, "", "Endpoints", "Let in who has a key there (zproxy keys init), and nobody else: CURVE by TCP."
    )
    insecure: bool = _option(
        FLAG, "", "Endpoints", "Allow binds that are not loopback without a registry; every peer is trusted."
    )
    max_message_bytes: int = _option(
        _size(KIB), "1GiB", "Limits", "Largest message, all its frames together; who sends a larger one is refused."
    )
    memory_bytes: int = _option(
        _size(MIB, {"half": lambda: units.machine_memory_bytes() // 2}),
        "half",
        "Limits",
        "Memory for messages in all; half: of the smaller of RAM and the cgroup's limit.",
    )
    connection_memory_bytes: int = _option(
        _size(4 * KIB), "64MiB", "Limits", "Memory for the messages of one connection; one message more may pass."
    )
    service_memory_bytes: int = _option(
        _size(KIB, {"off": lambda: PIB}),
        "off",
        "Limits",
        "Requests that wait for one service; beyond it new ones hear BUSY. off: it has no limit of its own.",
    )
    retain_bytes: int = _option(
        _size(0, {"eighth": lambda: EIGHTH}),
        "eighth",
        "Limits",
        "Requests that workers have, kept for another delivery; half of it for one node. eighth: of --memory.",
    )
    dedup_memory_bytes: int = _option(
        _size(0, {"off": lambda: 0}),
        "256MiB",
        "Limits",
        "Outcomes remembered for nodes that send a request again, at most an eighth of --memory. off: it runs again.",
    )
    stall_ms: int = _option(
        _milliseconds(0.1, DAY_S),
        "30s",
        "Times",
        "Close a connection whose unfinished message gains less than 64KiB in this time.",
    )
    heartbeat_ms: int = _option(
        _milliseconds(0.1, DAY_S, {"off": 0}),
        "off",
        "Times",
        "PING silent peers this often; three in vain close them.",
    )
    no_worker_wait_ms: int = _option(
        _milliseconds(0.001, DAY_S, {"deadline": 0}),
        "deadline",
        "Times",
        "How long a request waits for a first worker of its service; deadline: as long as it may take.",
    )
    absence_ms: int = _option(
        _milliseconds(0.0, DAY_S),
        "1m",
        "Times",
        "How long a node whose connection ended may be away until what it has open is cancelled.",
    )
    balance: Balance = _option(
        BALANCE,
        POLICIES[0],
        "Managed requests",
        f"Who takes a request: {', '.join(POLICIES)}. Repeatable: for a SERVICE, or for all others.",
    )
    overload: str = _option(
        _choice("slow", "busy"),
        "slow",
        "Managed requests",
        "A node over its --connection-memory. slow: it is not read; busy: it hears BUSY, from half of it on.",
    )
    drain_ms: int = _option(
        _milliseconds(0.0, DAY_S), "10s", "Times", "At the end, wait this long until what was accepted is written."
    )
    spin: Spin = _option(
        _spin(),
        "auto",
        "Times",
        "Poll this long before blocking; auto: 100us, only while single messages follow that closely.",
    )

    @property
    def queue_node_bytes(self) -> int:
        """How many bytes of a node's requests may wait until it hears BUSY."""
        return self.connection_memory_bytes // 2 if self.overload == "busy" else PIB

    @property
    def queue_bytes(self) -> int:
        """The same of all nodes together."""
        return self.memory_bytes // 2 if self.overload == "busy" else PIB

    @property
    def retention_bytes(self) -> int:
        """`retain_bytes`, its share of the memory worked out."""
        return self.memory_bytes // 8 if self.retain_bytes == EIGHTH else self.retain_bytes

    @property
    def dedup_bytes(self) -> int:
        """`dedup_memory_bytes`, at most its share of the memory."""
        return min(self.dedup_memory_bytes, self.memory_bytes // 8)

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """From options as people write them; None or nothing is the default. Raises SettingError, EndpointError.

        A side that neither binds nor connects binds its default endpoint.
        """
        unknown = given.keys() - {option.name for option in OPTIONS}
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        for side, default in (("frontend", DEFAULT_FRONTEND), ("backend", DEFAULT_BACKEND)):
            if not any(_says_something(given.get(name)) for name in (side, f"{side}_connect")):
                given[side] = default
        values = {
            field_name: option.parse(given[option.name])
            for field_name, option in zip(_FIELD_NAMES, OPTIONS, strict=True)
            if given.get(option.name) is not None
        }
        if values.get("registry") and values.get("insecure"):
            raise SettingError("registry, insecure: with a registry nobody is trusted without a key: leave one out")
        return cls(**values)


def _option_of(name: str, row: Mapping[str, Any]) -> Option:
    for unit in UNITS:
        name = name.removesuffix(unit)
    return Option(name, row["kind"], row["default"], row["group"], row["help"])


_FIELD_NAMES = tuple(setting.name for setting in fields(Settings))
OPTIONS = tuple(_option_of(setting.name, setting.metadata) for setting in fields(Settings))
