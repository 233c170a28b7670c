"""A node: takes gradients on its own part of the text and sends them to whoever serves it, through the proxy.

    python -m zproxy.demo.node PLAN NAME FRONTEND

A zproxy.Node: it knows the names of services and the proxy's address, and no other. Whatever goes wrong is raised by
its requests, ends it, and is quoted by the supervisor.
"""

from __future__ import annotations

import sys

import zproxy
from zproxy.demo import corpus, model, plan, training
from zproxy.demo.reports import Trained, say


def main(plan_json: str, name: str, frontend: str) -> None:
    """Trains all steps of the plan, then tells what it holds."""
    ours = plan.from_json(plan_json)
    symbols = corpus.read()
    index = ours.names().index(name)
    with zproxy.Node(name, frontend) as node:
        reply = node.request("parameters", {"corpus": corpus.digest(symbols)}, timeout=ours.answer_s)
        for step in range(ours.steps):
            loss, gradients = model.loss_and_gradients(reply.tensors, training.examples(ours, symbols, index, step))
            node.send_progress(100 * (step + 1) / ours.steps, step, timeout=ours.answer_s)
            said = {"step": step, "loss": loss}
            reply = node.request("gradients", said, tensors=gradients, step=step, timeout=ours.answer_s)
    say(Trained(model.digest(reply.tensors)))


if __name__ == "__main__":
    main(*sys.argv[1:])
