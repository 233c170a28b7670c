"""Rows 13 to 19 and 24 with keys: neighbours of encrypted load that have none, a wrong one, or one and no manners."""

from __future__ import annotations

import itertools
import json
import resource
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_oracle import Judgement
from support.fault_report import SOAK_REQUESTS, FaultReport, sizes
from support.load import Load
from support.neighbours import (
    MAX_MESSAGE,
    MIB,
    Connect,
    Harm,
    KeyedNeighbour,
    endless,
    garbage,
    malformed,
    oversize,
    slow,
    truncated,
)
from support.proxies import HostedProxy
from support.registries import GROUPS, RegistryFolder
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer, greeting, message, ready

from zproxy.envelope import Code, Envelope, Kind, offers_pack
from zproxy.processes import raise_descriptor_limit
from zproxy.security.keys import KeyPair, new_pair

Host = Callable[..., HostedProxy]

MEMORY = 64 * MIB
HELD = 16  # who was refused hears nothing, and is closed after a second: so many are left open meanwhile


class Town:
    """A proxy with a registry, two nodes and two masters under load, and a neighbour."""

    def __init__(self, host: Host, connect: Connect, load: Load, folder: Path, requests: int) -> None:
        self.folder = RegistryFolder(folder / "registry")
        self.load = load
        self.neighbour = KeyedNeighbour(connect, self.folder)
        nodes = {name: self.folder.files(name) for name in ("node1", "node2")}
        masters = {name: self.folder.files(name, "master") for name in ("m1", "m2")}
        self.proxy = host(registry=str(self.folder.path), max_message=MAX_MESSAGE, memory=MEMORY, absence="0s")
        self.neighbour.proxy = self.proxy
        for name, keys in masters.items():
            load.master(self.proxy.backend, name, concurrency=2, **keys)
        for name, keys in nodes.items():
            load.node(self.proxy.frontend, requests // 2, name, window=4, work_ms=5, keys=keys)

    def suffer(self, harm: Harm, *counters: str) -> tuple[Judgement, dict[str, int]]:
        """Until the load is done, which does not notice, and all of these have counted: what became of it, and all."""

        def step() -> None:
            self.load.fault()
            next(harm)

        def has_shown() -> bool:
            stats = self.proxy.stats()
            return all(stats[counter] for counter in counters)

        self.load.harm_until_done(step, every_seconds=0.005, has_shown=has_shown)
        found, stats = self.load.judge(), self.proxy.stats()
        assert (found.errors, found.duplicates) == ({}, 0), "the others do not notice"
        assert stats["memory_bytes"] <= MEMORY
        assert [node.stats()["conversations"] for node in self.load.nodes] == [1, 1]
        return found, stats

    def audited(self, event: str) -> Counter[str]:
        """Who is in the audit with it, by reason or name."""
        lines = [json.loads(line) for line in (self.folder.path / "audit.log").read_text().splitlines()]
        return Counter(line.get("reason") or line.get("node") or "" for line in lines if line["event"] == event)

    def wait_audited(self, event: str, *wanted: str) -> None:
        """All these reasons or names are in the audit with it, which is written a moment after they have counted."""
        wait_until(lambda: self.audited(event).keys() >= set(wanted), f"{event} of {wanted} in the audit")


@pytest.fixture
def many_files() -> Iterator[None]:
    """For this process, and for the proxy that it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_descriptor_limit()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def town(
    many_files: None, hosted: Host, raw_peer: Connect, load: Load, tmp_path: Path, requests: int
) -> Town:
    return Town(hosted, raw_peer, load, tmp_path, requests)


COUNTED: dict[Callable[[Any], Harm], tuple[int, str, str]] = {
    oversize: (13, "frames above the limit, with keys", "closed_too_large"),
    malformed: (14, "malformed envelopes in boxes", "managed_refused_malformed"),
    endless: (15, "messages without end in boxes", "closed_too_large"),
    truncated: (16, "boxes cut anywhere", "truncated_messages"),
    garbage: (19, "garbage at both ports of CURVE", "refused_malformed"),
    slow: (19, "1,000 slow handshakes of CURVE", "refused_handshake_timeout"),
}


@pytest.mark.soak  # short forms, connection by connection: tests/security/test_curve_hostile.py
@pytest.mark.parametrize("requests", [SOAK_REQUESTS])
@pytest.mark.parametrize("harm", COUNTED)
def test_a_neighbour_with_a_key_and_no_manners_harms_nobody_but_itself(
    town: Town, fault_report: FaultReport, harm: Callable[[KeyedNeighbour], Harm]
) -> None:
    number, fault, counter = COUNTED[harm]
    found, _ = town.suffer(harm(town.neighbour))
    stats = town.proxy.wait_for(counter)
    fault_report.add(number, fault, town.load, found, f"{counter} {stats[counter]:,}")


def spoof(neighbour: KeyedNeighbour) -> Harm:
    """Row 17: others' names, by HELLO, by READY, by a routing id; ids of zero bytes; and a live name without a key."""
    held: deque[ZmtpPeer] = deque()

    def denied(side: str, kind: Kind, name: str, *frames: bytes) -> ZmtpPeer:
        peer = neighbour.peer(side)
        peer.send_message(Envelope(kind, name=name, credit=1, **neighbour.welcomed(peer)).pack(), *frames)
        answer = Envelope.parse(peer.read_message()[0])
        assert (answer.kind, answer.code) == (Kind.ERROR, Code.DENIED)
        return peer

    def knocked(identity: bytes) -> ZmtpPeer:
        peer = neighbour.own()
        peer.knock(identity)
        return peer

    def without_a_key() -> ZmtpPeer:
        peer = neighbour.stranger()
        peer.send(greeting_as(b"node1"))
        return peer

    ways = [
        lambda: denied("frontend", Kind.HELLO, "node1"),
        lambda: denied("backend", Kind.READY, "m1", offers_pack([("work", 0, 0)])),
        lambda: knocked(b"node1"),
        lambda: knocked(b"\0mine"),
        without_a_key,
    ]
    for way in itertools.cycle(ways):
        held.append(way())
        if len(held) > HELD:
            held.popleft().close()
        yield


def greeting_as(name: bytes) -> bytes:
    return greeting() + ready("DEALER", {"Identity": name}) + message(b"hijack")


@sizes(100)
def test_nobody_takes_anothers_name_by_a_key_of_its_own(town: Town, fault_report: FaultReport) -> None:
    counters = ("managed_refused_denied", "refused_denied", "refused_routing_id", "refused_mechanism")
    found, stats = town.suffer(spoof(town.neighbour), *counters)
    assert stats["managed_accepted"] == found.accepted, "nothing of the neighbour's came further"
    town.wait_audited("refused", "denied", "routing_id", "mechanism")
    wait_until(lambda: town.audited("denied"), "denied requests in the audit")
    assert not town.audited("takeover")
    fault_report.add(17, "others' names, with keys", town.load, found,
                     f"hijacked 0; {stats['managed_refused_denied']:,} DENIED")  # fmt: skip


def wrong_keys(neighbour: KeyedNeighbour) -> Harm:
    """Row 18: of another proxy, of nobody, of one whose time is over, and of one that is revoked while it is in."""
    held: deque[ZmtpPeer] = deque()
    expired = neighbour.folder.enter("late", "node", "not_after = 2020-01-01")
    leaver = neighbour.folder.enter("leaver")

    def reload() -> None:
        assert neighbour.proxy.reload() == ""

    def of_another_proxy() -> ZmtpPeer:
        peer = neighbour.sealed("frontend", expired, server_key=new_pair().public)
        peer.curve.greet()
        peer.curve.hello()
        return peer

    def refused(pair: KeyPair) -> ZmtpPeer:
        peer = neighbour.sealed("frontend", pair)
        peer.knock(is_managed=True)
        return peer

    def revoked() -> ZmtpPeer:
        peer = neighbour.sealed("frontend", leaver)
        peer.handshake("DEALER", is_managed=True)
        neighbour.welcomed(peer)
        neighbour.folder.leave("leaver")
        reload()
        peer.read_until_closed()
        neighbour.folder.enter("leaver", "node", "", leaver)
        reload()
        return peer

    reload()
    for way in itertools.cycle([of_another_proxy, lambda: refused(new_pair()), lambda: refused(expired), revoked]):
        held.append(way())
        if len(held) > HELD:
            held.popleft().close()
        yield


@sizes(100)
def test_a_key_that_does_not_let_in_reaches_nothing(town: Town, fault_report: FaultReport) -> None:
    counters = ("refused_forged", "refused_unknown_key", "refused_expired", "closed_revoked")
    found, stats = town.suffer(wrong_keys(town.neighbour), *counters)
    assert stats["managed_accepted"] == found.accepted, "nothing of the neighbour's came further"
    town.wait_audited("refused", "forged", "unknown_key", "expired")
    town.wait_audited("revoked", "revoked")
    told = ", ".join(f"{stats[name]:,} {name.partition('_')[2]}" for name in counters)
    fault_report.add(18, "wrong, unknown, expired and revoked keys", town.load, found, f"accepted 0; {told}")


MISTAKES = {  # and what is said of each
    "[groups.broken": "Expected",
    '[nodes.other]\nkeys = ["short"]\n': "nodes.other.keys[0]: it is no key",
    '[nodes.other]\ngroups = ["nowhere"]\n': "there is no group 'nowhere'",
    "[groups.wide]\nrate = -1\n": "groups.wide.rate: -1 is no such number",
}


def mistaken(neighbour: KeyedNeighbour) -> Harm:
    """Row 24: registries with a mistake that would widen what `narrow` may use, too; it asks after each."""
    narrow = neighbour.folder.enter("narrow", "node", 'groups = []\nallow = ["progress"]')
    assert neighbour.proxy.reload() == ""
    generation = neighbour.proxy.generation()
    peer = neighbour.sealed("frontend", narrow)
    peer.handshake("DEALER", is_managed=True)
    same = neighbour.welcomed(peer)
    peer.send_message(Envelope(Kind.HELLO, name="narrow", **same).pack())
    peer.read_message()
    neighbour.folder.enter("narrow", "node", 'groups = []\nallow = ["*"]', narrow)
    for sequence, (mistake, words) in enumerate(itertools.cycle(MISTAKES.items()), 1):
        neighbour.folder.regroup(GROUPS + mistake)
        said = neighbour.proxy.reload()
        assert "registry.toml: " in said and words in said and said.isprintable(), said
        assert neighbour.proxy.generation() == generation
        asked = Envelope(Kind.REQUEST, service="work", sequence=sequence, remaining_ms=1000, **same)
        peer.send_message(asked.pack(), b"\x91\xc0")
        answer = Envelope.parse(peer.read_message()[0])
        assert (answer.kind, answer.code, answer.sequence) == (Kind.ERROR, Code.DENIED, sequence)
        yield


@sizes(100)
def test_a_mistake_at_a_reload_leaves_the_old_rules_and_says_why(town: Town, fault_report: FaultReport) -> None:
    found, stats = town.suffer(mistaken(town.neighbour))
    assert stats["managed_accepted"] == found.accepted, "nothing of the neighbour's came further"
    assert town.audited("reload_refused")
    assert stats["managed_refused_denied"] == town.load.faults
    fault_report.add(24, "registries with a mistake, reloaded", town.load, found,
                     f"generation unchanged; {stats['managed_refused_denied']:,} DENIED as before")  # fmt: skip
