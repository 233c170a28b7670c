"""Schedule: what happens in one run, drawn from its seed before anything does, so that a part of it can be left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

SERVICES = ("red", "green", "gold")  # gold may not run twice, as its workers say
GUARDED = frozenset({"gold"})


class Action(NamedTuple):
    at_ms: int
    name: str
    seed: int  # of its own choices


@dataclass(frozen=True)
class Knobs:
    node_count: int
    worker_count: int
    offers: tuple[tuple[str, ...], ...]  # of each worker
    lease_ms: int
    credit_max: int
    delay_ms: int  # of the network, at most
    work_ms: int  # of a request, mostly at most
    patience_ms: int  # of a request, mostly at most
    guarded_share: float
    ordered_share: float
    streamed_share: float  # of requests, and of replies
    unkept_share: float
    undelivered_share: float
    no_worker_wait_ms: int
    queue_bytes: int  # of requests that nobody has; two thirds of it for one service
    rules_seed: int | None = None  # of the first ones; None: there are none


# How often, and whether it is a fault: of those, each run has some kinds only, or all runs would be alike.
DEMANDS = {"request": 55, "burst": 6, "post": 7, "cancel": 8}
FAULTS = {
    "cut": 4, "swallow": 1, "kill_node": 2, "kill_worker": 3, "freeze_node": 1, "freeze_worker": 3, "restart": 1,
    "step_clock": 2, "set_credit": 4, "ready_again": 3, "leave_node": 1, "leave_worker": 2, "dismiss_worker": 2,
    "fill_outbox": 3, "babble": 3, "impostor": 1,
}
RELOADS = ("swap",)  # of rules
ENDS = ("drain", "abort")


def knobs_of(random: Random) -> Knobs:
    worker_count = random.choice((1, 2, 2, 3, 4))
    offers = [tuple(service for service in SERVICES if random.random() < 0.6) or ("red",) for _ in range(worker_count)]
    if random.random() < 0.2:
        offers[-1] = ("*",)
    return Knobs(
        node_count=random.choice((1, 2, 2, 3, 4)),
        worker_count=worker_count,
        offers=tuple(offers),
        lease_ms=random.choice((0, 0, 300, 2000)),
        credit_max=random.choice((1, 2, 4)),
        delay_ms=random.choice((1, 5, 50)),
        work_ms=random.choice((5, 50, 400)),
        patience_ms=random.choice((500, 5000, 30_000)),
        guarded_share=random.choice((0.0, 0.2, 0.6)),
        ordered_share=random.choice((0.0, 0.0, 0.2, 0.8)),
        streamed_share=random.choice((0.0, 0.0, 0.3)),
        unkept_share=random.choice((0.0, 0.0, 0.1)),
        undelivered_share=random.choice((0.0, 0.0, 0.1, 0.4)),
        no_worker_wait_ms=random.choice((0, 0, 700)),
        queue_bytes=random.choice((1 << 40, 1 << 40, 1 << 40, 900)),
    )


def schedule_of(seed: int) -> tuple[Knobs, list[Action]]:
    """Knobs and actions, in order of time."""
    random = Random(seed)
    knobs = knobs_of(random)
    share = random.choice((0.0, 0.4, 0.8))
    weights = DEMANDS | {name: weight for name, weight in FAULTS.items() if random.random() < share}
    length_ms = random.choice((300, 2000, 10_000))
    count = random.randrange(20, 80)
    names = random.choices(list(weights), list(weights.values()), k=count)
    actions = [Action(random.randrange(length_ms), name, random.getrandbits(30)) for name in names]
    if random.random() < 0.15:
        drained_ms = random.randrange(length_ms // 2, length_ms)
        actions.append(Action(drained_ms, "drain", 0))
        if random.random() < 0.6:
            actions.append(Action(drained_ms + random.randrange(1, 1000), "abort", 0))
    random = Random(f"{seed} rules")
    if random.random() < 0.4:
        knobs = replace(knobs, rules_seed=random.getrandbits(30))
        count = random.choice((0, 1, 2, 5))
        actions += [Action(random.randrange(length_ms), *RELOADS, random.getrandbits(30)) for _ in range(count)]
    return knobs, sorted(actions)
