"""Who is there: conversations, names, offers, credit, and the ways a peer goes."""

from __future__ import annotations

from typing import Any

import pytest
from support.brokers import Code, Desk, Flag, Kind

from zproxy.envelope import Envelope


def test_every_connection_begins_a_conversation_of_its_own() -> None:
    desk = Desk()
    numbers = {desk.connect_node(slot).conversation for slot in range(200)}
    assert len(numbers) == 200
    assert 0 not in numbers


def test_welcome_is_said_unasked_with_its_content() -> None:
    told = Desk().probe.join(7, False)
    assert (told[0], told[1], told[4]) == ("SAY", 7, "WELCOME")
    assert Envelope.parse(told[2] or b"").kind == Kind.WELCOME


def test_hello_and_ready_are_accepted_under_sequence_0() -> None:
    desk = Desk()
    for told in (desk.connect_node(1).hello("n", 5), desk.connect_worker(2).ready(["s"], 1, "w", 6)):
        assert (told.kind, told.content, told.envelope.sequence) == ("ACCEPTED", "ACCEPTED", 0)
        assert told.closing is None


def test_what_comes_before_hello_or_of_another_conversation_needs_hello() -> None:
    desk = Desk()
    node = desk.connect_node(1)
    node.incarnation = 8
    assert str(node.request(3)) == "SAY 1 ERROR NEED_HELLO"
    node.hello("n", 8)
    for kind in (Kind.REQUEST, Kind.POST):
        told = node.request(4, kind=kind, conversation=node.conversation ^ 1)
        assert str(told) == "SAY 1 ERROR NEED_HELLO"
        assert (told.envelope.incarnation, told.envelope.sequence) == (8, 4)
        assert told.envelope.conversation == node.conversation
    assert desk.counts() == {"refused_need_hello": 3}


def test_other_kinds_of_another_conversation_are_late() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2)
    stale: dict[str, Any] = {"conversation": node.conversation ^ 1}
    assert node.say(Kind.CANCEL, incarnation=node.incarnation, sequence=1, **stale).verdict == "DROP"
    assert node.say(Kind.GOODBYE, **stale).verdict == "DROP"
    assert worker.say(Kind.REPLY, incarnation=1, sequence=1, lease=1, conversation=1).verdict == "DROP"
    assert desk.connect_worker(3).say(Kind.CREDIT, credit=5).verdict == "DROP"
    assert desk.counts() == {"late": 4}


def test_a_name_belongs_to_one_living_connection() -> None:
    desk = Desk()
    desk.node(1, "rank0", 5)
    told = desk.connect_node(2).hello("rank0", 6)
    assert str(told) == "SAY 2 ERROR NAME_IN_USE"
    assert told.envelope.remaining_ms == 500
    assert '"rank0"' in told.sentence and "node" in told.sentence
    assert desk.counts() == {"refused_name_in_use": 1}


def test_nodes_and_workers_have_separate_names() -> None:
    desk = Desk()
    desk.node(1, "rank0", 5)
    desk.worker(2, name="rank0", incarnation=6)


def test_a_name_is_free_when_its_connection_is_gone() -> None:
    desk = Desk()
    desk.node(1, "rank0", 5).leave()
    assert desk.connect_node(2).hello("rank0", 6).kind == "ACCEPTED"


def test_who_was_refused_may_come_under_another_name() -> None:
    desk = Desk()
    desk.node(1, "rank0", 5)
    node = desk.connect_node(2)
    node.hello("rank0", 6)
    assert str(node.request(1)) == "SAY 2 ERROR NEED_HELLO"
    assert node.hello("rank1", 6).kind == "ACCEPTED"


@pytest.mark.parametrize("change", [{"name": "other"}, {"incarnation": 6}])
def test_one_connection_has_one_name_and_one_incarnation(change: dict[str, str | int]) -> None:
    desk = Desk()
    node = desk.node(1, "rank0", 5)
    fields: dict[str, Any] = {"name": "rank0", "incarnation": 5} | change
    assert str(node.say(Kind.HELLO, **fields)) == "SAY 1 ERROR MALFORMED"
    assert str(node.request(1)) == "KEEP"


def test_hello_again_is_accepted_again() -> None:
    node = Desk().node(1, "rank0", 5)
    assert node.hello().kind == "ACCEPTED"


def test_a_node_come_back_replaces_its_elder_connection_and_keeps_its_requests() -> None:
    desk = Desk()
    elder = desk.node(1, "rank0", 5)
    elder.request(1)
    worker = desk.worker(101)
    [sent] = desk.steps()
    newer = desk.connect_node(2)
    told = newer.hello("rank0", 5)
    assert (told.kind, told.peer, told.closing) == ("ACCEPTED", 2, 1)
    assert newer.request(1, flags=Flag.RESENT).verdict == "DROP"
    reply = worker.answer(sent)
    assert (reply.verdict, reply.peer) == ("PASS", 2)
    assert reply.envelope.conversation == newer.conversation
    assert desk.counts()["replaced"] == 1


def test_a_replaced_connection_is_heard_no_more_and_its_end_harms_nobody() -> None:
    desk = Desk()
    elder, newer = desk.node(1, "rank0", 5), desk.connect_node(2)
    newer.hello("rank0", 5)
    assert elder.request(1).verdict == "DROP"
    assert elder.hello().verdict == "DROP"
    assert desk.probe.malformed(1, b"it is rubbish")[0] == "DROP"
    elder.leave()
    assert str(newer.request(1)) == "KEEP"
    assert desk.connect_node(1).hello("rank0", 6).code == "NAME_IN_USE"


def test_a_worker_come_back_begins_without_leases() -> None:
    desk = Desk()
    node, elder = desk.node(1), desk.worker(101, name="m", incarnation=5)
    given = node.request(1)
    newer = desk.connect_worker(102)
    told = newer.ready(["echo"], 2, "m", 5)
    assert (told.kind, told.peer, told.closing) == ("ACCEPTED", 102, 101)
    assert desk.said() == ["SEND 102 REQUEST"]
    assert elder.answer(given).verdict == "DROP"
    assert newer.answer(given).verdict == "DROP"
    elder.leave()
    assert str(node.request(2)) == "PASS 102 REQUEST"
    assert desk.counts()["late"] == 2


def test_an_incarnation_that_is_not_the_connections_is_malformed() -> None:
    desk = Desk()
    node = desk.node(1)
    told = node.request(4, incarnation=77)
    assert str(told) == "SAY 1 ERROR MALFORMED"
    assert (told.envelope.incarnation, told.envelope.sequence) == (77, 4)


@pytest.mark.parametrize(
    "kind", [Kind.WELCOME, Kind.READY, Kind.CREDIT, Kind.ACCEPTED, Kind.REPLY, Kind.PROGRESS]
)
def test_what_a_node_may_not_say_is_malformed(kind: Kind) -> None:
    node = Desk().node(1)
    name = "node-1" if kind == Kind.READY else ""
    fields: dict[str, Any] = {"incarnation": node.incarnation, "sequence": 1, "stream": 1, "name": name}
    assert str(node.say(kind, **fields)) == "SAY 1 ERROR MALFORMED"


@pytest.mark.parametrize(
    "kind",
    [Kind.WELCOME, Kind.HELLO, Kind.ACCEPTED, Kind.REQUEST, Kind.POST, Kind.CANCEL],
)
def test_what_a_worker_may_not_say_is_malformed(kind: Kind) -> None:
    worker = Desk().worker(2)
    name = "worker-2" if kind == Kind.HELLO else ""
    told = worker.say(kind, name=name, incarnation=1, sequence=1, stream=1, service="s", remaining_ms=1)
    assert str(told) == "SAY 2 ERROR MALFORMED"


def test_a_name_where_a_peer_may_not_write_one_is_malformed() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2)
    given = node.request(1)
    assert str(node.request(2, name="x")) == "SAY 1 ERROR MALFORMED"
    assert str(worker.answer(given, name="x")) == "SAY 2 ERROR MALFORMED"
    assert str(worker.answer(given)) == "PASS 1 REPLY"


def test_nobody_answers_an_error_with_an_error() -> None:
    desk = Desk()
    node = desk.node(1)
    assert node.say(Kind.ERROR, code=Code.MALFORMED).verdict == "DROP"
    frame = Envelope(Kind.ERROR, code=Code.MALFORMED, conversation=node.conversation).pack()
    assert desk.probe.malformed(1, b"it lies", frame)[0] == "DROP"
    assert desk.counts() == {"dropped_errors": 2}


def test_what_could_not_be_read_is_malformed_in_words() -> None:
    desk = Desk()
    desk.node(1)
    _, peer, frame, *_ = desk.probe.malformed(1, b"it is shorter than 128 bytes")
    assert frame is not None
    error = Envelope.parse(frame)
    assert (peer, error.kind, error.code, error.incarnation, error.sequence) == (1, Kind.ERROR, Code.MALFORMED, 0, 0)
    assert b"shorter than 128 bytes" in error.tlvs


# ---- workers ----


@pytest.mark.parametrize(
    "content",
    [b"\0", b"\0\0" + bytes(6), b"\0\5" + bytes(6) + b"echo", b"\0\4" + bytes(6) + b"ec o", b"\0\1" + bytes(6) + b"*x"],
)
def test_services_that_cannot_be_read_are_malformed_and_change_nothing(content: bytes) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2)
    fields: dict[str, Any] = {"name": worker.name, "incarnation": worker.incarnation, "credit": 9}
    assert str(worker.say(Kind.READY, content=content, **fields)) == "SAY 2 ERROR MALFORMED"
    assert str(node.request(1)) == "PASS 2 REQUEST"
    assert str(node.request(2)) == "KEEP"


def test_a_worker_may_offer_1024_services_and_no_more() -> None:
    worker = Desk().connect_worker(2)
    assert worker.ready([f"s{number}" for number in range(1025)], 1, "w", 1).code == "MALFORMED"
    assert worker.ready([f"s{number}" for number in range(1024)], 1, "w", 1).kind == "ACCEPTED"


def test_a_worker_may_offer_nothing() -> None:
    desk = Desk()
    worker = desk.worker(2, services=())
    assert desk.probe.rows()[2] == []
    assert worker.say(Kind.READY, name=worker.name, incarnation=worker.incarnation, credit=1).kind == "ACCEPTED"


def test_ready_again_replaces_services_and_credit() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2, ["old", "both"])
    assert worker.ready(["both", "new"], 2).kind == "ACCEPTED"
    assert sorted(desk.probe.rows()[2]) == [(2, "both"), (2, "new")]
    assert [str(node.request(number, "new")) for number in (1, 2)] == ["PASS 2 REQUEST"] * 2
    worker.ready(["both", "new"], 3)
    assert str(node.request(3, "old")) == "KEEP"
    assert str(node.request(4, "both")) == "PASS 2 REQUEST"


def test_a_service_named_twice_counts_once() -> None:
    desk = Desk()
    desk.worker(2, ["echo", "echo"])
    assert desk.probe.rows()[2] == [(2, "echo")]


def test_credit_is_how_many_requests_may_be_there_at_once() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2, credit=2)
    given = [node.request(number) for number in (1, 2)]
    assert [str(told) for told in given] == ["PASS 2 REQUEST"] * 2
    assert str(node.request(3)) == "KEEP"
    worker.credit(3)
    assert desk.said() == ["SEND 2 REQUEST"]
    worker.credit(1)
    node.request(4)
    worker.answer(given[0])
    worker.answer(given[1])
    assert desk.said() == []
    worker.credit(0)
    desk.now_ms += 1
    assert desk.said() == []
    worker.credit(2)
    assert desk.said() == ["SEND 2 REQUEST"]


def test_a_worker_that_is_not_usable_gets_nothing_until_it_is() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(2, credit=9)
    desk.probe.set_usable(2, False)
    assert str(node.request(1)) == "KEEP"
    assert desk.said() == []
    desk.probe.set_usable(2, True)
    assert desk.said() == ["SEND 2 REQUEST"]


# ---- leaving ----


def test_goodbye_of_a_node_cancels_its_requests_keeps_its_posts_and_comes_back() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    node.request(2)
    node.post(3)
    assert str(node.goodbye()) == "SAY 1 GOODBYE"
    assert sorted(desk.said()) == ["DROP", "SAY 101 CANCEL"]
    assert desk.counts()["cancelled"] == 2
    assert str(node.request(4)) == "SAY 1 ERROR NEED_HELLO"
    worker.fail(given, Code.CANCELLED)
    assert desk.said() == ["SEND 101 POST"]


def test_a_node_that_said_goodbye_may_say_hello_again() -> None:
    node = Desk().node(1)
    node.goodbye()
    assert node.hello().kind == "ACCEPTED"
    assert str(node.request(1)) == "KEEP"


def test_goodbye_of_a_worker_comes_back_when_all_is_settled() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2, credit=2)
    given = node.request(1)
    assert worker.goodbye().verdict == "DROP"
    assert desk.said() == []
    assert str(node.request(2)) == "KEEP"
    assert str(worker.answer(given)) == "PASS 1 REPLY"
    assert desk.said() == ["SAY 2 GOODBYE"]


def test_goodbye_of_an_idle_worker_comes_back_at_once() -> None:
    desk = Desk()
    desk.worker(2).goodbye()
    assert desk.probe.due_ms() == 0
    assert desk.said() == ["SAY 2 GOODBYE"]
    assert desk.said() == []


def test_a_worker_that_thinks_better_of_goodbye_takes_again() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(2)
    worker.goodbye()
    assert worker.ready().kind == "ACCEPTED"
    assert desk.said() == []
    assert str(node.request(1)) == "PASS 2 REQUEST"


def test_the_end_of_a_node_cancels_its_requests_and_leaves_its_posts() -> None:
    desk = Desk()
    node, worker = desk.node(1, "gone", 5), desk.worker(101)
    given = node.request(1)
    node.request(2)
    node.post(3, flags=Flag.WANTS_ACCEPTED)
    node.leave()
    assert sorted(desk.said()) == ["DROP", "SAY 101 CANCEL"]
    assert worker.answer(given).verdict == "DROP"
    [sent] = desk.steps()
    assert (str(sent), sent.envelope.name) == ("SEND 101 POST", "gone")
    assert worker.answer(sent).verdict == "DROP"
    assert desk.steps() == []
    counts = desk.counts()
    assert (counts["accepted"], counts["cancelled"], counts["delivered"], counts["late"]) == (3, 2, 1, 1)
    desk.assert_nothing_is_left(peers=1)


def test_the_end_of_a_worker_loses_what_it_had() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, name="m", credit=2)
    node.request(1, flags=Flag.NOT_IDEMPOTENT)
    node.request(2)
    node.cancel(2)
    worker.leave()
    [lost] = desk.steps()
    assert str(lost) == "SAY 1 ERROR WORKER_LOST"
    assert (lost.envelope.sequence, lost.envelope.attempt, lost.envelope.name) == (1, 1, "m")
    assert '"m"' in lost.sentence and '"echo"' in lost.sentence
    assert desk.counts()["worker_lost"] == 1
    desk.assert_nothing_is_left(peers=1)


def test_a_lost_worker_is_named_although_its_slot_is_taken_again() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101, name="first")
    node.request(1, flags=Flag.NOT_IDEMPOTENT)
    desk.probe.leave(101, desk.now_ms)
    desk.worker(101, name="second")
    [lost] = desk.steps()
    assert '"first"' in lost.sentence
    assert str(node.request(2)) == "PASS 101 REQUEST"


def test_due_is_at_once_while_something_is_to_be_said() -> None:
    desk = Desk()
    assert desk.probe.due_ms() is None
    node, worker = desk.node(1), desk.worker(101)
    node.request(1, flags=Flag.NOT_IDEMPOTENT)
    assert (desk.probe.due_ms() or 0) > 0
    worker.leave()
    assert desk.probe.due_ms() == 0
    desk.steps()
    assert desk.probe.due_ms() is None


# ---- what is shown ----


def test_rows_tell_who_is_there_and_what_waits() -> None:
    desk = Desk()
    node, worker = desk.node(1, "rank0", 5), desk.worker(101, ["a", "*"], name="m", incarnation=6)
    desk.connect_node(2)
    node.request(1, "a")
    node.request(2, "a", message_bytes=1000, flags=Flag.HAS_STEP | Flag.HAS_PROGRESS, step=7, progress=12.5)
    desk.now_ms += 10
    node.request(3, "a", message_bytes=500)
    services, peers, pairs = desk.probe.rows()
    waiting = next(row for row in services if row["name"] == "a")
    assert waiting == {
        "name": "a",
        "was_offered": True,
        "policy": "least_outstanding",
        "workers": 1,
        "waiting": 2,
        "waiting_bytes": 1500,
        "oldest_ms": 1_000_000,
        "accepted": 3,
        "delivered": 0,
        "failed": 0,
        "expired": 0,
        "cancelled": 0,
        "undelivered": 0,
        "live": 3,
    }
    assert [row["name"] for row in peers] == ["rank0", "", "m"]
    assert (peers[0]["step"], peers[0]["progress"], peers[0]["told_ms"]) == (7, 12.5, 1_000_000)
    assert (peers[0]["in_flight"], peers[1]["is_known"]) == (3, False)
    assert (peers[2]["is_worker"], peers[2]["credit"], peers[2]["in_flight"]) == (True, 1, 1)
    assert pairs == [(101, "a"), (101, "*")]
    worker.goodbye()
    assert desk.probe.rows()[1][2]["is_leaving"]


def test_what_a_worker_tells_of_its_progress_is_remembered() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    worker.answer(given, Kind.PROGRESS, flags=Flag.HAS_STEP, step=3)
    assert desk.probe.rows()[1][1]["step"] == 3
