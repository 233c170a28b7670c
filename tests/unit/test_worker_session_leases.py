"""A worker's leases: what takes long says that it lives, before its lease is over; what stands still cannot."""

from __future__ import annotations

import pytest
from support.worker_talk import LEASE_MS, Talk

from zproxy.client.answers import Answers
from zproxy.client.worker_session import OUTBOX_FULL, WorkerSession
from zproxy.envelope import Flag, Kind

LEASE_S = LEASE_MS / 1000


@pytest.fixture
def talk() -> Talk:
    opened = Talk()
    opened.begin()
    return opened


def extended(talk: Talk, seconds: float) -> list[int]:
    """The leases that are extended after that time."""
    talk.now += seconds
    talk.session.tick(talk.now)
    said = talk.heard()
    assert all(each.kind == Kind.PROGRESS for each in said)
    assert not any(each.flags & (Flag.HAS_PROGRESS | Flag.HAS_STEP) for each in said), "an empty one says no progress"
    return [each.lease for each in said]


def test_a_lease_is_extended_when_a_third_of_it_is_over_and_again(talk: Talk) -> None:
    talk.request(71, service="long")
    talk.take()
    assert talk.session.due_at == talk.now + LEASE_S / 3
    assert extended(talk, LEASE_S / 3 - 0.01) == []
    assert extended(talk, 0.02) == [71]
    assert extended(talk, LEASE_S / 3) == [71]
    assert talk.count("extended") == 2


def test_what_waits_for_a_handler_keeps_its_lease_too(talk: Talk) -> None:
    for lease in (71, 72):
        talk.request(lease, service="long")
    talk.take()
    assert extended(talk, LEASE_S / 2) == [71, 72]


def test_each_lease_is_extended_in_its_own_time(talk: Talk) -> None:
    talk.request(71, service="long")
    assert extended(talk, LEASE_S / 4) == []
    talk.request(72, service="long")
    assert extended(talk, LEASE_S / 6) == [71]
    assert extended(talk, LEASE_S / 6) == [72]


def test_nothing_is_due_where_no_lease_ends(talk: Talk) -> None:
    talk.request(71)
    talk.take()
    assert talk.session.due_at is None
    assert extended(talk, 3600) == []


def test_what_was_answered_or_taken_away_is_extended_no_more(talk: Talk) -> None:
    for lease in (71, 72):
        talk.request(lease, service="long")
    answered, cancelled = talk.take(), talk.take()
    talk.answers.end(answered, [b"\x91\xc0"])
    talk.cancel(72)
    talk.heard()
    assert cancelled.is_cancelled
    assert extended(talk, LEASE_S) == []
    assert talk.session.due_at is None


def test_nothing_is_extended_beyond_its_conversation(talk: Talk) -> None:
    talk.request(71, service="long")
    talk.take()
    talk.begin(6)
    assert talk.session.due_at is None
    assert extended(talk, LEASE_S) == []


def test_a_proxy_that_takes_nothing_does_not_fill_the_memory(talk: Talk) -> None:
    talk.request(71, service="long")
    talk.take()
    for _ in range(2 * OUTBOX_FULL):
        talk.now += LEASE_S / 3
        talk.session.tick(talk.now)
    assert len(talk.session.outbox) == OUTBOX_FULL


@pytest.mark.parametrize(("service", "lease_ms"), [("named", 0), ("long", 1000), ("whatever", 5000)])
def test_the_lease_of_any_service_is_for_those_that_are_not_named(service: str, lease_ms: int) -> None:
    talk = Talk()
    offers = [("named", 0, 0), ("long", 1000, 0), ("*", 5000, 0)]
    talk.session = WorkerSession("m1", 9, offers, 4, Answers())
    talk.begin()
    talk.request(71, service=service)
    assert talk.take().lease_s == lease_ms / 1000
