"""What becomes of requests: one outcome each, whoever answers, dies, cancels or waits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.brokers import Code, Desk, Flag, Kind, Told, Worker

from zproxy.broker.request import STATES, legal_transitions
from zproxy.envelope import Envelope

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def picked(*told: Told) -> list[int]:
    return [each.peer or 0 for each in told]


# ---- there and back ----


def test_a_request_goes_to_a_worker_and_its_reply_comes_back() -> None:
    desk = Desk()
    node, worker = desk.node(1, "rank0", 5), desk.worker(101, name="m")
    given = node.request(7, remaining_ms=1234, flags=Flag.RETRY_ERRORS, trace=bytes(range(25)), tlvs=b"\0\x80\1\0x")
    request = given.envelope
    assert (given.verdict, given.peer, request.attempt, request.remaining_ms) == ("PASS", 101, 1, 1234)
    assert request.lease != 0
    assert (request.name, request.service, request.conversation) == ("rank0", "echo", worker.conversation)
    assert (request.trace, request.tlvs, request.flags) == (bytes(range(25)), b"\0\x80\1\0x", Flag.RETRY_ERRORS)
    back = worker.answer(given, tlvs=b"\4\0\0\0", trace=bytes(range(25)))
    reply = back.envelope
    assert (back.verdict, back.peer, reply.lease, reply.attempt) == ("PASS", 1, 0, 1)
    assert (reply.name, reply.sequence, reply.incarnation) == ("m", 7, 5)
    assert (reply.conversation, reply.tlvs, reply.trace) == (node.conversation, b"\4\0\0\0", bytes(range(25)))
    assert desk.counts() == {"accepted": 1, "delivered": 1, "deliveries": 1}
    desk.assert_nothing_is_left(peers=2)


def test_a_request_kept_is_sent_with_what_is_left_of_its_time() -> None:
    desk = Desk()
    node = desk.node(1, "rank0")
    kept = node.request(1, remaining_ms=1000, tlvs=b"\0\x80\0\0")
    assert kept.verdict == "KEEP"
    desk.now_ms += 400
    worker = desk.worker(101)
    [sent] = desk.steps()
    request = sent.envelope
    assert (sent.verdict, sent.peer, sent.payload) == ("SEND", 101, kept.payload)
    assert (request.remaining_ms, request.attempt, request.name) == (600, 1, "rank0")
    assert (request.tlvs, request.conversation) == (b"\0\x80\0\0", worker.conversation)


def test_a_lease_is_never_0_and_never_given_twice() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    leases = set()
    for sequence in range(1, 200):
        given = node.request(sequence)
        leases.add(given.envelope.lease)
        worker.answer(given)
    assert len(leases) == 199 and 0 not in leases


@pytest.mark.parametrize("change", [{"lease": 0}, {"lease": 2**64 - 1}, {"sequence": 2}, {"incarnation": 9}])
def test_a_reply_counts_under_its_lease_incarnation_and_sequence_only(change: dict[str, Any]) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    assert worker.answer(given, **change).verdict == "DROP"
    assert desk.counts()["late"] == 1
    assert str(node.request(2)) == "KEEP"
    assert str(worker.answer(given)) == "PASS 1 REPLY"


def test_a_reply_counts_on_the_connection_it_was_given_in_only() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101, credit=1)
    stranger = desk.worker(102, credit=1)
    given = node.request(1)
    other = stranger if given.peer == 101 else Worker(desk, 101, 0)
    assert other.answer(given).verdict == "DROP"


def test_a_second_reply_is_late() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    worker.answer(given)
    assert worker.answer(given).verdict == "DROP"
    assert desk.counts()["late"] == 1


def test_a_late_reply_never_settles_a_newer_lease() -> None:
    """The slot of an ended request is used again at once; its old lease must not fit."""
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    old = node.request(1)
    worker.answer(old)
    new = node.request(2)
    assert new.envelope.lease & 0xFFFFFFFF == old.envelope.lease & 0xFFFFFFFF
    assert worker.answer(old, sequence=2).verdict == "DROP"
    assert str(worker.answer(new)) == "PASS 1 REPLY"


# ---- errors of workers ----


@pytest.mark.parametrize("code", [Code.MALFORMED, Code.HANDLER_ERROR, Code.TOO_LARGE, Code.CANCELLED, 0x8000, 0xFFFF])
def test_a_workers_own_errors_pass(code: int) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    error = worker.fail(node.request(1), code)
    assert (error.verdict, error.peer, error.envelope.code, error.envelope.attempt) == ("PASS", 1, code, 1)
    assert desk.counts()["failed"] == 1


@pytest.mark.parametrize("code", [Code.NEED_HELLO, Code.RESEND, Code.TIMEOUT, Code.WORKER_LOST, 21, 0x7FFF])
def test_codes_that_are_not_a_workers_become_handler_errors(code: int) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    assert worker.fail(node.request(1), code).code == "HANDLER_ERROR"


# ---- duplicates ----


def test_a_duplicate_of_a_live_request_joins_it() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    node.request(2)
    for sequence in (1, 2):
        assert node.request(sequence, flags=Flag.RESENT).verdict == "DROP"
    worker.answer(given)
    assert desk.said() == ["SEND 101 REQUEST"]
    assert desk.counts()["joined"] == 2
    assert desk.counts()["accepted"] == 2


@pytest.mark.parametrize(("second", "ends_after"), [(500, 500), (60_000, 1000)])
def test_the_nearer_deadline_of_duplicates_counts(second: int, ends_after: int) -> None:
    desk = Desk()
    node = desk.node(1)
    node.request(1, remaining_ms=1000)
    node.request(1, remaining_ms=second)
    assert desk.wait(ends_after - 1) == []
    assert [str(told) for told in desk.wait(1)] == ["SAY 1 ERROR UNKNOWN_SERVICE"]


def test_the_same_sequence_of_two_nodes_are_two_requests() -> None:
    desk = Desk()
    worker = desk.worker(101, credit=2)
    given = [desk.node(slot).request(1) for slot in (1, 2)]
    assert [told.verdict for told in given] == ["PASS", "PASS"]
    assert [worker.answer(told).peer for told in given] == [1, 2]


def test_an_ended_request_sent_again_is_delivered_again_where_it_may_run_twice() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    worker.answer(node.request(1))
    assert str(node.request(1, flags=Flag.RESENT)) == "PASS 101 REQUEST"


@pytest.mark.parametrize("services", [[("echo", 0, 1)], [("*", 0, 1)]])
def test_what_may_not_run_twice_is_not_delivered_when_resent(services: list[tuple[str, int, int]]) -> None:
    desk = Desk()
    node = desk.node(1)
    told = node.request(1, flags=Flag.RESENT | Flag.NOT_IDEMPOTENT)
    assert str(told) == "SAY 1 ERROR OUTCOME_UNKNOWN"
    assert (told.envelope.sequence, '"echo"' in told.sentence) == (1, True)
    worker = desk.worker(101, services)
    assert str(node.request(2, flags=Flag.RESENT)) == "SAY 1 ERROR OUTCOME_UNKNOWN"
    worker.leave()
    assert str(node.request(3, flags=Flag.RESENT)) == "SAY 1 ERROR OUTCOME_UNKNOWN"
    assert desk.counts() == {"refused_outcome_unknown": 3}


def test_what_waited_is_not_delivered_again_once_its_service_may_not_run_it_twice() -> None:
    """The node came back to a new proxy before its worker did."""
    desk = Desk()
    node = desk.node(1)
    assert str(node.request(1, flags=Flag.RESENT)) == "KEEP"
    assert str(node.request(2)) == "KEEP"
    desk.worker(101, [("echo", 0, 1)])
    assert desk.said() == ["SAY 1 ERROR OUTCOME_UNKNOWN", "SEND 101 REQUEST"]
    assert desk.counts()["failed"] == 1


def test_a_service_may_run_twice_again_once_its_workers_say_so() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, [("echo", 0, 1)])
    worker.ready([("echo", 0, 0)])
    assert str(node.request(1, flags=Flag.RESENT)) == "PASS 101 REQUEST"


# ---- who takes it ----


def test_the_least_loaded_worker_takes_the_next() -> None:
    desk = Desk()
    node = desk.node(1)
    first, second = desk.worker(101, credit=9), desk.worker(102, credit=9)
    given = [node.request(number) for number in range(1, 5)]
    assert sorted(picked(*given)) == [101, 101, 102, 102]
    for told in given:
        if told.peer == 102:
            second.answer(told)
    assert picked(*(node.request(number) for number in (5, 6))) == [102, 102]
    assert first.slot == 101


def test_equally_loaded_workers_take_turns() -> None:
    desk = Desk()
    node = desk.node(1)
    workers = {slot: desk.worker(slot) for slot in (101, 102, 103)}
    order: list[int] = []
    for sequence in range(1, 10):
        given = node.request(sequence)
        order += picked(given)
        workers[order[-1]].answer(given)
    assert order == order[:3] * 3
    assert sorted(order[:3]) == [101, 102, 103]


def test_who_took_what_waited_had_a_turn() -> None:
    desk = Desk()
    node = desk.node(1)
    workers = {slot: desk.worker(slot) for slot in (101, 102)}
    given = {told.peer or 0: told for told in (node.request(1), node.request(2))}
    node.request(3)
    workers[102].answer(given[102])
    [sent] = desk.steps()
    for slot, told in ((102, sent), (101, given[101])):
        workers[slot].answer(told)
    assert picked(node.request(4), node.request(5)) == [101, 102]


def test_a_worker_that_offers_everything_takes_only_what_nobody_names() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101, ["*"], credit=9)
    named = desk.worker(102, ["echo"], credit=1)
    assert str(node.request(1, "other")) == "PASS 101 REQUEST"
    assert str(node.request(2, "echo")) == "PASS 102 REQUEST"
    assert str(node.request(3, "echo")) == "KEEP"
    named.goodbye()
    assert desk.said() == ["SEND 101 REQUEST"]
    assert str(node.request(4, "echo")) == "PASS 101 REQUEST"


def test_a_worker_that_offers_everything_takes_what_waited_before_it_came() -> None:
    desk = Desk()
    node = desk.node(1)
    for sequence, service in enumerate(["a", "b", "a"], start=1):
        node.request(sequence, service)
    desk.worker(101, ["*"], credit=9)
    sent = [told.envelope.service for told in desk.steps()]
    assert sorted(sent) == ["a", "a", "b"] and sent[0] != sent[1]


def test_what_arrives_never_overtakes_what_waits() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    node.request(2)
    worker.answer(given)
    assert str(node.request(3)) == "KEEP"
    assert [told.envelope.sequence for told in desk.steps()] == [2]


def test_nothing_waits_while_somebody_could_take_it() -> None:
    desk = Desk()
    node = desk.node(1)
    for sequence in range(1, 7):
        node.request(sequence)
    desk.worker(101, credit=2)
    desk.worker(102, credit=3)
    assert sorted(desk.said()) == ["SEND 101 REQUEST"] * 2 + ["SEND 102 REQUEST"] * 3


# ---- whose turn it is ----


def served(desk: Desk, worker: Worker, first: Told) -> list[tuple[str, int]]:
    """(node, sequence) in the order they are served by one worker of one place."""
    order: list[tuple[str, int]] = []
    given = first
    while True:
        worker.answer(given)
        sent = desk.steps()
        if not sent:
            return order
        [given] = sent
        order.append((given.envelope.name, given.envelope.sequence))


def test_who_has_many_waiting_delays_another_by_one() -> None:
    desk = Desk()
    flood, single, worker = desk.node(1, "flood"), desk.node(2, "single"), desk.worker(101)
    first = flood.request(1)
    for sequence in range(2, 50):
        flood.request(sequence)
    single.request(1)
    assert served(desk, worker, first)[:3] == [("flood", 2), ("single", 1), ("flood", 3)]


def test_lower_priorities_go_first_and_each_is_first_in_first_out() -> None:
    desk = Desk()
    node, worker = desk.node(1, "n"), desk.worker(101)
    first = node.request(1)
    for sequence, priority in [(2, 2), (3, 1), (4, 0), (5, 2), (6, 0), (7, 1)]:
        node.request(sequence, priority=priority)
    assert [sequence for _, sequence in served(desk, worker, first)] == [4, 6, 3, 7, 2, 5]


def test_a_worker_of_several_services_serves_them_in_turn() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, ["a", "b"])
    first = node.request(1, "a")
    for sequence in range(2, 6):
        node.request(sequence, "ab"[sequence % 2])
    order = [sequence % 2 for _, sequence in served(desk, worker, first)]
    assert order in ([0, 1, 0, 1], [1, 0, 1, 0])


# ---- cancelling ----


def test_cancel_of_what_waits_is_answered_at_once_and_frees_its_payload() -> None:
    desk = Desk()
    node = desk.node(1)
    kept = node.request(1)
    told = node.cancel(1)
    assert (str(told), told.spent, told.envelope.attempt) == ("SAY 1 ERROR CANCELLED", kept.payload, 0)
    assert desk.counts()["cancelled"] == 1
    desk.assert_nothing_is_left(peers=1)


def test_cancel_of_what_is_with_a_worker_is_answered_at_once_and_keeps_the_place() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    told = node.cancel(1)
    assert (str(told), told.envelope.attempt, told.spent) == ("SAY 1 ERROR CANCELLED", 1, given.payload)
    [cancel] = desk.steps()
    assert (str(cancel), cancel.envelope.lease) == ("SAY 101 CANCEL", given.envelope.lease)
    assert (cancel.envelope.incarnation, cancel.envelope.sequence) == (node.incarnation, 1)
    assert str(node.request(2)) == "KEEP"
    assert worker.answer(given).verdict == "DROP"
    assert desk.said() == ["SEND 101 REQUEST"]
    assert desk.counts()["late"] == 1


def test_a_worker_that_answered_in_time_is_not_told_of_the_cancel() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    node.cancel(1)
    worker.answer(given)
    assert desk.said() == []
    desk.assert_nothing_is_left(peers=2)


def test_cancel_after_the_outcome_is_ignored() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    worker.answer(node.request(1))
    assert node.cancel(1).verdict == "DROP"
    node.request(2, flags=Flag.NOT_IDEMPOTENT)
    worker.leave()
    assert node.cancel(2).verdict == "DROP"
    assert desk.said() == ["SAY 1 ERROR WORKER_LOST"]
    assert desk.counts()["dropped_cancels"] == 2


def test_a_cancelled_sequence_may_be_sent_anew_while_its_worker_still_has_it() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, credit=2)
    old = node.request(1)
    node.cancel(1)
    new = node.request(1)
    assert new.verdict == "PASS"
    assert worker.answer(old).verdict == "DROP"
    assert str(worker.answer(new)) == "PASS 1 REPLY"


# ---- time ----


@pytest.mark.parametrize(
    ("came", "left", "code"), [(False, False, "UNKNOWN_SERVICE"), (True, True, "NO_WORKER"), (True, False, "TIMEOUT")]
)
def test_the_error_of_a_request_nobody_took_says_who_was_there(came: bool, left: bool, code: str) -> None:
    desk = Desk()
    node = desk.node(1)
    worker = desk.worker(101, credit=0) if came else None
    kept = node.request(1, remaining_ms=1000)
    if worker and left:
        worker.leave()
    assert desk.wait(999) == []
    [told] = desk.wait(1)
    assert (str(told), told.spent, told.envelope.attempt) == (f"SAY 1 ERROR {code}", kept.payload, 0)
    assert '"echo"' in told.sentence and "1000 ms" in told.sentence
    assert desk.counts()["expired"] == 1
    desk.assert_nothing_is_left(peers=2 if came and not left else 1)


def test_a_worker_of_everything_was_a_worker_of_each() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101, ["*"]).leave()
    node.request(1, remaining_ms=10)
    assert [str(told) for told in desk.wait(10)] == ["SAY 1 ERROR NO_WORKER"]


def test_a_request_whose_worker_is_too_slow_times_out_and_keeps_the_place() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, name="slow")
    given = node.request(1, remaining_ms=1000)
    timeout, cancel = desk.wait(1000)
    assert (str(timeout), timeout.envelope.attempt, timeout.envelope.name) == ("SAY 1 ERROR TIMEOUT", 1, "slow")
    assert '"slow"' in timeout.sentence and "1000 ms" in timeout.sentence
    assert (str(cancel), cancel.envelope.lease) == ("SAY 101 CANCEL", given.envelope.lease)
    assert str(node.request(2)) == "KEEP"
    worker.answer(given)
    assert desk.said() == ["SEND 101 REQUEST"]


def test_a_worker_that_goes_frees_the_places_of_what_timed_out() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    node.request(1, remaining_ms=10)
    desk.wait(10)
    worker.leave()
    assert desk.steps() == []
    desk.assert_nothing_is_left(peers=1)


def test_a_request_waits_for_a_first_worker_no_longer_than_the_limit() -> None:
    desk = Desk(no_worker_wait_ms=300)
    node = desk.node(1)
    node.request(1, remaining_ms=1000)
    node.request(2, remaining_ms=100)
    assert [told.envelope.sequence for told in desk.wait(100)] == [2]
    assert desk.wait(199) == []
    assert [str(told) for told in desk.wait(1)] == ["SAY 1 ERROR UNKNOWN_SERVICE"]


def test_a_worker_that_came_meanwhile_leaves_a_request_its_deadline() -> None:
    desk = Desk(no_worker_wait_ms=300)
    node = desk.node(1)
    node.request(1, remaining_ms=1000)
    node.request(2, remaining_ms=1000)
    worker = desk.worker(101)
    [sent] = desk.steps()
    assert desk.wait(300) == []
    told = sorted(str(each) for each in desk.wait(700))
    assert told == ["SAY 1 ERROR TIMEOUT", "SAY 1 ERROR TIMEOUT", "SAY 101 CANCEL"]
    worker.answer(sent)
    desk.assert_nothing_is_left(peers=2)


def test_an_invented_service_is_forgotten_with_its_last_request() -> None:
    desk = Desk()
    node = desk.node(1)
    for sequence in range(1, 1001):
        node.request(sequence, f"invented-{sequence}", remaining_ms=10)
    assert desk.probe.used()["services"] == 1000
    desk.wait(10)
    assert desk.probe.used()["services"] == 0
    assert desk.probe.used()["requests"] == 0


def test_a_service_once_offered_is_remembered() -> None:
    desk = Desk()
    desk.worker(101, ["s"]).leave()
    assert [row["name"] for row in desk.probe.rows()[0]] == ["s"]


# ---- posts ----


def test_a_post_is_delivered_and_its_reply_is_nobodys() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.post(1)
    assert str(given) == "PASS 101 POST"
    assert desk.said() == []
    assert worker.answer(given).verdict == "DROP"
    assert desk.counts() == {"accepted": 1, "delivered": 1, "deliveries": 1}
    desk.assert_nothing_is_left(peers=2)


@pytest.mark.parametrize("waits", [False, True])
def test_a_post_that_asks_for_it_hears_accepted_once_a_worker_has_it(waits: bool) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    first = node.request(9) if waits else None
    node.post(1, flags=Flag.WANTS_ACCEPTED)
    if first:
        assert desk.said() == []
        worker.answer(first)
        assert str(desk.steps()[0]) == "SEND 101 POST"
        return
    [told] = desk.steps()
    assert (str(told), told.content) == ("SAY 1 ACCEPTED", "NONE")
    assert (told.envelope.incarnation, told.envelope.sequence) == (node.incarnation, 1)


def test_a_post_answered_at_once_is_still_accepted() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    worker.answer(node.post(1, flags=Flag.WANTS_ACCEPTED))
    assert str(node.request(2)) == "PASS 101 REQUEST"
    assert desk.said() == ["SAY 1 ACCEPTED"]
    assert desk.counts()["delivered"] == 1


def test_a_post_whose_worker_is_lost_is_told_only_if_it_was_not_accepted_yet() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, credit=2)
    node.post(1, flags=Flag.WANTS_ACCEPTED)
    assert desk.said() == ["SAY 1 ACCEPTED"]
    node.post(2, flags=Flag.WANTS_ACCEPTED)
    worker.leave()
    [told] = desk.steps()
    assert (str(told), told.envelope.sequence) == ("SAY 1 ERROR WORKER_LOST", 2)
    assert desk.counts()["failed"] == 2
    desk.assert_nothing_is_left(peers=1)


def test_a_post_that_nobody_took_is_refused_at_its_deadline() -> None:
    desk = Desk()
    node = desk.node(1)
    node.post(1, remaining_ms=10)
    assert [str(told) for told in desk.wait(10)] == ["SAY 1 ERROR UNKNOWN_SERVICE"]


def test_a_post_that_is_too_slow_is_cancelled_without_a_word_to_its_node() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101)
    node.post(1, remaining_ms=10)
    assert [str(told) for told in desk.wait(10)] == ["SAY 101 CANCEL"]
    assert desk.counts()["expired"] == 1


def test_a_waiting_post_of_a_node_that_is_gone_expires_in_silence() -> None:
    desk = Desk()
    node = desk.node(1)
    kept = node.post(1, remaining_ms=10)
    node.leave()
    assert desk.steps() == []
    [told] = desk.wait(10)
    assert (told.verdict, told.spent) == ("DROP", kept.payload)
    desk.assert_nothing_is_left(peers=0)


# ---- progress ----


def test_progress_passes_to_a_node_that_wants_it() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, credit=2, name="m")
    wanted = node.request(1, flags=Flag.WANTS_PROGRESS)
    told = worker.answer(wanted, Kind.PROGRESS, flags=Flag.HAS_PROGRESS, progress=50.0)
    assert (str(told), told.envelope.lease, told.envelope.name) == ("PASS 1 PROGRESS", 0, "m")
    assert (told.envelope.progress, told.envelope.attempt) == (50.0, 1)
    unwanted = node.request(2)
    assert worker.answer(unwanted, Kind.PROGRESS).verdict == "DROP"
    node.cancel(1)
    assert worker.answer(wanted, Kind.PROGRESS).verdict == "DROP"
    counts = desk.counts()
    assert (counts["dropped_progress"], counts["late"]) == (1, 1)


# ---- when the relay cannot ----


@pytest.mark.parametrize(("guarded", "code"), [(0, "RESEND"), (Flag.NOT_IDEMPOTENT, "OUTCOME_UNKNOWN")])
@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.ERROR])
def test_an_outcome_its_node_could_not_take_is_undelivered(guarded: int, code: str, kind: Kind) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    passed = worker.answer(node.request(1, flags=guarded), kind, code=Code.HANDLER_ERROR if kind == Kind.ERROR else 0)
    told = Told(*desk.probe.undelivered(1, passed.frame or b""))
    assert str(told) == f"SAY 1 ERROR {code}"
    assert (told.envelope.sequence, told.envelope.attempt) == (1, 1)
    assert told.envelope.conversation == node.conversation
    assert desk.counts() == {"accepted": 1, "undelivered": 1, "deliveries": 1}


def test_progress_its_node_could_not_take_is_dropped() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1, flags=Flag.WANTS_PROGRESS)
    passed = worker.answer(given, Kind.PROGRESS)
    assert desk.probe.undelivered(1, passed.frame or b"")[0] == "DROP"
    assert str(worker.answer(given)) == "PASS 1 REPLY"


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.POST])
def test_a_request_there_is_no_memory_for_ends_in_busy(kind: Kind) -> None:
    desk = Desk()
    node = desk.node(1)
    kept = node.request(1, kind=kind)
    told = Told(*desk.probe.unkept(kept.payload or 0))
    assert (str(told), told.spent, told.envelope.remaining_ms) == ("SAY 1 ERROR BUSY", None, 500)
    assert desk.counts() == {"accepted": 1, "failed": 1}
    desk.assert_nothing_is_left(peers=1)


# ---- what this version does not do ----


def test_what_lies_in_shared_memory_is_asked_for_without() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101)
    assert node.request(2, flags=Flag.SHARED).code == "NOT_SHARED"


# ---- the end ----


def test_draining_refuses_what_is_new_and_finishes_what_is_open() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    node.request(2)
    desk.probe.drain()
    assert desk.said() == ["SAY 1 GOODBYE"]
    assert str(node.request(3)) == "SAY 1 ERROR DRAINING"
    assert node.request(2, flags=Flag.RESENT).verdict == "DROP"
    assert str(worker.answer(given)) == "PASS 1 REPLY"
    assert desk.said() == ["SEND 101 REQUEST", "SAY 101 GOODBYE"]
    assert desk.steps() == []
    assert desk.probe.live == 1


def test_a_peer_that_comes_while_draining_is_told() -> None:
    desk = Desk()
    desk.probe.drain()
    desk.steps()
    desk.node(1)
    desk.worker(101)
    assert desk.said() == ["SAY 1 GOODBYE", "SAY 101 GOODBYE"]


def test_a_worker_that_leaves_is_not_told_goodbye_before_it_has_settled() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    given = node.request(1)
    worker.goodbye()
    desk.probe.drain()
    assert desk.said() == ["SAY 1 GOODBYE"]
    worker.answer(given)
    assert desk.said() == ["SAY 101 GOODBYE"]


def test_aborting_ends_everything_live_in_draining() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.worker(101, credit=2)
    leased = node.request(1)
    node.post(2)
    kept = node.request(3)
    desk.probe.drain()
    desk.steps()
    desk.probe.abort()
    told = desk.steps()
    assert sorted(str(each) for each in told) == [
        "SAY 1 ERROR DRAINING", "SAY 1 ERROR DRAINING", "SAY 101 CANCEL", "SAY 101 CANCEL", "SAY 101 GOODBYE"
    ]
    assert [each.spent for each in told if each.spent is not None] == [leased.payload, kept.payload]
    assert {each.envelope.attempt for each in told if each.code} == {0, 1}
    counts = desk.counts()
    assert (counts["failed"], desk.probe.live) == (3, 0)
    assert desk.probe.due_ms() is None


# ---- states ----


def test_the_documented_states_are_those_of_the_table() -> None:
    table = ARCHITECTURE.read_text().partition("<!-- request transitions -->")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([A-Z]+) \| ([A-Z, –]+) \|", table, re.MULTILINE)
    assert {state: targets.split(", ") for state, targets in rows} == legal_transitions()
    assert [state for state, _ in rows] == list(STATES)


def test_a_frame_that_is_passed_is_an_envelope() -> None:
    """Names of 64 bytes, and TLVs up to their limit, fit on their way in both directions."""
    desk = Desk()
    node, worker = desk.node(1, "n" * 64), desk.worker(101, ["s" * 64], name="w" * 64)
    given = node.request(1, "s" * 64, tlvs=b"\0\x80\xfc\x0f" + bytes(4092))
    back = worker.answer(given, service="s" * 64, tlvs=b"\0\x80\xfc\x0f" + bytes(4092))
    assert len(given.frame or b"") == len(back.frame or b"") == 4352
    assert Envelope.parse(back.frame or b"").name == "w" * 64


@pytest.mark.parametrize("ending", ["waits", "lost", "slow"])
def test_a_sentence_holds_the_longest_names(ending: str) -> None:
    desk = Desk()
    node = desk.node(1)
    worker = desk.worker(101, ["s" * 64], name="w" * 64, credit=0 if ending == "waits" else 1)
    node.request(1, "s" * 64, flags=Flag.NOT_IDEMPOTENT)
    if ending == "lost":
        worker.leave()
    told = desk.wait(30_000)[0]
    assert "s" * 64 in told.sentence
    assert told.sentence.endswith(("them, or give it more time", "may run twice", "what the worker does"))


def test_names_made_for_a_run_do_not_grow_the_table_for_ever() -> None:
    """Those offered once are remembered, up to a limit; one worker after the other may bring 1,024 new ones."""
    desk = Desk()
    worker = desk.connect_worker(101)
    for run in range(20):
        told = worker.ready([f"run{run}/service{index}" for index in range(1024)], name="m1", incarnation=7)
        assert told.kind == "ACCEPTED"
    assert desk.probe.used()["services"] <= 16_384 + 1024
    worker.leave()
    node = desk.node(1)
    node.request(1, "run0/service0", remaining_ms=10)
    assert [told.code for told in desk.wait(20)] == ["NO_WORKER"]
    node.request(2, "run19/service0", remaining_ms=10)
    assert [told.code for told in desk.wait(20)] == ["UNKNOWN_SERVICE"]
