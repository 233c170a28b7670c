"""The reference: the same training by one process at once, without any message, and how far apart the two ended.

    python -m zproxy.demo.reference PLAN RESULT
"""

from __future__ import annotations

import sys

import numpy as np

from zproxy.demo import corpus, model, plan, training
from zproxy.demo.reports import Checking, Compared, say


def main(plan_json: str, result: str) -> None:
    """Trains alone, compares with the master's parameters, judges those on unseen text."""
    ours = plan.from_json(plan_json)
    symbols = corpus.read()
    final = model.initial(ours)
    for step, parameters in enumerate(training.alone(ours, symbols), 1):
        final = parameters
        say(Checking(step))
    with np.load(result) as stored:
        theirs = dict(stored)
    unseen = training.unseen(ours, symbols)
    say(
        Compared(
            largest_difference=training.largest_difference(final, theirs),
            tolerance=training.tolerance(ours.steps),
            loss_before=model.evaluate(model.initial(ours), unseen),
            loss_after=model.evaluate(theirs, unseen),
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
