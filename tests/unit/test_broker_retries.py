"""What becomes of a request whose delivery came to nothing: lost workers, silence, errors, what is given back."""

from __future__ import annotations

import pytest
from support.brokers import Code, Desk, Flag, Kind, Node, Told, Worker

LEASE_MS = 400


def two_workers(desk: Desk, **options: object) -> tuple[Worker, Worker]:
    services = [("echo", int(options.get("lease_ms", 0)), 0)]  # type: ignore[call-overload]
    return desk.worker(101, services), desk.worker(102, services)


def taken(told: list[Told]) -> Told:
    """The delivery among what was said."""
    [delivery] = [each for each in told if each.kind in ("REQUEST", "POST")]
    return delivery


# ---- lost workers ----


def test_a_request_goes_to_another_worker_as_soon_as_its_own_is_gone() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk)
    given = node.request(1, trace=bytes(range(25)), tlvs=b"\0\x80\1\0x")
    first.leave()
    [again] = desk.steps()
    assert (str(given), str(again)) == ("PASS 101 REQUEST", "SEND 102 REQUEST")
    envelope = again.envelope
    assert (envelope.attempt, envelope.name, envelope.tlvs) == (2, "node-1", b"\0\x80\1\0x")
    assert envelope.lease != given.envelope.lease
    reply = second.answer(again)
    assert (str(reply), reply.envelope.attempt, reply.spent) == ("PASS 1 REPLY", 2, again.payload)
    desk.assert_nothing_is_left(peers=2)
    assert desk.counts() == {
        "accepted": 1, "delivered": 1, "deliveries": 2, "worker_lost": 1, "redelivered": 1
    }


def test_what_was_with_a_lost_worker_goes_before_what_waits() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    node.request(1)
    node.request(2)
    worker.leave()
    other = desk.worker(103, credit=2)
    assert [told.envelope.sequence for told in desk.steps()] == [1, 2]
    assert other.slot == 103


def test_a_request_that_may_not_run_twice_ends_with_its_worker() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk)
    told = node.request(1, flags=Flag.NOT_IDEMPOTENT)
    assert told.payload is None
    first.leave()
    [error] = desk.steps()
    assert (error.code, error.envelope.attempt, error.envelope.name) == ("WORKER_LOST", 1, "worker-101")
    assert second.answer(told).verdict == "DROP"


def test_a_service_that_may_not_run_twice_wins_over_the_node() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, [("echo", 0, 1)])
    desk.worker(102, [("echo", 0, 1)])
    assert node.request(1).payload is None
    worker.leave()
    assert desk.said() == ["SAY 1 ERROR WORKER_LOST"]


def test_a_request_that_kills_every_worker_is_poison() -> None:
    desk = Desk()
    node = desk.node(1)
    node.request(1)
    for attempt in (1, 2, 3):
        worker = desk.worker(100 + attempt)
        [sent] = desk.steps()
        assert sent.envelope.attempt == attempt
        worker.leave()
    [error] = desk.steps()
    assert (str(error), error.envelope.attempt) == ("SAY 1 ERROR POISON", 3)
    assert "3 times" in error.sentence
    desk.assert_nothing_is_left(peers=1)


@pytest.mark.parametrize(("attempts", "code"), [(1, "WORKER_LOST"), (2, "POISON")])
def test_a_node_says_how_often_it_may_be_delivered(attempts: int, code: str) -> None:
    desk = Desk()
    node = desk.node(1)
    node.request(1, max_attempts=attempts)
    for slot in range(attempts):
        worker = desk.worker(101 + slot)
        desk.steps()
        worker.leave()
    assert desk.said() == [f"SAY 1 ERROR {code}"]


def test_a_request_without_another_worker_waits_until_its_deadline() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    node.request(1, remaining_ms=1000)
    worker.leave()
    assert desk.wait(999) == []
    [error] = desk.wait(1)
    assert (error.code, error.envelope.attempt) == ("NO_WORKER", 1)
    desk.assert_nothing_is_left(peers=1)


def test_the_wait_for_a_first_worker_begins_anew_when_the_last_one_is_lost() -> None:
    desk = Desk(no_worker_wait_ms=500)
    node, worker = desk.node(1), desk.worker(101)
    node.request(1)
    desk.wait(2000)
    worker.leave()
    assert desk.wait(499) == []
    assert desk.wait(1)[0].code == "NO_WORKER"


def test_a_post_is_not_delivered_again() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    desk.worker(102)
    node.post(1)
    worker.leave()
    assert desk.said() == []
    assert desk.counts()["failed"] == 1


def test_what_was_never_written_goes_elsewhere_whatever_it_is() -> None:
    desk = Desk()
    node = desk.node(1)
    worker = desk.worker(101, credit=3)
    given = [node.request(1, flags=Flag.NOT_IDEMPOTENT, max_attempts=1), node.post(2), node.request(3)]
    for told in given:
        desk.probe.unsent(101, told.frame or b"")
    worker.leave()
    desk.worker(102, credit=3)
    again = desk.steps()
    assert [told.envelope.sequence for told in again] == [1, 2, 3]
    assert [told.envelope.attempt for told in again] == [1, 1, 1]
    assert "worker_lost" not in desk.counts()


def test_an_unsent_post_is_accepted_by_who_takes_it_at_last() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.post(1, flags=Flag.WANTS_ACCEPTED)
    desk.probe.unsent(101, given.frame or b"")
    worker.leave()
    assert desk.said() == []
    other = desk.worker(102)
    told = desk.steps()
    assert [str(each) for each in told] == ["SEND 102 POST", "SAY 1 ACCEPTED"]
    other.answer(told[0])
    desk.assert_nothing_is_left(peers=2)


# ---- what was not kept ----


def lost_without_a_copy(desk: Desk) -> tuple[Node, Worker]:
    node = desk.node(1)
    desk.probe.set_memory(False)
    worker = desk.worker(101)
    node.request(1)
    worker.leave()
    desk.probe.set_memory(True)
    return node, desk.worker(102)


def test_a_node_is_asked_for_what_was_not_kept() -> None:
    desk = Desk()
    node, other = lost_without_a_copy(desk)
    [told] = desk.steps()
    assert (str(told), told.envelope.attempt, told.envelope.sequence) == ("SAY 1 ERROR RESEND", 1, 1)
    assert desk.probe.live == 1
    again = node.request(1, flags=Flag.RESENT)
    assert (str(again), again.envelope.attempt) == ("PASS 102 REQUEST", 2)
    assert str(other.answer(again)) == "PASS 1 REPLY"
    desk.assert_nothing_is_left(peers=2)


def test_beyond_the_budget_of_retention_nothing_is_kept() -> None:
    desk = Desk(retain_bytes=1000)
    node = desk.node(1)
    worker = desk.worker(101, credit=3)
    kept = [node.request(sequence, message_bytes=400).payload for sequence in (1, 2, 3)]
    assert kept[2] is None
    assert kept[0] is not None
    assert desk.probe.used()["retained_bytes"] == 800
    worker.leave()
    assert desk.said() == ["SAY 1 ERROR RESEND"]


def test_one_node_cannot_use_up_the_retention_of_all() -> None:
    desk = Desk(retain_bytes=1000, retain_node_bytes=500)
    first, second = desk.node(1), desk.node(2)
    desk.worker(101, credit=9)
    assert first.request(1, message_bytes=400).payload is not None
    assert first.request(2, message_bytes=400).payload is None
    assert second.request(1, message_bytes=400).payload is not None


def test_what_is_not_sent_again_ends_at_its_deadline() -> None:
    desk = Desk()
    lost_without_a_copy(desk)
    desk.steps()
    [told] = desk.wait(30_000)
    assert told.code == "TIMEOUT"
    assert "did not send it again" in told.sentence
    desk.assert_nothing_is_left(peers=2)


@pytest.mark.parametrize("end", ["cancel", "leave", "abort"])
def test_what_is_awaited_can_end_otherwise(end: str) -> None:
    desk = Desk()
    node, _ = lost_without_a_copy(desk)
    desk.steps()
    if end == "cancel":
        assert node.cancel(1).code == "CANCELLED"
    elif end == "leave":
        node.leave()
    else:
        desk.probe.abort()
    desk.steps()
    desk.assert_nothing_is_left(peers=1 if end == "leave" else 2)


# ---- silence ----


def test_a_lease_without_a_sign_is_taken_away_and_its_request_goes_elsewhere() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk, lease_ms=LEASE_MS)
    given = node.request(1)
    assert desk.wait(LEASE_MS - 1) == []
    told = desk.wait(1)
    assert sorted(str(each) for each in told) == ["SAY 101 CANCEL", "SEND 102 REQUEST"]
    assert first.answer(given).verdict == "DROP"
    assert str(second.answer(taken(told))) == "PASS 1 REPLY"
    desk.assert_nothing_is_left(peers=3)
    counts = desk.counts()
    assert (counts["leases_expired"], counts["late"], counts["redelivered"]) == (1, 1, 1)


def test_the_silent_worker_keeps_its_place_until_it_answers() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, [("echo", LEASE_MS, 0)])
    given = node.request(1)
    assert [str(each) for each in desk.wait(LEASE_MS)] == ["SAY 101 CANCEL"]
    assert desk.said() == []
    worker.answer(given)
    assert taken(desk.steps()).envelope.attempt == 2


def test_a_late_reply_never_settles_a_newer_lease() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk, lease_ms=LEASE_MS)
    old = node.request(1)
    new = taken(desk.wait(LEASE_MS))
    assert first.answer(old).verdict == "DROP"
    assert second.answer(new, lease=old.envelope.lease).verdict == "DROP"
    assert desk.probe.live == 1
    assert str(second.answer(new)) == "PASS 1 REPLY"


def test_progress_extends_a_lease() -> None:
    desk = Desk()
    node = desk.node(1)
    first, _ = two_workers(desk, lease_ms=LEASE_MS)
    given = node.request(1)
    for _ in range(5):
        assert desk.wait(LEASE_MS - 1) == []
        first.answer(given, Kind.PROGRESS)
    assert sorted(str(each) for each in desk.wait(LEASE_MS)) == ["SAY 101 CANCEL", "SEND 102 REQUEST"]


def test_a_lease_never_outlives_the_deadline() -> None:
    desk = Desk()
    node = desk.node(1)
    two_workers(desk, lease_ms=LEASE_MS)
    node.request(1, remaining_ms=LEASE_MS)
    assert sorted(str(each) for each in desk.wait(LEASE_MS)) == ["SAY 1 ERROR TIMEOUT", "SAY 101 CANCEL"]


def test_a_silent_worker_may_not_run_a_guarded_request_elsewhere() -> None:
    desk = Desk()
    node = desk.node(1)
    two_workers(desk, lease_ms=LEASE_MS)
    node.request(1, flags=Flag.NOT_IDEMPOTENT)
    told = desk.wait(LEASE_MS)
    assert [str(each) for each in told] == ["SAY 101 CANCEL", "SAY 1 ERROR WORKER_LOST"]
    assert "no sign" in told[1].sentence


def test_redeliveries_after_silence_are_rationed_to_a_fifth() -> None:
    desk = Desk()
    node = desk.node(1)
    worker = desk.worker(101, [("echo", LEASE_MS, 0)], credit=10)
    other = desk.worker(102, [("echo", LEASE_MS, 0)], credit=100)
    other.credit(0)
    given = [node.request(sequence) for sequence in range(1, 11)]
    other.credit(100)
    told = desk.wait(LEASE_MS)
    sent = [each for each in told if each.kind == "REQUEST"]
    assert len(sent) == 3
    assert desk.probe.used()["rationed"] == 7
    for each in sent:
        other.answer(each)
    assert len([each for each in desk.steps() if each.kind == "REQUEST"]) == 3
    assert desk.counts()["rationed"] == 7
    for each in given:
        worker.answer(each)


def test_a_third_delivery_after_silence_comes_after_a_pause() -> None:
    desk = Desk()
    node = desk.node(1)
    services = [("echo", LEASE_MS, 0)]
    workers = {slot: desk.worker(slot, services) for slot in (101, 102, 103)}
    first = node.request(1)
    second = taken(desk.wait(LEASE_MS))
    assert [str(each) for each in desk.wait(LEASE_MS)] == [f"SAY {second.peer} CANCEL"]
    assert desk.probe.used()["between"] == 1
    third = taken(desk.wait(100))
    assert third.envelope.attempt == 3
    assert {first.peer, second.peer, third.peer} == set(workers)
    told = desk.wait(LEASE_MS)
    assert sorted(str(each) for each in told) == ["SAY 1 ERROR RETRIES_EXHAUSTED", f"SAY {third.peer} CANCEL"]


def test_what_rests_ends_at_its_deadline() -> None:
    desk = Desk()
    node = desk.node(1)
    two_workers(desk, lease_ms=LEASE_MS)
    node.request(1, remaining_ms=2 * LEASE_MS + 40)
    desk.wait(LEASE_MS)
    desk.wait(LEASE_MS)
    assert desk.probe.used()["between"] == 1
    [told] = desk.wait(40)
    assert (told.code, told.envelope.attempt) == ("TIMEOUT", 2)
    assert "delivered 2 times" in told.sentence


# ---- errors ----


def test_a_handlers_error_ends_a_request_unless_it_asks_for_more() -> None:
    desk = Desk()
    node = desk.node(1)
    first, _ = two_workers(desk)
    told = first.fail(node.request(1))
    assert str(told) == "PASS 1 ERROR HANDLER_ERROR"


def test_an_error_spends_an_attempt_where_the_node_says_so() -> None:
    desk = Desk()
    node = desk.node(1)
    workers = dict(zip((101, 102), two_workers(desk), strict=True))
    told = node.request(1, flags=Flag.RETRY_ERRORS)
    seen = [told.peer]
    for pause in (0, 200):
        assert workers[told.peer or 0].fail(told).verdict == "DROP"
        told = taken(desk.wait(pause))
        seen.append(told.peer)
    assert seen[0] != seen[1]
    error = workers[told.peer or 0].fail(told)
    assert (str(error), error.envelope.attempt) == ("PASS 1 ERROR RETRIES_EXHAUSTED", 3)
    desk.assert_nothing_is_left(peers=3)


def test_an_error_of_what_may_not_run_twice_is_the_handlers() -> None:
    desk = Desk()
    node = desk.node(1)
    first, _ = two_workers(desk)
    told = first.fail(node.request(1, flags=Flag.RETRY_ERRORS | Flag.NOT_IDEMPOTENT))
    assert str(told) == "PASS 1 ERROR HANDLER_ERROR"


@pytest.mark.parametrize("code", [Code.MALFORMED, Code.TOO_LARGE, 0x8001])
def test_other_errors_are_not_tried_again(code: int) -> None:
    desk = Desk()
    node = desk.node(1)
    first, _ = two_workers(desk)
    assert first.fail(node.request(1, flags=Flag.RETRY_ERRORS), code).envelope.code == code


# ---- what is given back ----


def test_what_a_worker_gives_back_goes_to_another_without_an_attempt() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk)
    assert first.fail(node.request(1), Code.BUSY).verdict == "DROP"
    [again] = desk.steps()
    assert (str(again), again.envelope.attempt) == ("SEND 102 REQUEST", 1)
    second.answer(again)
    desk.assert_nothing_is_left(peers=3)
    assert desk.counts()["returned"] == 1


def test_what_the_only_worker_gives_back_rests_for_as_long_as_it_asks() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    worker.fail(node.request(1), Code.BUSY, remaining_ms=700)
    assert desk.wait(699) == []
    assert taken(desk.wait(1)).envelope.attempt == 1


def test_what_all_workers_give_back_does_not_go_round_at_once() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk)
    first.fail(node.request(1), Code.BUSY)
    second.fail(taken(desk.steps()), Code.BUSY)
    assert desk.said() == []
    assert taken(desk.wait(500)).envelope.attempt == 1


def test_a_guarded_request_that_is_given_back_is_sent_again_by_its_node() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = two_workers(desk)
    first.fail(node.request(1, flags=Flag.NOT_IDEMPOTENT), Code.BUSY)
    assert desk.said() == ["SAY 1 ERROR RESEND"]
    again = node.request(1, flags=Flag.NOT_IDEMPOTENT | Flag.RESENT)
    assert (str(again), again.envelope.attempt) == ("PASS 102 REQUEST", 1)
    second.answer(again)
    desk.assert_nothing_is_left(peers=3)


def test_a_guarded_request_that_the_only_worker_gives_back_is_asked_for_after_a_pause() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    worker.fail(node.request(1, flags=Flag.NOT_IDEMPOTENT), Code.BUSY, remaining_ms=700)
    assert desk.wait(699) == []
    assert [str(told) for told in desk.wait(1)] == ["SAY 1 ERROR RESEND"]


def test_a_nearer_deadline_counts_for_what_is_sent_again() -> None:
    desk = Desk()
    node, _ = lost_without_a_copy(desk)
    desk.steps()
    assert str(node.request(1, flags=Flag.RESENT, remaining_ms=100)) == "PASS 102 REQUEST"
    assert sorted(str(told) for told in desk.wait(100)) == ["SAY 1 ERROR TIMEOUT", "SAY 102 CANCEL"]


# ---- ends ----


@pytest.mark.parametrize("end", ["cancel", "leave", "goodbye", "abort"])
def test_what_rests_can_end_otherwise(end: str) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    kept = node.request(1)
    worker.fail(kept, Code.BUSY)
    assert desk.probe.used()["between"] == 1
    spent: list[Told] = []
    if end == "cancel":
        spent = [node.cancel(1)]
        assert spent[0].code == "CANCELLED"
    elif end == "leave":
        node.leave()
    elif end == "goodbye":
        node.goodbye()
    else:
        desk.probe.abort()
    spent += desk.steps()
    assert [told.spent for told in spent if told.spent is not None] == [kept.payload]
    desk.assert_nothing_is_left(peers=1 if end == "leave" else 2)


def test_a_drain_waits_for_what_rests() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    worker.fail(node.request(1), Code.BUSY, remaining_ms=100)
    desk.probe.drain()
    assert desk.said() == ["SAY 1 GOODBYE"]
    told = desk.wait(100)
    assert [str(each) for each in told] == ["SEND 101 REQUEST", "SAY 101 GOODBYE"]
