"""The node's session, state by state: what may be said when, and what a new conversation begins with."""

from __future__ import annotations

import logging

import pytest
from support.node_talk import NodeTalk

import zproxy
from zproxy.client.conversation import HELLO_S, NAME_TRIES, State
from zproxy.client.session import GRACE_S
from zproxy.envelope import Code, Flag, Kind


@pytest.fixture
def talk() -> NodeTalk:
    return NodeTalk()


def test_nothing_is_said_before_welcome(talk: NodeTalk) -> None:
    talk.request()
    assert talk.taken() == []


def test_only_hello_is_said_before_accepted(talk: NodeTalk) -> None:
    talk.request()
    talk.welcome(1)
    [hello] = talk.take()
    assert (hello.kind, hello.name, hello.conversation) == (Kind.HELLO, "node1", 1)
    talk.accept()
    assert talk.taken() == [(Kind.REQUEST, 1)]


def test_requests_go_in_the_order_they_were_made(talk: NodeTalk) -> None:
    talk.converse()
    for _ in range(3):
        talk.request()
    talk.post()
    assert talk.taken() == [(Kind.REQUEST, 1), (Kind.REQUEST, 2), (Kind.REQUEST, 3), (Kind.POST, 4)]


def test_what_is_open_is_resent_in_order_after_every_welcome(talk: NodeTalk) -> None:
    talk.converse()
    first, second, _ = talk.request(), talk.request(), talk.take()
    talk.reply(first)
    unsent = talk.request()
    talk.converse(2)
    again = talk.take()
    assert [envelope.sequence for envelope in again] == [second.sequence, unsent.sequence]
    assert [envelope.flags & Flag.RESENT for envelope in again] == [Flag.RESENT, 0]
    assert {envelope.conversation for envelope in again} == {2}


def test_the_time_left_is_written_as_it_leaves(talk: NodeTalk) -> None:
    talk.request(timeout=10)
    talk.later(4)
    talk.converse()
    assert talk.take()[0].remaining_ms == 6000
    talk.later(1)
    talk.converse(2)
    assert talk.take()[0].remaining_ms == 5000


def test_a_reply_of_an_ended_conversation_settles_nothing(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.converse(2)
    talk.reply(request, conversation=1)
    assert talk.ended() == []
    assert talk.session.counts["stale"] == 1
    talk.reply(request)
    assert talk.ended() == [request]


def test_a_reply_to_another_incarnation_settles_nothing(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.hear(Kind.REPLY, incarnation=5, sequence=request.sequence)
    assert talk.ended() == []
    assert talk.session.counts["late"] == 1


def test_a_second_outcome_is_late(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.reply(request)
    talk.reply(request)
    talk.error(Code.TIMEOUT, request)
    assert talk.ended() == [request]
    assert talk.session.counts["late"] == 2


def test_another_connection_says_nothing_until_it_is_welcomed(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.here.begin()
    talk.reply(request)
    talk.error(Code.FENCED)
    assert (talk.here.state, talk.ended(), talk.taken()) == (State.AWAY, [], [])


# ---- need hello, resend ----


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_copy_refused_for_want_of_hello_was_never_taken(talk: NodeTalk, is_accepted: bool) -> None:
    talk.converse()
    request, _ = talk.request(idempotent=False), talk.take()
    talk.welcome(2)
    assert talk.taken() == [(Kind.HELLO, 0)]
    if is_accepted:
        talk.accept()
        talk.take()
        talk.error(Code.NEED_HELLO, request)
        assert [envelope.flags & Flag.RESENT for envelope in talk.take()] == [Flag.RESENT]
        return
    talk.error(Code.NEED_HELLO, request)
    assert talk.taken() == []
    talk.accept()
    assert [envelope.flags & Flag.RESENT for envelope in talk.take()] == [0]


def test_asked_twice_for_one_request_it_goes_once(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.error(Code.RESEND, request)
    talk.error(Code.RESEND, request)
    assert talk.taken() == [(Kind.REQUEST, request.sequence)]


def test_resend_of_what_has_ended_is_late(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.reply(request)
    talk.error(Code.RESEND, request)
    assert talk.taken() == []
    assert talk.session.counts["late"] == 1


def test_a_sent_post_is_resent_after_need_hello_alone(talk: NodeTalk) -> None:
    talk.converse()
    refused, taken, _ = talk.post(), talk.post(), talk.take()
    talk.welcome(2)
    talk.error(Code.NEED_HELLO, refused)
    talk.take()
    talk.accept()
    assert talk.taken() == [(Kind.POST, refused.sequence)]
    talk.error(Code.NEED_HELLO, taken)
    assert talk.taken() == []


def test_an_answered_request_proves_that_earlier_posts_were_read(talk: NodeTalk) -> None:
    talk.converse()
    post, request, later = talk.post(), talk.request(), talk.post()
    talk.take()
    talk.reply(request)
    talk.error(Code.NEED_HELLO, post)
    assert talk.taken() == []
    talk.error(Code.NEED_HELLO, later)
    assert talk.taken() == [(Kind.POST, later.sequence)]


def test_a_confirmed_post_that_was_sent_is_never_resent(talk: NodeTalk) -> None:
    talk.converse()
    sent, _, unsent = talk.post(confirm=True), talk.take(), talk.post(confirm=True)
    talk.converse(2)
    assert talk.taken() == [(Kind.POST, unsent.sequence)]
    assert talk.ended() == [sent]
    assert isinstance(sent.error, zproxy.OutcomeUnknown)


def test_nothing_is_resent_beyond_the_window(talk: NodeTalk) -> None:
    talk.converse()
    options = {"timeout": 100, "retries": 0}
    old, _ = talk.request(**options), talk.take()
    talk.later(2)
    young, _ = talk.request(**options), talk.take()
    talk.welcome(2)
    talk.take()
    talk.accept(ms=1000)
    assert talk.taken() == [(Kind.REQUEST, young.sequence)]
    assert [type(request.error) for request in talk.ended()] == [zproxy.OutcomeUnknown]
    talk.welcome(3)
    talk.take()
    newest = talk.request(**options)
    talk.accept(ids=1)
    assert talk.taken() == [(Kind.REQUEST, newest.sequence)]
    assert old.has_ended and isinstance(young.error, zproxy.OutcomeUnknown)


def test_what_the_proxy_no_longer_remembers_is_made_again_under_a_new_sequence(talk: NodeTalk) -> None:
    talk.converse()
    old, _ = talk.request(timeout=100), talk.take()
    before = old.sequence
    talk.later(2)
    talk.welcome(2)
    talk.take()
    talk.accept(ms=1000)
    assert talk.taken() == []
    talk.later(1)
    [again] = talk.take()
    assert again.sequence > before
    assert again.flags & Flag.RESENT, "it may have run: a service that may not run it twice has to be told"


# ---- refusals ----


def test_a_name_in_use_is_asked_for_again_in_the_time_it_says(talk: NodeTalk) -> None:
    request = talk.request()
    talk.welcome(1)
    talk.take()
    talk.error(Code.NAME_IN_USE, remaining_ms=3000)
    talk.later(2.9)
    assert talk.taken() == []
    talk.later(0.2)
    assert talk.taken() == [(Kind.HELLO, 0)]
    talk.accept()
    assert talk.taken() == [(Kind.REQUEST, request.sequence)]


def test_after_some_tries_the_name_is_given_up(talk: NodeTalk) -> None:
    request = talk.request(timeout=100)
    talk.welcome(1)
    for _ in range(NAME_TRIES):
        assert not request.has_ended
        assert talk.taken() == [(Kind.HELLO, 0)]
        talk.error(Code.NAME_IN_USE, remaining_ms=1000)
        talk.later(1.1)
    assert isinstance(request.error, zproxy.NameInUse)
    assert '"node1"' in str(request.error)
    talk.request(timeout=100)
    talk.later(1.1)
    assert talk.taken() == [(Kind.HELLO, 0)]


def test_a_request_behind_a_refused_name_ends_in_that_error(talk: NodeTalk) -> None:
    request = talk.request(timeout=0.5)
    talk.welcome(1)
    talk.take()
    talk.error(Code.NAME_IN_USE, remaining_ms=3000)
    talk.later(0.6)
    assert isinstance(request.error, zproxy.NameInUse)


def test_a_name_in_use_is_told_at_once_and_once(talk: NodeTalk) -> None:
    talk.request(timeout=100)
    talk.welcome(1)
    for _ in range(2):
        talk.take()
        talk.error(Code.NAME_IN_USE, sentence='the name "node1" belongs to another living node', remaining_ms=2000)
        talk.later(2.1)
    [(level, said)] = talk.session.said
    assert level == logging.WARNING
    assert '"node1" belongs' in said and "4 times more, every 2 s" in said


def test_a_request_whose_time_ends_between_two_tries_ends_in_the_refusal(talk: NodeTalk) -> None:
    request = talk.request(timeout=2.2)
    talk.welcome(1)
    talk.take()
    talk.error(Code.NAME_IN_USE, remaining_ms=2000)
    talk.later(2.1)
    assert talk.taken() == [(Kind.HELLO, 0)]
    talk.later(0.2)
    assert isinstance(request.error, zproxy.NameInUse)


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_lost_connection_is_not_a_silent_proxy(talk: NodeTalk, is_sent: bool) -> None:
    talk.converse()
    request = talk.request(timeout=5)
    if is_sent:
        talk.take()
    talk.here.lose()
    talk.later(6)
    assert isinstance(request.error, zproxy.RequestTimeout)
    assert "the connection to the proxy at tcp://proxy:1 is lost" in str(request.error)


def test_nobody_says_goodbye_to_a_lost_proxy_but_what_is_unsent_waits_for_it(talk: NodeTalk) -> None:
    talk.converse()
    post = talk.post()
    talk.here.lose()
    talk.session.leave()
    assert not talk.session.has_left
    talk.later(11)
    assert post.has_ended and talk.session.has_left


def test_hello_without_an_answer_asks_for_another_connection(talk: NodeTalk) -> None:
    talk.welcome(1)
    talk.take()
    talk.later(HELLO_S - 0.1)
    assert not talk.here.wants_connection
    talk.later(0.2)
    assert talk.here.wants_connection


def test_fenced_is_for_good(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.error(Code.FENCED)
    assert isinstance(request.error, zproxy.Fenced)
    talk.welcome(2)
    assert talk.taken() == []
    assert isinstance(talk.request().error, zproxy.Fenced)


def test_a_draining_proxy_gets_nothing_new_but_what_it_asks_for(talk: NodeTalk) -> None:
    talk.converse()
    opened, _ = talk.request(), talk.take()
    talk.hear(Kind.GOODBYE)
    new = talk.request()
    assert talk.taken() == []
    talk.error(Code.RESEND, opened)
    assert talk.taken() == [(Kind.REQUEST, opened.sequence)]
    talk.converse(2)
    assert talk.taken() == [(Kind.REQUEST, opened.sequence), (Kind.REQUEST, new.sequence)]


# ---- deadlines, cancels, the end ----


def test_the_proxy_has_a_grace_to_say_more(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(timeout=1), talk.take()
    talk.later(1 + GRACE_S / 2)
    talk.error(Code.NO_WORKER, request)
    assert isinstance(request.error, zproxy.NoWorker)


def test_without_a_proxy_there_is_no_grace(talk: NodeTalk) -> None:
    request = talk.request(timeout=1)
    talk.later(1)
    assert isinstance(request.error, zproxy.RequestTimeout)
    assert "no proxy has answered at tcp://proxy:1" in str(request.error)


def test_an_unsent_request_is_cancelled_here_alone(talk: NodeTalk) -> None:
    talk.converse()
    request = talk.request()
    assert talk.session.cancel(request)
    assert not talk.session.cancel(request)
    assert talk.taken() == []


def test_a_cancel_waits_for_the_next_conversation_of_the_same_proxy(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.here.begin()
    talk.session.cancel(request)
    talk.converse(2)
    assert talk.taken() == [(Kind.CANCEL, request.sequence)]
    talk.error(Code.CANCELLED, request)
    assert talk.session.counts["late"] == 0


def test_a_proxy_that_remembers_nothing_hears_no_cancel(talk: NodeTalk) -> None:
    talk.converse()
    request, _ = talk.request(), talk.take()
    talk.here.begin()
    talk.session.cancel(request)
    talk.welcome(2, proxy=9)
    talk.take()
    talk.accept()
    assert talk.taken() == []


def test_goodbye_comes_behind_the_posts(talk: NodeTalk) -> None:
    talk.converse()
    request, post = talk.request(), talk.post()
    talk.session.leave()
    assert isinstance(request.error, zproxy.NodeClosed)
    assert talk.taken() == [(Kind.POST, post.sequence), (Kind.GOODBYE, 0)]
    assert not talk.session.has_left
    talk.hear(Kind.GOODBYE)
    assert talk.session.has_left


def test_a_message_over_a_limit_ends_here_and_names_both(talk: NodeTalk) -> None:
    talk.welcome(1, max_message=200, max_frames=2)
    talk.take()
    talk.accept()
    large = talk.session.request(Kind.REQUEST, "gradients", [bytes(100)], talk.now, 10)
    many = talk.session.request(Kind.REQUEST, "gradients", [b"", b"", b""], talk.now, 10)
    assert talk.taken() == []
    assert "237 bytes" in str(large.error) and "200" in str(large.error)
    assert "4 frames" in str(many.error)


@pytest.mark.parametrize(
    "bad",
    [{"priority": 3}, {"step": -1}, {"retries": 255}, {"step": True}, {"timeout": 1e9}, {"timeout": float("nan")}],
)
def test_what_no_envelope_can_say_makes_no_request(talk: NodeTalk, bad: dict[str, float]) -> None:
    with pytest.raises(zproxy.SettingError):
        talk.request(**bad)
    assert talk.session.open_count == 0


@pytest.mark.parametrize("frames", [[b""], [b"garbage"], [bytes(128)]])
def test_what_is_no_envelope_is_counted(talk: NodeTalk, frames: list[bytes]) -> None:
    talk.here.receive(frames, talk.now)
    assert talk.session.counts["malformed"] == 1
