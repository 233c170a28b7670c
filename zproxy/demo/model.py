"""Model: the next character from the last few. Pure numpy, gradients by hand, no I/O.

    contexts ─► embedding ─► x ─► tanh(x·W + b) = h ─► h·V + c = scores ─► softmax ─► loss
    (n, 16)                (n, 256)            (n, 256)       (n, 97)

Computes in the dtype of its parameters. `backward` goes the same way from right to left.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zproxy.demo.corpus import VOCABULARY, Examples
from zproxy.demo.plan import Plan

Array = NDArray[Any]
Tensors = dict[str, Array]


def initial(plan: Plan) -> Tensors:
    """Parameters before the first step: the same in every process."""
    rng = np.random.default_rng(plan.seed)
    inputs = plan.context * plan.embedding
    drawn: Tensors = {
        "embedding": rng.normal(0, 0.5, (VOCABULARY, plan.embedding)),
        "hidden.weight": rng.normal(0, inputs**-0.5, (inputs, plan.hidden)),
        "hidden.bias": np.zeros(plan.hidden),
        "output.weight": rng.normal(0, 0.01, (plan.hidden, VOCABULARY)),
        "output.bias": np.zeros(VOCABULARY),
    }
    return {name: value.astype(np.float32) for name, value in drawn.items()}


def digest(parameters: Tensors) -> str:
    """Equal for equal bits: whether two processes hold the same model."""
    total = hashlib.sha256()
    for name in sorted(parameters):
        total.update(parameters[name].tobytes())
    return total.hexdigest()[:16]


def forward(parameters: Tensors, contexts: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """x, h and the probabilities of each next character."""
    x = parameters["embedding"][contexts].reshape(len(contexts), -1)
    h = np.tanh(x @ parameters["hidden.weight"] + parameters["hidden.bias"])
    scores = h @ parameters["output.weight"] + parameters["output.bias"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return x, h, powers / powers.sum(axis=1, keepdims=True)


def loss(probabilities: Array, following: NDArray[np.intp]) -> float:
    """Mean of -log p(the character that did follow), in nats: log(97) = 4.57 knows nothing."""
    likely = probabilities[np.arange(len(following)), following]
    return float(-np.log(likely, dtype=np.float64).mean())


def evaluate(parameters: Tensors, examples: Examples) -> float:
    """The loss, without gradients."""
    contexts, following = examples
    return loss(forward(parameters, contexts)[2], following)


def loss_and_gradients(parameters: Tensors, examples: Examples) -> tuple[float, Tensors]:
    """The mean loss over the examples, and its derivative by every parameter."""
    contexts, following = examples
    x, h, probabilities = forward(parameters, contexts)
    return loss(probabilities, following), backward(parameters, examples, x, h, probabilities)


def backward(parameters: Tensors, examples: Examples, x: Array, h: Array, probabilities: Array) -> Tensors:
    """Gradients of the mean loss."""
    contexts, following = examples
    count = len(following)
    by_scores = probabilities.copy()
    by_scores[np.arange(count), following] -= 1
    by_scores /= count
    by_hidden = (by_scores @ parameters["output.weight"].T) * (1 - h * h)
    by_x = by_hidden @ parameters["hidden.weight"].T
    return {
        "embedding": _sum_by_character(contexts.ravel(), by_x.reshape(contexts.size, -1)),
        "hidden.weight": x.T @ by_hidden,
        "hidden.bias": by_hidden.sum(axis=0),
        "output.weight": h.T @ by_scores,
        "output.bias": by_scores.sum(axis=0),
    }


def _sum_by_character(characters: NDArray[np.intp], rows: Array) -> Array:
    """Rows of the same character added up, as a product with a one-hot matrix: np.add.at takes 5 times as long."""
    one_hot = np.zeros((len(characters), VOCABULARY), rows.dtype)
    one_hot[np.arange(len(characters)), characters] = 1
    return one_hot.T @ rows
