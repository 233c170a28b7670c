"""Training: what data-parallel SGD computes, said twice: by parts, and by one process at once.

By parts: each node takes the gradient on its own examples; `average` and `descend` are the master's step.
At once: `alone` takes one gradient over all nodes' examples. The mean of means of equal parts is the mean of all,
so both ways lead to the same parameters but for rounding; `tolerance` says how much of that is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from zproxy.demo import corpus, model
from zproxy.demo.corpus import Examples, Symbols
from zproxy.demo.model import Tensors
from zproxy.demo.plan import Plan

# Both ways round differently, in float32, and every step builds on the one before. Measured: 1e-6 after 200 steps,
# 2e-5 after 3,000. One node's gradient missing in one step moves the parameters by more than 1e-3.
TOLERANCE = 1e-5
TOLERANCE_PER_STEP = 1e-7

JUDGED = 4096  # unseen examples the final loss is judged by


def tolerance(steps: int) -> float:
    """The largest difference between two parameters that rounding explains."""
    return TOLERANCE + TOLERANCE_PER_STEP * steps


def examples(plan: Plan, symbols: Symbols, index: int, step: int) -> Examples:
    """What node number `index` (from 0) trains on in a step."""
    seen, _ = corpus.split(symbols)
    part = corpus.shard(seen, plan.nodes, index)
    return corpus.sample(part, plan.batch, plan.context, [plan.seed, index, step])


def unseen(plan: Plan, symbols: Symbols) -> Examples:
    """Examples from text that no node trains on."""
    _, held_out = corpus.split(symbols)
    return corpus.sample(held_out, JUDGED, plan.context, [plan.seed])


def average(gradients: Mapping[str, Tensors]) -> Tensors:
    """Mean over the nodes in float64, in order of their names: who came first changes no bit."""
    names = sorted(gradients)
    total = {name: value.astype(np.float64) for name, value in gradients[names[0]].items()}
    for node in names[1:]:
        for name, value in gradients[node].items():
            total[name] += value
    return {name: value / len(names) for name, value in total.items()}


def descend(parameters: Tensors, gradients: Tensors, learning_rate: float) -> Tensors:
    """New parameters, one step downhill. The old ones stay as they are: they may still be on their way."""
    return {
        name: (value - learning_rate * gradients[name]).astype(value.dtype) for name, value in parameters.items()
    }


def alone(plan: Plan, symbols: Symbols) -> Iterator[Tensors]:
    """The parameters after each step of one process that sees all examples at once."""
    parameters = model.initial(plan)
    for step in range(plan.steps):
        parts = [examples(plan, symbols, index, step) for index in range(plan.nodes)]
        contexts, following = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        _, gradients = model.loss_and_gradients(parameters, (contexts, following))
        parameters = descend(parameters, gradients, plan.learning_rate)
        yield parameters


def largest_difference(ours: Tensors, theirs: Tensors) -> float:
    """Over all parameters; nan if any of them is."""
    return float(np.max([np.abs(value - theirs[name]).max() for name, value in ours.items()]))
