"""Who is read at which level of memory, and who comes back when."""

from __future__ import annotations

import pytest

from zproxy.relay.intake import IntakeProbe

MEMORY, BUDGET = 8000, 1000
FREE, NO_LARGE, NO_CLIENT, SPENT = range(4)
UNREAD = MEMORY // 8
LIVE = {FREE: (5999, UNREAD), NO_LARGE: (6999, UNREAD), NO_CLIENT: (9999, UNREAD - 1), SPENT: (8000, UNREAD)}
CLIENT, WORKER, NEWCOMER, OLDEST_CLIENT, NEXT_CLIENT, OLDEST_WORKER, NEXT_WORKER = everybody = range(7)


@pytest.fixture
def intake() -> IntakeProbe:
    """One connection of each kind; four are in the middle of a large message, the oldest of its side or the next."""
    probe = IntakeProbe(len(everybody), MEMORY, BUDGET)
    probe.become(NEWCOMER, is_ready=False)
    for worker in (WORKER, OLDEST_WORKER, NEXT_WORKER):
        probe.become(worker, is_frontend=False)
    for slot in (OLDEST_CLIENT, OLDEST_WORKER, NEXT_CLIENT, NEXT_WORKER):
        probe.begin_large(slot, 5000 if slot == OLDEST_CLIENT else 1)
    return probe


def admitted(intake: IntakeProbe) -> set[int]:
    return {slot for slot in everybody if intake.admits(slot)}


@pytest.mark.parametrize(
    ("live", "unread", "level"),
    [
        (0, 0, FREE),
        (5999, 5999, FREE),
        (6000, 0, NO_LARGE),
        (6999, 6999, NO_LARGE),
        (7000, 0, NO_CLIENT),
        (7999, 7999, NO_CLIENT),
        (8000, UNREAD - 1, NO_CLIENT),
        (8000, UNREAD, SPENT),
    ],
)
def test_where_the_levels_begin(intake: IntakeProbe, live: int, unread: int, level: int) -> None:
    assert intake.set_live(live, unread) == level


@pytest.mark.parametrize(
    ("level", "read"),
    [
        (FREE, set(everybody)),
        (NO_LARGE, {CLIENT, WORKER, NEWCOMER, OLDEST_CLIENT, OLDEST_WORKER}),
        (NO_CLIENT, {WORKER, NEWCOMER, OLDEST_CLIENT, OLDEST_WORKER}),
        (SPENT, {NEWCOMER, OLDEST_CLIENT}),
    ],
)
def test_who_is_read_at_which_level(intake: IntakeProbe, level: int, read: set[int]) -> None:
    assert intake.set_live(*LIVE[level]) == level
    assert admitted(intake) == read
    assert {slot for slot in everybody if intake.is_paused(slot)} == set(everybody) - read


def test_the_oldest_client_goes_on_only_while_all_the_rest_is_low(intake: IntakeProbe) -> None:
    """So a limit is exceeded by one message, not by one after the other."""
    intake.set_live(5000 + MEMORY - MEMORY // 8 - 1)
    assert intake.admits(OLDEST_CLIENT)
    intake.set_live(5000 + MEMORY - MEMORY // 8)
    assert not intake.admits(OLDEST_CLIENT)
    intake.watch()
    assert not intake.is_wanted(OLDEST_CLIENT)
    intake.set_live(5000 + MEMORY - MEMORY // 8 - 1)
    intake.watch()
    assert intake.is_wanted(OLDEST_CLIENT), "the level has not changed, what it waited for has"


def test_the_paused_are_asked_again_when_the_level_falls(intake: IntakeProbe) -> None:
    intake.set_live(*LIVE[SPENT])
    paused = set(everybody) - admitted(intake)
    intake.set_live(0)
    intake.watch()
    assert {slot for slot in everybody if intake.is_wanted(slot)} == paused
    assert not any(intake.is_paused(slot) for slot in everybody)
    assert admitted(intake) == set(everybody)


def test_a_level_that_rose_and_fell_within_a_turn_leaves_nobody_paused(intake: IntakeProbe) -> None:
    intake.set_live(0)
    intake.watch()
    intake.set_live(*LIVE[SPENT])
    assert not intake.admits(CLIENT)
    intake.set_live(0)
    intake.watch()
    assert intake.is_wanted(CLIENT)


def test_large_messages_of_a_side_are_finished_one_after_the_other(intake: IntakeProbe) -> None:
    intake.set_live(*LIVE[NO_LARGE])
    assert not intake.admits(NEXT_CLIENT) and not intake.admits(NEXT_WORKER)
    intake.end_large(OLDEST_WORKER)
    assert intake.is_wanted(NEXT_WORKER) and not intake.is_wanted(NEXT_CLIENT)
    intake.end_large(OLDEST_CLIENT)
    assert intake.is_wanted(NEXT_CLIENT) and not intake.is_paused(NEXT_CLIENT)


def test_a_large_message_of_a_client_over_its_budget_holds_up_no_other(intake: IntakeProbe) -> None:
    intake.set_live(*LIVE[NO_LARGE])
    assert not intake.admits(NEXT_CLIENT)
    intake.charge(OLDEST_CLIENT, BUDGET)
    assert not intake.admits(OLDEST_CLIENT)
    assert intake.is_wanted(NEXT_CLIENT)
    intake.refund(OLDEST_CLIENT, BUDGET)
    assert intake.is_wanted(OLDEST_CLIENT)
    assert intake.admits(NEXT_CLIENT) and not intake.admits(OLDEST_CLIENT), "it has lost its place"


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


def test_a_client_over_its_budget_is_not_read_for_what_else_it_sends(intake: IntakeProbe) -> None:
    """Else it could begin a large message, and hold up the others by it when it is over its budget again."""
    intake.charge(CLIENT, BUDGET)
    assert not intake.admits(CLIENT)
    intake.refund(CLIENT, 1)
    assert not intake.admits(CLIENT)
    assert intake.over_budget_count == 1


def test_a_refund_below_the_budget_wakes_nobody(intake: IntakeProbe) -> None:
    intake.charge(CLIENT, 10)
    intake.refund(CLIENT, 10)
    assert not intake.is_wanted(CLIENT)


def test_an_unfinished_message_has_to_grow(intake: IntakeProbe) -> None:
    assert intake.is_timed(OLDEST_CLIENT)
    intake.read(OLDEST_CLIENT, 65536)
    assert not intake.stalled(OLDEST_CLIENT)
    intake.read(OLDEST_CLIENT, 65535)
    assert intake.stalled(OLDEST_CLIENT)


def test_whoever_is_not_read_cannot_stall(intake: IntakeProbe) -> None:
    intake.set_live(*LIVE[SPENT])
    assert not intake.admits(NEXT_CLIENT)
    assert not intake.stalled(NEXT_CLIENT)
    intake.set_live(0)
    intake.watch()
    assert not intake.stalled(NEXT_CLIENT), "wanted, but not read yet"
    assert intake.admits(NEXT_CLIENT)
    assert intake.stalled(NEXT_CLIENT)


def test_nothing_unfinished_is_not_timed(intake: IntakeProbe) -> None:
    assert not intake.is_timed(CLIENT)
    intake.end_large(OLDEST_CLIENT)
    assert not intake.is_timed(OLDEST_CLIENT)


@pytest.mark.parametrize(("live", "free"), [(0, BUDGET), (5000, BUDGET), (5001, 999), (5999, 1), (6000, 0), (9000, 0)])
def test_an_outbox_may_hold_what_is_free_at_most(intake: IntakeProbe, live: int, free: int) -> None:
    intake.set_live(live)
    assert intake.outbox_bytes == free


HELD_UP = (8000, UNREAD)
PROGRESS = 65536


@pytest.mark.parametrize(
    ("live", "unread", "is_closed"),
    [
        (6999, 6999, False),
        (7000, MEMORY // 2 - 1, False),
        (7000, MEMORY // 2, True),
        (8000, UNREAD - 1, False),
        (*HELD_UP, True),
    ],
)
def test_a_client_that_takes_nothing_goes_when_it_holds_up_the_others(
    intake: IntakeProbe, live: int, unread: int, is_closed: bool
) -> None:
    intake.set_live(live, unread)
    assert not intake.holds_up(CLIENT, 10, 1, PROGRESS), "it has just taken something"
    assert not intake.holds_up(CLIENT, 10, 1, 2 * PROGRESS - 1), "not for so long"
    assert intake.holds_up(CLIENT, 11, 1, 2 * PROGRESS - 1) is is_closed


def test_a_client_that_takes_something_may_stay(intake: IntakeProbe) -> None:
    intake.set_live(*HELD_UP)
    for now_ms in range(1, 4):
        assert not intake.holds_up(CLIENT, now_ms, 1, now_ms * PROGRESS)
    assert not intake.holds_up(CLIENT, 5, 0, 3 * PROGRESS), "nothing is left for it"
    assert not intake.holds_up(CLIENT, 5, 1, 3 * PROGRESS), "since then"
    assert intake.holds_up(CLIENT, 6, 1, 3 * PROGRESS)


def test_a_worker_that_takes_nothing_is_busy(intake: IntakeProbe) -> None:
    intake.set_live(*HELD_UP)
    assert not intake.holds_up(WORKER, 10, 1, 0)


def test_a_client_over_its_rate_is_read_again_when_it_may_send_on(intake: IntakeProbe) -> None:
    intake.hold(NEXT_CLIENT)
    intake.hold(NEXT_CLIENT)
    assert not intake.admits(NEXT_CLIENT)
    assert not intake.stalled(NEXT_CLIENT), "not its fault"
    intake.watch()
    assert not intake.is_wanted(NEXT_CLIENT)
    intake.resume(NEXT_CLIENT)
    assert intake.is_wanted(NEXT_CLIENT)
    assert intake.admits(NEXT_CLIENT)


def test_whoever_may_send_on_still_keeps_to_its_budget(intake: IntakeProbe) -> None:
    intake.hold(CLIENT)
    intake.charge(CLIENT, BUDGET)
    intake.resume(CLIENT)
    assert not intake.admits(CLIENT)
    intake.hold(CLIENT)
    intake.refund(CLIENT, BUDGET)
    assert not intake.admits(CLIENT)
