"""The demo's master, asked by nodes through a proxy: what it takes, what it refuses, whom it misses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.waiting import DEADLINE_SECONDS, wait_until

import zproxy
from zproxy.demo import model, training
from zproxy.demo.master import Training
from zproxy.demo.model import Tensors
from zproxy.demo.plan import Plan

PLAN = Plan(nodes=2, steps=2, batch=4, context=2, embedding=2, hidden=3)
TEXT = "c0ffee"
FREE = "tcp://127.0.0.1:0"


class Peers:
    """A training that is served, and nodes that a test speaks for."""

    def __init__(self, plan: Plan) -> None:
        self.proxy = zproxy.Proxy(FREE, FREE)
        self.proxy.start()
        self.training = Training(plan, TEXT)
        self.master = zproxy.Master(self.proxy.backend, "master", concurrency=plan.nodes, prefetch=0)
        self.training.offer(self.master)
        self.master.start()
        self.nodes = {name: zproxy.Node(name, self.proxy.frontend) for name in (*plan.names(), "stranger")}

    def ask(self, node: str, service: str, body: object, tensors: Tensors | None = None) -> zproxy.Reply:
        return self.nodes[node].request(service, body, tensors=tensors, timeout=DEADLINE_SECONDS)

    def send_gradients(self, node: str, step: int, factor: float = 1.0, loss: float = 1.0) -> Future[zproxy.Reply]:
        """Returns when a handler has them, so that the next ones come later."""
        before = self.master.stats()["delivered"]
        tensors = {name: value * np.float32(factor) for name, value in model.initial(PLAN).items()}
        future = self.nodes[node].submit("gradients", {"step": step, "loss": loss}, tensors=tensors)
        wait_until(lambda: self.master.stats()["delivered"] > before, "gradients are with the master")
        return future

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()
        self.master.stop(0)
        self.proxy.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Peers]]:
    served: list[Peers] = []

    def begin(plan: Plan = PLAN) -> Peers:
        served.append(Peers(plan))
        return served[-1]

    yield begin
    for peers in served:
        peers.close()


@pytest.fixture
def peers(serve: Callable[..., Peers]) -> Peers:
    return serve()


def result(future: Future[zproxy.Reply]) -> Tensors:
    return future.result(DEADLINE_SECONDS).tensors


def test_a_node_begins_with_the_parameters_of_all_processes(peers: Peers) -> None:
    reply = peers.ask("node1", "parameters", {"corpus": TEXT})
    assert training.largest_difference(reply.tensors, model.initial(PLAN)) == 0


def test_a_step_is_the_mean_of_all_nodes_and_answers_each(
    peers: Peers, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    answers: list[Tensors] = []
    peers.nodes["node1"].send_progress(50)
    peers.nodes["node2"].send_progress(75)
    for step, (late, early) in enumerate([("node1", "node2"), ("node2", "node1")]):
        first = peers.send_gradients(early, step, factor=3.0, loss=2.0)
        assert not first.done()
        answers += [result(peers.send_gradients(late, step, factor=1.0)), result(first)]
    start = model.initial(PLAN)
    mean = {name: 2.0 * value.astype(np.float64) for name, value in start.items()}
    once = training.descend(start, mean, PLAN.learning_rate)
    twice = training.descend(once, mean, PLAN.learning_rate)
    for parameters, expected in zip(answers, [once, once, twice, twice], strict=True):
        assert training.largest_difference(parameters, expected) < 1e-6
    assert peers.training.is_over.is_set()
    told = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [report["step"] for report in told] == [1, 2]
    assert told[0]["loss"] == 1.5
    assert told[0]["progress"] == {"node1": 0.5, "node2": 0.75}


def test_silence_names_the_missing_node(serve: Callable[..., Peers]) -> None:
    short = Plan(nodes=2, steps=2, patience_s=0.05, batch=4, context=2, embedding=2, hidden=3)
    future = serve(short).send_gradients("node1", 0)
    with pytest.raises(zproxy.HandlerError, match=r"Silence: nothing from node2 in 0.05 s, at step 0;"):
        result(future)


def test_a_loss_that_is_no_number_ends_the_training_for_all(peers: Peers) -> None:
    futures = [peers.send_gradients("node1", 0), peers.send_gradients("node2", 0, loss=float("nan"))]
    for future in futures:
        with pytest.raises(zproxy.HandlerError, match="Diverged: the loss is nan at step 0"):
            result(future)


def test_garbage_is_refused_and_the_others_are_served(peers: Peers) -> None:
    for body in (None, b"\xc1", {"step": "none", "loss": 1.0}, {"step": 0}):
        with pytest.raises(zproxy.MalformedRequest):
            peers.ask("stranger", "gradients", body)
    for step in range(PLAN.steps):
        for future in [peers.send_gradients(node, step) for node in PLAN.names()]:
            result(future)
    assert peers.training.is_over.is_set()


def test_what_does_not_fit_the_training_is_refused(peers: Peers) -> None:
    def refusal(call: Callable[[], Any]) -> str:
        with pytest.raises(zproxy.HandlerError) as caught:
            call()
        assert caught.value.type == "zproxy.demo.master.Misfit"
        return caught.value.text

    waiting = peers.send_gradients("node1", 0)
    assert "twice" in refusal(lambda: result(peers.send_gradients("node1", 0)))
    assert "out of turn" in refusal(lambda: result(peers.send_gradients("node2", 1)))
    assert "other text" in refusal(lambda: peers.ask("node1", "parameters", {"corpus": "decaf"}))
    assert "another model" in refusal(lambda: peers.ask("node2", "gradients", {"step": 0, "loss": 1.0}))
    for service, body in (("parameters", {"corpus": TEXT}), ("gradients", {"step": 0, "loss": 1.0}), ("progress", {})):
        assert "nobody waits for stranger" in refusal(partial(peers.ask, "stranger", service, body))
    result(peers.send_gradients("node2", 0))
    result(waiting)
