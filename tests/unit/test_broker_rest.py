"""A worker that fails again and again is given nothing for a while."""

from __future__ import annotations

from typing import Any

import pytest
from support.brokers import Desk, Node, Worker

REST_MS = 30_000
LEASE_MS = 100


@pytest.fixture
def desk() -> Desk:
    return Desk()


def resting(desk: Desk) -> set[str]:
    return {row["name"] for row in desk.probe.rows()[1] if row["is_resting"]}


def fail_silently(desk: Desk, node: Node, worker: Worker, times: int, first: int = 1) -> None:
    """Its leases end without a sign, one after the other."""
    for sequence in range(first, first + times):
        assert node.request(sequence, max_attempts=1).peer == worker.slot
        desk.wait(LEASE_MS)


def crew(desk: Desk, **options: Any) -> tuple[Worker, Worker]:
    services = [("echo", LEASE_MS, 0)]
    weak = desk.worker(101, services, 99, name="weak", **options)
    strong = desk.worker(102, services, 99, name="strong", **options)
    strong.credit(0)
    return weak, strong


def test_five_failures_in_a_row_are_followed_by_rest(desk: Desk) -> None:
    node, (weak, strong) = desk.node(), crew(desk)
    fail_silently(desk, node, weak, 4)
    assert resting(desk) == set()
    fail_silently(desk, node, weak, 1, 5)
    assert resting(desk) == {"weak"}
    strong.credit(9)
    assert {node.request(sequence).peer for sequence in range(10, 14)} == {102}
    assert desk.counts()["rests"] == 1


def test_what_one_standstill_ends_is_one_failure(desk: Desk) -> None:
    node, (weak, _) = desk.node(), crew(desk)
    for sequence in range(100, 120):
        assert node.request(sequence, max_attempts=1).peer == weak.slot
    desk.wait(LEASE_MS)
    fail_silently(desk, node, weak, 3)
    assert resting(desk) == set()
    fail_silently(desk, node, weak, 1, 4)
    assert resting(desk) == {"weak"}


def test_an_answer_in_time_wipes_the_slate_clean(desk: Desk) -> None:
    node, (weak, _) = desk.node(), crew(desk)
    fail_silently(desk, node, weak, 4)
    weak.answer(node.request(5))
    fail_silently(desk, node, weak, 4, 6)
    assert resting(desk) == set()


def test_a_handlers_error_is_no_failure(desk: Desk) -> None:
    node, (weak, _) = desk.node(), crew(desk)
    for sequence in range(1, 9):
        weak.fail(node.request(sequence))
    assert resting(desk) == set()


def test_the_last_of_a_service_never_rests(desk: Desk) -> None:
    node = desk.node()
    weak = desk.worker(101, [("echo", LEASE_MS, 0)], 99, name="weak")
    fail_silently(desk, node, weak, 8)
    assert resting(desk) == set()


def test_rest_ends_when_all_others_have_gone(desk: Desk) -> None:
    node, (weak, strong) = desk.node(), crew(desk)
    fail_silently(desk, node, weak, 5)
    assert node.request(9).verdict == "KEEP"
    strong.leave()
    assert resting(desk) == set()
    assert [(told.verdict, told.peer) for told in desk.steps()] == [("SEND", 101)]


def test_each_rest_in_a_row_is_longer(desk: Desk) -> None:
    node, (weak, _) = desk.node(), crew(desk)
    fail_silently(desk, node, weak, 5)
    assert desk.probe.due_ms() == desk.now_ms + REST_MS
    desk.wait(REST_MS - 1)
    assert resting(desk) == {"weak"}
    desk.wait(1)
    assert resting(desk) == set()
    fail_silently(desk, node, weak, 5, 6)
    desk.wait(2 * REST_MS - 1)
    assert resting(desk) == {"weak"}
    desk.wait(1)
    assert resting(desk) == set()


def test_failures_stay_with_the_name_of_a_program_that_dies_and_is_started_again(desk: Desk) -> None:
    node = desk.node()
    desk.worker(102, ("echo",), name="strong").credit(0)
    for start in range(5):
        weak = desk.worker(101, ("echo",), 1, name="weak", incarnation=50 + start)
        assert resting(desk) == set()
        node.request(1 + start, max_attempts=1)
        desk.steps()
        weak.leave()
        desk.steps()
    desk.worker(101, ("echo",), 1, name="weak", incarnation=99)
    assert resting(desk) == {"weak"}


def test_a_connection_that_ends_idle_is_no_failure(desk: Desk) -> None:
    desk.worker(102, ("echo",), name="strong")
    for start in range(9):
        desk.worker(101, ("echo",), 1, name="weak", incarnation=50 + start).leave()
    desk.worker(101, ("echo",), 1, name="weak", incarnation=99)
    assert resting(desk) == set()


def test_what_a_resting_worker_has_it_finishes(desk: Desk) -> None:
    node, (weak, _) = desk.node(), crew(desk)
    kept = node.request(99, max_attempts=1)
    fail_silently(desk, node, weak, 5)
    assert resting(desk) == {"weak"}
    assert weak.answer(kept).verdict == "DROP"
    weak.goodbye()
    desk.steps()
    weak.ready([("echo", LEASE_MS, 0)], 3)
    assert resting(desk) == set(), "it said GOODBYE, and came anew"


def test_keys_at_home_with_a_resting_worker_go_to_others_and_come_back() -> None:
    desk = Desk(policy="hash")
    node, (_, strong) = desk.node(), crew(desk)
    theirs = next(key for key in range(1, 99) if node.request(key, key_hash=key, max_attempts=1).peer == 101)
    desk.wait(LEASE_MS)
    for sequence in range(200, 204):
        node.request(sequence, key_hash=theirs, max_attempts=1)
        desk.wait(LEASE_MS)
    assert resting(desk) == {"weak"}
    strong.credit(200)
    desk.steps()
    assert node.request(300, key_hash=theirs).peer == 102
    desk.wait(REST_MS)
    assert node.request(301, key_hash=theirs).peer == 101
