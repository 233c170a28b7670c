"""`zproxy run` is told to end while nodes wait: what was accepted is answered, what is new is refused, exit code 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from support.master_process import MasterProcess
from support.proxies import ProxyProcess
from support.waiting import wait_until, wait_until_draining

import zproxy
from zproxy import AsyncNode, Node
from zproxy.envelope import Code
from zproxy.processes import STOP_SECONDS

Start = Callable[..., MasterProcess]


@pytest.fixture
def draining() -> Iterator[ProxyProcess]:
    """`zproxy run`, which the test ends."""
    proxy = ProxyProcess("zproxy", options=("--drain", "60s"))
    proxy.endpoints("frontend")
    yield proxy
    proxy.kill()


def drain(proxy: ProxyProcess, node: Node) -> None:
    """SIGTERM; returns once the node has heard of it, and so refuses what is new."""
    proxy.process.send_signal(signal.SIGTERM)
    error = wait_until_draining(node, "echo")
    assert "stops" in str(error)
    assert (error.code, error.service, error.node, error.attempt) == (Code.DRAINING, "echo", "node1", 0)


def test_a_drain_answers_what_is_held_and_refuses_what_is_new(draining: ProxyProcess, master_process: Start) -> None:
    master = master_process(draining.backend, concurrency=2, prefetch=0)
    with Node("node1", draining.frontend) as node:
        held = [node.submit("hold", number) for number in range(6)]  # two with their handlers, four in the proxy
        guarded = node.submit("once", "may not run twice")
        master.wait_begun(2)
        drain(draining, node)
        assert not any(future.done() for future in held)
        draining.assert_alive()
        master.open_gate()
        assert [future.result(10).body["body"] for future in held] == list(range(6))
        assert guarded.result(10).body["attempt"] == 1
        assert draining.process.wait(STOP_SECONDS) == 0
        assert node.stats()["resent"] == 0


def test_a_drain_answers_the_tasks_of_a_node(draining: ProxyProcess, master_process: Start) -> None:
    master = master_process(draining.backend, concurrency=4)

    async def main() -> None:
        async with AsyncNode("node1", draining.frontend) as node:
            held = [asyncio.ensure_future(node.request("hold", number)) for number in range(10)]
            await asyncio.to_thread(master.wait_begun, 4)
            draining.process.send_signal(signal.SIGTERM)
            with pytest.raises(zproxy.Draining):
                while True:
                    with suppress(zproxy.RequestTimeout):
                        await node.request("echo", timeout=0.2)
            master.open_gate()
            replies = await asyncio.wait_for(asyncio.gather(*held), 10)
            assert [reply.body["body"] for reply in replies] == list(range(10))

    asyncio.run(main())
    assert draining.process.wait(STOP_SECONDS) == 0


def test_a_drain_without_anything_open_ends_at_once(draining: ProxyProcess, master_process: Start) -> None:
    master_process(draining.backend)
    with Node("node1", draining.frontend) as node:
        assert node.request("echo", 1).body == 1
        draining.process.send_signal(signal.SIGTERM)
        assert draining.process.wait(STOP_SECONDS) == 0


def test_a_second_signal_answers_what_is_held_with_an_error(draining: ProxyProcess, master_process: Start) -> None:
    master = master_process(draining.backend, concurrency=1, prefetch=0)
    with Node("node1", draining.frontend) as node:
        held = [node.submit("hold", number, retries=0) for number in range(2)]
        master.wait_begun()
        drain(draining, node)
        draining.process.send_signal(signal.SIGTERM)
        for future, worker, attempt in zip(held, ("m1", ""), (1, 0), strict=True):
            with pytest.raises(zproxy.Draining, match="has stopped before there was an answer") as caught:
                future.result(10)
            assert (caught.value.worker, caught.value.attempt) == (worker, attempt)
        assert draining.process.wait(STOP_SECONDS) == 0
        master.wait_cancelled(0)


@pytest.mark.parametrize("run", range(4))
def test_a_reply_right_before_the_end_of_a_drain_is_read(
    draining: ProxyProcess, master_process: Start, run: int
) -> None:
    """The end of the connection is hard behind it, and libzmq drops what is unread then."""
    master = master_process(draining.backend)
    with Node("node1", draining.frontend) as node:
        held = node.submit("hold", run)
        master.wait_begun()
        draining.process.send_signal(signal.SIGTERM)
        master.open_gate()
        assert held.result(10).body["body"] == run
    assert draining.process.wait(STOP_SECONDS) == 0


@pytest.fixture
def other() -> Iterator[ProxyProcess]:
    """A second proxy, which outlives the test."""
    proxy = ProxyProcess("zproxy")
    yield proxy
    try:
        proxy.assert_ends_well()
    finally:
        proxy.kill()


def use_both(node: Node) -> None:
    """Until both proxies, each with a master of its own, take the node's requests."""
    wait_until(lambda: {node.request("echo").worker for _ in range(2)} == {"m1", "m2"}, "both used")


def test_a_node_with_two_proxies_moves_on_from_one_that_dies_in_its_drain(
    draining: ProxyProcess, other: ProxyProcess, master_process: Start
) -> None:
    master = master_process(draining.backend)
    elsewhere = master_process(other.backend, "m2")
    elsewhere.open_gate()
    with Node("node1", [draining.frontend, other.frontend]) as node:
        use_both(node)
        held = [node.submit("hold", number) for number in range(2)]
        master.wait_begun()
        draining.process.send_signal(signal.SIGTERM)
        draining.process.kill()
        assert [future.result(20).worker for future in held] == ["m2", "m2"]


def test_a_node_with_two_proxies_moves_on_from_the_one_that_drains(
    draining: ProxyProcess, other: ProxyProcess, master_process: Start
) -> None:
    master = master_process(draining.backend)
    elsewhere = master_process(other.backend, "m2")
    with Node("node1", [draining.frontend, other.frontend]) as node:
        use_both(node)
        held = [node.submit("hold", number) for number in range(2)]
        for each in (master, elsewhere):
            each.wait_begun()
        draining.process.send_signal(signal.SIGTERM)
        for each in (master, elsewhere):
            each.open_gate()
        assert {future.result(10).worker for future in held} == {"m1", "m2"}
        assert draining.process.wait(STOP_SECONDS) == 0
        for number in range(4):
            assert node.request("echo", number, timeout=20).worker == "m2"
