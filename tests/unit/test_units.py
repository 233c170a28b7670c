"""Sizes and times: what people write is what is meant, and what cannot be meant is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zproxy.units import parse_size, parse_time, show_size, show_time


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64KiB", 65536),
        ("64k", 65536),
        ("64 kb", 65536),
        ("1.5GiB", 3 << 29),
        ("2T", 2 << 40),
    ],
)
def test_sizes_are_powers_of_1024(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "1e9", "1PiB", "1,5GiB", "0x10", "٣", "1 2", "nan", "1.KiB", "9" * 5000]
)
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write for example") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@given(st.text() | st.from_regex(r"[0-9.]+ ?[a-z]*", fullmatch=True))
def test_any_text_is_a_size_or_a_time_or_refused(text: str) -> None:
    for parse in (parse_size, parse_time):
        try:
            value = parse(text)
        except ValueError as error:
            assert str(error).startswith(repr(text))
        else:
            assert 0 <= value < float("inf")


@given(st.integers(0, 1 << 62))
def test_a_number_of_bytes_is_exact(count: int) -> None:
    assert parse_size(count) == parse_size(str(count)) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100us", 1e-4), ("5ms", 5e-3), ("2s", 2.0), ("2", 2.0), ("1.5 S", 1.5), ("5m", 300.0), ("2h", 7200.0)],
)
def test_times_without_a_unit_are_seconds(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "given", ["", "s", "-1", "1e3", "1d", "nan", "inf", -1, -0.5, float("nan"), float("inf"), None, True]
)
def test_what_is_no_time_is_refused_by_name(given: Any) -> None:
    with pytest.raises(ValueError, match="is no time: write for example") as caught:
        parse_time(given)
    assert repr(given) in str(caught.value)


@given(st.integers(0, 1 << 50))
def test_a_size_as_shown_is_read_back_to_four_digits(count: int) -> None:
    assert parse_size(show_size(count)) == pytest.approx(count, rel=1e-3)


@given(st.floats(0, 86400))
def test_a_time_as_shown_is_read_back_to_four_digits(seconds: float) -> None:
    assert parse_time(show_time(round(seconds, 6))) == pytest.approx(seconds, rel=1e-3, abs=1e-6)
