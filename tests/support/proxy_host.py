"""A process that runs one `zproxy.Proxy` and answers for it (see HostedProxy)."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from support.processes import serve
from zproxy import Proxy, SettingError


class Calls:
    """What the tests may ask."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.proxy = Proxy(**options)
        self.proxy.start()
        self._stops: list[Future[None]] = []
        self._threads = ThreadPoolExecutor()

    def endpoints(self) -> dict[str, list[str]]:
        return {"frontend": list(self.proxy.frontend), "backend": list(self.proxy.backend)}

    def stats(self) -> dict[str, int]:
        return dict(self.proxy.stats())

    def books(self) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Counters and services of one moment."""
        stats, services, _ = self.proxy.report()
        return stats, [row._asdict() for row in services]

    def peers(self) -> list[dict[str, Any]]:
        return [row._asdict() for row in self.proxy.report()[2]]

    def reload(self) -> str:
        """Why not; "" where the new rules hold."""
        try:
            self.proxy.reload()
        except SettingError as error:
            return str(error)
        return ""

    def generation(self) -> int:
        return self.proxy.generation

    def begin_stop(self, drain: float) -> None:
        self._stops.append(self._threads.submit(self.proxy.stop, drain))

    def wait(self, timeout: float) -> bool:
        """Have all stops returned? Raises what they raised: a debug build tells of leaks there."""
        unfinished = wait(self._stops, timeout).not_done
        for stop in self._stops:
            if stop.done():
                stop.result()
        return not unfinished


def main(options: str) -> None:
    serve(Calls(json.loads(options)))
