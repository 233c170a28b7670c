"""Policies: laws that all of them keep, and those that make each what it is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zproxy.broker.policy import POLICIES, PolicyProbe, policies_pack
from zproxy.envelope import key_hash

every_policy = pytest.mark.parametrize("policy", POLICIES)
KEYS = [key_hash(f"key-{number}".encode()) for number in range(2000)]
NO_KEY = 0

# By worker: how many requests it may have, and has, and their bytes.
loads = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 100)).map(
        lambda load: (load[0], load[1], load[2] if load[1] else 0)
    ),
    min_size=1,
    max_size=8,
)


def probe_of(policy: str, workers: list[tuple[int, int, int]]) -> PolicyProbe:
    probe = PolicyProbe(policy)
    for number, load in enumerate(workers):
        probe.add(number, f"worker-{number}".encode())
        probe.load(number, *load)
    return probe


def able(workers: list[tuple[int, int, int]]) -> set[int]:
    return {number for number, (may_hold, requests, _) in enumerate(workers) if requests < may_hold}


def served(probe: PolicyProbe, count: int, keys: list[int] | None = None) -> Counter[int]:
    """How often each was picked, while nobody's load changes."""
    picks = [probe.pick(keys[number] if keys else NO_KEY) for number in range(count)]
    return Counter(pick for pick in picks if pick is not None)


# ---- all of them ----


@every_policy
@given(workers=loads, key=st.sampled_from([NO_KEY, *KEYS[:20]]))
def test_only_who_is_able_is_picked(policy: str, workers: list[tuple[int, int, int]], key: int) -> None:
    probe = probe_of(policy, workers)
    for _ in range(3):
        assert probe.pick(key) in able(workers) | {None}


@every_policy
@given(workers=loads)
def test_somebody_is_picked_while_somebody_is_able(policy: str, workers: list[tuple[int, int, int]]) -> None:
    probe = probe_of(policy, workers)
    for _ in range(3):
        assert (probe.pick() is not None) == bool(able(workers))


@every_policy
@given(workers=loads, data=st.data())
def test_the_avoided_is_picked_only_where_nobody_else_can(
    policy: str, workers: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    avoided = data.draw(st.integers(0, len(workers) - 1))
    probe = probe_of(policy, workers)
    picked = probe.pick(NO_KEY, avoided)
    if others := able(workers) - {avoided}:
        assert picked in others
    else:
        assert picked == (avoided if avoided in able(workers) else None)


@every_policy
def test_without_workers_nobody_is_picked(policy: str) -> None:
    probe = PolicyProbe(policy)
    assert probe.pick() is None
    assert probe.pick(KEYS[0]) is None


@every_policy
@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("requests", [0, 1])
def test_equals_are_picked_about_equally_often(policy: str, count: int, requests: int) -> None:
    probe = probe_of(policy, [(4, requests, 10 * requests)] * count)
    often = served(probe, len(KEYS), KEYS if policy == "hash" else None)
    assert set(often) == set(range(count))
    assert min(often.values()) > 0.75 * len(KEYS) / count
    assert max(often.values()) < 1.25 * len(KEYS) / count


@every_policy
def test_nobody_is_left_out_as_workers_come_and_go(policy: str) -> None:
    probe = probe_of(policy, [(4, 0, 0)] * 5)
    probe.remove(1)
    probe.add(9, b"worker-9")
    probe.load(9, 4)
    probe.remove(4)
    assert set(served(probe, 500, KEYS if policy == "hash" else None)) == {0, 2, 3, 9}


# ---- each by itself ----


@pytest.mark.parametrize("policy", ["least_outstanding", "hash"])
def test_whoever_has_fewest_requests_is_picked(policy: str) -> None:
    probe = probe_of(policy, [(9, 3, 1), (9, 2, 900), (9, 5, 1), (2, 2, 0)])
    assert [probe.pick() for _ in range(3)] == [1, 1, 1]


def test_whoever_has_fewest_bytes_is_picked() -> None:
    probe = probe_of("least_bytes", [(9, 1, 500), (9, 3, 40), (9, 2, 41), (3, 3, 0)])
    assert [probe.pick() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("policy", ["least_outstanding", "least_bytes", "hash"])
def test_equals_have_turns(policy: str) -> None:
    probe = probe_of(policy, [(9, 1, 7), (9, 2, 9), (9, 1, 7), (9, 1, 7)])
    assert [probe.pick() for _ in range(6)] == [0, 2, 3, 0, 2, 3]


def test_turns_go_round_whatever_the_loads() -> None:
    probe = probe_of("round_robin", [(9, 8, 90), (9, 0, 0), (1, 1, 5), (9, 3, 1)])
    assert [probe.pick() for _ in range(7)] == [0, 1, 3, 0, 1, 3, 0]


def test_of_two_drawn_the_busier_is_spared() -> None:
    """The busiest is never picked while others can; nor is everything given to the least busy."""
    probe = probe_of("two_choices", [(9, 5, 0), (9, 1, 0), (9, 2, 0), (9, 3, 0)])
    often = served(probe, 3000)
    assert often[0] == 0
    assert often[1] > often[2] > often[3] > 0


def test_a_draw_finds_the_only_one_who_can() -> None:
    probe = probe_of("two_choices", [(1, 1, 0)] * 7 + [(2, 1, 0)])
    assert {probe.pick() for _ in range(50)} == {7}


# ---- hash ----


def homes(probe: PolicyProbe) -> dict[int, int | None]:
    return {key: probe.pick(key) for key in KEYS}


def test_a_lost_worker_moves_only_its_own_keys() -> None:
    probe = probe_of("hash", [(9, 0, 0)] * 5)
    before = homes(probe)
    probe.remove(2)
    after = homes(probe)
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved == {key for key in KEYS if before[key] == 2}
    spread = Counter(after[key] for key in moved)
    assert set(spread) == {0, 1, 3, 4}
    probe.add(2, b"worker-2")
    probe.load(2, 9)
    assert homes(probe) == before


def test_homes_follow_from_names_alone() -> None:
    """Not from who came first, nor from numbers: two proxies agree."""
    probe = PolicyProbe("hash")
    for number in reversed(range(5)):
        probe.add(10 + number, f"worker-{number}".encode())
        probe.load(10 + number, 9)
    here = homes(probe_of("hash", [(9, 0, 0)] * 5))
    assert {key: 10 + (home or 0) for key, home in here.items()} == homes(probe)


@pytest.mark.parametrize("load", [(0, 0, 0), (3, 3, 30)])
def test_a_key_is_nobody_elses_while_its_home_is_there(load: tuple[int, int, int]) -> None:
    probe = probe_of("hash", [(9, 0, 0)] * 4)
    before = homes(probe)
    probe.load(1, *load)
    assert homes(probe) == {key: None if home == 1 else home for key, home in before.items()}


def test_a_key_avoids_its_home_for_the_next_in_its_order() -> None:
    probe = probe_of("hash", [(9, 0, 0)] * 4)
    avoiding = {key: probe.pick(key, 1) for key in KEYS}
    before = homes(probe)
    assert all(avoiding[key] == home for key, home in before.items() if home != 1)
    probe.remove(1)
    assert homes(probe) == avoiding


def test_a_key_comes_back_to_the_avoided_where_its_next_is_busy() -> None:
    probe = probe_of("hash", [(9, 0, 0)] * 2)
    key = next(key for key in KEYS if probe.pick(key) == 0)
    probe.load(1, 1, 1)
    assert probe.pick(key, 0) == 0
    probe.load(0, 1, 1)
    assert probe.pick(key, 0) is None


# ---- the table ----


def test_the_first_row_is_the_default() -> None:
    assert POLICIES[0] == "least_outstanding"
    assert len(set(POLICIES)) == len(POLICIES)


def test_policies_are_packed_by_name() -> None:
    assert policies_pack({}) == b""
    assert policies_pack({"a": "least_outstanding", "bc": "hash"}) == b"\x01a\x00\x02bc\x04"
    with pytest.raises(ValueError, match="not in tuple"):
        policies_pack({"a": "fastest"})
