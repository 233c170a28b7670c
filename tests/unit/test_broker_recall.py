"""Outcomes remembered: what a node gets that sends a finished request again, and nodes that come back."""

from __future__ import annotations

import pytest
from support.brokers import Code, Desk, Flag, Node, Told, Worker

ROOM = 8 << 20
WINDOW_MS = 600_000


def desk_with(dedup_bytes: int = ROOM) -> Desk:
    return Desk(dedup_bytes=dedup_bytes)


def pair(desk: Desk, credit: int = 10) -> tuple[Node, Worker]:
    return desk.node(1, "rank0", 7), desk.worker(101, credit=credit)


def again(node: Node, sequence: int, flags: int = 0) -> Told:
    return node.request(sequence, flags=Flag.RESENT | flags)


def back(desk: Desk, slot: int = 2, name: str = "rank0", incarnation: int = 7) -> Node:
    """The node on another connection."""
    return desk.node(slot, name, incarnation)


# ---- finished requests ----


def test_a_finished_request_sent_again_gets_its_outcome_again() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    first = worker.answer(node.request(1), tlvs=b"\0\x80\1\0x")
    told = again(node, 1)
    assert str(told) == "SEND 1 REPLY"
    assert told.frame == first.frame
    counts = desk.counts()
    assert (counts["accepted"], counts["deliveries"], counts["recalled"]) == (1, 1, 1)


def test_an_error_of_the_handler_is_an_outcome_like_any_other() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    first = worker.fail(node.request(1))
    assert again(node, 1).frame == first.frame


def test_zproxys_own_errors_are_said_again_by_their_code() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    node.request(1)
    node.cancel(1)
    node.request(2, remaining_ms=10)
    desk.wait(10)
    node.request(3, flags=Flag.NOT_IDEMPOTENT)
    worker.leave()
    desk.steps()
    assert [again(node, sequence).code for sequence in (1, 2, 3)] == ["CANCELLED", "TIMEOUT", "WORKER_LOST"]


def test_an_outcome_is_told_on_the_newest_connection() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    worker.answer(node.request(1))
    node.leave()
    node = back(desk)
    told = again(node, 1)
    assert (str(told), told.envelope.conversation) == ("SEND 2 REPLY", node.conversation)


def test_what_is_remembered_is_forgotten_after_the_window() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    worker.answer(node.request(1))
    desk.wait(WINDOW_MS)
    assert str(again(node, 1)) == "SEND 1 REPLY"
    desk.wait(1)
    assert str(again(node, 1)) == "PASS 101 REQUEST"


def test_an_id_that_is_pushed_out_is_unknown() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    for sequence in range(1, 4098):
        worker.answer(node.request(sequence))
    assert again(node, 1).code == "OUTCOME_UNKNOWN"
    assert str(again(node, 2)) == "SEND 1 REPLY"
    assert str(again(node, 4097)) == "SEND 1 REPLY"
    assert desk.probe.memory()["outcomes"] <= 4096


def test_one_that_ended_long_after_it_came_does_not_push_out_newer_ones() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    slow = node.request(1)
    for sequence in range(2, 5000):
        worker.answer(node.request(sequence))
    worker.answer(slow)
    assert str(again(node, 4097)) == "SEND 1 REPLY"
    assert again(node, 1).code == "OUTCOME_UNKNOWN"


def test_without_memory_for_dedup_what_is_sent_again_runs_again() -> None:
    desk = desk_with(dedup_bytes=0)
    node, worker = pair(desk)
    worker.answer(node.request(1))
    assert str(again(node, 1)) == "PASS 101 REQUEST"


def test_an_outcome_that_is_kept_no_longer_is_already_done() -> None:
    desk = desk_with(dedup_bytes=20_000)
    node, worker = pair(desk)
    for sequence in range(1, 31):
        worker.answer(node.request(sequence), message_bytes=1000)
    kept = [str(again(node, sequence)) for sequence in range(1, 31)]
    assert kept[0] == "SAY 1 ERROR ALREADY_DONE"
    assert kept[-1] == "SEND 1 REPLY"
    assert kept == sorted(kept)
    assert desk.probe.memory()["bytes"] <= 20_000


def test_an_outcome_there_was_no_memory_to_keep_is_already_done() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    desk.probe.set_memory(False)
    worker.answer(node.request(1))
    assert again(node, 1).code == "ALREADY_DONE"


def test_all_nodes_share_what_there_is() -> None:
    desk = desk_with(dedup_bytes=128_000)
    worker = desk.worker(101, credit=100)
    nodes = [desk.node(slot) for slot in range(1, 9)]
    for node in nodes:
        for sequence in range(1, 40):
            worker.answer(node.request(sequence), message_bytes=1000)
            desk.steps()
    assert desk.probe.memory()["bytes"] <= 128_000
    assert str(again(nodes[-1], 39)) == "SEND 8 REPLY"
    assert again(nodes[0], 1).code in ("ALREADY_DONE", "OUTCOME_UNKNOWN")


@pytest.mark.parametrize("flags", [0, Flag.NOT_IDEMPOTENT])
def test_an_outcome_its_node_could_not_take_is_kept_for_it(flags: int) -> None:
    desk = desk_with()
    node, worker = pair(desk)
    passed = worker.answer(node.request(1, flags=flags))
    told = Told(*desk.probe.undelivered(1, passed.frame or b""))
    assert told.code == "RESEND"
    told = again(node, 1, flags=flags)
    assert str(told) == "SEND 1 REPLY"
    assert Told(*desk.probe.undelivered(1, told.frame or b"")).code == "RESEND"
    assert str(again(node, 1, flags=flags)) == "SEND 1 REPLY"
    assert desk.counts()["undelivered"] == 1


def test_an_outcome_that_was_neither_taken_nor_kept_is_worked_out_anew() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    desk.probe.set_memory(False)
    passed = worker.answer(node.request(1))
    assert Told(*desk.probe.undelivered(1, passed.frame or b"")).code == "RESEND"
    assert str(again(node, 1)) == "PASS 101 REQUEST"


# ---- nodes that come back ----


def test_a_node_that_comes_back_finds_its_requests_as_they_are() -> None:
    desk = desk_with()
    node, worker = pair(desk, credit=1)
    given, _ = node.request(1), node.request(2)
    node.leave()
    assert desk.said() == []
    node = back(desk)
    assert again(node, 1).verdict == "DROP"
    assert again(node, 2).verdict == "DROP"
    assert str(worker.answer(given)) == "PASS 2 REPLY"
    [sent] = desk.steps()
    assert str(worker.answer(sent)) == "PASS 2 REPLY"
    counts = desk.counts()
    assert (counts["accepted"], counts["deliveries"], counts["joined"], counts["returned_nodes"]) == (2, 2, 2, 1)


def test_outcomes_are_kept_for_an_absent_node() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    given = [node.request(1), node.request(2)]
    node.leave()
    assert str(worker.answer(given[0])) == "KEEP"
    assert str(worker.fail(given[1])) == "KEEP"
    assert desk.counts()["undelivered"] == 2
    node = back(desk)
    told = again(node, 1)
    assert (str(told), told.envelope.name, told.envelope.lease) == ("SEND 2 REPLY", "worker-101", 0)
    assert str(again(node, 2)) == "SEND 2 ERROR HANDLER_ERROR"


def test_an_outcome_that_cannot_be_kept_for_an_absent_node_is_worked_out_anew() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    given = node.request(1)
    node.leave()
    desk.probe.set_memory(False)
    worker.answer(given)
    assert str(again(back(desk), 1)) == "PASS 101 REQUEST"


def test_an_absent_nodes_requests_are_delivered_again_and_expire_as_all_others() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    node.request(1)
    node.request(2, remaining_ms=1000)
    node.leave()
    worker.leave()
    other = desk.worker(102)
    [sent] = desk.steps()
    other.answer(sent)
    desk.wait(1000)
    node = back(desk)
    assert str(again(node, 1)) == "SEND 2 REPLY"
    assert again(node, 2).code in ("TIMEOUT", "NO_WORKER")


def test_an_absent_nodes_posts_go_on_and_are_not_waited_for() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    given = node.post(1, flags=Flag.WANTS_ACCEPTED)
    node.leave()
    assert desk.said() == []
    worker.answer(given)
    assert desk.counts()["delivered"] == 1


def test_a_successor_of_the_name_ends_what_was_open() -> None:
    desk = desk_with()
    node, worker = pair(desk, credit=2)
    worker.answer(node.request(1))
    given, _, waits = node.request(2), node.request(3), node.request(4)
    node.leave()
    successor = back(desk, incarnation=8)
    told = desk.steps()
    assert sorted(str(each) for each in told if each.frame) == ["SAY 101 CANCEL"] * 2
    assert waits.payload in [each.spent for each in told]
    assert desk.counts()["cancelled"] == 3
    assert str(worker.answer(given)) == "DROP"
    assert desk.said() == []
    assert str(successor.request(1)) == "PASS 101 REQUEST"
    assert desk.probe.memory()["outcomes"] == 0


def test_a_node_that_said_goodbye_is_not_waited_for() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    worker.answer(node.request(1))
    node.goodbye()
    node.leave()
    desk.steps()
    assert desk.probe.memory() == {"outcomes": 0, "bytes": 0, "rings": 0, "absent": 0}
    desk.assert_nothing_is_left(peers=1)


def test_an_absent_node_is_forgotten_after_the_window() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    worker.answer(node.request(1))
    node.request(2, remaining_ms=2 * WINDOW_MS)
    node.leave()
    assert desk.probe.due_ms() is not None
    desk.wait(WINDOW_MS - 1)
    assert desk.probe.memory()["absent"] == 1
    assert desk.probe.live == 0
    desk.wait(1)
    assert desk.probe.memory() == {"outcomes": 0, "bytes": 0, "rings": 0, "absent": 0}
    assert desk.counts()["cancelled"] == 1
    assert desk.probe.live == 0


def test_what_a_node_has_open_is_cancelled_when_it_is_away_for_too_long() -> None:
    desk = desk_with()
    node, worker = pair(desk, credit=1)
    given, waits = node.request(1, remaining_ms=WINDOW_MS), node.request(2, remaining_ms=WINDOW_MS)
    node.leave()
    assert desk.wait(59_999) == []
    told = desk.wait(1)
    assert [str(each) for each in told if each.frame] == ["SAY 101 CANCEL"]
    assert {given.payload, waits.payload} <= {each.spent for each in told}
    assert desk.counts()["cancelled"] == 2
    worker.answer(given)
    assert str(again(back(desk), 1)) == "PASS 101 REQUEST"


def test_a_node_that_asked_for_nothing_leaves_nothing() -> None:
    desk = desk_with()
    desk.node(1).leave()
    desk.assert_nothing_is_left(peers=0)


def test_many_absent_nodes_are_forgotten_in_the_order_they_went() -> None:
    desk = desk_with(dedup_bytes=1 << 30)
    worker = desk.worker(101, credit=10)
    for number in range(16_400):
        node = desk.node(1, f"n{number}")
        worker.answer(node.request(1))
        node.leave()
    desk.steps()
    memory = desk.probe.memory()
    assert (memory["absent"], memory["rings"]) == (16_384, 16_384)
    assert again(desk.node(1, "n20", 1001), 1).verdict == "SEND"
    assert again(desk.node(2, "n0", 1001), 1).verdict == "PASS"


def test_an_awaited_request_goes_on_when_its_node_is_back() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    desk.probe.set_memory(False)
    node.request(1)
    node.leave()
    worker.leave()
    assert desk.said() == ["DROP"]
    desk.probe.set_memory(True)
    desk.worker(102)
    told = again(back(desk), 1)
    assert (str(told), told.envelope.attempt) == ("PASS 102 REQUEST", 2)


def test_a_request_of_an_absent_node_can_be_aborted() -> None:
    desk = desk_with()
    node, _ = pair(desk, credit=1)
    node.request(1)
    node.request(2)
    node.leave()
    desk.probe.abort()
    desk.steps()
    assert desk.probe.live == 0
    assert desk.counts()["failed"] == 2


def test_codes_are_remembered_for_those_who_were_not_there_to_hear_them() -> None:
    desk = desk_with()
    node, worker = pair(desk)
    node.request(1, flags=Flag.NOT_IDEMPOTENT)
    node.leave()
    worker.leave()
    desk.steps()
    assert again(back(desk), 1, flags=Flag.NOT_IDEMPOTENT).envelope.code == Code.WORKER_LOST
