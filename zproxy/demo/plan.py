"""Plan: the numbers that all processes of one run agree on. Travels as JSON on their command lines."""

from __future__ import annotations

import msgspec

MAX_NODES = 32  # a process of about 60 MiB each
MAX_STEPS = 10_000


class Plan(msgspec.Struct, frozen=True):
    """What is trained, by how many, on how much."""

    nodes: int = 4
    steps: int = 200
    patience_s: float = 30.0  # silence after which a node or the whole run is given up
    batch: int = 512  # examples per node and step
    context: int = 16  # characters the model looks back
    embedding: int = 16  # floats per character
    hidden: int = 256
    learning_rate: float = 0.5
    seed: int = 7

    @property
    def answer_s(self) -> float:
        """How long a node waits for an answer: the master has given up by then, and has said who is missing."""
        return 1.5 * self.patience_s

    def names(self) -> list[str]:
        """The nodes' names; their order as text is the order of their numbers."""
        width = len(str(self.nodes))
        return [f"node{number:0{width}d}" for number in range(1, self.nodes + 1)]

    def in_words(self) -> str:
        """For titles: "1 node, 200 steps"."""
        nodes, steps = ("" if count == 1 else "s" for count in (self.nodes, self.steps))
        return f"{self.nodes} node{nodes}, {self.steps} step{steps}"

    def to_json(self) -> str:
        """The plan as one argument of a command line."""
        return msgspec.json.encode(self).decode()


def from_json(text: str) -> Plan:
    """Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=Plan)
