"""What became of each service's requests: booked where they are accepted and settled, and kept when it is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from support.brokers import OUTCOMES, Code, Desk, Told


def account(desk: Desk, service: str) -> dict[str, int]:
    """What is not 0 of the account of the service; "": of all that are forgotten."""
    desk.counts()  # everything balances
    row: dict[str, Any] = next((row for row in desk.probe.rows()[0] if row["name"] == service), {})
    return {name: row[name] for name in ("accepted", *OUTCOMES, "live") if row.get(name)}


def test_every_outcome_is_booked_under_the_name_that_was_asked_for() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, ["a", "b"], credit=9)
    worker.answer(node.request(1, "a"))
    worker.fail(node.request(2, "a"))
    node.request(3, "a", remaining_ms=10)
    node.request(4, "b")
    node.cancel(4)
    node.request(5, "b")
    desk.wait(10)
    assert account(desk, "a") == {"accepted": 3, "delivered": 1, "failed": 1, "expired": 1}
    assert account(desk, "b") == {"accepted": 2, "cancelled": 1, "live": 1}
    assert account(desk, "") == {}


def test_what_its_node_did_not_take_is_undelivered_instead() -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101)
    passed = worker.answer(node.request(1))
    assert account(desk, "echo") == {"accepted": 1, "delivered": 1}
    assert passed.frame is not None
    desk.probe.undelivered(node.slot, passed.frame)
    assert account(desk, "echo") == {"accepted": 1, "undelivered": 1}


def test_a_request_that_goes_on_in_another_slot_is_one_request() -> None:
    """A lease that is taken away leaves its place with the worker; the request itself stays one."""
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, [("echo", 50, 0)], credit=2)
    late = node.request(1)
    (again,) = [told for told in desk.wait(50) if told.kind == "REQUEST"]
    assert account(desk, "echo") == {"accepted": 1, "live": 1}
    worker.answer(late)
    worker.answer(again)
    assert account(desk, "echo") == {"accepted": 1, "delivered": 1}


@pytest.mark.parametrize("is_taken", [True, False])
def test_the_account_of_a_forgotten_service_is_kept_in_that_of_the_rest(is_taken: bool) -> None:
    desk = Desk()
    node, worker = desk.node(1), desk.worker(101, ["*"])
    for number, name in enumerate(("invented", "names"), 1):
        passed = worker.answer(node.request(number, name))
        if not is_taken:  # it is told so when the service is forgotten already
            assert passed.frame is not None
            desk.probe.undelivered(node.slot, passed.frame)
    outcome = "delivered" if is_taken else "undelivered"
    assert account(desk, "invented") == {}
    assert account(desk, "") == {"accepted": 2, outcome: 2}
    node.request(3, "invented")
    assert account(desk, "invented") == {"accepted": 1, "live": 1}
    assert account(desk, "") == {"accepted": 2, outcome: 2}


def test_a_service_that_is_forgotten_begins_anew_and_the_rest_grows() -> None:
    desk = Desk(no_worker_wait_ms=10)
    node = desk.node(1)
    for number in range(1, 4):
        node.request(number, "misspelt")
        codes = [told.code for told in desk.wait(10)]
        assert codes == [Code.UNKNOWN_SERVICE.name]
        assert account(desk, "misspelt") == {}
        assert account(desk, "") == {"accepted": number, "expired": number}


def test_what_is_refused_is_in_no_account() -> None:
    desk = Desk()
    node = desk.node(1)
    desk.probe.drain()
    refused: Told = node.request(1)
    assert refused.code == "DRAINING"
    assert account(desk, "echo") == account(desk, "") == {}
