"""Overload: what waits is bounded in bytes, for a service, a node and in all; beyond it new requests hear BUSY."""

from __future__ import annotations

import pytest
from support.brokers import Desk, Flag, Told

SIZE = 1000


def texts(told: Told) -> tuple[str | None, bool]:
    return told.code, told.envelope.remaining_ms > 0


def test_a_service_has_room_for_its_bytes_and_no_more() -> None:
    desk = Desk(queue_service_bytes=3 * SIZE)
    node, other = desk.node(1), desk.node(2)
    assert [node.request(each, message_bytes=SIZE).verdict for each in (1, 2, 3)] == ["KEEP"] * 3
    refused = other.request(1, message_bytes=SIZE)
    assert texts(refused) == ("BUSY", True)
    assert 'service "echo" has requests of 3000 bytes waiting' in refused.sentence
    assert other.request(2, "free", message_bytes=SIZE).verdict == "KEEP"
    assert desk.counts() == {"accepted": 4, "refused_overload": 1}


def test_a_node_has_room_for_its_bytes_over_all_services() -> None:
    desk = Desk(queue_node_bytes=2 * SIZE)
    node, other = desk.node(1), desk.node(2)
    node.request(1, "red", message_bytes=SIZE)
    node.request(2, "green", message_bytes=SIZE)
    refused = node.request(3, "blue", message_bytes=SIZE)
    assert texts(refused) == ("BUSY", True)
    assert "this node has requests of 2000 bytes waiting" in refused.sentence
    assert other.request(1, "blue", message_bytes=SIZE).verdict == "KEEP"


def test_all_together_have_room_for_their_bytes() -> None:
    desk = Desk(queue_bytes=2 * SIZE)
    for slot in (1, 2):
        assert desk.node(slot).request(1, f"s{slot}", message_bytes=SIZE).verdict == "KEEP"
    refused = desk.node(3).request(1, "s3", message_bytes=SIZE)
    assert texts(refused) == ("BUSY", True)
    assert "requests of 2000 bytes wait in all" in refused.sentence


def test_one_message_of_any_size_may_wait() -> None:
    desk = Desk(queue_bytes=1, queue_node_bytes=1, queue_service_bytes=1)
    assert desk.node(1).request(1, message_bytes=SIZE).verdict == "KEEP"


@pytest.mark.parametrize("end", ["served", "cancelled", "expired", "left"])
def test_room_comes_back_when_a_request_waits_no_more(end: str) -> None:
    desk = Desk(queue_service_bytes=SIZE)
    node, other = desk.node(1), desk.node(2)
    node.request(1, message_bytes=SIZE, remaining_ms=500)
    assert other.request(1, message_bytes=SIZE).code == "BUSY"
    if end == "served":
        desk.worker(101)
        desk.steps()
    elif end == "cancelled":
        node.cancel(1)
    elif end == "expired":
        desk.wait(500)
    else:
        node.goodbye()
        desk.steps()
    assert other.request(2, message_bytes=SIZE).verdict == "KEEP"
    assert desk.probe.used()["queued_bytes"] == SIZE


def test_what_somebody_can_take_at_once_is_never_refused() -> None:
    desk = Desk(queue_bytes=SIZE)
    node = desk.node(1)
    node.request(1, "red", message_bytes=SIZE)
    desk.worker(101, ("green",))
    assert node.request(2, "green", message_bytes=SIZE).verdict == "PASS"
    assert node.request(3, "green", message_bytes=SIZE).code == "BUSY"


def test_what_stands_behind_its_key_is_charged_too() -> None:
    desk = Desk(queue_service_bytes=2 * SIZE)
    node, worker = desk.node(1), desk.worker(101, credit=1)
    first, *_ = (
        node.request(each, message_bytes=SIZE, flags=Flag.ORDERED, key_hash=1, max_attempts=1) for each in (1, 2, 3)
    )
    assert node.request(4, message_bytes=SIZE, flags=Flag.ORDERED, key_hash=1).code == "BUSY"
    worker.answer(first)
    desk.steps()
    assert node.request(5, message_bytes=SIZE, flags=Flag.ORDERED, key_hash=1).verdict == "KEEP"


def test_a_duplicate_of_what_waits_is_joined_not_refused() -> None:
    desk = Desk(queue_service_bytes=SIZE)
    node = desk.node(1)
    node.request(1, message_bytes=SIZE)
    assert node.request(1, message_bytes=SIZE).verdict == "DROP"
