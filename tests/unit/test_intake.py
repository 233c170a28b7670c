"""Who is read at which level of memory, and who comes back when."""

from __future__ import annotations

import pytest

from zproxy.relay.intake import IntakeProbe

MEMORY, BUDGET = 8000, 1000
FREE, NO_LARGE, NO_CLIENT, SPENT = range(4)
LIVE = {FREE: 5999, NO_LARGE: 6999, NO_CLIENT: 7999, SPENT: 8000}
CLIENT, WORKER, NEWCOMER, LARGE_CLIENT, LARGE_WORKER, OLDEST = range(6)


@pytest.fixture
def intake() -> IntakeProbe:
    """One connection of each kind; the last is in the middle of the oldest large message."""
    probe = IntakeProbe(6, MEMORY, BUDGET)
    probe.become(WORKER, is_frontend=False)
    probe.become(NEWCOMER, is_ready=False)
    probe.become(LARGE_WORKER, is_frontend=False)
    for slot in (OLDEST, LARGE_CLIENT, LARGE_WORKER):
        probe.begin_large(slot)
    return probe


@pytest.mark.parametrize(
    ("live", "level"),
    [(0, FREE), (5999, FREE), (6000, NO_LARGE), (6999, NO_LARGE), (7000, NO_CLIENT), (7999, NO_CLIENT), (8000, SPENT)],
)
def test_levels_begin_at_three_quarters_and_seven_eighths(intake: IntakeProbe, live: int, level: int) -> None:
    assert intake.set_live(live) == level
    assert intake.set_live(10 * MEMORY) == SPENT


@pytest.mark.parametrize(
    ("level", "read"),
    [
        (FREE, {CLIENT, WORKER, NEWCOMER, LARGE_CLIENT, LARGE_WORKER, OLDEST}),
        (NO_LARGE, {CLIENT, WORKER, NEWCOMER, OLDEST}),
        (NO_CLIENT, {WORKER, NEWCOMER, OLDEST}),
        (SPENT, {NEWCOMER, OLDEST}),
    ],
)
def test_who_is_read_at_which_level(intake: IntakeProbe, level: int, read: set[int]) -> None:
    intake.set_live(LIVE[level])
    assert {slot for slot in range(6) if intake.admits(slot)} == read
    assert {slot for slot in range(6) if intake.is_paused(slot)} == set(range(6)) - read


def test_the_paused_are_asked_again_when_the_level_falls(intake: IntakeProbe) -> None:
    intake.set_live(LIVE[SPENT])
    paused = {slot for slot in range(6) if not intake.admits(slot)}
    intake.set_live(0)
    intake.resume()
    assert {slot for slot in range(6) if intake.is_wanted(slot)} == paused
    assert not any(intake.is_paused(slot) for slot in range(6))
    assert all(intake.admits(slot) for slot in range(6))


def test_large_messages_are_finished_one_after_the_other(intake: IntakeProbe) -> None:
    """While memory is spent, the oldest goes on; its end lets the next go on, in the order they began."""
    intake.set_live(LIVE[SPENT])
    for begun in (OLDEST, LARGE_CLIENT, LARGE_WORKER):
        assert [slot for slot in (OLDEST, LARGE_CLIENT, LARGE_WORKER) if intake.admits(slot)] == [begun]
        intake.end_large(begun)
        intake.become(begun, is_frontend=True)
    assert not any(intake.admits(slot) for slot in (OLDEST, LARGE_CLIENT, LARGE_WORKER))


def test_the_next_oldest_is_woken_without_a_change_of_level(intake: IntakeProbe) -> None:
    intake.set_live(LIVE[SPENT])
    assert not intake.admits(LARGE_CLIENT)
    intake.end_large(OLDEST)
    assert intake.is_wanted(LARGE_CLIENT) and not intake.is_paused(LARGE_CLIENT)


def test_a_client_at_its_budget_is_read_again_from_half_of_it(intake: IntakeProbe) -> None:
    intake.charge(CLIENT, BUDGET - 1)
    assert intake.admits(CLIENT)
    intake.charge(CLIENT, 1)
    assert not intake.admits(CLIENT)
    assert not intake.admits(CLIENT)
    assert (intake.over_budget_count, intake.is_paused(CLIENT)) == (1, False)
    intake.refund(CLIENT, BUDGET // 2 - 1)
    assert not intake.is_wanted(CLIENT)
    intake.refund(CLIENT, 1)
    assert intake.is_wanted(CLIENT)
    assert intake.over_budget_count == 0
    assert intake.admits(CLIENT)


def test_a_refund_below_the_budget_wakes_nobody(intake: IntakeProbe) -> None:
    intake.charge(CLIENT, 10)
    intake.refund(CLIENT, 10)
    assert not intake.is_wanted(CLIENT)


def test_an_unfinished_message_has_to_grow(intake: IntakeProbe) -> None:
    assert intake.is_timed(OLDEST)
    intake.read(OLDEST, 65536)
    assert not intake.stalled(OLDEST)
    intake.read(OLDEST, 65535)
    assert intake.stalled(OLDEST)


def test_whoever_is_not_read_cannot_stall(intake: IntakeProbe) -> None:
    intake.set_live(LIVE[SPENT])
    assert not intake.admits(LARGE_CLIENT)
    assert not intake.stalled(LARGE_CLIENT)
    intake.set_live(0)
    intake.resume()
    assert not intake.stalled(LARGE_CLIENT), "wanted, but not read yet"
    assert intake.admits(LARGE_CLIENT)
    assert intake.stalled(LARGE_CLIENT)


def test_nothing_unfinished_is_not_timed(intake: IntakeProbe) -> None:
    assert not intake.is_timed(CLIENT)
    intake.end_large(OLDEST)
    assert not intake.is_timed(OLDEST)


@pytest.mark.parametrize(("live", "free"), [(0, BUDGET), (7000, BUDGET), (7001, 999), (7999, 1), (8000, 0), (9000, 0)])
def test_an_outbox_may_hold_what_is_free_at_most(intake: IntakeProbe, live: int, free: int) -> None:
    intake.set_live(live)
    assert intake.outbox_bytes == free
