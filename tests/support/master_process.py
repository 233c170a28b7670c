"""The tests' handle on a master in a process of its own (support/service_host.py)."""

from __future__ import annotations

import json
from typing import Any

from support.processes import Servant
from support.waiting import wait_until


class MasterProcess:
    """It serves `echo`, `add`, `fail`, `hold`, `once`, `note`, `progress`, `look`, `keep` and `kept`.

    `options` are Master's, and `lease`, of `hold`.
    """

    def __init__(self, backend: str | list[str], name: str = "m1", **options: Any) -> None:
        self.name = name
        self._servant = Servant("service_host", json.dumps(backend), json.dumps({"name": name, **options}))

    @property
    def pid(self) -> int:
        return self._servant.pid

    def wait_serving(self) -> None:
        """A proxy has answered it."""
        wait_until(lambda: self.stats()["welcomes"], f"{self.name} is welcomed")

    def begun(self) -> list[dict[str, Any]]:
        """What `hold` and `once` have begun, each with `node`, `body`, `attempt` and `cancelled`."""
        begun: list[dict[str, Any]] = self._servant.ask("begun")
        return begun

    def wait_begun(self, count: int = 1) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]]:
            begun = self.begun()
            return begun if len(begun) >= count else []

        return wait_until(enough, f"{self.name} has begun {count}")

    def wait_cancelled(self, body: Any) -> None:
        """The request with this body is told that nobody waits for it."""
        wait_until(
            lambda: any(each["body"] == body and each["cancelled"] for each in self.begun()), f"{body!r} is cancelled"
        )

    def open_gate(self) -> None:
        self._servant.ask("open_gate")

    def adds(self) -> int:
        """How often the handler of `add` was called."""
        count: int = self._servant.ask("adds")
        return count

    def notes(self) -> list[Any]:
        """What `note` and `progress` were told, in order."""
        notes: list[Any] = self._servant.ask("notes")
        return notes

    def stats(self) -> dict[str, int]:
        stats: dict[str, int] = self._servant.ask("stats")
        return stats

    def stop(self) -> None:
        """As an operator would, with all it has finished."""
        self._servant.ask("stop")

    def kill(self) -> None:
        """kill -9, whatever it does."""
        self._servant.kill()
