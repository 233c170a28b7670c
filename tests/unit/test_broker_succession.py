"""Names pass on: who holds one is asked whether it lives, and who was succeeded stays out."""

from __future__ import annotations

import pytest
from support.brokers import Desk, Node, Worker


@pytest.fixture
def desk() -> Desk:
    return Desk(dedup_bytes=1 << 20)


def seat(desk: Desk, role: str, slot: int) -> Node | Worker:
    return desk.connect_node(slot) if role == "node" else desk.connect_worker(slot)


def greet(peer: Node | Worker, incarnation: int, name: str = "a") -> str | None:
    told = peer.hello(name, incarnation) if isinstance(peer, Node) else peer.ready(name=name, incarnation=incarnation)
    return told.code or told.kind


ROLES = pytest.mark.parametrize("role", ["node", "worker"])


@ROLES
def test_the_holder_of_a_name_is_asked_whether_it_lives(desk: Desk, role: str) -> None:
    greet(seat(desk, role, 1), 5)
    told = seat(desk, role, 2)
    refused = told.hello("a", 6) if isinstance(told, Node) else told.ready(name="a", incarnation=6)
    assert (refused.code, refused.challenged) == ("NAME_IN_USE", 1)
    assert refused.envelope.remaining_ms > 0


@ROLES
def test_who_was_succeeded_stays_out(desk: Desk, role: str) -> None:
    elder = seat(desk, role, 1)
    assert greet(elder, 5) == "ACCEPTED"
    elder.leave()
    successor = seat(desk, role, 2)
    assert greet(successor, 6) == "ACCEPTED"
    assert greet(seat(desk, role, 3), 5) == "FENCED"
    successor.goodbye()
    successor.leave()
    desk.steps()
    assert greet(seat(desk, role, 4), 5) == "FENCED"
    assert greet(seat(desk, role, 5), 7) == "ACCEPTED"
    assert desk.counts()["refused_fenced"] == 2


@ROLES
def test_who_comes_back_before_a_successor_goes_on(desk: Desk, role: str) -> None:
    elder = seat(desk, role, 1)
    greet(elder, 5)
    elder.leave()
    assert greet(seat(desk, role, 2), 5) == "ACCEPTED"
    assert greet(seat(desk, role, 3), 6) == "NAME_IN_USE"


@ROLES
def test_an_incarnation_is_out_under_its_own_name_alone(desk: Desk, role: str) -> None:
    elder = seat(desk, role, 1)
    greet(elder, 5)
    elder.leave()
    greet(seat(desk, role, 2), 6)
    assert greet(seat(desk, role, 3), 5, "b") == "ACCEPTED"


@ROLES
def test_four_thousand_ends_later_it_is_forgotten(desk: Desk, role: str) -> None:
    elder = seat(desk, role, 1)
    greet(elder, 5)
    elder.leave()
    holder = seat(desk, role, 2)
    greet(holder, 6)
    for number in range(4096):
        assert greet(seat(desk, role, 1), 5) == "FENCED"
        desk.probe.leave(1, desk.now_ms)
        other = seat(desk, role, 3)
        greet(other, 1000 + number, f"other-{number}")
        other.leave()
    assert greet(seat(desk, role, 1), 5) == "NAME_IN_USE"


def test_what_the_elder_had_open_is_cancelled_when_a_successor_comes(desk: Desk) -> None:
    elder, worker = desk.node(1, "a", 5), desk.worker()
    delivery = elder.request(1)
    elder.leave()
    assert greet(desk.connect_node(2), 6) == "ACCEPTED"
    assert [(told.kind, told.envelope.lease) for told in desk.steps() if told.kind] == [
        ("CANCEL", delivery.envelope.lease)
    ]
    assert worker.answer(delivery).verdict == "DROP"
    assert desk.counts()["cancelled"] == 1
