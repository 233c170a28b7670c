"""Load: nodes and masters in processes of their own that note what they do, and the oracle over all of it.

    LoadNode ──► proxy of the test ──► LoadMaster
        └── ledgers in one folder ──────┘ ──► Load.judge

Tests do harm to whoever they like meanwhile; `Load.fault` remembers when.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Collection
from typing import Any

from support.fault_oracle import Judgement, judge, recovery_seconds
from support.ledger import Records, read_ledgers
from support.processes import Servant
from support.waiting import wait_until


class LoadNode:
    """One node; it asks from the beginning on. Fields of Work; `options` of the SDK's `submit`, `keys` of its Node."""

    def __init__(
        self, name: str, endpoints: list[str], folder: str, requests: int, patience_seconds: float, **options: Any
    ) -> None:
        self.name = name
        self.requests = requests
        self._patience_seconds = patience_seconds
        spec = {"name": name, "endpoints": endpoints, "folder": folder, "requests": requests, **options}
        self._servant = Servant("load_node", json.dumps(spec))

    @property
    def pid(self) -> int:
        return self._servant.pid

    def answered(self) -> int:
        """Requests that have an outcome."""
        count: int = self._servant.ask("answered")
        return count

    def wait_answered(self, count: int) -> None:
        wait_until(lambda: self.answered() >= count, f"{self.name} has {count} outcomes", self._patience_seconds)

    def is_done(self) -> bool:
        """Has everything it asked its outcome?"""
        is_done: bool = self._servant.ask("is_done")
        return is_done

    def wait_done(self) -> None:
        wait_until(self.is_done, f"{self.name} has all outcomes", self._patience_seconds)

    def finish(self) -> None:
        """It asks nothing more."""
        self._servant.ask("finish")

    def stats(self) -> dict[str, int]:
        stats: dict[str, int] = self._servant.ask("stats")
        return stats

    def assert_books_balance(self) -> None:
        """Each request has one end. What came for none that was open is for one it had given up, never a second."""
        counts = self.stats()
        ended = sum(counts[name] for name in ("replies", "errors", "timeouts", "cancelled"))
        assert counts["requests"] == ended + counts["open"], f"{self.name}: {counts}"
        assert counts["late"] <= counts["timeouts"] + counts["cancelled"], f"{self.name}: {counts}"

    def wall_clock(self) -> float:
        """time.time() there."""
        now: float = self._servant.ask("wall_clock")
        return now

    def kill(self) -> None:
        self._servant.kill()


class LoadMaster:
    """One master, which may be killed and comes back under its name."""

    def __init__(self, name: str, endpoints: list[str], folder: str, **options: Any) -> None:
        self.name = name
        self._spec = json.dumps({"name": name, "endpoints": endpoints, "folder": folder, **options})
        self._servant = Servant("load_master", self._spec)

    @property
    def pid(self) -> int:
        return self._servant.pid

    @property
    def is_alive(self) -> bool:
        return self._servant.is_alive

    def stats(self) -> dict[str, int]:
        stats: dict[str, int] = self._servant.ask("stats")
        return stats

    def wait_serving(self) -> None:
        """A proxy has welcomed it."""
        wait_until(lambda: self.stats()["welcomes"], f"{self.name} is welcomed")

    def wall_clock(self) -> float:
        """time.time() there."""
        now: float = self._servant.ask("wall_clock")
        return now

    def stop(self) -> None:
        """As an operator would."""
        self._servant.ask("stop")

    def kill(self) -> None:
        """kill -9."""
        self._servant.kill()

    def come_back(self) -> None:
        """As another process."""
        self._servant.kill()
        self._servant = Servant("load_master", self._spec)


class Load:
    """The nodes and masters of one test, whose conditions may take so long."""

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self._folder = tempfile.mkdtemp(prefix="zproxy-load-")
        self._started = time.monotonic()
        self._faults: list[float] = []
        self.nodes: list[LoadNode] = []
        self.masters: list[LoadMaster] = []

    def node(self, endpoint: str | list[str], requests: int, name: str = "", **options: Any) -> LoadNode:
        name = name or f"node{len(self.nodes) + 1}"
        made = LoadNode(name, _listed(endpoint), self._folder, requests, self.patience_seconds, **options)
        self.nodes.append(made)
        return made

    def master(self, endpoint: str | list[str], name: str = "", **options: Any) -> LoadMaster:
        name = name or f"m{len(self.masters) + 1}"
        self.masters.append(LoadMaster(name, _listed(endpoint), self._folder, **options))
        return self.masters[-1]

    def fault(self) -> float:
        """A fault begins now, which is returned."""
        self._faults.append(time.monotonic())
        return self._faults[-1]

    @property
    def faults(self) -> int:
        return len(self._faults)

    @property
    def seconds(self) -> float:
        """Since the load was made."""
        return time.monotonic() - self._started

    def records(self) -> Records:
        return read_ledgers(self._folder)

    def recovery_seconds(self) -> float:
        """The longest until all that was open at a fault had its outcome."""
        return recovery_seconds(self.records(), self._faults)

    def busiest_master(self) -> LoadMaster:
        """The one that began something last."""
        latest = max(self.records().executions, key=lambda execution: execution.at)
        return next(master for master in self.masters if master.name == latest.worker)

    def rate(self, node: str, since: float, until: float) -> float:
        """Replies a second that a node had in a time."""
        ends = [outcome.at for outcome in self.records().outcomes if outcome.node == node and outcome.is_reply]
        return sum(since <= at < until for at in ends) / (until - since)

    def latency_p99_ms(self, node: str, since: float, until: float) -> float:
        """Of what a node asked in a time."""
        records = self.records()
        began = {each.sequence: each.at for each in records.attempts if each.node == node and since <= each.at < until}
        taken = sorted(each.at - began[each.sequence] for each in records.outcomes
                       if each.node == node and each.sequence in began)  # fmt: skip
        return taken[len(taken) * 99 // 100] * 1000 if taken else 0.0

    def wait_done(self) -> None:
        for node in self.nodes:
            node.wait_done()

    def harm_until_done(
        self, harm: Callable[[], object], every_seconds: float = 0.0, has_shown: Callable[[], bool] = lambda: True
    ) -> None:
        """Calls `harm` again and again, until all nodes have their outcomes and it has shown what it does."""
        due = time.monotonic()

        def is_done() -> bool:
            nonlocal due
            if time.monotonic() >= due:
                harm()
                due = time.monotonic() + every_seconds
            return all(node.is_done() for node in self.nodes) and has_shown()

        wait_until(is_done, "all have outcomes, and the harm has shown", self.patience_seconds)

    def judge(self, whose: Collection[str] = ()) -> Judgement:
        """What became of everything, or of what these nodes asked; the promises to them are kept.

        Of the other nodes it is only demanded that each of their requests has an outcome.
        """
        records = self.records()
        names = whose or [node.name for node in self.nodes]
        found = judge(records.of(names))
        found.assert_promises_kept()
        assert not judge(records).lost
        for node in self.nodes:
            if node.name in names:
                node.assert_books_balance()
        return found

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        for master in self.masters:
            master.kill()


def _listed(endpoint: str | list[str]) -> list[str]:
    return [endpoint] if isinstance(endpoint, str) else endpoint
