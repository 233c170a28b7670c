"""An operator's drain of one worker: GOODBYE at once, nothing new, and what it holds is still answered."""

from __future__ import annotations

import pytest
from support.brokers import Desk, Kind, Told, Worker


def dismiss(desk: Desk, worker: Worker) -> list[str]:
    desk.probe.dismiss(worker.name.encode())
    return desk.said()


def state(desk: Desk, worker: Worker) -> tuple[bool, int]:
    """Is it leaving, and how much it holds."""
    (row,) = [row for row in desk.probe.rows()[1] if row["name"] == worker.name]
    return row["is_leaving"], row["in_flight"]


def test_it_is_told_goodbye_once_and_given_nothing_more() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, credit=9)
    assert dismiss(desk, worker) == ["SAY 101 GOODBYE"]
    assert dismiss(desk, worker) == []
    assert str(node.request(1)) == "KEEP"
    worker.credit(50)
    desk.probe.set_usable(worker.slot, False)
    desk.probe.set_usable(worker.slot, True)
    assert desk.said() == []
    assert state(desk, worker) == (True, 0)


def test_what_waits_goes_to_the_others() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    held = node.request(1)
    node.request(2)
    dismiss(desk, worker)
    desk.worker(102)
    assert [str(told) for told in desk.steps()] == ["SEND 102 REQUEST"]
    assert str(worker.answer(held)) == "PASS 1 REPLY"


def test_what_it_holds_it_finishes_and_then_it_is_let_go() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, credit=2)
    first, second = node.request(1), node.request(2)
    dismiss(desk, worker)
    worker.answer(first)
    assert desk.said() == []
    assert state(desk, worker) == (True, 1)
    worker.goodbye()
    assert desk.said() == []
    assert str(worker.answer(second)) == "PASS 1 REPLY"
    assert desk.said() == ["SAY 101 GOODBYE"]
    assert desk.counts()["delivered"] == 2


def test_goodbyes_that_cross_are_one() -> None:
    desk = Desk()
    worker = desk.worker(101)
    desk.probe.dismiss(worker.name.encode())
    worker.goodbye()
    assert desk.said() == ["SAY 101 GOODBYE"]
    assert dismiss(desk, worker) == []


def test_ready_in_the_same_conversation_changes_nothing() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    dismiss(desk, worker)
    assert worker.ready(["echo"]).kind == "ACCEPTED"
    assert desk.said() == ["SAY 101 GOODBYE"]
    assert str(node.request(1)) == "KEEP"
    assert desk.probe.rows()[2] == []


def test_a_new_connection_begins_anew() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    dismiss(desk, worker)
    worker.leave()
    back = desk.worker(101, name=worker.name, incarnation=worker.incarnation)
    assert state(desk, back) == (False, 0)
    assert str(node.request(1)) == "PASS 101 REQUEST"


@pytest.mark.parametrize("name", [b"nobody", b"node-1", b""])
def test_a_name_that_no_worker_has_is_nobodys(name: bytes) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    desk.probe.dismiss(name)
    assert desk.said() == []
    assert str(node.request(1)) == "PASS 101 REQUEST"
    assert state(desk, worker) == (False, 1)


def test_keys_at_home_with_it_move_to_another() -> None:
    desk = Desk(policy="hash")
    node = desk.node(1)
    workers = {slot: desk.worker(slot) for slot in (101, 102)}
    given: Told = node.request(1, key_hash=7)
    home = workers.pop(given.peer or 0)
    node.request(2, key_hash=7)
    dismiss(desk, home)
    (other,) = workers
    assert str(node.request(3, key_hash=7)) in (f"PASS {other} REQUEST", "KEEP")
    home.answer(given)
    for told in desk.steps():
        assert (told.peer, told.kind) != (home.slot, Kind.REQUEST.name)


def test_a_draining_proxy_does_not_tell_it_twice() -> None:
    desk = Desk()
    worker, other = desk.worker(101), desk.worker(102)
    dismiss(desk, worker)
    desk.probe.drain()
    assert desk.said() == [f"SAY {other.slot} GOODBYE"]
