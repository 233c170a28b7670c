"""The gate: who is let in is the registry's to say, and only for as long as it says so."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.registries import RegistryFolder

from zproxy._relay import BACKEND, FRONTEND, Event, Question
from zproxy.broker.access import permits_pack
from zproxy.errors import RelayStuck, SettingError
from zproxy.security.gate import Answer, Gate
from zproxy.security.keys import fingerprint, new_pair
from zproxy.security.registry import Registry, editing, load

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


class Door:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.has_ended = False
        self.permits = b""
        self.revoked: list[tuple[bytes, bool]] = []
        self.server_keys: list[tuple[int, Sequence[bytes]]] = []
        self.is_stuck = False

    def questions(self, timeout_ms: int) -> list[Question]:
        return []

    def answer(self, tag: int, reason: str, name: bytes, permit: int) -> None:
        raise AssertionError("nobody asked")

    def set_permits(self, packed: bytes) -> None:
        self.permits = packed

    def set_server_keys(self, endpoint: int, server_keys: Sequence[bytes]) -> None:
        self.server_keys.append((endpoint, server_keys))

    def revoke(self, key: bytes, is_plain_only: bool = False) -> None:
        if self.is_stuck:
            raise RelayStuck("it does not listen")
        self.revoked.append((key, is_plain_only))


@pytest.fixture
def folder(tmp_path: Path) -> RegistryFolder:
    return RegistryFolder(tmp_path / "registry")


def question(
    key: bytes, side: int = FRONTEND, *, is_managed: bool = True, routing_id: bytes = b"", uid: int = -1
) -> Question:
    return Question(7, side, 0, key, uid, "10.0.0.7:51000", is_managed, routing_id)


def event(kind: str, reason: str, name: str = "", key: bytes = b"") -> Event:
    return Event(kind, FRONTEND, 0, reason, "10.0.0.7:51000", b"", "DEALER", 0, 0, name, key)


def test_the_key_gives_the_name_and_the_rights(folder: RegistryFolder) -> None:
    one, other = folder.enter("a"), folder.enter("b")
    gate = Gate(Door(), folder.path)
    assert gate.judge(question(one.public), NOW) == Answer("", "a", 1)
    assert gate.judge(question(other.public), NOW) == Answer("", "b", 2)
    assert gate.judge(question(new_pair().public), NOW).reason == "unknown_key"


def test_each_side_takes_its_role(folder: RegistryFolder) -> None:
    node, master = folder.enter("node"), folder.enter("master", "master")
    gate = Gate(Door(), folder.path)
    assert gate.judge(question(node.public, BACKEND), NOW) == Answer("wrong_role", "node")
    assert gate.judge(question(master.public, FRONTEND), NOW) == Answer("wrong_role", "master")
    assert gate.judge(question(master.public, BACKEND), NOW).reason == ""


def test_a_key_is_good_until_its_time_is_over(folder: RegistryFolder) -> None:
    pair = folder.enter("a", "node", "not_after = 2026-05-31")
    door = Door()
    gate = Gate(door, folder.path)
    assert gate.judge(question(pair.public), NOW - timedelta(seconds=1)).reason == ""
    assert gate.judge(question(pair.public), NOW) == Answer("expired", "a")
    gate.expire(NOW - timedelta(seconds=1))
    assert door.revoked == []
    gate.expire(NOW)
    gate.expire(NOW)
    assert door.revoked == [(pair.public, False)], "once"


@pytest.mark.parametrize(
    ("allow", "reason"), [("[]", "denied"), ('["raw"]', ""), ('["r*"]', ""), ('["*"]', ""), ('["rawer"]', "denied")]
)
def test_plain_nodes_need_the_service_raw(folder: RegistryFolder, allow: str, reason: str) -> None:
    pair = folder.enter("a", "node", f"groups = []\nallow = {allow}")
    gate = Gate(Door(), folder.path)
    assert gate.judge(question(pair.public, is_managed=False), NOW).reason == reason
    assert gate.judge(question(pair.public), NOW).reason == ""


def test_a_plain_peer_does_not_go_by_anothers_name(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    folder.enter("b")
    gate = Gate(Door(), folder.path)

    def reason(routing_id: bytes) -> str:
        return gate.judge(question(pair.public, is_managed=False, routing_id=routing_id), NOW).reason

    assert [reason(each) for each in (b"", b"a", b"anything", b"\xff", b"b")] == ["", "", "", "", "denied"]


def test_a_neighbour_of_our_own_user_may_name_itself(folder: RegistryFolder) -> None:
    gate = Gate(Door(), folder.path)
    assert gate.judge(question(b"", uid=os.geteuid()), NOW) == Answer("", "", 0)
    assert gate.judge(question(b"", uid=os.geteuid() + 1), NOW).reason == "wrong_user"


def test_a_reload_keeps_numbers_and_empties_the_rights_of_who_has_gone(folder: RegistryFolder) -> None:
    folder.enter("a")
    other = folder.enter("b")
    door = Door()
    gate = Gate(door, folder.path)
    before = gate.registry
    folder.leave("a")
    third = folder.enter("c")
    change = gate.reload()
    assert (change.generation, change.nodes, change.revoked) == (2, 2, ["a"])
    assert door.revoked == [(before.identities["a"].keys[0], False)]
    assert gate.judge(question(other.public), NOW).permit == 2
    assert gate.judge(question(third.public), NOW).permit == 3
    rights = [gate.registry.identities[name].permit for name in ("b", "c")]
    assert door.permits == permits_pack([type(rights[0])(), *rights])


def test_another_role_or_owner_ends_what_the_key_had(folder: RegistryFolder) -> None:
    pair, kept = folder.enter("a"), folder.enter("b")
    door = Door()
    gate = Gate(door, folder.path)
    folder.enter("a", "master", "", pair)
    assert gate.reload().revoked == ["a"]
    folder.leave("a")
    folder.enter("c", "master", "", pair)
    assert gate.reload().revoked == ["a"]
    assert {key for key, _ in door.revoked} == {pair.public}
    assert gate.judge(question(kept.public), NOW).reason == ""


def test_a_connector_has_the_keys_that_its_server_has(
    folder: RegistryFolder, caplog: pytest.LogCaptureFixture
) -> None:
    old, fresh = new_pair(), new_pair()
    folder.enter("m1", "master", "", old)
    door = Door()
    gate = Gate(door, folder.path)
    gate.dials(3, "tcp://master:6000", gate.registry.identities["m1"])
    gate.reload()
    assert door.server_keys == [], "it has them"
    folder.enter("m1", "master", "", old, fresh)
    gate.reload()
    folder.enter("m1", "master", "", fresh)
    gate.reload()
    folder.leave("m1")
    for _ in range(2):
        gate.reload()
    folder.enter("m1", "master", "", fresh)
    gate.reload()
    keys = [[old.public, fresh.public], [fresh.public], [], [fresh.public]]
    assert [(number, list(told)) for number, told in door.server_keys] == [(3, each) for each in keys]
    assert caplog.text.count("no keys of m1") == 1


def test_who_has_lost_raw_is_closed_where_it_is_plain(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    door = Door()
    gate = Gate(door, folder.path)
    folder.regroup('[groups.nodes]\nallow = ["progress"]\n')
    assert gate.reload().revoked == []
    assert door.revoked == [(pair.public, True)]


def test_a_mistake_leaves_the_old_rules(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    door = Door()
    gate = Gate(door, folder.path)
    permits = door.permits
    folder.regroup("[groups.nodes]\nallow = 1\n")
    with pytest.raises(SettingError, match="groups.nodes.allow"):
        gate.reload()
    assert (gate.generation, door.permits, door.revoked) == (1, permits, [])
    assert gate.judge(question(pair.public), NOW).reason == ""


def test_what_a_stuck_relay_was_not_told_the_next_reload_tells(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    door = Door()
    gate = Gate(door, folder.path)
    folder.leave("a")
    door.is_stuck = True
    with pytest.raises(RelayStuck):
        gate.reload()
    assert gate.generation == 1
    door.is_stuck = False
    assert gate.reload().revoked == ["a"]
    assert door.revoked == [(pair.public, False)]


def test_of_two_reloads_the_one_that_read_last_counts(folder: RegistryFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has read, and is held up, while the second would overtake it."""
    pair = folder.enter("a")
    gate = Gate(Door(), folder.path)
    has_read, may_go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> Registry:
        found = load(path)
        if not has_read.is_set():
            has_read.set()
            may_go_on.wait(10)
        return found

    monkeypatch.setattr("zproxy.security.gate.load", slow)
    first, second = (threading.Thread(target=gate.reload) for _ in range(2))
    first.start()
    assert has_read.wait(10)
    folder.leave("a")
    second.start()
    second.join(0.05)  # it has to wait: were it done by now, the first would put the older rules back
    may_go_on.set()
    for thread in (first, second):
        thread.join(10)
    assert gate.generation == 3
    assert gate.judge(question(pair.public), NOW).reason == "unknown_key"


def test_a_name_of_two_keys_is_revoked_once(folder: RegistryFolder) -> None:
    pairs = new_pair(), new_pair()
    folder.enter("a", "node", "", *pairs)
    door = Door()
    gate = Gate(door, folder.path)
    folder.leave("a")
    assert gate.reload().revoked == ["a"]
    assert door.revoked == [(pair.public, False) for pair in pairs]


def test_a_reload_does_not_revoke_again_what_is_over_already(folder: RegistryFolder) -> None:
    pair = folder.enter("a", "node", "not_after = 2020-01-01")
    door = Door()
    gate = Gate(door, folder.path, lambda: NOW)
    gate.expire(NOW)
    gate.reload()
    gate.expire(NOW)
    assert door.revoked == [(pair.public, False)]
    folder.enter("a", "node", "not_after = 2027-01-01", pair)
    gate.reload()
    gate.expire(NOW + timedelta(days=365))
    assert door.revoked == [(pair.public, False)] * 2, "it was let in again, and is over again"


def revoke(folder: RegistryFolder, name: str) -> None:
    """As `zproxy keys revoke` does."""
    with editing(folder.path) as document:
        del document["nodes"][name]


def test_a_change_by_keys_counts_once_whoever_hears_of_it_first(folder: RegistryFolder) -> None:
    for name in "abc":
        folder.enter(name)
    gate = Gate(Door(), folder.path)
    gate.look()
    assert gate.generation == 1
    revoke(folder, "a")
    gate.look()
    change = gate.follow()
    assert (change.generation, change.nodes, change.removed) == (2, 2, [])
    revoke(folder, "b")
    change = gate.follow()
    gate.look()
    assert (change.generation, change.removed, change.revoked) == (3, ["nodes.b"], ["b"])
    revoke(folder, "c")
    with ThreadPoolExecutor(8) as threads:
        for _ in range(4):
            threads.submit(gate.look)
            threads.submit(gate.follow)
    assert gate.generation == 4
    assert [line["event"] for line in audited(gate, folder)] == 3 * ["revoked", "rule", "reloaded"]


def test_an_edit_by_hand_counts_when_it_is_said_and_not_before(folder: RegistryFolder) -> None:
    gate = Gate(Door(), folder.path)
    folder.enter("a")
    gate.look()
    assert gate.generation == 1
    assert gate.reload().added == ["nodes.a"]


def test_a_change_that_is_not_right_is_told_once_and_not_forgotten(
    folder: RegistryFolder, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        folder.enter(name)
    gate = Gate(Door(), folder.path)
    revoke(folder, "a")
    folder.regroup("[groups.nodes]\nallow = 1\n")  # by hand, before the gate has looked
    for _ in range(3):
        gate.look()
    assert [record.getMessage().count("groups.nodes.allow") for record in caplog.records] == [1]
    with pytest.raises(SettingError, match="groups.nodes.allow"):
        gate.follow()
    folder.regroup('[groups.nodes]\nallow = ["*"]\n[groups.masters]\n')
    folder.leave("a")
    gate.look()
    assert gate.generation == 1, "mended by hand: whether it is whole, nobody has said"
    assert gate.follow().revoked == ["a"]
    assert [line["event"] for line in audited(gate, folder)][:2] == ["reload_refused", "reload_refused"]


def test_what_a_stuck_relay_did_not_take_is_looked_at_again(folder: RegistryFolder) -> None:
    folder.enter("a")
    door = Door()
    gate = Gate(door, folder.path)
    revoke(folder, "a")
    door.is_stuck = True
    with pytest.raises(RelayStuck):
        gate.look()
    door.is_stuck = False
    gate.look()
    assert (gate.generation, len(door.revoked)) == (2, 1)


def audited(gate: Gate, folder: RegistryFolder) -> list[dict[str, Any]]:
    """The audit's lines."""
    gate.close()
    return [json.loads(line) for line in (folder.path / "audit.log").read_text().splitlines()]


def test_what_changes_is_audited_a_line_each(folder: RegistryFolder) -> None:
    for name in "abd":
        folder.enter(name)
    gate = Gate(Door(), folder.path)
    folder.leave("a")
    folder.enter("b")  # with another key
    folder.enter("c")
    folder.regroup('[groups.nodes]\nallow = ["progress"]\n')
    change = gate.reload()
    assert (change.added, change.removed) == (["nodes.c"], ["groups.masters", "nodes.a"])
    assert change.changed == ["groups.nodes", "nodes.b"]
    lines = audited(gate, folder)
    assert [(line["event"], line.get("place") or line.get("node")) for line in lines] == [
        ("revoked", "a"),
        ("revoked", "b"),
        ("rule", "nodes.c"),
        ("rule", "groups.masters"),
        ("rule", "nodes.a"),
        ("rule", "groups.nodes"),
        ("rule", "nodes.b"),
        ("reloaded", None),
    ]
    assert (folder.path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_what_was_over_before_the_start_is_no_news(folder: RegistryFolder) -> None:
    folder.enter("a", "node", "not_after = 2026-05-31")
    door = Door()
    door.has_ended = True
    gate = Gate(door, folder.path, lambda: NOW)
    gate.start()
    gate.expire(NOW)
    gate.join(10)
    assert (door.revoked, (folder.path / "audit.log").exists()) == ([], False)


def test_a_clock_that_was_set_back_ends_a_key_again(folder: RegistryFolder) -> None:
    pair = folder.enter("a", "node", "not_after = 2026-05-31")
    door = Door()
    gate = Gate(door, folder.path)
    for now in (NOW, NOW - timedelta(days=1), NOW, NOW):
        gate.expire(now)
    assert door.revoked == [(pair.public, False)] * 2


def test_a_connection_that_ends_with_its_key_is_audited_with_its_address(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    gate = Gate(Door(), folder.path)
    gate.disconnected(event("disconnected", "revoked", "a", pair.public))
    (line,) = audited(gate, folder)
    assert (line["event"], line["node"], line["address"]) == ("closed", "a", "10.0.0.7:51000")
    assert (line["fingerprint"], line["reason"]) == (fingerprint(pair.public), "revoked")


def test_a_takeover_is_audited_and_another_end_is_not(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    gate = Gate(Door(), folder.path)
    for reason in ("fenced", "eof"):
        gate.disconnected(event("disconnected", reason, "a", pair.public))
    (line,) = audited(gate, folder)
    assert (line["event"], line["node"], line["address"]) == ("takeover", "a", "10.0.0.7:51000")
    assert line["fingerprint"] == fingerprint(pair.public)


def test_what_is_denied_is_audited_with_the_key_that_asked(folder: RegistryFolder) -> None:
    pair = folder.enter("a")
    gate = Gate(Door(), folder.path)
    gate.denied(event("denied", "", "a", pair.public))
    (line,) = audited(gate, folder)
    assert (line["event"], line["node"], line["fingerprint"]) == ("denied", "a", fingerprint(pair.public))


def test_whom_the_relay_refuses_by_itself_is_audited_once(folder: RegistryFolder) -> None:
    gate = Gate(Door(), folder.path)
    for reason in ("forged", "expired"):  # the second the gate has given, and written
        gate.refused(event("refused", reason))
    (line,) = audited(gate, folder)
    assert (line["event"], line["reason"], line["side"]) == ("refused", "forged", "frontend")
    assert "fingerprint" not in line, "it has proved to have no key"
