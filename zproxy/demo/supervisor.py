"""The supervisor: starts a proxy, a master and nodes, follows them, has the result checked, ends them all.

    proxy ready ─► master, nodes ─► all trained ─► proxy ends ─► reference ─► compared

Anything else is a Failure that says who or what, and within seconds nothing is left running.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from zproxy.demo.children import Child, Children
from zproxy.demo.plan import Plan
from zproxy.demo.run import Run
from zproxy.demo.view import View
from zproxy.processes import interruptible

REFRESH_S = 0.1


class Failure(Exception):
    """Why a run ended before its time, in one line."""


class Supervisor:
    """One demo."""

    def __init__(self, plan: Plan, view: View) -> None:
        self.run = Run(plan)
        self.view = view
        self.children = Children()
        self._shown_s = 0.0

    def execute(self) -> Run:
        """The finished run, not yet judged. Raises Failure, Interrupted."""
        with interruptible(), self.children, self.view:
            proxy = self.start_proxy()
            self.train(proxy)
            self.check()
            return self.run

    def start_proxy(self) -> Child:
        """A proxy that has told where it listens."""
        proxy = self.start("proxy")
        self.follow(lambda: self.run.proxy is not None)
        return proxy

    def train(self, proxy: Child) -> None:
        """All steps, through the proxy; ends with its last counters."""
        plan, ready = self.run.plan, self.run.proxy
        assert ready is not None
        self.start("master", plan.to_json(), ready.backend, str(self.children.folder / "parameters.npz"))
        for name in plan.names():
            self.start("node", plan.to_json(), name, ready.frontend, name=name)
        self.follow(lambda: self.run.is_trained and len(self.children.running) == 1)
        proxy.process.terminate()
        self.follow(lambda: not self.children.running)

    def check(self) -> None:
        """The same training by a single process, compared."""
        self.start("reference", self.run.plan.to_json(), str(self.children.folder / "parameters.npz"))
        self.follow(lambda: not self.children.running)

    def start(self, program: str, *arguments: str, name: str | None = None) -> Child:
        """A process of the demo, by its module's name. Raises Failure where the system allows no more of them."""
        name = name or program
        try:
            child = self.children.start(name, f"zproxy.demo.{program}", *arguments)
        except OSError as error:
            raise Failure(f"cannot start {name}: {error.strerror}") from error
        self.run.pids[child.name] = child.pid
        return child

    def follow(self, is_reached: Callable[[], bool]) -> None:
        """Takes what the children say until a condition holds. Raises Failure if one dies or all fall silent."""
        patience_s = 2 * self.run.plan.patience_s  # the master gives up sooner, and names who is missing
        heard_s = time.monotonic()
        while not is_reached():
            for child, report in self.children.wait(REFRESH_S):
                heard_s = time.monotonic()
                if report is not None:
                    self.run.take(child.name, report)
                elif child.process.wait() != 0:
                    raise Failure(self.children.cause(child).end_in_words())
            if time.monotonic() - heard_s > patience_s:
                silent = ", ".join(child.name for child in self.children.running)
                raise Failure(f"{silent}: not a word in {patience_s:g} s")
            self.show()
        self.view.show(self.run)

    def show(self) -> None:
        """Draws, but not for every step."""
        if time.monotonic() - self._shown_s >= REFRESH_S:
            self.view.show(self.run)
            self._shown_s = time.monotonic()
