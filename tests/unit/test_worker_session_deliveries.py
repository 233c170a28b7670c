"""A worker's deliveries: each is answered once, under its lease, and counts as one outcome."""

from __future__ import annotations

import msgspec
import pytest
from support.worker_talk import NODE, Talk, sentence_of

from zproxy.client.worker_session import SENTENCE_BYTES_MAX, cut
from zproxy.envelope import Code, Envelope, Flag, Kind


@pytest.fixture
def talk() -> Talk:
    opened = Talk()
    opened.begin()
    return opened


def ids(envelope: Envelope) -> tuple[int, int, int, int]:
    return envelope.incarnation, envelope.sequence, envelope.lease, envelope.conversation


def test_a_request_is_taken_once_with_all_it_brought(talk: Talk) -> None:
    talk.say(
        Kind.REQUEST, content=b"\x91\x01", frames=(b"12345678",), service="gradients", name="node1", incarnation=NODE,
        sequence=3, lease=71, attempt=2, remaining_ms=1500, step=9, flags=Flag.HAS_STEP,
    )
    delivery = talk.take()
    assert (delivery.content, list(delivery.tensors)) == (b"\x91\x01", [b"12345678"])
    assert delivery.deadline == talk.now + 1.5
    assert (delivery.envelope.name, delivery.envelope.attempt, delivery.envelope.step) == ("node1", 2, 9)
    assert talk.session.take(talk.now) is None


def test_deliveries_are_begun_in_the_order_they_came(talk: Talk) -> None:
    for lease in (3, 1, 2):
        talk.request(lease)
    assert [talk.take().envelope.lease for _ in range(3)] == [3, 1, 2]


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.POST])
def test_an_answer_carries_the_ids_of_its_delivery(talk: Talk, kind: int) -> None:
    talk.request(71, kind=kind)
    talk.session.reply(talk.take(), [b"\x91\xc3"])
    (reply,) = talk.heard()
    assert (reply.kind, *ids(reply)) == (Kind.REPLY, NODE, 1071, 71, 5)
    assert (talk.count("replied"), talk.count("in_flight")) == (1, 0)


def test_the_second_answer_of_a_delivery_goes_nowhere(talk: Talk) -> None:
    talk.request(71)
    delivery = talk.take()
    talk.session.fail(delivery, Code.HANDLER_ERROR, "ValueError: no")
    talk.session.reply(delivery, [b"\x91\xc3"])
    assert [each.kind for each in talk.heard()] == [Kind.ERROR]
    assert (talk.count("failed"), talk.count("late")) == (1, 1)


def test_an_error_has_its_code_its_sentence_and_its_content(talk: Talk) -> None:
    talk.request(71)
    talk.session.fail(talk.take(), 0x8001, "mine", b"\x80")
    (message,) = talk.session.outbox
    (error,) = talk.heard()
    assert (error.code, sentence_of(error), message[1]) == (0x8001, "mine", b"\x80")
    assert talk.count("failed") == 1


def test_a_sentence_is_cut_between_characters(talk: Talk) -> None:
    talk.request(71)
    talk.session.fail(talk.take(), Code.HANDLER_ERROR, "错" * 5000)
    (error,) = talk.heard()
    assert sentence_of(error) == "错" * (SENTENCE_BYTES_MAX // 3)
    assert cut("a错", 3) == b"a"


def test_what_is_cancelled_before_it_began_is_answered_and_never_begun(talk: Talk) -> None:
    talk.request(71)
    talk.request(72)
    talk.cancel(71)
    (error,) = talk.heard()
    assert (error.code, *ids(error)) == (Code.CANCELLED, NODE, 1071, 71, 5)
    assert talk.take().envelope.lease == 72
    assert talk.session.take(talk.now) is None
    assert talk.count("cancelled") == 1


def test_what_is_cancelled_while_it_runs_is_told_and_its_answer_goes_out(talk: Talk) -> None:
    talk.request(71)
    delivery = talk.take()
    assert not delivery.is_cancelled
    talk.cancel(71)
    assert delivery.is_cancelled
    assert talk.heard() == []
    talk.session.reply(delivery, [b"\x91\xc0"])
    assert [each.kind for each in talk.heard()] == [Kind.REPLY]


@pytest.mark.parametrize("other", [{"incarnation": NODE + 1}, {"sequence": 5}, {"lease": 99}, {"conversation": 4}])
def test_a_cancel_of_anything_else_cancels_nothing(talk: Talk, other: dict[str, int]) -> None:
    talk.request(71)
    talk.cancel(**{"lease": 71, **other})
    assert talk.heard() == []
    assert not talk.take().is_cancelled


def test_what_expired_before_it_began_is_given_back_as_busy(talk: Talk) -> None:
    talk.request(71, remaining_ms=500)
    talk.request(72, remaining_ms=5000)
    talk.now += 0.5
    assert talk.take().envelope.lease == 72
    (error,) = talk.heard()
    assert (error.code, error.lease) == (Code.BUSY, 71)
    assert "deadline" in sentence_of(error)
    assert talk.count("expired") == 1


def test_a_reply_over_the_limit_becomes_an_error_that_names_both_sizes() -> None:
    talk = Talk(max_message=1000)
    talk.begin()
    talk.request(71)
    talk.request(72)
    talk.session.reply(talk.take(), [b"\x91\xc0", bytes(872)])
    (error,) = talk.heard()
    assert error.code == Code.TOO_LARGE
    assert "1002 bytes" in sentence_of(error) and "limit 1000" in sentence_of(error)
    talk.session.reply(talk.take(), [b"\x91\xc0", bytes(870)])
    assert [each.kind for each in talk.heard()] == [Kind.REPLY]
    assert (talk.count("too_large"), talk.count("replied")) == (1, 1)


def test_bytes_are_counted_and_not_elements() -> None:
    talk = Talk(max_message=1000)
    talk.begin()
    talk.request(71)
    talk.session.reply(talk.take(), [b"\x91\xc0", memoryview(bytes(2000)).cast("Q")])
    assert [each.code for each in talk.heard()] == [Code.TOO_LARGE]


def test_a_reply_of_more_frames_than_the_limit_becomes_an_error() -> None:
    talk = Talk(max_frames=4)
    talk.begin()
    talk.request(71)
    talk.session.reply(talk.take(), [b"\x91\xc0", b"1", b"2", b"3"])
    (error,) = talk.heard()
    assert error.code == Code.TOO_LARGE
    assert "5 frames, limit 4" in sentence_of(error)


def test_progress_is_told_under_the_lease_while_somebody_waits(talk: Talk) -> None:
    talk.request(71)
    delivery = talk.take()
    talk.session.progress(delivery, 12.5, None)
    talk.session.progress(delivery, 50.0, 3)
    without, with_step = talk.heard()
    assert (without.kind, without.progress, without.flags, *ids(without)) == (
        Kind.PROGRESS, 12.5, Flag.HAS_PROGRESS, NODE, 1071, 71, 5,
    )
    assert (with_step.step, with_step.flags) == (3, Flag.HAS_PROGRESS | Flag.HAS_STEP)
    talk.session.reply(delivery, [b"\x91\xc0"])
    talk.heard()
    talk.session.progress(delivery, 100.0, None)
    assert talk.heard() == []


def test_a_lease_that_is_here_is_not_delivered_twice(talk: Talk) -> None:
    talk.request(71)
    talk.request(71)
    talk.request(0)
    assert talk.take().envelope.lease == 71
    assert talk.session.take(talk.now) is None
    assert (talk.count("delivered"), talk.count("dropped")) == (1, 2)


def test_what_cannot_be_read_is_counted_and_harms_nobody(talk: Talk) -> None:
    for message in ([b""], [b"ZPX"], [bytes(128)]):
        talk.session.hear(message, talk.now)
    talk.say(Kind.WELCOME)
    talk.say(Kind.WELCOME, content=b"\xc1")
    talk.say(Kind.WELCOME, content=msgspec.msgpack.encode({"max_message": "large"}))
    assert (talk.count("dropped"), talk.count("welcomes")) == (6, 1)
    talk.request(71)
    assert talk.take().envelope.lease == 71


def test_kinds_of_later_versions_of_the_worker_are_passed_over(talk: Talk) -> None:
    talk.say(Kind.CHUNK, content=b"", incarnation=NODE, sequence=1071, lease=71, stream=1)
    talk.say(Kind.WINDOW, incarnation=NODE, sequence=1071, lease=71, stream=1)
    assert talk.heard() == []


def test_given_back_is_what_is_not_begun_and_nothing_else(talk: Talk) -> None:
    for lease in (71, 72, 73):
        talk.request(lease)
    running = talk.take()
    talk.session.give_back()
    assert [(each.code, each.lease) for each in talk.heard()] == [(Code.BUSY, 72), (Code.BUSY, 73)]
    talk.session.reply(running, [b"\x91\xc0"])
    assert [each.lease for each in talk.heard()] == [71]
    assert (talk.count("returned"), talk.count("replied"), talk.count("in_flight")) == (2, 1, 0)
