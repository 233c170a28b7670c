"""Heads that are written without an Envelope are those an Envelope writes."""

from __future__ import annotations

import pytest

from zproxy.envelope import Envelope, Kind, request_head


def test_a_plain_request_s_head_is_what_its_envelope_packs() -> None:
    envelope = Envelope(
        Kind.POST, service="gradients", incarnation=7, sequence=9, remaining_ms=30_000, conversation=3
    )
    assert request_head(Kind.POST, b"gradients", 7, 9, 30_000, 3) == envelope.pack()


def test_a_head_takes_no_service_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="longer than 64"):
        request_head(Kind.REQUEST, b"s" * 65, 7, 9, 30_000, 3)


def test_an_answer_s_head_has_the_ids_of_its_delivery_and_nothing_else_of_it() -> None:
    delivery = Envelope(
        Kind.REQUEST, service="gradients", name="rank7", incarnation=7, sequence=9, lease=71, remaining_ms=30_000,
        attempt=2, priority=0, conversation=3,
    )
    answer = Envelope(Kind.REPLY, incarnation=7, sequence=9, lease=71, conversation=3)
    assert delivery.answer_head(Kind.REPLY) == answer.pack()
