"""The demo's model and training: gradients, averages, and how far rounding may lead two ways apart."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from zproxy.demo import corpus, model, training
from zproxy.demo.model import Tensors
from zproxy.demo.plan import Plan

SMALL = Plan(nodes=3, steps=5, batch=32, context=4, embedding=3, hidden=8)
TEXT = corpus.encode(b"def spam(self, eggs):\n\treturn [egg + 1 for egg in eggs]  # \xc3\xa9\n" * 2000)

NUDGE = 1e-6


def double(parameters: Tensors) -> Tensors:
    return {name: value.astype(np.float64) for name, value in parameters.items()}


@pytest.mark.parametrize("name", model.initial(SMALL))
def test_gradients_agree_with_finite_differences(name: str) -> None:
    parameters = double(model.initial(SMALL))
    examples = training.examples(SMALL, TEXT, 0, 0)
    _, gradients = model.loss_and_gradients(parameters, examples)
    value, gradient = parameters[name].reshape(-1), gradients[name].reshape(-1)
    steepest = np.argsort(-np.abs(gradient))[:20]
    assert np.abs(gradient[steepest[0]]) > 1e-4, "nothing to compare"
    for place in steepest:
        before = value[place]
        value[place] = before + NUDGE
        above = model.evaluate(parameters, examples)
        value[place] = before - NUDGE
        below = model.evaluate(parameters, examples)
        value[place] = before
        assert gradient[place] == pytest.approx((above - below) / (2 * NUDGE), rel=1e-5, abs=1e-8)


def test_gradients_have_the_shape_and_dtype_of_their_parameters() -> None:
    parameters = model.initial(SMALL)
    _, gradients = model.loss_and_gradients(parameters, training.examples(SMALL, TEXT, 0, 0))
    assert {name: (value.shape, value.dtype) for name, value in gradients.items()} == {
        name: (value.shape, value.dtype) for name, value in parameters.items()
    }


def test_an_untrained_model_knows_nothing() -> None:
    loss = model.evaluate(model.initial(SMALL), training.unseen(SMALL, TEXT))
    assert loss == pytest.approx(np.log(corpus.VOCABULARY), rel=0.01)


def gradients_of_all(plan: Plan, parameters: Tensors, step: int) -> dict[str, Tensors]:
    return {
        name: model.loss_and_gradients(parameters, training.examples(plan, TEXT, index, step))[1]
        for index, name in enumerate(plan.names())
    }


def test_the_average_does_not_depend_on_who_came_first() -> None:
    gradients = gradients_of_all(SMALL, model.initial(SMALL), 0)
    forwards = training.average(gradients)
    backwards = training.average(dict(reversed(gradients.items())))
    for name, value in forwards.items():
        assert value.tobytes() == backwards[name].tobytes()


def test_a_step_leaves_the_old_parameters_as_they_are() -> None:
    parameters = model.initial(SMALL)
    training.descend(parameters, training.average(gradients_of_all(SMALL, parameters, 0)), 1.0)
    assert training.largest_difference(parameters, model.initial(SMALL)) == 0


def by_parts(plan: Plan, missing_in: int | None = None) -> Tensors:
    """The parameters that master and nodes arrive at; in one step the last node's gradient may be missing."""
    parameters = model.initial(plan)
    for step in range(plan.steps):
        gradients = gradients_of_all(plan, parameters, step)
        if step == missing_in:
            gradients.pop(plan.names()[-1])
        parameters = training.descend(parameters, training.average(gradients), plan.learning_rate)
    return parameters


def test_training_by_parts_equals_training_alone_and_tolerance_tells_them_from_less() -> None:
    *_, alone = training.alone(SMALL, TEXT)
    allowed = training.tolerance(SMALL.steps)
    assert training.largest_difference(by_parts(SMALL), alone) <= allowed
    for step in range(SMALL.steps):
        assert training.largest_difference(by_parts(SMALL, missing_in=step), alone) > 10 * allowed


def test_training_alone_lowers_the_loss_on_unseen_text() -> None:
    unseen = training.unseen(SMALL, TEXT)
    losses = [model.evaluate(parameters, unseen) for parameters in islice(training.alone(SMALL, TEXT), 5)]
    assert losses[-1] < losses[0] < model.evaluate(model.initial(SMALL), unseen)


def test_a_parameter_that_is_not_a_number_is_no_small_difference() -> None:
    parameters = model.initial(SMALL)
    broken = model.initial(SMALL)
    broken["output.bias"][0] = np.nan
    for ours, theirs in ((broken, parameters), (parameters, broken)):
        assert not training.largest_difference(ours, theirs) <= training.tolerance(10_000)


def test_shards_are_disjoint_and_unseen_text_is_in_none() -> None:
    symbols = np.arange(corpus.UNSEEN + 1000, dtype=np.int64)
    seen, unseen = corpus.split(symbols)  # type: ignore[arg-type]
    parts = [set(corpus.shard(seen, 3, index)) for index in range(3)] + [set(unseen)]
    assert all(parts)
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_the_same_key_draws_the_same_examples() -> None:
    first, again, other = (corpus.sample(TEXT, 50, 4, key) for key in ([1, 2], [1, 2], [1, 3]))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_examples_are_windows_and_what_follows() -> None:
    text = np.arange(90, dtype=np.uint8)
    contexts, following = corpus.sample(text, 500, 4, 1)
    assert (contexts[:, 0] + 4 == following).all()
    assert following.max() == 89, "the last character is never drawn"


def test_the_corpus_is_this_pythons_standard_library() -> None:
    symbols = corpus.read()
    assert corpus.LEAST_BYTES <= len(symbols) <= corpus.LIMIT_BYTES
    assert symbols.max() <= corpus.OTHER
    assert corpus.digest(symbols) == corpus.digest(corpus.read()) != corpus.digest(symbols[1:])


def test_a_python_without_sources_is_told_what_is_missing(tmp_path: object) -> None:
    with pytest.raises(corpus.CorpusError, match="install a Python that comes with it"):
        corpus.read(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 9, 10, 32])
def test_node_names_sort_as_their_numbers(count: int) -> None:
    names = Plan(nodes=count).names()
    assert len(names) == count and names == sorted(names)
