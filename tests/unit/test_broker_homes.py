"""Homes: with `hash` a request waits for its key's worker, keeps nobody else waiting, and moves when that one goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.brokers import Desk, Flag, Told, Worker, home_of

WORKERS = {101: "worker-101", 102: "worker-102", 103: "worker-103"}


def keys_of(slot: int, among: tuple[int, ...] = tuple(WORKERS)) -> Iterator[int]:
    """Keys at home with that one of the workers."""
    names = {each: WORKERS[each] for each in among}
    return (key for key in range(1, 1000) if home_of(key, names) == slot)


@pytest.fixture
def desk() -> Desk:
    return Desk(policies={"echo": "hash"})


def sequences(told: list[Told]) -> list[int]:
    return [each.envelope.sequence for each in told if each.verdict == "SEND"]


def test_a_key_goes_to_its_home_while_others_are_idle(desk: Desk) -> None:
    node, *_ = desk.node(), *[desk.worker(slot, credit=9) for slot in WORKERS]
    key = next(keys_of(102))
    told = [node.request(number, key_hash=key) for number in range(1, 6)]
    assert [str(each) for each in told] == ["PASS 102 REQUEST"] * 5


def test_a_request_without_a_key_goes_to_the_least_busy(desk: Desk) -> None:
    node, *_ = desk.node(), *[desk.worker(slot, credit=9) for slot in WORKERS]
    assert {node.request(number).peer for number in range(1, 4)} == set(WORKERS)


def test_who_waits_for_a_busy_worker_keeps_nobody_else_waiting(desk: Desk) -> None:
    node, *workers = desk.node(), *[desk.worker(slot) for slot in WORKERS]
    first, second = next(keys_of(101)), next(keys_of(102))
    held = node.request(1, key_hash=first)
    assert [node.request(number, key_hash=first).verdict for number in (2, 3)] == ["KEEP", "KEEP"]
    assert desk.steps() == []
    assert str(node.request(4, key_hash=second)) == "PASS 102 REQUEST"
    assert str(node.request(5)) == "PASS 103 REQUEST"
    workers[0].answer(held)
    assert desk.said() == ["SEND 101 REQUEST"]


def test_keys_wait_in_order_behind_their_worker(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(101)
    desk.worker(102)
    mine = keys_of(101, (101, 102))
    keys = [next(mine), next(mine)]
    told = node.request(99, key_hash=keys[0])
    for number in range(1, 7):
        node.request(number, key_hash=keys[number % 2])
    order = []
    for _ in range(6):
        worker.answer(told)
        (told,) = desk.steps()
        order.append(told.envelope.sequence)
    assert order == [1, 2, 3, 4, 5, 6]


def test_a_newcomer_does_not_overtake_who_waits_for_the_worker(desk: Desk) -> None:
    """Neither by its key, nor without one: the place that became free is owed."""
    node, worker, _ = desk.node(), desk.worker(101), desk.worker(102, credit=1)
    mine = keys_of(101, (101, 102))
    key = next(mine)
    held, _ = node.request(1, key_hash=key), node.request(2, key_hash=next(keys_of(102, (101, 102))))
    node.request(3, key_hash=key)
    worker.answer(held)
    assert node.request(4, key_hash=key).verdict == "KEEP"
    assert node.request(5).verdict == "KEEP"
    assert sequences(desk.steps()) == [3]


def test_keys_and_the_rest_take_turns_at_a_worker(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(101)
    told = node.request(99)
    for number in range(1, 9):
        node.request(number, key_hash=7 if number % 2 else 0)
    order = []
    for _ in range(8):
        worker.answer(told)
        (told,) = desk.steps()
        order.append(told.envelope.sequence)
    assert order == [1, 2, 3, 4, 5, 6, 7, 8]


def test_lower_priorities_go_first_with_or_without_a_key(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(101)
    told = node.request(99)
    for number, priority, key in ((1, 2, 7), (2, 1, 0), (3, 2, 0), (4, 0, 7), (5, 0, 0)):
        node.request(number, priority=priority, key_hash=key)
    order = []
    for _ in range(5):
        worker.answer(told)
        (told,) = desk.steps()
        order.append(told.envelope.sequence)
    assert sorted(order[:2]) == [4, 5]
    assert order[2] == 2
    assert sorted(order[3:]) == [1, 3]


@pytest.mark.parametrize("end", ["leave", "goodbye"])
def test_a_worker_that_goes_leaves_its_keys_to_the_others(desk: Desk, end: str) -> None:
    node, worker, *_ = desk.node(), *[desk.worker(slot, credit=4) for slot in WORKERS]
    held = [
        node.request(number, key_hash=next(keys_of(101)), flags=Flag.NOT_IDEMPOTENT) for number in range(1, 5)
    ]
    moving = [key for key, _ in zip(keys_of(101), range(6), strict=False)]
    for number, key in enumerate(moving, 10):
        assert node.request(number, key_hash=key).verdict == "KEEP"
    assert {each.peer for each in held} == {101}
    getattr(worker, end)()
    sent = {each.envelope.sequence: each.peer for each in desk.steps() if each.verdict == "SEND"}
    left = {slot: WORKERS[slot] for slot in (102, 103)}
    expected = {number: home_of(key, left) for number, key in enumerate(moving, 10)}
    assert sent.items() <= expected.items()
    assert len(sent) >= 4


@pytest.mark.parametrize("pause", ["credit", "usable"])
def test_keys_wait_for_a_worker_that_takes_nothing_now(desk: Desk, pause: str) -> None:
    node, worker = desk.node(), desk.worker(101)
    desk.worker(102)
    if pause == "credit":
        worker.credit(0)
    else:
        desk.probe.set_usable(101, False)
    assert node.request(1, key_hash=next(keys_of(101, (101, 102)))).verdict == "KEEP"
    assert desk.steps() == []
    if pause == "credit":
        worker.credit(1)
    else:
        desk.probe.set_usable(101, True)
    assert desk.said() == ["SEND 101 REQUEST"]


def test_a_worker_that_comes_takes_the_keys_that_are_its_own(desk: Desk) -> None:
    node = desk.node()
    desk.worker(101)
    key = next(keys_of(102, (101, 102)))
    stays = next(keys_of(101, (101, 102)))
    node.request(1, key_hash=key)
    assert node.request(2, key_hash=key).verdict == "KEEP"
    assert node.request(3, key_hash=stays).verdict == "KEEP"
    desk.worker(102)
    assert [(each.peer, each.envelope.sequence) for each in desk.steps()] == [(102, 2)]


def test_keys_wait_for_a_first_worker_and_then_for_its_better(desk: Desk) -> None:
    node = desk.node()
    key = next(keys_of(102, (101, 102)))
    assert node.request(1, key_hash=key).verdict == "KEEP"
    desk.connect_worker(102).ready(credit=0, name=WORKERS[102], incarnation=1)
    desk.worker(101)
    assert desk.steps() == []
    assert desk.probe.rows()[0][-1]["oldest_ms"] == desk.now_ms


def test_of_workers_for_any_service_each_key_has_one() -> None:
    desk = Desk(policy="hash")
    node = desk.node()
    key = next(keys_of(102, (101, 102)))
    assert node.request(1, "red", key_hash=key).verdict == "KEEP"
    first, second = (desk.worker(slot, ["*"]) for slot in (101, 102))
    assert [(each.peer, each.envelope.sequence) for each in desk.steps()] == [(102, 1)]
    assert node.request(2, "blue", key_hash=key).verdict == "KEEP"
    assert str(node.request(3, "red")) == "PASS 101 REQUEST"
    assert desk.steps() == []
    desk.worker(103, ["blue"])
    assert desk.said() == ["SEND 103 REQUEST"]


def test_who_waits_at_any_comes_back_when_the_last_that_names_it_goes() -> None:
    desk = Desk(policy="hash")
    node, any_worker, blue = desk.node(), desk.worker(101, ["*"]), desk.worker(102, ["blue"])
    node.request(1, "blue", key_hash=5)
    assert node.request(2, "blue", key_hash=5).verdict == "KEEP"
    blue.leave()
    assert "SEND 101 REQUEST" in desk.said()
    assert isinstance(any_worker, Worker)


def test_a_service_keeps_its_policy_when_it_is_forgotten() -> None:
    desk = Desk(policies={"echo": "hash", "red": "round_robin"})
    rows = {row["name"]: row["policy"] for row in desk.probe.rows()[0]}
    assert rows == {"echo": "hash", "red": "round_robin"}
    desk.worker(101, ["echo", "blue"]).leave()
    rows = {row["name"]: row["policy"] for row in desk.probe.rows()[0]}
    assert rows == {"echo": "hash", "red": "round_robin", "blue": "least_outstanding"}


def test_thousands_that_wait_move_and_nothing_is_left(desk: Desk) -> None:
    nodes = [desk.node(slot) for slot in range(1, 9)]
    worker = desk.worker(101, credit=0)
    for number in range(4000):
        nodes[number % 8].request(number + 1, key_hash=number % 97 + 1, remaining_ms=1000)
    for slot in (102, 103):
        desk.worker(slot, credit=0)
    worker.leave()
    assert desk.steps() == []
    assert desk.probe.used()["lanes"] == 16
    desk.wait(1000)
    assert desk.counts()["expired"] == 4000
    desk.assert_nothing_is_left(peers=10)
