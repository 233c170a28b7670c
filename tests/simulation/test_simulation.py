"""The broker among model peers and faults: some hundreds of seeds; for more, `python -m tests.simulation`."""

from __future__ import annotations

from collections import Counter

import pytest

from .defects import DEFECTS
from .runs import CRASH, Failure, first_found, run_seed, shrink
from .schedule import DEMANDS, ENDS, FAULTS, RELOADS, schedule_of
from .world import World

SEEDS = 400
BATCH = 50


def sentence_of(failure: Failure | None) -> str:
    if failure is None:
        return ""
    return f"{failure.text}\nto see it: python -m tests.simulation --seed {failure.seed} --trace"


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_promise_is_broken_under_any_schedule(first: int) -> None:
    for seed in range(first, first + BATCH):
        assert sentence_of(run_seed(seed)) == ""


def test_a_seed_says_all_that_happens() -> None:
    worlds = [World(7, is_traced=True) for _ in range(2)]
    for world in worlds:
        world.run()
    assert worlds[0].lines == worlds[1].lines
    assert len(worlds[0].lines) > 100


def test_every_action_is_met() -> None:
    met = Counter(action.name for seed in range(SEEDS) for action in schedule_of(seed)[1])
    assert set(met) == {*DEMANDS, *FAULTS, *RELOADS, *ENDS}


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_every_defect_is_found_by_the_promise_it_breaks(name: str) -> None:
    failure = first_found(DEFECTS[name], 1000)
    assert failure is not None, "it is not seen in 1,000 seeds"
    assert failure.law in DEFECTS[name].laws, failure.text


def test_a_failure_is_shrunk_to_the_actions_it_needs() -> None:
    defect = DEFECTS["TwoOutcomes"]
    failure = first_found(defect, 1000)
    assert failure is not None and failure.law != CRASH
    actions = shrink(failure.seed, failure.law, defect)
    again = run_seed(failure.seed, defect, actions)
    assert again is not None and again.law == failure.law
    for number in range(len(actions)):
        less = run_seed(failure.seed, defect, actions[:number] + actions[number + 1 :])
        assert less is None or less.law != failure.law, f"{actions[number]} is not needed"
