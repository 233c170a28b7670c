"""The master: hands out parameters, waits for all nodes' gradients of a step, averages them, steps, answers.

    python -m zproxy.demo.master PLAN BACKEND RESULT

Three services of a zproxy.Master: `parameters` once for each node, then for each step `progress` and `gradients`. A
node's gradients are answered when all have come, so each node has a handler's thread, which waits in it for the
others. It knows the proxy's address and no node's.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import msgspec
import numpy as np

import zproxy
from zproxy.demo import corpus, model, plan, training
from zproxy.demo.model import Tensors
from zproxy.demo.plan import Plan
from zproxy.demo.reports import Stepped, Trained, say


class Misfit(Exception):
    """A node asks for what does not belong to this training."""


class Silence(Exception):
    """Nodes are missing, and the patience is over."""


class Diverged(Exception):
    """The loss is no number any more."""


class Corpus(msgspec.Struct, frozen=True):
    """What a node begins with."""

    corpus: str  # digest: all have to train on the same text


class Gradients(msgspec.Struct, frozen=True):
    """What a node says with its gradients."""

    step: int
    loss: float


class Training:
    """One training: `parameters` after `step` steps, and what has come for the next one.

    Its services run in any number of threads. What they raise, nodes get as HandlerError.
    """

    def __init__(self, ours: Plan, digest: str) -> None:
        self.plan = ours
        self.digest = digest
        self.step = 0
        self.parameters = model.initial(ours)
        self.is_over = threading.Event()
        self._arrived: dict[str, zproxy.Request] = {}
        self._progress: dict[str, float] = {}
        self._all = threading.Barrier(ours.nodes, self._take_step, ours.patience_s)
        self._fault: Exception | None = None

    def offer(self, master: zproxy.Master) -> None:
        """Its services, before the master starts."""
        master.service("parameters", body=Corpus)(self.begin)
        master.service("progress")(self.note)
        master.service("gradients", body=Gradients, idempotent=False)(self.gather)

    def begin(self, request: zproxy.Request) -> tuple[None, Tensors]:
        """The parameters to begin with. Raises Misfit."""
        self._check(request)
        if request.body.corpus != self.digest:
            raise Misfit(f"{request.node} reads other text than the master: is its Python of another version?")
        return None, self.parameters

    def note(self, request: zproxy.Request) -> None:
        """How far a node has come, for the next report."""
        self._check(request)
        self._progress[request.node] = (request.progress or 0.0) / 100

    def gather(self, request: zproxy.Request) -> tuple[None, Tensors]:
        """The parameters after the step, once all nodes' gradients are there. Raises Misfit, Silence, Diverged."""
        self._check(request)
        if {name: value.shape for name, value in request.tensors.items()} != self._shapes():
            raise Misfit(f"{request.node} sent gradients of another model")
        step = request.body.step
        if step != self.step or self._arrived.setdefault(request.node, request) is not request:
            raise Misfit(f"{request.node} sent gradients of step {step}, twice or out of turn: {self.step} is due")
        try:
            self._all.wait()
        except threading.BrokenBarrierError:
            raise self._fault or self._silence() from None
        return None, self.parameters

    def _take_step(self) -> None:
        """Run by one of the waiting threads while all others still wait."""
        losses = [request.body.loss for request in self._arrived.values()]
        loss = math.fsum(losses) / self.plan.nodes
        if not math.isfinite(loss):
            self._fault = Diverged(f"the loss is {loss} at step {self.step}")
            raise self._fault
        mean = training.average({name: request.tensors for name, request in self._arrived.items()})
        self.parameters = training.descend(self.parameters, mean, self.plan.learning_rate)
        self._arrived.clear()
        self.step += 1
        say(Stepped(self.step, loss, dict(self._progress)))
        if self.step == self.plan.steps:
            self.is_over.set()

    def _check(self, request: zproxy.Request) -> None:
        if request.node not in self.plan.names():
            raise Misfit(f"nobody waits for {request.node}")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """What gradients have to look like."""
        return {name: value.shape for name, value in self.parameters.items()}

    def _silence(self) -> Silence:
        missing = ", ".join(name for name in self.plan.names() if name not in self._arrived)
        return Silence(f"nothing from {missing} in {self.plan.patience_s:g} s, at step {self.step}")


def main(plan_json: str, backend: str, result: str) -> None:
    """Trains, leaves the parameters in the file `result`, tells what it holds."""
    ours = plan.from_json(plan_json)
    ongoing = Training(ours, corpus.digest(corpus.read()))
    master = zproxy.Master(backend, "master", concurrency=ours.nodes, prefetch=0)
    ongoing.offer(master)
    with master:
        ongoing.is_over.wait()
    stored: dict[str, Any] = dict(ongoing.parameters)
    np.savez(result, **stored)
    say(Trained(model.digest(ongoing.parameters)))


if __name__ == "__main__":
    main(*sys.argv[1:])
