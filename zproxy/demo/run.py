"""Run: what is known of a demo while it goes on. The supervisor writes it, the view reads it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from zproxy.demo.plan import Plan
from zproxy.demo.reports import Checking, Compared, Ready, Report, Stepped, Traffic, Trained


@dataclass
class Run:
    """One demo, from its first process to its verdict."""

    plan: Plan
    pids: dict[str, int] = field(default_factory=dict)
    proxy: Ready | None = None
    started_s: float = field(default_factory=time.monotonic)
    trained_s: float = 0.0  # how long the training took
    losses: list[float] = field(default_factory=list)
    progress: dict[str, float] = field(default_factory=dict)  # node → 0 to 1, as it said
    digests: dict[str, str] = field(default_factory=dict)  # who holds which parameters at the end
    traffic: Traffic | None = None
    messages_per_s: float = 0.0
    bytes_per_s: float = 0.0
    checked_steps: int = 0
    compared: Compared | None = None

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def is_trained(self) -> bool:
        """The master and all nodes have told what they hold."""
        return len(self.digests) == self.plan.nodes + 1

    def take(self, name: str, report: Report) -> None:
        """What the process of that name has said."""
        match report:
            case Ready():
                self.proxy = report
            case Traffic():
                self._take_traffic(report)
            case Stepped():
                self.losses.append(report.loss)
                self.progress.update(report.progress)
                self.trained_s = time.monotonic() - self.started_s
            case Trained():
                self.digests[name] = report.digest
            case Checking():
                self.checked_steps = report.step
            case Compared():
                self.compared = report

    def _take_traffic(self, now: Traffic) -> None:
        before, self.traffic = self.traffic, now
        if before is not None and self.step < self.plan.steps:  # the rates of the training stay
            seconds = now.at_s - before.at_s
            self.messages_per_s = (now.messages - before.messages) / seconds
            self.bytes_per_s = (now.wire_bytes - before.wire_bytes) / seconds


@dataclass(frozen=True)
class Check:
    """One thing that has to hold at the end, and what was found."""

    holds: bool
    text: str


def verdict(run: Run) -> list[Check]:
    """What a finished run has to show. Written so that no comparison with nan holds."""
    found = run.compared
    assert found is not None, "nothing was compared"
    digests = set(run.digests.values())
    return [
        Check(
            found.largest_difference <= found.tolerance,
            f"parameters equal one process's on the same batches:"
            f" largest difference {found.largest_difference:.2g}, allowed {found.tolerance:.2g}",
        ),
        Check(len(digests) == 1, "all nodes hold the master's parameters, bit by bit"),
        Check(
            found.loss_after < found.loss_before,
            f"loss on text that no node has seen fell: {found.loss_before:.3f} → {found.loss_after:.3f}",
        ),
    ]
