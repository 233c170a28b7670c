"""A node: takes gradients on its own part of the text and sends them to whoever serves it, through the proxy.

    python -m zproxy.demo.node PLAN NAME FRONTEND

A plain REQ socket: one question, one answer. It knows the proxy's address and no other.
"""

from __future__ import annotations

import sys

import zmq

from zproxy.demo import corpus, model, plan, training, wire
from zproxy.demo.model import Tensors
from zproxy.demo.reports import Trained, say
from zproxy.demo.wire import Gradients, Header, Hello, Parameters, WireError


def main(plan_json: str, name: str, frontend: str) -> None:
    """Trains all steps of the plan, then tells what it holds."""
    ours = plan.from_json(plan_json)
    symbols = corpus.read()
    index = ours.names().index(name)
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(frontend)
        step, parameters = ask(socket, Hello(name, corpus.digest(symbols)))
        while step < ours.steps:
            loss, gradients = model.loss_and_gradients(parameters, training.examples(ours, symbols, index, step))
            progress = (step + 1) / ours.steps
            step, parameters = ask(socket, Gradients(name, step, loss, progress), gradients)
    say(Trained(model.digest(parameters)))


def ask(socket: zmq.Socket[bytes], header: Header, tensors: Tensors | None = None) -> tuple[int, Tensors]:
    """The master's answer: a step, and the parameters to take it with."""
    socket.send_multipart(wire.encode(header, tensors), copy=False)
    answer, parameters = wire.decode([frame.buffer for frame in socket.recv_multipart(copy=False)])
    if not isinstance(answer, Parameters):
        raise WireError(f"the master answered {answer}")
    return answer.step, parameters


if __name__ == "__main__":
    main(*sys.argv[1:])
