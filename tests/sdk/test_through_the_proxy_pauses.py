"""Proxies that end and come back, or go for good where another one is, under load: a pause, and not one error."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from support.master_process import MasterProcess
from support.proxies import HostedProxy, ProxyProcess
from support.waiting import wait_until

import zproxy
from zproxy import AsyncNode, Node
from zproxy.processes import STOP_SECONDS

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]

THREADS = 4
BETWEEN = 40  # requests of each thread from one event to the next


class Restarted:
    """`zproxy run` on the same ports, however often it ends."""

    def __init__(self) -> None:
        self.process = ProxyProcess("zproxy", options=("--drain", "5s"))
        self.frontend, self.backend = self.process.frontend, self.process.backend

    def end(self, number: int) -> None:
        self.process.process.send_signal(number)
        code = self.process.process.wait(STOP_SECONDS)
        assert code == (0 if number == signal.SIGTERM else -number)

    def start(self) -> None:
        self.process = ProxyProcess("zproxy", frontend=(self.frontend,), backend=(self.backend,))
        self.process.endpoints("frontend")

    def close(self) -> None:
        self.process.kill()


@pytest.fixture
def proxies() -> Iterator[list[Restarted]]:
    started = [Restarted(), Restarted()]
    yield started
    for proxy in started:
        proxy.close()


class Crowd:
    """Threads that ask one node without a pause, and check each reply."""

    def __init__(self, node: Node) -> None:
        self.errors: list[BaseException] = []
        self.answered = [0] * THREADS
        self._node = node
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=[number], daemon=True) for number in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _ask(self, thread: int) -> None:
        try:
            for number in itertools.count():
                if self._is_over.is_set():
                    return
                body = [thread, number]
                assert self._node.request("echo", body, timeout=60).body == body
                self.answered[thread] += 1
        except BaseException as error:
            self.errors.append(error)

    def go_on(self) -> None:
        """Until each thread has some more answers."""
        wanted = [count + BETWEEN for count in self.answered]
        wait_until(
            lambda: self.errors or all(have >= want for have, want in zip(self.answered, wanted, strict=True)),
            "every thread goes on",
            60.0,
        )
        assert not self.errors, self.errors[0]

    def end(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)
        assert not self.errors, self.errors[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_proxy_that_is_restarted_under_load_is_a_pause(
    proxies: list[Restarted], master_process: Start, number: int
) -> None:
    proxy = proxies[0]
    for name in ("m1", "m2"):
        master_process(proxy.backend, name, concurrency=2)
    with Node("node1", proxy.frontend) as node:
        crowd = Crowd(node)
        crowd.go_on()
        for _ in range(2):
            proxy.end(number)
            proxy.start()
            crowd.go_on()
        crowd.end()
        counts = node.stats()
    assert (counts["errors"], counts["timeouts"], counts["open"]) == (0, 0, 0)
    assert counts["conversations"] >= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_two_proxies_that_are_restarted_in_turn_under_load_are_no_pause_at_all(
    proxies: list[Restarted], master_process: Start, number: int
) -> None:
    for name in ("m1", "m2"):
        master_process([proxy.backend for proxy in proxies], name, concurrency=2)
    with Node("node1", [proxy.frontend for proxy in proxies]) as node:
        crowd = Crowd(node)
        crowd.go_on()
        for proxy in (*proxies, proxies[0]):  # the third time with one alone that was restarted itself
            proxy.end(number)
            crowd.go_on()  # with the other one alone
            proxy.start()
            wait_until(lambda: all(each.takes_new for each in node._readers.line.session.conversations), "used again")
        crowd.end()
        counts = node.stats()
    assert (counts["errors"], counts["timeouts"], counts["open"]) == (0, 0, 0)


def test_tasks_notice_no_more_than_threads(proxies: list[Restarted], master_process: Start) -> None:
    first, second = proxies
    master_process([first.backend, second.backend], concurrency=4)

    async def main() -> list[object]:
        async with AsyncNode("node1", [first.frontend, second.frontend]) as node:
            tasks = [asyncio.ensure_future(node.request("echo", number)) for number in range(2000)]
            await asyncio.to_thread(first.process.process.kill)
            replies = await asyncio.wait_for(asyncio.gather(*tasks), 60)
            return [reply.body for reply in replies]

    assert asyncio.run(main()) == list(range(2000))


def test_a_frozen_proxy_is_left_for_the_other_one(proxies: list[Restarted], master_process: Start) -> None:
    """By heartbeats: its connection stands."""
    first, second = proxies
    master_process([first.backend, second.backend], concurrency=4)
    with Node("node1", [first.frontend, second.frontend]) as node:
        crowd = Crowd(node)
        crowd.go_on()
        first.process.process.send_signal(signal.SIGSTOP)
        crowd.go_on()
        crowd.end()
        assert node.stats()["errors"] == 0


def test_a_master_of_two_proxies_never_runs_more_handlers_than_it_has_threads(
    proxies: list[Restarted], master_process: Start
) -> None:
    master = master_process([proxy.backend for proxy in proxies], concurrency=2, prefetch=0)
    nodes = [Node(f"node{number}", proxy.frontend) for number, proxy in enumerate(proxies)]
    try:
        futures = [node.submit("hold", number) for node in nodes for number in range(4)]
        wait_until(lambda: master.stats()["delivered"] == 4, "each proxy uses its credit")
        assert len(master.wait_begun(2)) == 2
        master.open_gate()
        assert [future.result(20).attempt for future in futures] == [1] * 8
    finally:
        for node in nodes:
            node.close()


def test_a_proxy_that_is_busy_is_a_pause(hosted: Host, master_process: Start) -> None:
    proxy = hosted(connection_memory=2 << 20, overload="busy")
    master = master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        futures = [node.submit("hold", bytes(100_000), timeout=60) for _ in range(40)]
        with pytest.raises(zproxy.Busy):
            node.request("hold", bytes(100_000), retries=0)
        assert proxy.wait_for("managed_refused_overload", 20)["managed_failed"] == 0
        master.open_gate()
        for future in futures:
            future.result(60)
        counts = node.stats()
    assert (counts["replies"], counts["errors"]) == (40, 1)
    assert counts["renewed"] >= 20
    assert master.stats()["replied"] == 40
