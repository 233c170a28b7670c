"""Many at once through a real proxy: threads, tasks and futures share a node, and each gets what is its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.master_process import MasterProcess
from support.proxies import HostedProxy
from support.waiting import wait_until

from zproxy import AsyncNode, Node, Reply

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]

THREADS, EACH = 8, 40
TASKS = 200
FUTURES = 500
AT_ONCE = 60  # each master has so many before one of them answers


def tensors_of(number: int) -> dict[str, Any]:
    """Small, and now and then as large as what libzmq does not copy."""
    size = 20_000 if number % 10 == 0 else number % 7
    return {"w": np.full(size, number, np.int32), "scale": np.float64(number)}


def assert_own(reply: Reply, number: int) -> None:
    sent = tensors_of(number)
    assert reply.body == {"number": number}
    assert reply.tensors.keys() == sent.keys()
    for name, tensor in sent.items():
        np.testing.assert_array_equal(reply.tensors[name], tensor, strict=True)


def test_eight_threads_share_a_node(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend, concurrency=4)
    together = threading.Barrier(THREADS)
    with Node("node1", proxy.frontend) as node:

        def ask(thread: int) -> None:
            together.wait(10)
            for number in range(thread * EACH, (thread + 1) * EACH):
                assert_own(node.request("echo", {"number": number}, tensors=tensors_of(number)), number)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, range(THREADS)))
        counts = node.stats()
    assert (counts["replies"], counts["open"], counts["late"], counts["resent"]) == (THREADS * EACH, 0, 0, 0)


def test_two_hundred_tasks_share_a_node(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend, concurrency=4)

    async def main() -> dict[str, int]:
        async with AsyncNode("node1", proxy.frontend) as node:

            async def ask(number: int) -> None:
                assert_own(await node.request("echo", {"number": number}, tensors=tensors_of(number)), number)

            await asyncio.gather(*map(ask, range(TASKS)))
            return node.stats()

    counts = asyncio.run(main())
    assert (counts["replies"], counts["open"], counts["late"], counts["resent"]) == (TASKS, 0, 0, 0)


def test_threads_and_tasks_share_a_node(hosted: Host, master_process: Start) -> None:
    """Tasks that await a Node's futures, while threads wait in its requests."""
    proxy = hosted()
    master_process(proxy.backend, concurrency=4)
    with Node("node1", proxy.frontend) as node:

        def ask(thread: int) -> None:
            for number in range(thread * EACH, (thread + 1) * EACH):
                assert_own(node.request("echo", {"number": number}, tensors=tensors_of(number)), number)

        async def task(number: int) -> None:
            future = node.submit("echo", {"number": number}, tensors=tensors_of(number))
            assert_own(await asyncio.wrap_future(future), number)

        async def main() -> None:
            await asyncio.gather(*map(task, range(1000, 1000 + TASKS)))

        with ThreadPoolExecutor(THREADS) as pool:
            asking = pool.map(ask, range(THREADS))
            asyncio.run(main())
            list(asking)


def test_five_hundred_open_futures_use_both_masters(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    masters = [master_process(proxy.backend, name, concurrency=AT_ONCE) for name in ("m1", "m2")]
    with Node("node1", proxy.frontend) as node:
        futures = [node.submit("hold", number) for number in range(FUTURES)]
        assert node.stats()["open"] == FUTURES
        proxy.wait_for("managed_live", FUTURES)
        for master in masters:
            master.wait_begun(AT_ONCE)
        for master in masters:
            master.open_gate()
        replies = [future.result(20) for future in futures]
    assert [reply.body["body"] for reply in replies] == list(range(FUTURES))
    by_worker = Counter(reply.worker for reply in replies)
    assert by_worker.keys() == {"m1", "m2"} and min(by_worker.values()) > FUTURES // 10, by_worker
    pids = {master.name: master.pid for master in masters}
    assert all(reply.body["pid"] != pids["m1" if reply.worker == "m2" else "m2"] for reply in replies)


def test_a_post_arrives_and_is_not_answered(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        node.post("note", {"step": 1})
        node.post("note", {"step": 2}, confirm=True)
        wait_until(lambda: master.notes() == [{"step": 1}, {"step": 2}], "both have arrived")
        assert node.request("echo", "after").body == "after"
        counts = node.stats()
    assert (counts["replies"], counts["late"], counts["errors"], counts["open"]) == (1, 0, 0, 0)
    assert (counts["posts_lost"], counts["posts_refused"]) == (0, 0)


def test_a_post_of_a_task_arrives(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)

    async def main() -> None:
        async with AsyncNode("node1", proxy.frontend) as node:
            await node.post("note", 1)
            await node.post("note", 2, confirm=True)

    asyncio.run(main())
    wait_until(lambda: master.notes() == [1, 2], "both have arrived")


@pytest.mark.parametrize("kind", [Node, AsyncNode])
def test_progress_reaches_the_service_and_the_proxys_report(hosted: Host, master_process: Start, kind: type) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)

    def report() -> None:
        row = proxy.peer("node1")
        assert (row["is_worker"], row["step"], row["progress"]) == (False, 3, 37.5)

    async def tell() -> None:
        async with AsyncNode("node1", proxy.frontend) as node:
            assert (await node.send_progress(37.5, step=3)).body == "noted"
            report()

    if kind is AsyncNode:
        asyncio.run(tell())
    else:
        with Node("node1", proxy.frontend) as node:
            assert node.send_progress(37.5, step=3).body == "noted"
            report()
    assert master.notes() == [["node1", {"progress": 37.5, "step": 3}, 3, 37.5]]
