"""Requests that a node makes again by itself: under a new sequence, a while later, within their deadline."""

from __future__ import annotations

import pytest
from support.node_talk import NodeTalk

import zproxy
from zproxy.client.renewal import BACKOFF_S
from zproxy.envelope import Code, Flag, Kind


@pytest.fixture
def talk() -> NodeTalk:
    made = NodeTalk()
    made.converse()
    return made


@pytest.fixture
def both() -> tuple[NodeTalk, NodeTalk]:
    """One node's talk with two proxies, which have both accepted it."""
    one = NodeTalk(endpoints=2)
    other = NodeTalk(one.session, which=1)
    one.converse(1)
    other.converse(2)
    return one, other


def test_busy_is_asked_again_under_a_new_sequence_when_the_proxy_says(talk: NodeTalk) -> None:
    request, _ = talk.request(), talk.take()
    talk.error(Code.BUSY, request, remaining_ms=700)
    talk.later(0.69)
    assert talk.taken() == []
    talk.later(0.02)
    [again] = talk.take()
    assert (again.sequence, again.flags & Flag.RESENT) == (2, 0), "it was never begun"
    talk.reply(request)
    assert talk.ended() == [request]
    assert request.error is None and talk.session.counts["renewed"] == 1


def test_busy_that_cannot_be_waited_for_is_raised_at_once(talk: NodeTalk) -> None:
    request, _ = talk.request(timeout=0.5), talk.take()
    talk.error(Code.BUSY, request, sentence="zproxy has no memory; try again later", remaining_ms=700)
    assert isinstance(request.error, zproxy.Busy)
    assert "no memory; try again after 0.7 s" in str(request.error)
    assert request.error.retry_after == 0.7


def test_an_elder_sequence_settles_nothing_any_more(talk: NodeTalk) -> None:
    request, _ = talk.request(), talk.take()
    talk.error(Code.BUSY, request, remaining_ms=100)
    talk.hear(Kind.REPLY, incarnation=talk.session.incarnation, sequence=1)
    assert talk.ended() == []
    assert talk.session.counts["late"] == 1


def test_no_retries_means_no_renewal(talk: NodeTalk) -> None:
    request, _ = talk.request(retries=0), talk.take()
    talk.error(Code.BUSY, request, remaining_ms=100)
    assert isinstance(request.error, zproxy.Busy)


def test_what_rests_can_be_cancelled_and_times_out(talk: NodeTalk) -> None:
    cancelled, late, _ = talk.request(), talk.request(timeout=1.0), talk.take()
    for request in (cancelled, late):
        talk.error(Code.BUSY, request, remaining_ms=900)
    assert talk.session.cancel(cancelled)
    talk.here.begin()
    talk.later(0.95)
    talk.later(0.1)
    assert isinstance(late.error, zproxy.Busy), "what kept it says more than the clock"
    talk.converse(2)
    assert talk.taken() == []


def test_what_a_stopping_proxy_refused_waits_for_the_next_one(talk: NodeTalk) -> None:
    request, _ = talk.request(timeout=30), talk.take()
    talk.hear(Kind.GOODBYE)
    talk.error(Code.DRAINING, request)
    talk.later(1)
    assert talk.taken() == [] and not request.has_ended
    talk.here.lose()
    talk.here.begin()
    talk.welcome(2, proxy=9)
    talk.take()
    talk.accept()
    [again] = talk.take()
    assert (again.sequence, again.flags & Flag.RESENT) == (2, 0)


def test_what_a_stopping_proxy_could_not_finish_goes_to_the_next_one_as_sent_before(talk: NodeTalk) -> None:
    request, _ = talk.request(timeout=30), talk.take()
    talk.error(Code.DRAINING, request, attempt=1, name="worker1")
    talk.welcome(2, proxy=9)
    talk.later(1)
    talk.take()
    talk.accept()
    assert [each.flags & Flag.RESENT for each in talk.take()] == [Flag.RESENT]


def test_what_may_not_run_twice_ends_where_the_proxy_stopped(talk: NodeTalk) -> None:
    request, _ = talk.request(idempotent=False), talk.take()
    talk.error(Code.DRAINING, request, attempt=1, name="worker1")
    assert isinstance(request.error, zproxy.Draining)


def test_an_outcome_that_is_kept_no_longer_is_made_again(talk: NodeTalk) -> None:
    request, guarded, _ = talk.request(), talk.request(idempotent=False), talk.take()
    for each in (request, guarded):
        talk.error(Code.ALREADY_DONE, each)
    assert isinstance(guarded.error, zproxy.AlreadyDone)
    talk.later(BACKOFF_S)
    [again] = talk.take()
    assert (again.sequence, again.flags & Flag.RESENT) == (3, Flag.RESENT)


def test_a_service_that_may_not_run_twice_has_the_last_word(talk: NodeTalk) -> None:
    request, _ = talk.request(), talk.take()
    talk.error(Code.ALREADY_DONE, request)
    talk.later(BACKOFF_S)
    talk.take()
    talk.error(Code.OUTCOME_UNKNOWN, request)
    assert isinstance(request.error, zproxy.AlreadyDone), "the first word says more"
    assert "do not send it again" in str(request.error)


def test_pauses_between_resends_that_a_proxy_asks_for_grow(talk: NodeTalk) -> None:
    request, _ = talk.request(), talk.take()
    for pause in (0.0, BACKOFF_S, 2 * BACKOFF_S):
        talk.error(Code.RESEND, request)
        talk.later(pause * 0.9)
        assert bool(talk.taken()) == (pause == 0.0)
        talk.later(pause * 0.2)
        assert bool(talk.taken()) == (pause > 0.0)
    assert request.sequence == 1


# ---- two proxies ----


def test_a_busy_proxy_is_asked_again_or_the_other_one_is(both: tuple[NodeTalk, NodeTalk]) -> None:
    one, other = both
    request = one.request()
    asked, spare = (one, other) if one.taken() else (other, one)
    spare.take()
    asked.error(Code.BUSY, request, remaining_ms=100)
    asked.later(0.2)
    assert len(one.taken()) + len(other.taken()) == 1


def test_what_a_stopping_proxy_has_not_sent_goes_to_the_other_at_once(both: tuple[NodeTalk, NodeTalk]) -> None:
    one, other = both
    for _ in range(4):
        one.request()
    one.hear(Kind.GOODBYE)
    assert one.taken() == []
    assert sorted(sequence for _, sequence in other.taken()) == [1, 2, 3, 4]


def test_a_reply_of_a_proxy_that_came_back_counts_and_the_other_is_told(both: tuple[NodeTalk, NodeTalk]) -> None:
    one, other = both
    request, _, _ = one.request(), one.take(), other.take()
    holder, spare = (one, other) if request.conversation is one.here else (other, one)
    holder.here.lose()
    assert spare.taken() == [(Kind.REQUEST, 1)]
    holder.reply(request)  # read from the connection that has ended
    assert one.ended() == [request]
    assert spare.taken() == [(Kind.CANCEL, 1)]


def test_an_error_of_a_proxy_that_was_left_settles_nothing(both: tuple[NodeTalk, NodeTalk]) -> None:
    one, other = both
    request, _, _ = one.request(), one.take(), other.take()
    holder, spare = (one, other) if request.conversation is one.here else (other, one)
    holder.here.lose()
    spare.take()
    holder.error(Code.WORKER_LOST, request)
    assert one.ended() == []
    spare.reply(request)
    assert one.ended() == [request]
