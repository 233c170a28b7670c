"""Registry: DIR/registry.toml, who there is and what they may do, for people to review and keep in git.

    [nodes.rank7]                       [groups.nodes]
    keys = ["Z85 of a public key"]      allow = ["progress", "gradients/*"]     services it may use
    role = "node"                       serve = []                              services it may serve
    groups = ["nodes"]                  rate = 1000                             messages a second
    not_after = 2027-01-31              rate_bytes = "100MiB"                   bytes a second
    comment = "rack 4"                  in_flight = 64                          requests at once
                                        max_message = "64MiB"

A node may use what its groups allow, and what its own `allow` adds; the same of `serve`. Of limits the strictest of its
groups holds. Who has no `allow` may use nothing. Read whole or not at all: one mistake, and the old rules stay.

Read by tomllib, edited by tomlkit, which keeps comments and takes a dozen times as long: 1.1 s for 1,000 nodes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any

from zproxy import units
from zproxy.broker.access import Permit
from zproxy.errors import SettingError
from zproxy.naming import NAME_RULE, is_name
from zproxy.security.keys import key_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "registry.toml"
STAMP_NAME = ".stamp"  # another text after each edit: proxies look at it, and so never take up what is half written
SERVER_NAME = "server"  # of the proxy's own key files
FORMER_NAME = "server.former"  # of those it had before, while peers may still know it by them
ROLES = ("node", "master")
KEYS_MAX = 2
RATE_MAX, IN_FLIGHT_MAX, SIZE_MAX = 10**12, (1 << 32) - 1, 1 << 50  # more is meant by nobody, and fits no Permit
PATTERNS_MAX = 4096  # of one node, all its groups together: each new service is held against them one by one
RAW = "raw"  # the service of plain traffic
_PATTERN = re.compile(r"[A-Za-z0-9_./-]{1,64}|[A-Za-z0-9_./-]{0,63}\*")

NEW = """\
# Who may speak through the proxy: docs/security.md. `zproxy keys check` reads it over; `zproxy reload` makes it count.

[groups.nodes]
allow = ["*"]  # every service; narrow it: ["progress", "gradients/*"]

[groups.masters]
serve = ["*"]
"""


@dataclass(frozen=True)
class Identity:
    """One who may come in. `keys`: one or two of 32 bytes; `not_after`: from then on it may not.

    `permit`: what its groups and its `own` make together.
    """

    name: str
    keys: tuple[bytes, ...]
    role: str
    permit: Permit
    own: Permit = Permit()
    groups: tuple[str, ...] = ()
    not_after: datetime | None = None
    comment: str = ""

    def has_expired(self, now: datetime) -> bool:
        return self.not_after is not None and now >= self.not_after


@dataclass(frozen=True)
class Registry:
    """All of them by name; immutable: a reload makes another."""

    identities: Mapping[str, Identity] = field(default_factory=dict)
    groups: Mapping[str, Permit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_key = {key: identity for identity in self.identities.values() for key in identity.keys}
        object.__setattr__(self, "_by_key", by_key)
        ending = [each for each in self.identities.values() if each.not_after is not None]
        object.__setattr__(self, "_ending", sorted(ending, key=attrgetter("not_after")))

    def find(self, key: bytes) -> Identity | None:
        """Whose public key it is."""
        found: Identity | None = getattr(self, "_by_key").get(key)  # noqa: B009  (made by __post_init__)
        return found

    def over(self, now: datetime) -> Iterator[bytes]:
        """Every key whose time is over. Costs nothing while there is none, and is asked for all the time."""
        for identity in getattr(self, "_ending"):  # noqa: B009  (the same)
            if not identity.has_expired(now):
                return
            yield from identity.keys

    @property
    def keys(self) -> Iterable[bytes]:
        """Every key there is."""
        return [key for identity in self.identities.values() for key in identity.keys]

    @property
    def rows(self) -> dict[str, object]:
        """What is written of each, by its place in the file."""
        groups = {f"groups.{name}": permit for name, permit in self.groups.items()}
        return groups | {f"nodes.{name}": replace(each, permit=each.own) for name, each in self.identities.items()}


def default_folder() -> Path:
    """Of this user's registry. It need not be there yet."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home, "zproxy").expanduser()


# ---- reading ----


class _Fault(Exception):
    """What is wrong where, within the file."""


def load(folder: Path) -> Registry:
    """Raises SettingError that names the file, the place in it, what is wrong and what to write."""
    path = folder / FILE_NAME
    try:
        return parse(path.read_text())
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}: zproxy keys init makes a registry") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not UTF-8: write it as text") from error
    except _Fault as error:
        raise SettingError(f"{path}: {error}") from None


def parse(text: str) -> Registry:
    """Raises _Fault, which `load` turns into what people read."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Fault(str(error)) from None
    _known(tables, "", ("nodes", "groups"))
    groups = {
        name: _permit(row, f"groups.{name}") for name, row in _named(tables.get("groups", {}), "groups", "group")
    }
    identities: dict[str, Identity] = {}
    owners: dict[bytes, str] = {}
    for name, row in _named(tables.get("nodes", {}), "nodes", "node or master"):
        identity = _identity(name, row, groups)
        for key in identity.keys:
            if key in owners:
                raise _Fault(f"nodes.{name}.keys: it has a key that nodes.{owners[key]} has too: each has its own")
            owners[key] = name
        identities[name] = identity
    return Registry(identities, groups)


def _identity(name: str, row: Mapping[str, Any], groups: Mapping[str, Permit]) -> Identity:
    at = f"nodes.{name}"
    _known(row, at, ("keys", "role", "groups", "not_after", "comment", "allow", "serve"))
    role = row.get("role", "node")
    if role not in ROLES:
        raise _Fault(f"{at}.role: {role!r} is no role: write node or master")
    of = _strings(row.get("groups", []), f"{at}.groups")
    for group in of:
        if group not in groups:
            raise _Fault(f"{at}.groups: there is no group {group!r}: add [groups.{_key(group)}], or leave it out")
    own = Permit(allow=_patterns(row, "allow", at), serve=_patterns(row, "serve", at))
    permit = _united([own, *(groups[group] for group in of)])
    count = max(len(permit.allow), len(permit.serve))
    if count > PATTERNS_MAX:
        raise _Fault(f"{at}: it has {count} patterns, and {PATTERNS_MAX} at most: write beginnings with *")
    return Identity(
        name=name,
        keys=_keys(row.get("keys", []), f"{at}.keys"),
        role=role,
        permit=permit,
        own=own,
        groups=of,
        not_after=_moment(row.get("not_after"), f"{at}.not_after"),
        comment=_text(row.get("comment", ""), f"{at}.comment"),
    )


def _permit(row: Mapping[str, Any], at: str) -> Permit:
    _known(row, at, ("allow", "serve", "rate", "rate_bytes", "in_flight", "max_message"))
    return Permit(
        allow=_patterns(row, "allow", at),
        serve=_patterns(row, "serve", at),
        messages_per_second=_number(row.get("rate", 0), f"{at}.rate", float, RATE_MAX),
        bytes_per_second=float(_size(row.get("rate_bytes", 0), f"{at}.rate_bytes", RATE_MAX)),
        in_flight=int(_number(row.get("in_flight", 0), f"{at}.in_flight", int, IN_FLIGHT_MAX)),
        max_message_bytes=_size(row.get("max_message", 0), f"{at}.max_message", SIZE_MAX),
    )


def _united(permits: list[Permit]) -> Permit:
    def strictest(values: Iterable[float]) -> float:
        return min((value for value in values if value), default=0)

    return Permit(
        allow=tuple(dict.fromkeys(pattern for permit in permits for pattern in permit.allow)),
        serve=tuple(dict.fromkeys(pattern for permit in permits for pattern in permit.serve)),
        messages_per_second=strictest(permit.messages_per_second for permit in permits),
        bytes_per_second=strictest(permit.bytes_per_second for permit in permits),
        in_flight=int(strictest(permit.in_flight for permit in permits)),
        max_message_bytes=int(strictest(permit.max_message_bytes for permit in permits)),
    )


def _known(row: object, at: str, names: tuple[str, ...]) -> None:
    if not isinstance(row, dict):
        raise _Fault(f"{at}: it is no table: write [{at}]")
    for name in row:
        if name not in names:
            place = f"{at}.{_key(name)}" if at else _key(name)
            raise _Fault(f"{place}: there is no such field: write {', '.join(names[:-1])} or {names[-1]}")


def _key(name: str) -> str:
    """As it stands in the file: whatever is no name has to be quoted there."""
    return name if is_name(name) else repr(name)


def _named(tables: object, at: str, what: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tables, dict):
        raise _Fault(f"{at}: it is no table: write [{at}.NAME]")
    for name, row in tables.items():
        if not is_name(name):
            raise _Fault(f"{at}: {name!r} names no {what}: write {NAME_RULE}")
        if not isinstance(row, dict):
            raise _Fault(f"{at}.{name}: it is no table: write [{at}.{name}]")
        yield name, row


def _strings(given: object, at: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise _Fault(f'{at}: it is no list of texts: write ["…"]')
    return tuple(dict.fromkeys(given))


def _keys(given: object, at: str) -> tuple[bytes, ...]:
    texts = _strings(given, at)
    if len(texts) > KEYS_MAX:
        raise _Fault(f"{at}: it has {len(texts)} keys, and {KEYS_MAX} at most: take the oldest out")
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(key_of(text))
        except ValueError as error:
            raise _Fault(f"{at}[{index}]: {error}") from None
    return tuple(found)


def _patterns(row: Mapping[str, Any], name: str, at: str) -> tuple[str, ...]:
    found = _strings(row.get(name, []), f"{at}.{name}")
    for pattern in found:
        if not _PATTERN.fullmatch(pattern):
            raise _Fault(f"{at}.{name}: {pattern!r} names no services: write a name, the beginning of one with *, or *")
    return found


def _number(given: Any, at: str, kind: Callable[[float], float], most: int) -> float:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not 0 <= given <= most or kind(given) != given:
        raise _Fault(f"{at}: {given!r} is no such number: write 0 (no limit) to {most}")
    return kind(given)


def _size(given: Any, at: str, most: int) -> int:
    try:
        found = units.parse_size(given)
    except ValueError as error:
        raise _Fault(f"{at}: {error}") from None
    if found > most:
        raise _Fault(f"{at}: {given!r} is too large: write 0 (no limit) to {units.show_size(most)}")
    return found


def _text(given: object, at: str) -> str:
    if not isinstance(given, str):
        raise _Fault(f"{at}: it is no text")
    return given


def _moment(given: object, at: str) -> datetime | None:
    """A date ends with its day; a time without a zone is UTC."""
    if given is None:
        return None
    if isinstance(given, datetime):
        return given if given.tzinfo else given.replace(tzinfo=timezone.utc)
    if given == date.max:
        raise _Fault(f"{at}: {given} has no day after it: leave it out where a key never ends")
    if isinstance(given, date):
        return datetime.combine(given, time(), timezone.utc) + timedelta(days=1)
    raise _Fault(f"{at}: {given!r} is no date: write 2027-01-31, or 2027-01-31T12:00:00Z")


# ---- editing ----


@contextlib.contextmanager
def editing(folder: Path) -> Iterator[Any]:
    """The file as a document that keeps its comments; written whole at the end, if it is right. One editor at a time.

    Proxies that use it take it up by its stamp. Raises SettingError, and then nothing was written.
    """
    import tomlkit  # a proxy edits nothing

    path = folder / FILE_NAME
    with _locked(folder):
        load(folder)
        document = tomlkit.parse(path.read_text())
        yield document
        text = tomlkit.dumps(document)
        try:
            parse(text)
        except _Fault as error:
            raise SettingError(f"{path}: {error}") from None
        try:
            _replace({path: text, folder / STAMP_NAME: secrets.token_hex(8)}, path.stat().st_mode & 0o777)
        except OSError as error:
            raise SettingError(f"cannot write {path}: {error.strerror}") from error


def stamp_of(folder: Path) -> str:
    """What the newest edit has left; "" where none has, or it cannot be read. Read it before the registry."""
    try:
        return (folder / STAMP_NAME).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _replace(texts: Mapping[Path, str], mode: int) -> None:
    """Each file anew, in this order; none before all of it is on the disk. Raises OSError."""
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in texts}
    try:
        for path, text in texts.items():
            drafts[path].write_text(text)
            drafts[path].chmod(mode)
        for path, draft in drafts.items():
            os.replace(draft, path)
    except OSError:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingError(f"there is no registry in {folder}: zproxy keys init makes one") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
