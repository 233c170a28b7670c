"""`python -m tests.simulation`: many seeds for long, or one with its trace. See CONTRIBUTING.md."""

from __future__ import annotations

import os
import time

import click

from .defects import DEFECTS
from .runs import Failure, run_many, run_seed, run_world, shrink
from .schedule import Action
from .surface import Surface
from .world import World

PROGRESS_S = 10.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="So many.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="From this one on.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes.  [default: one a core]")
@click.option("--seed", type=click.IntRange(0), help="This one alone.")
@click.option("--trace", is_flag=True, help="With --seed: what happens, line by line.")
@click.option("--shrink", "is_shrunk", is_flag=True, help="With --seed: only the actions that a failure needs.")
@click.option("--defect", type=click.Choice(sorted(DEFECTS)), help="With --seed: of a broker that misbehaves so.")
def main(
    seeds: int, first: int, jobs: int, seed: int | None, trace: bool, is_shrunk: bool, defect: str | None
) -> None:
    """Seeds that break a promise are named, with the command that shows them; exits with 1 if there are any."""
    if seed is None:
        raise SystemExit(run_for_long(first, seeds, jobs))
    raise SystemExit(run_one(seed, trace, is_shrunk, DEFECTS[defect] if defect else Surface))


def run_for_long(first: int, seeds: int, jobs: int) -> int:
    begun = told = time.monotonic()
    done = events = 0
    failures: list[Failure] = []
    for report in run_many(first, seeds, jobs):
        done += report.seeds
        events += report.events
        failures += report.failures
        for failure in report.failures:
            click.echo(f"seed {failure.seed}: {failure.text}")
            click.echo(f"    python -m tests.simulation --seed {failure.seed} --shrink --trace")
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            click.echo(f"{done:,} of {seeds:,} seeds, {len(failures)} failed, {done / (told - begun):.0f} seeds/s")
    seconds = time.monotonic() - begun
    click.echo(
        f"{done:,} seeds from {first}, {events:,} events, {len(failures)} failed; {seconds:.1f} s, "
        f"{seconds * 1000 * jobs / done:.1f} ms a seed and job"
    )
    return 1 if failures else 0


def run_one(seed: int, is_traced: bool, is_shrunk: bool, surface: type[Surface]) -> int:
    failure = run_seed(seed, surface)
    actions = None
    if failure is not None and is_shrunk:
        actions = shrink(seed, failure.law, surface)
        needed = ", ".join(f"{each.at_ms} ms {each.name}" for each in actions)
        click.echo(f"{len(actions)} actions are needed: {needed}")
    if is_traced:
        shown = run_traced(seed, surface, actions)
        click.echo("\n".join(shown))
    click.echo(f"seed {seed}: {'well' if failure is None else failure.text}")
    return 0 if failure is None else 1


def run_traced(seed: int, surface: type[Surface], actions: list[Action] | None) -> list[str]:
    world = World(seed, surface=surface, actions=actions, is_traced=True)
    failure = run_world(world)
    return [str(world.knobs), *world.lines, "ends well" if failure is None else f"     !!     {failure.text}"]


if __name__ == "__main__":
    main()
