"""A master's answers: a request that is delivered again is not run again while its outcome is kept."""

from __future__ import annotations

from typing import Any

import pytest
from support.worker_talk import Talk

from zproxy.client import answers as module
from zproxy.client.delivery import Delivery, Failure, Outcome
from zproxy.envelope import Code, Envelope, Flag, Kind

REPLY: Outcome = [b"\x91\x01"]
ERROR = Failure(Code.HANDLER_ERROR, "ValueError: no", b"\x80")
GIVEN_UP = Failure(Code.CANCELLED, "gave up")


@pytest.fixture
def talk() -> Talk:
    opened = Talk()
    opened.begin()
    return opened


def leases(said: list[Envelope]) -> list[tuple[int, int]]:
    return [(each.kind, each.lease) for each in said]


def deliver(talk: Talk, lease: int, **fields: int) -> None:
    """The one request of these tests."""
    talk.request(lease, sequence=1, **fields)


def run(talk: Talk, outcome: Outcome, lease: int = 71) -> None:
    deliver(talk, lease)
    talk.answers.end(talk.take(), outcome)
    talk.heard()


def test_what_was_answered_is_answered_again_without_a_handler(talk: Talk) -> None:
    run(talk, REPLY)
    talk.begin(6)
    deliver(talk, 72, attempt=2)
    assert leases(talk.heard()) == [(Kind.REPLY, 72)]
    assert talk.session.take(talk.now) is None
    assert (talk.count("replied"), talk.count("repeated")) == (1, 1)


def test_another_proxy_is_told_the_same(talk: Talk) -> None:
    run(talk, REPLY)
    other = Talk(proxy=2, answers=talk.answers)
    other.begin()
    deliver(other, 5)
    assert leases(other.heard()) == [(Kind.REPLY, 5)]


@pytest.mark.parametrize("other", [{"sequence": 2}, {"incarnation": 78}, {"name": "node2"}])
def test_the_answer_of_one_request_is_never_another_ones(talk: Talk, other: dict[str, Any]) -> None:
    run(talk, REPLY)
    talk.request(72, **{"sequence": 1, **other})
    assert talk.heard() == []
    assert talk.take().envelope.lease == 72


def test_a_handlers_error_is_told_again_but_not_to_who_wants_another_try(talk: Talk) -> None:
    run(talk, ERROR)
    deliver(talk, 72, attempt=2)
    assert leases(talk.heard()) == [(Kind.ERROR, 72)]
    deliver(talk, 73, attempt=3, flags=Flag.RETRY_ERRORS)
    assert talk.take().envelope.lease == 73


@pytest.mark.parametrize("code", [Code.CANCELLED, Code.MALFORMED, Code.TOO_LARGE])
def test_what_no_handler_came_to_is_not_kept(talk: Talk, code: Code) -> None:
    run(talk, Failure(code, "because"))
    deliver(talk, 72)
    assert talk.take().envelope.lease == 72


def test_posts_are_neither_kept_nor_joined(talk: Talk) -> None:
    for lease in (71, 72):
        deliver(talk, lease, kind=Kind.POST)
    first, second = talk.take(), talk.take()
    talk.answers.end(first, REPLY)
    talk.answers.end(second, REPLY)
    assert leases(talk.heard()) == [(Kind.REPLY, 71), (Kind.REPLY, 72)]


# ---- what still runs ----


def running(talk: Talk) -> Delivery:
    deliver(talk, 71)
    return talk.take()


def test_a_delivery_of_what_runs_joins_it_and_is_the_one_that_is_answered(talk: Talk) -> None:
    first = running(talk)
    talk.cancel(71, sequence=1)  # its lease is over
    assert first.is_cancelled
    deliver(talk, 72, attempt=2)
    assert not first.is_cancelled, "somebody waits again"
    assert talk.session.take(talk.now) is None
    talk.answers.end(first, REPLY)
    assert leases(talk.heard()) == [(Kind.ERROR, 71), (Kind.REPLY, 72)]
    assert (talk.count("joined"), talk.count("replied"), talk.count("cancelled")) == (1, 1, 1)


def test_what_outlives_its_conversation_answers_the_next_one(talk: Talk) -> None:
    first = running(talk)
    talk.begin(6)
    deliver(talk, 71, attempt=2)
    talk.answers.end(first, REPLY)
    assert [(each.lease, each.conversation) for each in talk.heard()] == [(71, 6)]
    assert (talk.count("late"), talk.count("replied"), talk.count("in_flight")) == (1, 1, 0)


def test_two_proxies_that_deliver_the_same_are_both_answered(talk: Talk) -> None:
    other = Talk(proxy=2, answers=talk.answers)
    other.begin()
    first = running(talk)
    deliver(other, 5)
    talk.answers.end(first, REPLY)
    assert leases(talk.heard()) == [(Kind.REPLY, 71)]
    assert leases(other.heard()) == [(Kind.REPLY, 5)]


def test_two_that_wait_run_once(talk: Talk) -> None:
    deliver(talk, 71)
    deliver(talk, 72)
    first = talk.take()
    assert talk.session.take(talk.now) is None
    talk.answers.end(first, REPLY)
    assert leases(talk.heard()) == [(Kind.REPLY, 71), (Kind.REPLY, 72)]


def test_who_joined_what_is_given_up_gets_a_handler_of_its_own(talk: Talk) -> None:
    first = running(talk)
    talk.cancel(71, sequence=1)
    deliver(talk, 72, attempt=2)
    talk.answers.end(first, GIVEN_UP)
    assert leases(talk.heard()) == [(Kind.ERROR, 71)]
    again = talk.take()
    assert again.envelope.lease == 72
    talk.answers.end(again, REPLY)
    assert leases(talk.heard()) == [(Kind.REPLY, 72)]
    assert talk.count("in_flight") == 0


def test_progress_goes_to_the_newest_lease(talk: Talk) -> None:
    first = running(talk)
    deliver(talk, 72)
    assert first.newest.envelope.lease == 72


# ---- bounds ----


def finish(talk: Talk, sequence: int, outcome: Outcome) -> None:
    talk.request(sequence, sequence=sequence)
    talk.answers.end(talk.take(), outcome)


def is_kept(talk: Talk, sequence: int) -> bool:
    """Asks, by a delivery that is answered or taken."""
    before = talk.count("repeated")
    talk.request(9000 + sequence, sequence=sequence)
    if talk.count("repeated") > before:
        return True
    talk.answers.end(talk.take(), GIVEN_UP)
    return False


def test_the_oldest_answer_is_forgotten_first(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_ANSWERS", 2)
    for sequence in (1, 2, 3):
        finish(talk, sequence, REPLY)
    assert [is_kept(talk, sequence) for sequence in (1, 2, 3)] == [False, True, True]


def test_answers_are_kept_within_their_bytes(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    finish(talk, 1, [bytes(60)])
    finish(talk, 2, [bytes(60)])
    finish(talk, 3, [bytes(101)])
    assert [is_kept(talk, sequence) for sequence in (1, 2, 3)] == [False, False, False]
    finish(talk, 4, [bytes(100)])
    assert is_kept(talk, 4)


def test_what_a_program_may_write_to_is_kept_as_a_copy_and_only_if_it_was_not_sent(talk: Talk) -> None:
    array = bytearray(b"before")
    finish(talk, 1, [b"\x91\x01", memoryview(array)])
    assert not is_kept(talk, 1), "it was sent, most likely: copying each large reply would cost more than running again"
    talk.request(2, sequence=2)
    late = talk.take()
    talk.begin(6)
    talk.answers.end(late, [b"\x91\x01", memoryview(array)])
    array[:] = b"after!"
    talk.heard()
    talk.request(72, sequence=2)
    [message] = talk.session.outbox
    assert bytes(message[2]) == b"before"
