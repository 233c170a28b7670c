"""Proxies under test, each a process: `zproxy run`, its stand-in `zmq.proxy`, and a hosted `zproxy.Proxy`.

The first two have the same options and the same endpoints file, so one suite runs against both. The hosted
one shows its counters; tests that judge counters use it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import Servant
from support.waiting import wait_until
from zproxy.counters import OUTCOMES
from zproxy.loadgen.programs import ZMQ_PROXY
from zproxy.processes import end, spawn
from zproxy.procfs import descriptor_count

START_SECONDS = 20.0

PROGRAMS: dict[str, list[str]] = {
    "zmq.proxy": ZMQ_PROXY,
    "zproxy": [sys.executable, str(Path(sys.executable).parent / "zproxy"), "run", "--log-format", "json"],
}

LOCAL = "tcp://127.0.0.1:0"


class ProxyProcess:
    """One proxy with its options; `endpoints` waits until it is ready."""

    def __init__(
        self,
        program: str,
        *,
        frontend: Iterable[str] = (LOCAL,),
        backend: Iterable[str] = (LOCAL,),
        frontend_connect: Iterable[str] = (),
        backend_connect: Iterable[str] = (),
        options: Iterable[str] = (),
    ) -> None:
        self.program = program
        self.directory = tempfile.TemporaryDirectory(prefix="zproxy-e2e-")
        self._file = Path(self.directory.name, "endpoints.json")
        self._log = Path(self.directory.name, "stderr")
        sides = {
            "--frontend": frontend,
            "--backend": backend,
            "--frontend-connect": frontend_connect,
            "--backend-connect": backend_connect,
        }
        flags = [word for flag, endpoints in sides.items() for endpoint in endpoints for word in (flag, endpoint)]
        with self._log.open("w") as log:
            self.process = spawn(
                [*PROGRAMS[program], *flags, *options, "--endpoints-file", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What the process has written to stderr."""
        return self._log.read_text()

    def endpoints(self, side: str) -> list[str]:
        """The bound endpoints of "frontend" or "backend"."""
        wait_until(lambda: self._file.exists() or self.process.poll() is not None, "proxy ready", START_SECONDS)
        assert self._file.exists(), f"{self.program} ended with {self.process.returncode}: {self.log}"
        found: list[str] = json.loads(self._file.read_text())[side]
        return found

    def endpoint(self, side: str, transport: str = "tcp") -> str:
        """The first bound endpoint of a side with this transport."""
        return next(endpoint for endpoint in self.endpoints(side) if endpoint.startswith(f"{transport}://"))

    @property
    def frontend(self) -> str:
        return self.endpoint("frontend")

    @property
    def backend(self) -> str:
        return self.endpoint("backend")

    def assert_alive(self) -> None:
        assert self.process.poll() is None, f"{self.program} ended with {self.process.returncode}: {self.log}"

    def assert_ends_well(self) -> None:
        """It has outlived the test, and SIGTERM ends it with exit code 0."""
        print(self.log)
        self.assert_alive()
        assert self.stop() == 0, f"{self.program} did not end well"

    def stop(self) -> int:
        """End it as an operator would; the exit code (0 of a zmq.proxy that SIGTERM ended)."""
        code = end(self.process)
        self.directory.cleanup()
        return 0 if self.program == "zmq.proxy" and code == -15 else code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


@dataclass(frozen=True)
class Lane:
    """A proxy and one endpoint of each side."""

    process: ProxyProcess
    frontend: str
    backend: str


class Spares:
    """Proxies bound to a TCP port and an ipc path a side, one of each kind started ahead of its test."""

    def __init__(self) -> None:
        self._spare: dict[str, ProxyProcess] = {}

    def take(self, program: str) -> ProxyProcess:
        """A ready proxy; the next one starts meanwhile."""
        proxy = self._spare.pop(program, None) or self._start(program)
        proxy.endpoints("frontend")
        self._spare[program] = self._start(program)
        return proxy

    def close(self) -> None:
        for proxy in self._spare.values():
            proxy.kill()

    @staticmethod
    def _start(program: str) -> ProxyProcess:
        paths = tempfile.mkdtemp(prefix="zproxy-ipc-")
        return ProxyProcess(
            program,
            frontend=(LOCAL, f"ipc://{paths}/frontend"),
            backend=(LOCAL, f"ipc://{paths}/backend"),
        )


class HostedProxy:
    """`zproxy.Proxy` in a process of its own that answers for its counters (support/proxy_host.py)."""

    def __init__(self, **options: Any) -> None:
        self._servant = Servant("proxy_host", json.dumps({"frontend": LOCAL, "backend": LOCAL, **options}))
        self.endpoints: dict[str, list[str]] = self._servant.ask("endpoints")
        self._descriptors = descriptor_count(self.pid)

    @property
    def pid(self) -> int:
        return self._servant.pid

    @property
    def frontend(self) -> str:
        return self.endpoints["frontend"][0]

    @property
    def backend(self) -> str:
        return self.endpoints["backend"][0]

    def stats(self) -> dict[str, int]:
        stats: dict[str, int] = self._servant.ask("stats")
        return stats

    def books(self) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Counters, and the rows of services, of one moment."""
        stats, services = self._servant.ask("books")
        return stats, services

    def services(self) -> list[dict[str, Any]]:
        return self.books()[1]

    def reload(self) -> str:
        """Reads its registry anew: why it did not, or ""."""
        sentence: str = self._servant.ask("reload")
        return sentence

    def generation(self) -> int:
        """How often it was read."""
        generation: int = self._servant.ask("generation")
        return generation

    def peer(self, name: str) -> dict[str, Any]:
        """The row of Proxy.report about the peer of this name."""
        rows: list[dict[str, Any]] = self._servant.ask("peers")
        return next(row for row in rows if row["name"] == name)

    def wait_for(self, name: str, at_least: int = 1, deadline_seconds: float = 10.0) -> dict[str, int]:
        """All counters, once the named one has reached a value."""
        latest: dict[str, int] = {}

        def reached() -> bool:
            latest.update(self.stats())
            return latest[name] >= at_least

        try:
            wait_until(reached, f"{name} >= {at_least}", deadline_seconds)
        except AssertionError as error:
            counted = {key: value for key, value in latest.items() if value}
            raise AssertionError(f"{error}; all counters: {counted}") from None
        return latest

    def begin_stop(self, drain_seconds: float = 10.0) -> None:
        """Ask it to stop; returns at once."""
        self._servant.ask("begin_stop", drain=drain_seconds)

    def wait_stopped(self, timeout_seconds: float = 15.0) -> bool:
        stopped: bool = self._servant.ask("wait", timeout=timeout_seconds)
        return stopped

    def assert_books_balance(self) -> None:
        """The accounting identities, which hold in every snapshot."""
        stats, services = self.books()
        assert_books_balance(stats, services)

    def assert_ends_well(self) -> None:
        """The books balance before and after its stop, which gives back all memory and every descriptor.

        A debug build checks there as well that nothing was leaked.
        """
        self.assert_books_balance()
        self.begin_stop(0)
        assert self.wait_stopped(), "the proxy does not stop"
        self.assert_books_balance()
        assert self.stats()["memory_bytes"] == 0, "memory is left"
        assert descriptor_count(self.pid) <= self._descriptors, "descriptors are left"

    def close(self) -> None:
        self._servant.kill()


class MortalProxy:
    """A hosted proxy that is killed and comes back on the same ports, as another process that remembers nothing."""

    def __init__(self) -> None:
        self.proxy = HostedProxy()
        self.frontend, self.backend = self.proxy.frontend, self.proxy.backend

    def die(self) -> None:
        self.proxy.close()

    def come_back(self) -> None:
        self.proxy = HostedProxy(frontend=self.frontend, backend=self.backend)


def assert_books_balance(stats: dict[str, int], services: list[dict[str, Any]]) -> None:
    """Every request and every reply is accounted for exactly once; managed ones for each service, too."""
    assert_counters_balance(stats)
    managed = managed_books(stats)
    for row in services:
        assert row["accepted"] == row["live"] + sum(row[name] for name in OUTCOMES), f"does not balance: {row}"
    for name, count in managed.items():
        assert count == sum(row[name] for row in services), f"{count} {name}, but by service: {services}"


def assert_counters_balance(stats: dict[str, int]) -> None:
    """The same by the counters alone, where there is nothing else to see."""
    taken = stats["requests_in"] + stats["requests_rerouted"]
    given = stats["requests_out"] + stats["requests_undelivered"] + stats["waiting_requests"]
    given += stats["requests_no_memory"]
    assert taken == given, f"requests: {taken} in or rerouted, {given} out, undelivered or waiting"
    managed = managed_books(stats)
    assert managed["accepted"] == managed["live"] + sum(managed[name] for name in OUTCOMES), f"managed: {managed}"
    dropped = sum(stats[name] for name in stats if name.startswith("dropped_"))
    assert stats["replies_in"] == stats["replies_out"] + dropped, f"replies do not balance: {stats}"


def managed_books(stats: dict[str, int]) -> dict[str, int]:
    """What became of managed requests."""
    return {name: stats[f"managed_{name}"] for name in ("accepted", *OUTCOMES, "live")}
