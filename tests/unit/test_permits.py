"""Permits: patterns, what is remembered of them, buckets, and bytes that are no table."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zproxy.broker.access import Permit, PermitsProbe, permits_pack

names = st.text("ab/", min_size=1, max_size=3)
patterns = st.lists(st.one_of(names, names.map(lambda name: f"{name}*"), st.just("*")), max_size=3).map(tuple)
permits = st.tuples(patterns, patterns).map(lambda both: Permit(*both))
tables = st.tuples(st.lists(permits, max_size=4), st.sampled_from([1, 17])).map(lambda drawn: drawn[0] * drawn[1])


def matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def is_allowed(rows: list[Permit], row: int, name: str) -> bool:
    if row == 0:
        return True
    return row <= len(rows) and any(matches(pattern, name) for pattern in rows[row - 1].allow)


def probe_of(*rows: Permit, now_ms: int = 0) -> PermitsProbe:
    probe = PermitsProbe()
    assert probe.take(permits_pack(rows), now_ms)
    return probe


# ---- patterns ----


@given(rows=tables, name=names, row=st.integers(0, 80))
def test_a_row_allows_what_one_of_its_patterns_matches_and_nothing_else(
    rows: list[Permit], name: str, row: int
) -> None:
    probe = probe_of(*rows)
    assert probe.may_use(row, name) == is_allowed(rows, row, name)


@given(rows=tables, name=names, row=st.integers(0, 80))
def test_who_may_serve_is_told_by_the_same_patterns(rows: list[Permit], name: str, row: int) -> None:
    turned = [Permit(allow=permit.serve, serve=permit.allow) for permit in rows]
    assert probe_of(*turned).may_serve(row, name) == is_allowed(rows, row, name)


def test_any_service_is_served_by_who_may_serve_all() -> None:
    probe = probe_of(Permit(serve=("*",)), Permit(serve=("a*", "b")))
    assert [probe.may_serve(row, "*") for row in (0, 1, 2, 3)] == [True, True, False, False]


@pytest.mark.parametrize("pattern", ["", "**", "a*b", "*a", "a b", "ä", "a" * 65, "a" * 65 + "*"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is neither a service's name"):
        permits_pack([Permit(allow=(pattern,))])


@pytest.mark.parametrize(
    "permit",
    [
        Permit(messages_per_second=-1), Permit(bytes_per_second=1e13), Permit(messages_per_second=float("nan")),
        Permit(in_flight=1 << 32), Permit(max_message_bytes=-1), Permit(allow=("a",) * 65536),
    ],
)
def test_numbers_that_cannot_be_are_refused(permit: Permit) -> None:
    with pytest.raises(ValueError):
        permits_pack([permit])


# ---- what is remembered ----

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), tables),
        st.tuples(st.just("rename"), st.integers(0, 2), names),
        st.tuples(st.just("ask"), st.integers(0, 2), st.integers(0, 80)),
    ),
    max_size=40,
)


@given(steps=steps)
def test_what_is_remembered_is_what_the_patterns_say_whatever_table_or_service_takes_a_place(
    steps: list[tuple[str, object, object]],
) -> None:
    probe, rows, services = PermitsProbe(), list[Permit](), ["a", "b", "a/b"]
    for step in steps:
        match step:
            case ("take", list(table)):
                assert probe.take(permits_pack(table))
                rows = table
            case ("rename", int(number), str(name)):
                services[number] = name
                probe.forget(number)
            case ("ask", int(number), int(row)):
                for _ in range(2):
                    assert probe.may_use(row, services[number], number) == is_allowed(rows, row, services[number])


def test_memory_is_two_bits_for_each_row_up_to_the_highest_that_asked() -> None:
    probe = probe_of(*[Permit(allow=("*",))] * 1000)
    probe.may_use(10, "a", 0)
    assert probe.remembered_bytes == 8
    for row in range(2000):
        probe.may_use(row, "a", 0)
        probe.may_use(row, "b", 1)
    assert probe.remembered_bytes <= 2 * 256


# ---- buckets ----

gaps = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 500)), min_size=1, max_size=60)
RATES = st.sampled_from([0.5, 1.0, 3.0, 40.0, 1000.0])


@given(rate=RATES, sent=gaps)
def test_buckets_never_pass_more_than_rate_times_time_plus_burst(rate: float, sent: list[tuple[int, int]]) -> None:
    probe, now_ms, passed = probe_of(Permit(messages_per_second=rate)), 0, list[int]()
    for gap_ms, _ in sent:
        now_ms += gap_ms % 100
        if probe.send(1, 1, now_ms)[0] == "NONE":
            passed.append(now_ms)
        for place, begun_ms in enumerate(passed):
            assert len(passed) - place <= max(rate, 1) + rate * (now_ms - begun_ms) / 1000


@given(rate=RATES, sent=gaps)
def test_bytes_pass_as_they_flow_in_and_the_last_message_may_be_larger(
    rate: float, sent: list[tuple[int, int]]
) -> None:
    probe, now_ms, passed = probe_of(Permit(bytes_per_second=rate)), 0, list[tuple[int, int]]()
    for gap_ms, size in sent:
        now_ms += gap_ms
        if probe.send(1, size, now_ms)[0] == "NONE":
            passed.append((now_ms, size))
        for place, (begun_ms, _) in enumerate(passed):
            sizes = [each for _, each in passed[place:]]
            burst = max(rate, 1)
            assert sum(sizes[:-1]) + min(sizes[-1], burst) <= burst + rate * (now_ms - begun_ms) / 1000


@given(
    rate=st.sampled_from([0.5, 3.0, 40.0, 1000.0]), flow=st.sampled_from([0.0, 7.0, 1000.0]), sent=gaps,
    reload=st.integers(0, 60),
)
def test_a_bucket_does_what_its_model_does(
    rate: float, flow: float, sent: list[tuple[int, int]], reload: int
) -> None:
    permit = Permit(messages_per_second=rate, bytes_per_second=flow)
    probe, now_ms = probe_of(permit), 0
    levels = {"MESSAGES": Fraction(max(rate, 1)), "BYTES": Fraction(max(flow, 1))}
    bursts = dict(levels)
    flows = {"MESSAGES": Fraction(rate) / 1000, "BYTES": Fraction(flow) / 1000}
    for number, (gap_ms, size) in enumerate(sent):
        now_ms += gap_ms
        if number == reload:
            assert probe.take(permits_pack([permit]), now_ms)
        levels = {name: min(level + gap_ms * flows[name], bursts[name]) for name, level in levels.items()}
        wants = {"MESSAGES": Fraction(1), "BYTES": min(Fraction(size), bursts["BYTES"])}
        over = [name for name, want in wants.items() if flows[name] and levels[name] < want]
        limit, wait_ms = probe.send(1, size, now_ms)
        assert limit == (over[0] if over else "NONE")
        if over:
            assert wait_ms == -((levels[limit] - wants[limit]) // flows[limit])
        else:
            levels = {"MESSAGES": levels["MESSAGES"] - 1, "BYTES": levels["BYTES"] - size}


@given(rate=st.floats(1e-4, 1e12), waits=st.lists(st.integers(0, 1 << 50), max_size=20), size=st.integers(1, 1 << 63))
def test_no_time_and_no_size_is_too_much_for_a_bucket(rate: float, waits: list[int], size: int) -> None:
    probe, now_ms = probe_of(Permit(bytes_per_second=rate)), 0
    assert probe.send(1, size, now_ms) == ("NONE", 0)
    for wait_ms in waits:
        now_ms += wait_ms
        limit, left_ms = probe.send(1, 1, now_ms)
        assert left_ms >= 0 and (limit == "BYTES") == (left_ms > 0)


@pytest.mark.parametrize("size", [1, 100, 10**6, 1 << 63])
def test_a_message_of_any_size_passes_a_full_bucket_and_leaves_it_in_debt(size: int) -> None:
    probe = probe_of(Permit(bytes_per_second=100))
    assert probe.send(1, size, 0) == ("NONE", 0)
    limit, wait_ms = probe.send(1, 1, 0)
    assert (limit, wait_ms > 0) == (("NONE", False) if size < 100 else ("BYTES", True))
    assert probe.send(1, size, 1 << 60)[0] == "NONE"


def test_after_the_time_it_says_a_bucket_has_enough() -> None:
    probe = probe_of(Permit(messages_per_second=3))
    assert [probe.send(1, 1, 0)[0] for _ in range(4)] == ["NONE"] * 3 + ["MESSAGES"]
    wait_ms = probe.send(1, 1, 0)[1]
    assert probe.send(1, 1, wait_ms - 1)[0] == "MESSAGES"
    assert probe.send(1, 1, wait_ms)[0] == "NONE"


def test_what_is_refused_takes_nothing_out() -> None:
    probe = probe_of(Permit(messages_per_second=2, bytes_per_second=10, max_message_bytes=20))
    assert [probe.send(1, size, 0)[0] for size in (21, 9, 9, 21, 1)] == ["SIZE", "NONE", "BYTES", "SIZE", "NONE"]


def test_a_reload_lets_the_buckets_of_its_rows_go_on() -> None:
    elder = Permit(messages_per_second=10)
    probe = probe_of(elder, elder)
    for _ in range(10):
        probe.send(1, 1, 0)
    assert probe.take(permits_pack([elder._replace(allow=("a",)), elder, elder]), 0)
    assert [probe.send(row, 1, 0)[0] for row in (1, 2, 3)] == ["MESSAGES", "NONE", "NONE"]
    assert probe.take(permits_pack([elder, elder._replace(messages_per_second=3)]), 0)
    assert [probe.send(2, 1, 0)[0] for _ in range(4)] == ["NONE"] * 3 + ["MESSAGES"]


def test_a_row_has_so_many_open_and_no_more() -> None:
    probe = probe_of(Permit(in_flight=2), Permit())
    assert [probe.send(1, 1, 0, open_count)[0] for open_count in (0, 1, 2, 3)] == ["NONE"] * 2 + ["IN_FLIGHT"] * 2
    assert probe.send(2, 1 << 40, 0, 1 << 20) == ("NONE", 0)


# ---- bytes ----


@given(st.binary(max_size=200))
def test_bytes_that_are_no_table_leave_the_present_one(junk: bytes) -> None:
    probe = probe_of(Permit(allow=("a",)))
    is_taken = probe.take(junk)
    assert is_taken or (probe.may_use(1, "a"), probe.may_use(1, "b")) == (True, False)


@given(rows=tables.filter(len), data=st.data())
def test_a_table_that_is_cut_off_or_longer_is_refused(rows: list[Permit], data: st.DataObject) -> None:
    packed = permits_pack(rows)
    length = data.draw(st.integers(0, len(packed)))
    whole = {len(permits_pack(rows[:count])) for count in range(len(rows) + 1)}
    assert PermitsProbe().take(packed[:length]) == (length in whole)
    assert not PermitsProbe().take(packed + b"\0")


@given(rows=tables.filter(len), data=st.data())
def test_a_table_with_any_byte_changed_is_refused_or_a_table(rows: list[Permit], data: st.DataObject) -> None:
    packed = bytearray(permits_pack(rows))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    probe = PermitsProbe()
    if probe.take(bytes(packed)):
        for row in range(len(rows) + 2):
            probe.may_use(row, "a", 0)
            probe.may_serve(row, "a")


def test_without_a_table_only_row_0_allows_anything() -> None:
    probe = PermitsProbe()
    assert [probe.may_use(row, "a", 0) for row in (0, 1, 1 << 31)] == [True, False, False]
