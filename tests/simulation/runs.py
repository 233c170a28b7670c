"""Runs: one seed, many seeds, and the fewest actions that still break the same promise."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

from .book import Violation
from .schedule import Action
from .surface import Surface
from .world import SurfaceMaker, World

CHUNK_SEEDS = 50
CRASH = "crash"  # an error that is no broken promise: of the probe, or of the simulator


@dataclass
class Failure:
    seed: int
    law: str
    text: str
    lines: list[str] = field(default_factory=list)


@dataclass
class Report:
    """Of some seeds."""

    seeds: int = 0
    events: int = 0
    failures: list[Failure] = field(default_factory=list)


def run_world(world: World) -> Failure | None:
    """What went wrong, if anything."""
    try:
        world.run()
    except Violation as violation:
        return Failure(world.seed, violation.law, str(violation), world.lines)
    except Exception:
        return Failure(world.seed, CRASH, traceback.format_exc(), world.lines)
    return None


def run_seed(
    seed: int, surface: SurfaceMaker = Surface, actions: list[Action] | None = None, is_traced: bool = False,
) -> Failure | None:
    return run_world(World(seed, surface, actions, is_traced))


def run_range(bounds: tuple[int, int]) -> Report:
    report = Report()
    for seed in range(*bounds):
        world = World(seed)
        failure = run_world(world)
        report.seeds += 1
        report.events += world.events
        if failure is not None:
            report.failures.append(failure)
    return report


def run_many(first: int, count: int, jobs: int) -> Iterator[Report]:
    """A report for each chunk, as they end."""
    chunks = [(seed, min(seed + CHUNK_SEEDS, first + count)) for seed in range(first, first + count, CHUNK_SEEDS)]
    if jobs == 1:
        yield from map(run_range, chunks)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(run_range, chunks)


def first_found(surface: SurfaceMaker, seeds: int) -> Failure | None:
    """The first seed at which that surface is found to misbehave."""
    for seed in range(seeds):
        failure = run_seed(seed, surface)
        if failure is not None:
            return failure
    return None


def shrink(seed: int, law: str, surface: SurfaceMaker = Surface) -> list[Action]:
    """The seed's actions without those that the broken promise does not need: ever smaller pieces are left out."""
    actions = World(seed).actions
    size = max(len(actions) // 2, 1)
    while True:
        start = 0
        while start < len(actions):
            fewer = actions[:start] + actions[start + size:]
            failure = run_seed(seed, surface, fewer)
            if failure is not None and failure.law == law:
                actions = fewer
            else:
                start += size
        if size == 1:
            return actions
        size = max(size // 2, 1)
