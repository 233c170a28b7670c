"""Ordered requests: one at a time for each key of a service, in the order they came, whoever sends them."""

from __future__ import annotations

import pytest
from support.brokers import Code, Desk, Flag, Node, Told

KEY = 7


def ask(
    node: Node, sequence: int, key_hash: int = KEY, service: str = "echo", remaining_ms: int = 30_000
) -> Told:
    return node.request(
        sequence, service, flags=Flag.ORDERED, key_hash=key_hash, remaining_ms=remaining_ms
    )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def delivered(told: list[Told]) -> list[tuple[int, int]]:
    """(worker, sequence) of what was sent to workers."""
    return [(one.peer or 0, one.envelope.sequence) for one in told if one.verdict == "SEND"]


def test_the_second_of_a_key_waits_for_the_first_s_outcome(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(credit=4)
    first = ask(node, 1)
    assert str(ask(node, 2)) == "KEEP"
    assert delivered(desk.steps()) == []
    worker.answer(first)
    assert delivered(desk.steps()) == [(101, 2)]


def test_keys_services_and_unordered_requests_do_not_wait_for_each_other(desk: Desk) -> None:
    node, _ = desk.node(), desk.worker(services=("echo", "other"), credit=9)
    told = [ask(node, 1), ask(node, 2, key_hash=8), ask(node, 3, service="other"), node.request(4, key_hash=KEY)]
    assert [one.verdict for one in told] == ["PASS"] * 4


def test_nodes_share_a_key_in_the_order_they_came(desk: Desk) -> None:
    left, right, worker = desk.node(1), desk.node(2), desk.worker(credit=9)
    told = [ask(left, 1), ask(right, 1), ask(left, 2), ask(right, 2)]
    assert [one.verdict for one in told] == ["PASS", "KEEP", "KEEP", "KEEP"]
    at_work, seen = told[0], [told[0].envelope.name]
    for _ in range(3):
        worker.answer(at_work)
        (at_work,) = (one for one in desk.steps() if one.verdict == "SEND")
        seen.append(at_work.envelope.name)
    assert seen == ["node-1", "node-2", "node-1", "node-2"]
    worker.answer(at_work)
    desk.assert_nothing_is_left(3)


def test_a_key_stays_taken_while_its_request_goes_to_another_worker(desk: Desk) -> None:
    node, worker, other = desk.node(), desk.worker(101, credit=2), desk.worker(102, credit=2)
    first = ask(node, 1)
    ask(node, 2)
    gone, stays = (worker, other) if first.peer == 101 else (other, worker)
    gone.leave()
    (again,) = (one for one in desk.steps() if one.verdict == "SEND")
    assert (again.peer, again.envelope.sequence) == (stays.slot, 1)
    stays.answer(again)
    assert delivered(desk.steps()) == [(stays.slot, 2)]


def test_what_is_taken_from_a_worker_keeps_its_key_until_that_one_has_answered(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(credit=2)
    first = ask(node, 1)
    ask(node, 2)
    node.cancel(1)
    assert delivered(desk.steps()) == []
    worker.fail(first, Code.CANCELLED)
    assert delivered(desk.steps()) == [(101, 2)]


def test_a_delivery_taken_away_and_its_successor_both_keep_the_key(desk: Desk) -> None:
    node = desk.node()
    worker, other = desk.worker(101, [("echo", 1000, 0)], 2), desk.worker(102, [("echo", 1000, 0)], 2)
    first = ask(node, 1)
    ask(node, 2)
    again = next(one for one in desk.wait(1000) if one.verdict == "SEND")
    assert again.peer != first.peer
    holder, newer = (worker, other) if first.peer == 101 else (other, worker)
    assert str(newer.answer(again)) == "PASS 1 REPLY"
    assert delivered(desk.steps()) == []
    holder.answer(first)
    assert [sequence for _, sequence in delivered(desk.steps())] == [2]


def test_one_that_stands_behind_can_be_cancelled(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(credit=9)
    first = ask(node, 1)
    ask(node, 2)
    ask(node, 3)
    assert node.cancel(2).code == "CANCELLED"
    worker.answer(first)
    (third,) = (one for one in desk.steps() if one.verdict == "SEND")
    assert third.envelope.sequence == 3
    worker.answer(third)
    desk.assert_nothing_is_left(2)


def test_one_whose_turn_has_come_can_be_cancelled_before_it_goes(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(credit=9)
    first = ask(node, 1)
    ask(node, 2)
    ask(node, 3)
    worker.answer(first)
    node.cancel(2)
    assert delivered(desk.steps()) == [(101, 3)]


def test_the_end_of_a_deadline_behind_another_says_so(desk: Desk) -> None:
    node, _ = desk.node(), desk.worker(credit=9)
    ask(node, 1)
    ask(node, 2, remaining_ms=500)
    (told,) = desk.wait(500)
    assert told.code == "TIMEOUT" and "an earlier ordered request of its key was not over" in told.sentence


def test_behind_one_that_finds_no_worker_all_are_told_so(desk: Desk) -> None:
    node = desk.node()
    ask(node, 1, remaining_ms=500)
    ask(node, 2, remaining_ms=500)
    assert [told.code for told in desk.wait(500) if told.code] == ["UNKNOWN_SERVICE", "UNKNOWN_SERVICE"]
    desk.assert_nothing_is_left(1)


def test_a_node_that_leaves_takes_what_stands_behind_with_it(desk: Desk) -> None:
    node, other, worker = desk.node(1), desk.node(2), desk.worker(credit=9)
    first = ask(node, 1)
    ask(node, 2)
    ask(other, 1)
    node.goodbye()
    desk.steps()
    worker.answer(first)
    (theirs,) = (one for one in desk.steps() if one.verdict == "SEND")
    assert theirs.envelope.name == "node-2"
    worker.answer(theirs)
    assert desk.counts()["cancelled"] == 2
    desk.assert_nothing_is_left(3)


def test_a_full_stop_ends_those_that_stand_behind(desk: Desk) -> None:
    node, _ = desk.node(), desk.worker(credit=9)
    ask(node, 1)
    ask(node, 2)
    desk.probe.abort()
    assert sorted(str(told) for told in desk.steps() if told.code) == ["SAY 1 ERROR DRAINING"] * 2
