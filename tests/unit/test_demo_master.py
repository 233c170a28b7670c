"""The demo's master alone, with a peer in place of the proxy: what it takes, what it refuses, whom it misses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from zproxy.demo import model, training, wire
from zproxy.demo.master import Diverged, Master, Silence
from zproxy.demo.model import Tensors
from zproxy.demo.plan import Plan
from zproxy.demo.wire import Gradients, Hello, Parameters, Refused

PLAN = Plan(nodes=2, steps=2, patience_s=0.05, batch=4, context=2, embedding=2, hidden=3)
TEXT = "c0ffee"


class Peers:
    """Both ends of a pair: the master, and everybody else."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.nodes, ours = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self.nodes.bind("inproc://proxy")
        ours.connect("inproc://proxy")
        self.nodes.rcvtimeo = 5000
        self.master = Master(PLAN, ours, TEXT)

    def send(self, node: str, header: wire.Header, tensors: Tensors | None = None) -> None:
        self.nodes.send_multipart([node.encode(), b"", *wire.encode(header, tensors)])

    def send_gradients(self, node: str, step: int, factor: float = 1.0, **changes: Any) -> None:
        tensors = {name: value * np.float32(factor) for name, value in model.initial(PLAN).items()}
        self.send(node, Gradients(node, step, **{"loss": 1.0, "progress": 0.5, **changes}), tensors)

    def receive(self) -> tuple[str, wire.Header, Tensors]:
        node, empty, *frames = self.nodes.recv_multipart()
        assert empty == b""
        return node.decode(), *wire.decode(frames)

    def refusal(self, wrong: Callable[[], None]) -> str:
        """What the master answers to `wrong` before it falls silent for want of the others."""
        wrong()
        with pytest.raises(Silence):
            self.master.gather()
        _, answer, _ = self.receive()
        assert isinstance(answer, Refused)
        return answer.reason


@pytest.fixture
def peers() -> Iterator[Peers]:
    context: zmq.Context[Any] = zmq.Context()
    yield Peers(context)
    context.destroy(0)


def test_a_hello_is_answered_with_the_parameters(peers: Peers) -> None:
    peers.send("node1", Hello("node1", TEXT))
    with pytest.raises(Silence):
        peers.master.gather()
    node, answer, parameters = peers.receive()
    assert (node, answer) == ("node1", Parameters(0))
    assert training.largest_difference(parameters, model.initial(PLAN)) == 0


def test_a_step_is_the_mean_of_all_nodes_and_answers_each(
    peers: Peers, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    for step, (late, early) in enumerate([("node1", "node2"), ("node2", "node1")]):
        peers.send_gradients(early, step, factor=3.0, loss=2.0, progress=0.75)
        peers.send_gradients(late, step, factor=1.0)
    peers.master.train()
    start = model.initial(PLAN)
    mean = {name: 2.0 * value.astype(np.float64) for name, value in start.items()}
    once = training.descend(start, mean, PLAN.learning_rate)
    twice = training.descend(once, mean, PLAN.learning_rate)
    answers = [peers.receive() for _ in range(4)]
    assert sorted((node, answer) for node, answer, _ in answers[:2]) == [
        ("node1", Parameters(1)),
        ("node2", Parameters(1)),
    ]
    for _, answer, parameters in answers:
        assert isinstance(answer, Parameters)
        assert training.largest_difference(parameters, once if answer.step == 1 else twice) < 1e-6
    told = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [report["step"] for report in told] == [1, 2]
    assert told[0]["loss"] == 1.5
    assert told[0]["progress"] == {"node1": 0.5, "node2": 0.75}


def test_silence_names_the_missing_node(peers: Peers) -> None:
    peers.send_gradients("node1", 0)
    with pytest.raises(Silence, match=r"^nothing from node2 in 0.05 s, at step 0$"):
        peers.master.train()


def test_a_loss_that_is_no_number_ends_the_training(peers: Peers) -> None:
    peers.send_gradients("node1", 0)
    peers.send_gradients("node2", 0, loss=float("nan"))
    with pytest.raises(Diverged, match="nan at step 0"):
        peers.master.train()


def test_garbage_is_refused_and_the_others_are_served(peers: Peers) -> None:
    peers.nodes.send_multipart([b"stranger", b"", b"\xc1"])
    peers.nodes.send_multipart([b"nobody's question"])
    peers.nodes.send_multipart([b"no", b"REQ", b"either"])
    for step in range(PLAN.steps):
        for node in PLAN.names():
            peers.send_gradients(node, step)
    peers.master.train()
    node, answer, _ = peers.receive()
    assert node == "stranger" and isinstance(answer, Refused)
    assert [peers.receive()[1] for _ in range(4)] == [Parameters(1)] * 2 + [Parameters(2)] * 2


def test_what_does_not_fit_the_training_is_refused(peers: Peers) -> None:
    def twice() -> None:
        peers.send_gradients("node1", 0)
        peers.send_gradients("node1", 0)

    assert "other text" in peers.refusal(lambda: peers.send("node1", Hello("node1", "decaf")))
    assert "nobody waits" in peers.refusal(lambda: peers.send("node3", Hello("node3", TEXT)))
    assert "nobody waits" in peers.refusal(lambda: peers.send("node1", Parameters(0)))
    assert "out of turn" in peers.refusal(lambda: peers.send_gradients("node1", 1))
    assert "another model" in peers.refusal(lambda: peers.send("node1", Gradients("node1", 0, 1.0, 0.0)))
    assert "twice" in peers.refusal(twice)
