"""The load's own ends, at a real proxy: they answer whatever they are asked, and their times are true."""

from __future__ import annotations

import pytest

from zproxy.loadgen import sleepers
from zproxy.loadgen.messages import Load
from zproxy.loadgen.programs import (
    CROWD,
    CURVE,
    CURVE_RIVAL,
    FRONT,
    FRONT_RIVAL,
    MANAGED,
    NEWCOMERS,
    RULED,
    SDK,
    SLEEPERS,
    ZPROXY,
)
from zproxy.loadgen.session import Figures, Session

BY_TURN = ("--balance", "round_robin")


def figures(program: str, load: Load, clients: int = 1, workers: int = 1, options: tuple[str, ...] = ()) -> Figures:
    with Session(program, clients=clients, workers=workers, options=options) as session:
        session.warm_up(load)
        return session.run(load)


@pytest.mark.parametrize(("clients", "workers"), [(1, 1), (1, 3), (3, 1), (5, 4)])
@pytest.mark.parametrize("program", [ZPROXY, MANAGED])
def test_every_request_of_any_number_of_clients_and_workers_is_answered(
    program: str, clients: int, workers: int
) -> None:
    assert figures(program, Load(64, window=7, count=200), clients, workers).messages == 200


@pytest.mark.parametrize("program", [ZPROXY, MANAGED])
def test_round_trips_are_timed_where_they_are_asked_for(program: str) -> None:
    untimed = figures(program, Load(64, window=7, count=200))
    timed = figures(program, Load(64, window=7, count=200, is_timed=True))
    assert (untimed.rtt_p50_us, untimed.rtt_p99_us) == (None, None)
    assert timed.rtt_p50_us is not None and timed.rtt_p99_us is not None
    assert 0 < timed.rtt_p50_us <= timed.rtt_p99_us <= timed.seconds * 1e6


def test_one_of_the_sleepers_is_slow_and_the_next_waits_behind_the_one_before() -> None:
    """Two requests reach each of two sleepers: no reply of the slow one's can come before the work's time."""
    came = figures(SLEEPERS, Load(64, window=4, count=4, is_timed=True), workers=2, options=BY_TURN)
    assert came.rtt_p99_us is not None
    assert came.rtt_p99_us >= 2 * sleepers.SLOW_FACTOR * sleepers.WORK_SECONDS * 1e6


@pytest.mark.parametrize("program", [SDK, CROWD])
def test_ends_in_python_are_timed_too(program: str) -> None:
    came = figures(program, Load(64, window=1 if program == SDK else 8, count=50), workers=2)
    assert came.messages >= 50
    assert came.rtt_p99_us is not None


@pytest.mark.parametrize("program", [CURVE, CURVE_RIVAL, FRONT, FRONT_RIVAL, RULED, NEWCOMERS])
def test_ends_that_have_keys_are_answered(program: str) -> None:
    """By a proxy without them they would not be: libzmq's peers hang up on another mechanism."""
    assert figures(program, Load(64, window=7, count=70), workers=2).messages == 70


def test_peers_with_keys_find_a_proxy_that_was_started_again() -> None:
    with Session(CURVE, clients=20) as session:
        session.warm_up(Load(16, window=1, count=20))
        session.restart()
        assert session.run(Load(16, window=1, count=20)).messages == 20
