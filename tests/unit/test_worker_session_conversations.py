"""A worker's conversations: each WELCOME begins one, and no answer outlives the one its delivery came in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.worker_talk import CREDIT, NODE, OFFERS, Talk

import zproxy
from zproxy.client.delivery import Delivery, Failure
from zproxy.client.worker_session import COUNTERS, OUTCOMES, TRANSITIONS, State
from zproxy.envelope import Code, Kind, Tlv, offers_parse, tlvs_parse


@pytest.fixture
def talk() -> Talk:
    opened = Talk()
    opened.begin()
    return opened


def test_nothing_is_said_before_the_welcome() -> None:
    talk = Talk()
    talk.session.tick(talk.now)
    assert talk.heard() == []
    assert talk.session.state is State.APART


def test_a_welcome_is_answered_with_ready_and_all_that_belongs_to_it() -> None:
    talk = Talk()
    talk.welcome(5)
    _, offers = talk.session.outbox[0]
    (ready,) = talk.heard()
    assert (ready.kind, ready.name, ready.incarnation, ready.credit, ready.conversation) == (
        Kind.READY, "m1", 9, CREDIT, 5,
    )
    assert tlvs_parse(ready.tlvs) == {Tlv.AGENT: f"zproxy-python/{zproxy.__version__}".encode()}
    assert offers_parse(offers) == OFFERS
    talk.say(Kind.ACCEPTED, content=b"\x80")
    assert talk.session.state is State.SERVING


def test_a_new_welcome_discards_what_is_not_begun_and_is_answered_with_ready(talk: Talk) -> None:
    talk.request(71)
    talk.request(72)
    running = talk.take()
    talk.welcome(6)
    assert [(each.kind, each.conversation) for each in talk.heard()] == [(Kind.READY, 6)]
    assert talk.session.take(talk.now) is None
    talk.session.reply(running, [b"\x91\xc0"])
    assert talk.heard() == []
    assert (talk.count("discarded"), talk.count("late"), talk.count("in_flight")) == (1, 1, 0)


def test_an_old_delivery_never_answers_a_new_lease_of_the_same_number(talk: Talk) -> None:
    talk.request(71)
    elder = talk.take()
    talk.begin(6)
    talk.request(71)
    younger = talk.take()
    talk.session.reply(elder, [b"\x91\xc2"])
    assert talk.heard() == []
    talk.session.reply(younger, [b"\x91\xc3"])
    assert [(each.lease, each.conversation) for each in talk.heard()] == [(71, 6)]


def test_answers_that_were_not_sent_yet_do_not_enter_the_next_conversation(talk: Talk) -> None:
    talk.request(71)
    talk.session.reply(talk.take(), [b"\x91\xc0"])
    talk.welcome(6)
    assert [each.kind for each in talk.heard()] == [Kind.READY]


def test_a_running_request_is_cancelled_with_its_conversation_and_a_post_is_not(talk: Talk) -> None:
    talk.request(71)
    talk.request(72, kind=Kind.POST)
    request, post = talk.take(), talk.take()
    talk.welcome(6)
    assert (request.is_cancelled, post.is_cancelled) == (True, False)


def test_messages_of_an_ended_conversation_are_dropped(talk: Talk) -> None:
    talk.begin(6)
    talk.request(71, conversation=5)
    assert talk.session.take(talk.now) is None
    assert talk.count("dropped") == 1


def test_limits_are_those_of_the_newest_welcome(talk: Talk) -> None:
    talk.welcome_map = {"max_message": 200}
    talk.begin(6)
    talk.request(71)
    talk.session.reply(talk.take(), [bytes(100)])
    assert [each.code for each in talk.heard()] == [Code.TOO_LARGE]


@pytest.mark.parametrize("code", [Code.NAME_IN_USE, Code.DRAINING, Code.BUSY])
def test_a_refusal_that_may_pass_is_followed_by_ready_when_its_time_has_come(code: int) -> None:
    talk = Talk()
    talk.welcome(5)
    talk.heard()
    talk.refuse(code, "somebody has it", remaining_ms=2500)
    assert talk.session.due_at == talk.now + 2.5
    talk.now += 2.4
    talk.session.tick(talk.now)
    assert talk.heard() == []
    talk.now += 0.1
    talk.session.tick(talk.now)
    assert [each.kind for each in talk.heard()] == [Kind.READY]
    assert talk.session.due_at is None
    assert "somebody has it" in talk.session.remarks[0] and Code(code).name in talk.session.remarks[0]


def test_a_refusal_without_a_time_is_tried_again_all_the_same() -> None:
    talk = Talk()
    talk.welcome(5)
    talk.refuse(Code.NAME_IN_USE)
    assert talk.session.due_at is not None and talk.session.due_at > talk.now


@pytest.mark.parametrize("code", [Code.FENCED, Code.DENIED])
def test_fenced_and_denied_end_the_session_whenever_they_come(code: int) -> None:
    for talk in (Talk(), Talk()):
        talk.begin()
        talk.request(71)
        running = talk.take()
        talk.request(72)
        talk.refuse(code, "no more")
        assert talk.session.refusal == (code, "no more")
        assert talk.session.has_ended
        assert running.is_cancelled
        talk.welcome(6)
        assert talk.heard() == []
        assert talk.count("discarded") == 1


def test_a_ready_that_is_malformed_is_not_said_again() -> None:
    talk = Talk()
    talk.welcome(5)
    talk.refuse(Code.MALFORMED, "the offers")
    assert talk.session.refusal == (Code.MALFORMED, "the offers")


def test_an_error_about_a_message_is_told_and_changes_nothing(talk: Talk) -> None:
    talk.refuse(Code.MALFORMED, "odd")
    talk.refuse(Code.TOO_LARGE, "big", incarnation=NODE, sequence=3, lease=71)
    assert talk.session.state is State.SERVING
    assert len(talk.session.remarks) == 2


def test_a_worker_that_leaves_finishes_what_it_holds_and_hears_goodbye(talk: Talk) -> None:
    talk.request(71)
    talk.request(72)
    first = talk.take()
    talk.session.leave()
    assert [each.kind for each in talk.heard()] == [Kind.GOODBYE]
    second = talk.take()
    for delivery in (first, second):
        talk.session.reply(delivery, [b"\x91\xc0"])
    assert [each.kind for each in talk.heard()] == [Kind.REPLY, Kind.REPLY]
    assert not talk.session.has_ended
    talk.say(Kind.GOODBYE)
    assert talk.session.has_ended


def test_a_goodbye_that_comes_before_the_last_answer_does_not_cut_it_off(talk: Talk) -> None:
    talk.request(71)
    running = talk.take()
    talk.session.leave()
    talk.say(Kind.GOODBYE)
    assert not talk.session.has_ended
    talk.session.reply(running, [b"\x91\xc0"])
    assert [each.kind for each in talk.heard()] == [Kind.GOODBYE, Kind.REPLY]
    assert talk.session.has_ended


def test_a_worker_that_leaves_does_not_begin_another_conversation(talk: Talk) -> None:
    talk.session.leave()
    talk.heard()
    talk.welcome(6)
    assert talk.heard() == []
    assert talk.session.state is State.LEFT


def test_leaving_twice_says_goodbye_once(talk: Talk) -> None:
    talk.session.leave()
    talk.session.leave()
    assert [each.kind for each in talk.heard()] == [Kind.GOODBYE]


def test_a_worker_that_was_never_welcomed_leaves_at_once() -> None:
    talk = Talk()
    talk.session.leave()
    assert talk.session.has_ended
    assert talk.heard() == []


@pytest.mark.parametrize("last", [{"kind": Kind.GOODBYE}, {"kind": Kind.ERROR, "code": Code.NAME_IN_USE}])
def test_a_worker_whose_ready_is_open_waits_for_the_goodbye_or_the_refusal(last: dict[str, Any]) -> None:
    talk = Talk()
    talk.welcome(5)
    talk.session.leave()
    assert not talk.session.has_ended
    talk.say(**last)
    assert talk.session.has_ended


def test_a_goodbye_unasked_is_said_back_when_all_is_answered(talk: Talk) -> None:
    talk.request(71)
    running = talk.take()
    talk.say(Kind.GOODBYE)
    assert talk.heard() == []
    talk.session.reply(running, [b"\x91\xc0"])
    assert [each.kind for each in talk.heard()] == [Kind.REPLY, Kind.GOODBYE]
    talk.begin(6)
    assert talk.session.state is State.SERVING


def test_a_goodbye_unasked_is_said_back_at_once_where_nothing_is_held(talk: Talk) -> None:
    talk.say(Kind.GOODBYE)
    assert [each.kind for each in talk.heard()] == [Kind.GOODBYE]


def test_every_state_has_its_transitions_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set().union(*TRANSITIONS.values()) == set(State)


STEPS = st.lists(
    st.sampled_from([
        "welcome", "accepted", "request", "again", "post", "cancel", "take", "reply", "fail", "give_up", "goodbye",
        "name_in_use", "fenced", "tick", "later", "lose", "leave", "give_back", "progress",
    ]),
    max_size=60,
)


class Story:
    """Steps in any order, with whatever they concern."""

    def __init__(self) -> None:
        self.talk = Talk()
        self.lease = 0
        self.sequence = 0
        self.running: list[Delivery] = []
        self.answered: list[tuple[int, int]] = []  # conversation and lease

    def step(self, name: str) -> None:
        getattr(self, name, lambda: getattr(self.talk.session, name)())()
        for said in self.talk.heard():
            if said.kind in (Kind.REPLY, Kind.ERROR):
                assert said.conversation == self.talk.conversation, "an answer outlived its conversation"
                self.answered.append((said.conversation, said.lease))

    def welcome(self) -> None:
        self.talk.welcome(self.talk.conversation + 1)

    def accepted(self) -> None:
        self.talk.say(Kind.ACCEPTED, content=msgspec.msgpack.encode({}))

    def request(self, kind: int = Kind.REQUEST) -> None:
        self.sequence += 1
        self.deliver(kind)

    def again(self) -> None:
        """The newest request, under another lease."""
        self.deliver(Kind.REQUEST)

    def deliver(self, kind: int) -> None:
        self.lease += 1
        self.talk.request(self.lease, kind=kind, remaining_ms=1000, sequence=self.sequence)

    def post(self) -> None:
        self.request(Kind.POST)

    def cancel(self) -> None:
        self.talk.cancel(self.lease, sequence=self.sequence)

    def take(self) -> None:
        taken = self.talk.session.take(self.talk.now)
        self.running += [taken] if taken else []

    def reply(self) -> None:
        if self.running:
            self.talk.answers.end(self.running.pop(), [b"\x91\xc0"])

    def fail(self) -> None:
        if self.running:
            self.talk.answers.end(self.running.pop(0), Failure(Code.HANDLER_ERROR, "no"))

    def give_up(self) -> None:
        if self.running:
            self.talk.answers.end(self.running.pop(0), Failure(Code.CANCELLED, "no more"))

    def progress(self) -> None:
        if self.running:
            self.talk.session.progress(self.running[0], 1.0, None)

    def goodbye(self) -> None:
        self.talk.say(Kind.GOODBYE)

    def name_in_use(self) -> None:
        self.talk.refuse(Code.NAME_IN_USE, remaining_ms=500)

    def fenced(self) -> None:
        self.talk.refuse(Code.FENCED)

    def later(self) -> None:
        self.talk.now += 0.4

    def tick(self) -> None:
        self.talk.session.tick(self.talk.now)


@given(STEPS)
def test_each_delivery_has_one_outcome_whatever_happens(steps: list[str]) -> None:
    story = Story()
    for name in ["welcome", "accepted", *steps]:
        story.step(name)
        waiting = len(story.talk.session._waiting)
        held = [each for running in story.running for each in (running, *running.joined)]
        assert story.talk.count("in_flight") == waiting + len(held)
        ids = [(each.envelope.sequence, each.is_post) for each in story.running]
        assert len({each for each in ids if not each[1]}) == sum(not each[1] for each in ids), "one request runs twice"
    while story.running:
        story.step("reply")
    story.step("give_back")
    assert len(story.answered) == len(set(story.answered)), "answered twice"
    assert story.talk.count("in_flight") == 0
    assert story.talk.count("delivered") == sum(story.talk.count(name) for name in OUTCOMES)
    answers = sum(story.talk.count(name) for name in OUTCOMES if name not in ("discarded", "late"))
    assert answers == len(story.answered)


def test_every_outcome_is_a_counter() -> None:
    assert set(OUTCOMES) < set(COUNTERS)
