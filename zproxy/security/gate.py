"""Gate: the thread that answers the relay's questions at handshakes, by the registry.

    relay ─► Question(key, side …) ─► Gate.judge(question, now) ─► Answer(reason, name, permit) ─► relay
    zproxy reload ─► Gate.reload: read all, validate, swap ─► permits, and revocations ─► relay
    zproxy keys   ─► a stamp beside the registry, looked at all the time ─► Gate.follow: the same, once for each

Rule 1. Nothing but `judge` decides, and it knows only the registry and `now`.
Rule 2. Whoever is in was let in by a key that is still its owner's: when that ends, so does the connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

from zproxy._relay import FRONTEND, Event, Question
from zproxy.broker.access import Permit, permits_pack
from zproxy.entries import Entry, Field
from zproxy.errors import ForkedProxy, RelayStuck, SettingError
from zproxy.security.audit import Audit
from zproxy.security.keys import fingerprint
from zproxy.security.registry import RAW, Identity, Registry, load, stamp_of

logger = logging.getLogger("zproxy")

LOOK_MS = 500  # keys whose time ends, and changes by `zproxy keys`, are looked for this often
EVERYTHING = 0  # the number of the rights of those who need none
NOTHING = Permit()
ENDINGS = {"fenced": ("takeover", "silent"), "revoked": ("closed", "revoked")}  # by the connection's reason
REASONS = ("unknown_key", "expired", "wrong_role", "wrong_user", "denied")  # that `judge` gives


class Answer(NamedTuple):
    """`reason`: why not, "" where it may come in; `name`: the only one it may give itself, "": any."""

    reason: str
    name: str = ""
    permit: int = EVERYTHING


class Door(Protocol):
    """What the gate needs of a relay."""

    @property
    def has_ended(self) -> bool: ...
    def questions(self, timeout_ms: int) -> list[Question]: ...
    def answer(self, tag: int, reason: str, name: bytes, permit: int) -> None: ...
    def set_permits(self, packed: bytes) -> None: ...
    def set_server_keys(self, endpoint: int, server_keys: Sequence[bytes]) -> None: ...
    def revoke(self, key: bytes, is_plain_only: bool = ...) -> None: ...


class Server(NamedTuple):
    """One that binds, at the other end of a connector. `keys`: those that the relay was told last."""

    endpoint: str
    name: str
    keys: tuple[bytes, ...]


class Change(NamedTuple):
    """What a reload has changed. `generation`: so many times the rules were read.

    `nodes`, `groups`: how many there are; `added`, `removed`, `changed`: places in the file, like nodes.rank7;
    `revoked`: names that have lost a key.
    """

    generation: int
    nodes: int
    groups: int
    added: list[str]
    removed: list[str]
    changed: list[str]
    revoked: list[str]


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Gate:
    """Judges by the registry in `folder`, which is read at once. Raises SettingError.

    `reload` and `follow` may be called by any thread; the thread of `start` ends with the relay.
    """

    def __init__(self, door: Door, folder: Path, now: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self.generation = 1
        self._door = door
        self._now = now
        self._reading = threading.Lock()  # one reload at a time: the one that read last is the one that counts
        self._lock = threading.Lock()
        self._held_stamp = stamp_of(folder)  # of before the rules that hold were read
        self._refused_stamp = ""  # the same of rules that were not right
        self._registry = load(folder)
        self._numbers: dict[str, int] = {}  # name → row of its rights, for as long as this gate lives
        self._servers: dict[int, Server] = {}  # by the number of the connector
        self._expired: set[bytes] = set()  # keys whose time is over, and nobody is in by them
        self._audit = Audit(folder)
        self._thread = threading.Thread(target=self._run, name="zproxy-gate", daemon=True)
        self._set_permits()

    @property
    def registry(self) -> Registry:
        return self._registry

    def dials(self, number: int, endpoint: str, server: Identity) -> None:
        """Before `start`: the connector was given the keys of `server`, and is to have those it has from now on."""
        self._servers[number] = Server(endpoint, server.name, server.keys)

    def start(self) -> None:
        self._expired = set(self._registry.over(self._now()))
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Waits until the thread has ended, `timeout` seconds at most, and closes what it wrote to."""
        self._thread.join(timeout)
        self.close()

    def close(self) -> None:
        self._audit.close()

    # ---- judging ----

    def judge(self, question: Question, now: datetime) -> Answer:
        """May it come in, by what name, and what may it do?"""
        if not question.key:
            return self._judge_neighbour(question)
        identity = self._registry.find(question.key)
        if identity is None:
            return Answer("unknown_key")
        if identity.has_expired(now):
            return Answer("expired", identity.name)
        if (identity.role == "node") != (question.side == FRONTEND):
            return Answer("wrong_role", identity.name)
        if not question.is_managed and not self._may_be_plain(question, identity):
            return Answer("denied", identity.name)
        return Answer("", identity.name, self._numbers[identity.name])

    def _judge_neighbour(self, question: Question) -> Answer:
        """A process of this host, by a Unix socket: ours may name itself."""
        return Answer("") if question.uid == os.geteuid() else Answer("wrong_user")

    def _may_be_plain(self, question: Question, identity: Identity) -> bool:
        """Plain peers are known by their routing id: it may be nobody else's name."""
        claimed = question.routing_id.decode(errors="replace")
        is_anothers = claimed != identity.name and claimed in self._registry.identities
        return not is_anothers and may_be_plain(identity)

    # ---- rules ----

    def reload(self) -> Change:
        """Reads the registry anew and makes it count; where it is not right, the old one stays.

        Raises SettingError, RelayStuck.
        """
        with self._reading:
            return self._reload(stamp_of(self.folder))

    def follow(self) -> Change:
        """`reload`, if `zproxy keys` has changed the registry since: each change once, whoever hears of it first.

        Raises SettingError, RelayStuck.
        """
        with self._reading:
            stamp = stamp_of(self.folder)
            if stamp and stamp == self._held_stamp:
                return self._change(self._registry, [])
            return self._reload(stamp)

    def look(self) -> None:
        """Follows what `zproxy keys` has changed; where that is not right, it is told once, not at each look.

        Raises RelayStuck, and then the next look tries again.
        """
        if stamp_of(self.folder) not in ("", self._held_stamp, self._refused_stamp):
            with contextlib.suppress(SettingError):  # told
                self.follow()

    def _reload(self, stamp: str) -> Change:
        before, newest = self._registry, self._read(stamp)
        with self._lock:
            revoked = self._swap(newest)
        self._held_stamp = stamp
        self.generation += 1
        change = self._change(before, revoked)
        self._tell(change)
        return change

    def _change(self, before: Registry, revoked: list[str]) -> Change:
        was, now = before.rows, self._registry.rows
        return Change(
            generation=self.generation,
            nodes=len(self._registry.identities),
            groups=len(self._registry.groups),
            added=[place for place in now if place not in was],
            removed=[place for place in was if place not in now],
            changed=[place for place in now if place in was and now[place] != was[place]],
            revoked=revoked,
        )

    def _tell(self, change: Change) -> None:
        """In the log, and each thing that has changed a line of the audit, too."""
        fields: dict[str, Field] = {"generation": change.generation, "revoked": change.revoked}
        logger.info(Entry(logging.INFO, "reloaded", "", fields))
        for reason in ("added", "removed", "changed"):
            for place in getattr(change, reason):
                self._audit.write("rule", reason, place=place)
        self._audit.write("reloaded", generation=change.generation, nodes=change.nodes, groups=change.groups)

    def _read(self, stamp: str) -> Registry:
        try:
            return load(self.folder)
        except SettingError as error:
            self._refused_stamp = stamp
            logger.warning(Entry(logging.WARNING, "reload_refused", f"{error}; the old rules stay"))
            self._audit.write("reload_refused", sentence=str(error))
            raise

    def _swap(self, newest: Registry) -> list[str]:
        """The names of whom it revoked. Where the relay does not take it, the next reload begins at the old rules."""
        before, self._registry = self._registry, newest
        try:
            self._set_permits()
            self._set_server_keys()  # before what they are to come after
            for key in before.keys:
                if self._has_lost_raw(key, before):
                    self._door.revoke(key, True)
            revoked = [self._revoke(key, before, "revoked") for key in before.keys if self._has_lost(key, before)]
        except BaseException:
            self._registry = before
            raise
        self._expired.intersection_update(newest.over(self._now()))
        return list(dict.fromkeys(revoked))

    def _has_lost(self, key: bytes, before: Registry) -> bool:
        """Is it another's now, or another role's, or nobody's?"""
        was, now = before.find(key), self._registry.find(key)
        return was is not None and (now is None or (now.name, now.role) != (was.name, was.role))

    def _has_lost_raw(self, key: bytes, before: Registry) -> bool:
        """What plain peers may do was decided when they came in."""
        was, now = before.find(key), self._registry.find(key)
        return was is not None and now is not None and may_be_plain(was) and not may_be_plain(now)

    def _set_permits(self) -> None:
        for name in self._registry.identities:
            self._numbers.setdefault(name, len(self._numbers) + 1)
        identities = self._registry.identities
        self._door.set_permits(
            permits_pack(identities[name].permit if name in identities else NOTHING for name in self._numbers)
        )

    def _set_server_keys(self) -> None:
        for number, server in self._servers.items():
            identity = self._registry.identities.get(server.name)
            keys = identity.keys if identity else ()
            if keys == server.keys:
                continue
            self._door.set_server_keys(number, keys)
            self._servers[number] = server._replace(keys=keys)
            if not keys:
                said = f"{server.endpoint}: the registry has no keys of {server.name}: nobody is dialled until it has"
                logger.warning(Entry(logging.WARNING, "gate", said))

    def _revoke(self, key: bytes, registry: Registry, reason: str) -> str:
        identity = registry.find(key)
        name = identity.name if identity else ""
        self._door.revoke(key)
        self._audit.write("revoked", node=name, fingerprint=fingerprint(key), reason=reason)
        return name

    def expire(self, now: datetime) -> None:
        """Keys whose time is over by `now` are revoked, once."""
        with self._lock:
            over = set(self._registry.over(now))
            for key in over - self._expired:
                self._revoke(key, self._registry, "expired")
            self._expired = over

    @property
    def hears(self) -> dict[str, Callable[[Event], None]]:
        """What is to be told of the relay's events, by their kind."""
        return {"refused": self.refused, "denied": self.denied, "disconnected": self.disconnected}

    def refused(self, event: Event) -> None:
        """A peer about which the gate was not asked, most often for its handshake: that is audited. Any thread."""
        if event.reason not in REASONS:
            self._audit_peer("refused", event.reason, event)

    def denied(self, event: Event) -> None:
        """A peer that is in wanted what its rights do not allow: the proxy refused it by itself. Any thread."""
        self._audit_peer("denied", "rules", event)

    def disconnected(self, event: Event) -> None:
        """What ended with its key, or was silent when another came for its name: that is audited. Any thread."""
        if event.reason in ENDINGS:
            self._audit_peer(*ENDINGS[event.reason], event)

    def _audit_peer(self, what: str, reason: str, event: Event) -> None:
        self._audit.write(
            what,
            reason,
            node=event.name,
            fingerprint=fingerprint(event.key) if event.key else "",
            address=event.peer,
            side=side_of(event.side),
        )

    # ---- the thread ----

    def _run(self) -> None:
        while not self._door.has_ended:
            try:
                self._answer(self._door.questions(LOOK_MS))
                self.expire(self._now())
                self.look()
            except ForkedProxy:
                return
            except RelayStuck as error:
                logger.warning(Entry(logging.WARNING, "gate", str(error)))

    def _answer(self, questions: Iterable[Question]) -> None:
        for question in questions:
            with self._lock:  # no reload between the judgement and its answer: a revoked key would come in
                answer = self.judge(question, self._now())
                self._door.answer(question.tag, answer.reason, answer.name.encode(), answer.permit)
            self._audit.write(
                "refused" if answer.reason else "admitted",
                answer.reason,
                node=answer.name or ("(names itself)" if not answer.reason and not question.key else ""),
                fingerprint=fingerprint(question.key) if question.key else "",
                address=question.peer,
                side=side_of(question.side),
            )


def side_of(number: int) -> str:
    return "frontend" if number == FRONTEND else "backend"


def may_be_plain(identity: Identity) -> bool:
    """Do its rights include the service of plain traffic?"""
    patterns = identity.permit.allow if identity.role == "node" else identity.permit.serve
    return any(matches(pattern, RAW) for pattern in patterns)


def matches(pattern: str, service: str) -> bool:
    """Does a pattern of the registry mean this service?"""
    return service.startswith(pattern[:-1]) if pattern.endswith("*") else service == pattern
