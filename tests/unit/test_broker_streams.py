"""Streams: chunks and windows pass by the delivery they belong to; what was cut off begins again."""

from __future__ import annotations

from typing import Any

import pytest
from support.brokers import Code, Desk, Flag, Kind, Node, Told, Worker

WINDOW_BYTES = 4  # of the probe


@pytest.fixture
def desk() -> Desk:
    return Desk(dedup_bytes=1 << 20)


def ask(node: Node, sequence: int = 1, **fields: Any) -> Told:
    return node.request(sequence, stream=fields.pop("stream", 1), **fields)


def chunk(node: Node, attempt: int = 1, sequence: int = 1, kind: Kind = Kind.CHUNK, **fields: Any) -> Told:
    given = {"stream": 1, "incarnation": node.incarnation, "sequence": sequence, "attempt": attempt} | fields
    return node.say(kind, **given)


def answer_chunk(worker: Worker, delivery: Told, kind: Kind = Kind.CHUNK, **fields: Any) -> Told:
    return worker.answer(delivery, kind, **({"stream": 1, "attempt": delivery.envelope.attempt} | fields))


def come_back(desk: Desk, node: Node, slot: int) -> Node:
    node.leave()
    return desk.node(slot, node.name, node.incarnation)


def test_a_node_is_told_to_begin_as_soon_as_a_worker_has_its_request(desk: Desk) -> None:
    node = desk.node()
    assert ask(node).verdict == "KEEP"
    assert desk.steps() == []
    desk.worker()
    _, window = desk.steps()
    assert (window.peer, window.kind) == (1, "WINDOW")
    said = window.envelope
    assert (said.sequence, said.attempt, said.stream, said.offset) == (1, 1, 0, WINDOW_BYTES)


def test_chunks_and_windows_pass_both_ways_under_the_delivery(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker()
    given = ask(node)
    desk.steps()
    forth = chunk(node, offset=0, total=8)
    assert (str(forth), forth.envelope.lease) == ("PASS 101 CHUNK", given.envelope.lease)
    assert forth.envelope.conversation == worker.conversation
    assert (forth.envelope.offset, forth.envelope.total, forth.envelope.stream) == (0, 8, 1)
    back = answer_chunk(worker, given, Kind.WINDOW, offset=8)
    assert (str(back), back.envelope.lease, back.envelope.offset) == ("PASS 1 WINDOW", 0, 8)
    assert back.envelope.conversation == node.conversation
    assert str(chunk(node, offset=4, flags=Flag.LAST)) == "PASS 101 CHUNK"
    assert str(answer_chunk(worker, given)) == "PASS 1 CHUNK"
    assert str(chunk(node, kind=Kind.WINDOW)) == "PASS 101 WINDOW"
    assert str(worker.answer(given, stream=1)) == "PASS 1 REPLY"
    assert desk.counts()["chunks"] == 5
    desk.assert_nothing_is_left(2)


def test_what_is_of_another_delivery_or_of_nothing_is_dropped(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker()
    given = ask(node)
    desk.steps()
    assert chunk(node, attempt=2).verdict == "DROP"
    assert chunk(node, sequence=9).verdict == "DROP"
    assert answer_chunk(worker, given, attempt=2).verdict == "DROP"
    assert answer_chunk(worker, given, lease=given.envelope.lease ^ 1).verdict == "DROP"
    node.cancel(1)
    assert chunk(node).verdict == "DROP"
    assert answer_chunk(worker, given).verdict == "DROP"
    assert desk.counts()["dropped_chunks"] == 6


def test_another_worker_is_given_the_stream_from_its_beginning(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(101)
    desk.worker(102)
    given = ask(node)
    desk.steps()
    chunk(node)
    desk.probe.leave(given.peer or 0, desk.now_ms)
    again, window = desk.steps()
    assert (again.kind, again.envelope.attempt) == ("REQUEST", 2)
    assert again.peer != given.peer
    assert (window.kind, window.envelope.attempt) == ("WINDOW", 2)
    assert chunk(node, attempt=1).verdict == "DROP"
    assert chunk(node, attempt=2).peer == again.peer
    assert worker.slot in (101, 102)


def test_a_stream_that_its_node_s_end_has_cut_begins_again(desk: Desk) -> None:
    node, worker = desk.node(1), desk.worker(credit=2)
    given = ask(node)
    desk.steps()
    chunk(node)
    node = come_back(desk, node, 2)
    told = [ask(node, flags=Flag.RESENT), *desk.steps()]
    assert sorted(f"{each.kind} {each.envelope.attempt}" for each in told if each.kind) == [
        "CANCEL 0",
        "REQUEST 2",
        "WINDOW 2",
    ]
    assert worker.answer(given).verdict == "DROP"
    again = next(each for each in told if each.kind == "REQUEST")
    assert str(chunk(node, attempt=2, flags=Flag.LAST)) == "PASS 101 CHUNK"
    assert str(worker.answer(again)) == "PASS 2 REPLY"
    assert desk.probe.used()["requests"] == 0


def test_a_stream_of_which_nothing_was_sent_is_opened_again(desk: Desk) -> None:
    node = desk.node(1)
    desk.worker()
    ask(node)
    desk.steps()
    node = come_back(desk, node, 2)
    assert chunk(node).verdict == "DROP", "it was not opened in this conversation"
    assert ask(node, flags=Flag.RESENT).verdict == "DROP"
    (window,) = desk.steps()
    assert (window.kind, window.peer, window.envelope.attempt) == ("WINDOW", 2, 1)


def test_a_stream_that_was_sent_whole_goes_on(desk: Desk) -> None:
    node, worker = desk.node(1), desk.worker()
    given = ask(node)
    desk.steps()
    chunk(node, flags=Flag.LAST)
    node = come_back(desk, node, 2)
    assert ask(node, flags=Flag.RESENT).verdict == "DROP"
    assert desk.steps() == []
    assert str(worker.answer(given)) == "PASS 2 REPLY"


def test_what_may_not_run_twice_ends_when_its_stream_was_cut(desk: Desk) -> None:
    node = desk.node(1)
    desk.worker()
    ask(node, flags=Flag.NOT_IDEMPOTENT)
    desk.steps()
    chunk(node)
    node = come_back(desk, node, 2)
    assert ask(node, flags=Flag.RESENT | Flag.NOT_IDEMPOTENT).verdict == "DROP"
    told = {each.kind: each for each in desk.steps()}
    assert told["ERROR"].code == "OUTCOME_UNKNOWN"
    assert "a stream of it was cut off" in told["ERROR"].sentence
    assert told["CANCEL"].peer == 101


def test_a_reply_of_which_a_chunk_went_to_an_elder_connection_is_asked_for_again(desk: Desk) -> None:
    node, worker = desk.node(1), desk.worker()
    given = node.request(1)
    answer_chunk(worker, given)
    node = come_back(desk, node, 2)
    node.request(1, flags=Flag.RESENT)
    assert str(answer_chunk(worker, given, flags=Flag.LAST)) == "PASS 2 CHUNK"
    told = worker.answer(given, stream=1)
    assert (str(told), "missed a part" in told.sentence) == ("SAY 2 ERROR RESEND", True)
    assert node.request(1, flags=Flag.RESENT).kind == "REQUEST"
    assert desk.counts()["undelivered"] == 1


def test_a_reply_whose_node_is_away_while_chunks_come_is_not_kept(desk: Desk) -> None:
    node, worker = desk.node(1), desk.worker()
    given = node.request(1)
    node.leave()
    assert answer_chunk(worker, given).verdict == "DROP"
    assert worker.answer(given, stream=1).verdict == "DROP"
    node = desk.node(2, node.name, node.incarnation)
    assert node.request(1, flags=Flag.RESENT).kind == "REQUEST"


def test_a_streamed_reply_that_was_delivered_is_not_given_again(desk: Desk) -> None:
    node, worker = desk.node(1), desk.worker()
    given = node.request(1)
    answer_chunk(worker, given)
    worker.answer(given, stream=1)
    assert node.request(1, flags=Flag.RESENT).code == "ALREADY_DONE"


def test_a_chunk_that_a_worker_takes_no_more_sends_the_request_elsewhere(desk: Desk) -> None:
    node = desk.node()
    desk.worker(101)
    desk.worker(102)
    given = ask(node)
    desk.steps()
    passed = chunk(node)
    assert Told(*desk.probe.undelivered(passed.peer or 0, passed.frame or b"")).verdict == "DROP"
    told = {each.kind: each for each in desk.steps()}
    assert (told["CANCEL"].peer, told["REQUEST"].peer) == (given.peer, 203 - (given.peer or 0))
    assert told["WINDOW"].envelope.attempt == 2


def test_a_chunk_that_a_node_takes_no_more_is_asked_for_in_the_end(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker()
    given = node.request(1)
    passed = answer_chunk(worker, given)
    assert Told(*desk.probe.undelivered(passed.peer or 0, passed.frame or b"")).verdict == "DROP"
    assert worker.answer(given, stream=1).code == "RESEND"


def test_chunks_of_a_reply_extend_the_lease(desk: Desk) -> None:
    node, worker = desk.node(), desk.worker(services=[("echo", 100, 0)])
    given = node.request(1)
    for _ in range(5):
        desk.wait(60)
        assert answer_chunk(worker, given).verdict == "PASS"
    assert str(worker.answer(given, stream=1)) == "PASS 1 REPLY"


@pytest.mark.parametrize("fields", [{"stream": 65}, {"stream": 1, "kind": Kind.POST}])
def test_more_streams_than_there_may_be_are_malformed(desk: Desk, fields: dict[str, Any]) -> None:
    assert desk.node().request(1, **fields).code == Code.MALFORMED.name
