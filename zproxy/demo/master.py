"""The master: waits for all nodes' gradients of a step, averages them, steps, answers with the new parameters.

    python -m zproxy.demo.master PLAN BACKEND RESULT

A plain DEALER socket: through the proxy each message comes with the route to its node in front, and the answer
goes back by it, whenever the master likes. It knows the proxy's address and no node's.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import zmq

from zproxy.demo import corpus, model, plan, training, wire
from zproxy.demo.model import Tensors
from zproxy.demo.plan import Plan
from zproxy.demo.reports import Stepped, Trained, say
from zproxy.demo.wire import Gradients, Header, Hello, Parameters, Refused, WireError

Route = list[bytes]  # routing id and the empty frame of a node's REQ


class Silence(Exception):
    """Nodes are missing, and the patience is over."""


class Diverged(Exception):
    """The loss is no number any more."""


class Master:
    """One training: `parameters` after `step` steps, and what has come for the next one."""

    def __init__(self, ours: Plan, socket: zmq.Socket[bytes], digest: str) -> None:
        self.plan = ours
        self.socket = socket
        self.digest = digest
        self.step = 0
        self.parameters = model.initial(ours)
        self.arrived: dict[str, tuple[Route, Gradients, Tensors]] = {}

    def train(self) -> None:
        """All steps of the plan."""
        while self.step < self.plan.steps:
            self.gather()
            loss = math.fsum(said.loss for _, said, _ in self.arrived.values()) / self.plan.nodes
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} at step {self.step}")
            mean = training.average({name: tensors for name, (_, _, tensors) in self.arrived.items()})
            self.parameters = training.descend(self.parameters, mean, self.plan.learning_rate)
            self.step += 1
            say(Stepped(self.step, loss, {name: said.progress for name, (_, said, _) in self.arrived.items()}))
            for route, _, _ in self.arrived.values():
                self.answer(route, Parameters(self.step), self.parameters)
            self.arrived.clear()

    def gather(self) -> None:
        """Takes messages until every node's gradients of this step are there. Raises Silence."""
        while len(self.arrived) < self.plan.nodes:
            if not self.socket.poll(round(self.plan.patience_s * 1000)):
                missing = ", ".join(name for name in self.plan.names() if name not in self.arrived)
                raise Silence(f"nothing from {missing} in {self.plan.patience_s:g} s, at step {self.step}")
            route, frames = split(self.socket.recv_multipart(copy=False))
            if not route:  # nobody's question: there is no way to answer
                continue
            try:
                self.take(route, *wire.decode([frame.buffer for frame in frames]))
            except WireError as error:
                self.answer(route, Refused(str(error)))

    def take(self, route: Route, said: Header, tensors: Tensors) -> None:
        """One message of a node. Raises WireError."""
        if not isinstance(said, Hello | Gradients) or said.node not in self.plan.names():
            raise WireError(f"nobody waits for {said}")
        if isinstance(said, Hello):
            if said.corpus != self.digest:
                raise WireError(f"{said.node} reads other text than the master: is its Python of another version?")
            self.answer(route, Parameters(self.step), self.parameters)
            return
        if said.step != self.step or said.node in self.arrived:
            raise WireError(f"{said.node} sent gradients of step {said.step}, twice or out of turn: {self.step} is due")
        if {name: value.shape for name, value in tensors.items()} != self.shapes():
            raise WireError(f"{said.node} sent gradients of another model")
        self.arrived[said.node] = route, said, tensors

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What gradients have to look like."""
        return {name: value.shape for name, value in self.parameters.items()}

    def answer(self, route: Route, header: Header, tensors: Tensors | None = None) -> None:
        """Sends a node what it waits for."""
        self.socket.send_multipart([*route, *wire.encode(header, tensors)], copy=False)


def split(frames: list[zmq.Frame]) -> tuple[Route, list[zmq.Frame]]:
    """The way back, and what was said. No way back: no REQ has asked."""
    if len(frames) < 2 or len(frames[1]) > 0:
        return [], frames
    return [frame.bytes for frame in frames[:2]], frames[2:]


def main(plan_json: str, backend: str, result: str) -> None:
    """Trains, leaves the parameters in the file `result`, tells what it holds."""
    ours = plan.from_json(plan_json)
    digest = corpus.digest(corpus.read())
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(backend)
        master = Master(ours, socket, digest)
        master.train()
    stored: dict[str, Any] = dict(master.parameters)
    np.savez(result, **stored)
    say(Trained(model.digest(master.parameters)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Silence, Diverged) as error:
        sys.exit(str(error))
