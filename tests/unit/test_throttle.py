"""The log's throttle: bursts pass whole, floods pass at a rate, and what does not pass is counted exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zproxy.throttle import Throttle


def test_a_burst_passes_whole_and_the_next_line_does_not() -> None:
    throttle: Throttle[str] = Throttle()
    assert [throttle.admits("refused", 3, 1.0, now=5.0) for _ in range(5)] == [True, True, True, False, False]
    assert throttle.take_suppressed() == {"refused": 2}
    assert throttle.take_suppressed() == {}


def test_the_bucket_fills_again_at_its_rate_and_no_higher_than_its_burst() -> None:
    throttle: Throttle[str] = Throttle()
    for now in (0.0, 0.0, 0.0):
        throttle.admits("refused", 2, 0.5, now)
    assert not throttle.admits("refused", 2, 0.5, now=1.0)
    assert throttle.admits("refused", 2, 0.5, now=2.0)
    assert [throttle.admits("refused", 2, 0.5, now=1000.0) for _ in range(3)] == [True, True, False]


def test_one_key_does_not_spend_anothers_lines() -> None:
    throttle: Throttle[str] = Throttle()
    assert throttle.admits("malformed", 1, 1.0, now=0.0)
    assert not throttle.admits("malformed", 1, 1.0, now=0.0)
    assert throttle.admits("version", 1, 1.0, now=0.0)


@given(st.lists(st.floats(0, 0.5), max_size=300), st.integers(1, 20), st.floats(0.1, 10))
def test_lines_are_admitted_or_counted_and_the_rate_holds(gaps: list[float], burst: int, per_second: float) -> None:
    throttle: Throttle[str] = Throttle()
    now, admitted = 0.0, 0
    for gap in gaps:
        now += gap
        admitted += throttle.admits("key", burst, per_second, now)
    assert admitted + throttle.take_suppressed().get("key", 0) == len(gaps)
    assert admitted <= burst + now * per_second + 1e-6
