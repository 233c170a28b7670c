"""Which proxy takes a node's request: pure functions of loads and keys."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from zproxy.client.choice import home_of, least_loaded

LOADS = st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=6)


@given(LOADS, st.integers(0, 5))
def test_the_least_loaded_is_chosen_and_never_one_that_is_not_able(loads: list[int | None], last: int) -> None:
    able = [load for load in loads if load is not None]
    chosen = least_loaded(loads, last % len(loads))
    assert (chosen is None) == (not able)
    if chosen is not None:
        assert loads[chosen] == min(able)


def test_equals_take_turns() -> None:
    last, turns = 0, []
    for _ in range(6):
        last = least_loaded([0, None, 0, 0], last) or 0
        turns.append(last)
    assert turns == [2, 3, 0, 2, 3, 0]


@given(st.integers(1, 2**64 - 1), st.lists(st.integers(1, 2**64 - 1), min_size=2, max_size=5, unique=True))
def test_a_key_keeps_its_home_while_that_is_there(key: int, proxies: list[int]) -> None:
    home = home_of(key, proxies)
    assert home is not None
    for gone in range(len(proxies)):
        left = [None if index == gone else proxy for index, proxy in enumerate(proxies)]
        assert (home_of(key, left) == home) == (gone != home)


@given(st.integers(1, 2**64 - 1), st.permutations([11, 22, 33]))
def test_nodes_that_name_their_endpoints_in_another_order_agree_on_the_home(key: int, order: list[int]) -> None:
    ours, theirs = home_of(key, [11, 22, 33]), home_of(key, order)
    assert ours is not None and theirs is not None
    assert [11, 22, 33][ours] == order[theirs]


def test_keys_spread_over_the_proxies() -> None:
    homes = Counter(home_of(key * 0x9E3779B97F4A7C15 % 2**64, [11, 22, 33]) for key in range(1, 3001))
    assert all(800 < count < 1200 for count in homes.values())


def test_where_nobody_is_able_nobody_is_chosen() -> None:
    assert least_loaded([None, None], 0) is None
    assert home_of(1, [None, None]) is None
