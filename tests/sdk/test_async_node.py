"""An AsyncNode against a proxy made by hand: many tasks share it, in asyncio's own loop and in uvloop's."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
from support.fake_proxy import WORKER, Connection, FakeProxy, Heard, failing, silent
from support.waiting import wait_until

import zproxy
from zproxy import AsyncNode
from zproxy.client.line import Line
from zproxy.envelope import Code, Flag, Kind
from zproxy.procfs import descriptor_count

SHORT_S = 0.2
LONG_S = 20.0  # of a close that the test wants not to take its time
Run = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPS = ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "asyncio":
        return asyncio.run
    return importlib.import_module("uvloop").run  # type: ignore[no-any-return]


async def until(condition: Callable[[], object], what: str) -> None:
    """`wait_until` beside the loop."""
    await asyncio.to_thread(wait_until, condition, what)


def test_a_reply_has_body_tensors_and_who_made_it(proxy: FakeProxy, run: Run) -> None:
    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            reply = await node.request("gradients", {"step": 3}, tensors={"w": np.ones(3)}, step=3)
            assert (reply.body, reply.worker, reply.service, reply.attempt) == ({"step": 3}, WORKER, "gradients", 1)
            np.testing.assert_array_equal(reply.tensors["w"], np.ones(3))
            assert (await node.send_progress(50, step=3)).body == {"progress": 50.0, "step": 3}

    run(main())
    assert [heard.kind for heard in proxy.heard] == [Kind.HELLO, Kind.REQUEST, Kind.REQUEST, Kind.GOODBYE]
    assert proxy.all_of(Kind.REQUEST)[0].envelope.flags == Flag.HAS_STEP


def test_two_hundred_tasks_share_one_node(proxy: FakeProxy, run: Run) -> None:
    async def main() -> dict[str, int]:
        async with AsyncNode("node1", proxy.endpoint) as node:

            async def ask(task: int) -> list[object]:
                return [(await node.request("gradients", [task, number])).body for number in range(5)]

            found = await asyncio.gather(*map(ask, range(200)))
            assert found == [[[task, number] for number in range(5)] for task in range(200)]
            return node.stats()

    stats = run(main())
    assert (stats["replies"], stats["open"], stats["conversations"]) == (1000, 0, 1)


def test_a_cancelled_task_cancels_its_request(proxy: FakeProxy, run: Run) -> None:
    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            proxy.answers[Kind.REQUEST] = silent
            task = asyncio.create_task(node.request("gradients"))
            await until(lambda: proxy.all_of(Kind.REQUEST), "the request heard")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: proxy.all_of(Kind.CANCEL), "CANCEL heard")
            proxy.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, "next")
            assert (await node.request("gradients")).body == "next"
            assert node.stats()["open"] == 0

    run(main())
    assert proxy.all_of(Kind.CANCEL)[0].sequence == proxy.all_of(Kind.REQUEST)[0].sequence


def test_errors_and_time_outs_are_raised(proxy: FakeProxy, run: Run) -> None:
    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            proxy.answers[Kind.REQUEST] = failing(Code.UNKNOWN_SERVICE)
            with pytest.raises(zproxy.UnknownService):
                await node.request("gradients")
            proxy.answers[Kind.REQUEST] = silent
            with pytest.raises(zproxy.RequestTimeout):
                await node.request("gradients", timeout=SHORT_S)
            with pytest.raises(TypeError):
                await node.request("gradients", {1, 2})

    run(main())


def test_posts_go_and_are_confirmed(proxy: FakeProxy, run: Run) -> None:
    def accepted(heard: Heard) -> None:
        if heard.envelope.flags & Flag.WANTS_ACCEPTED:
            heard.on.say(Kind.ACCEPTED, incarnation=heard.envelope.incarnation, sequence=heard.sequence)

    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            await node.post("metrics", 1)
            await node.post("metrics", 2, confirm=True)
            proxy.answers[Kind.POST] = failing(Code.BUSY)
            with pytest.raises(zproxy.Busy):
                await node.post("metrics", 3, confirm=True)

    proxy.answers[Kind.POST] = accepted
    run(main())
    assert [heard.body for heard in proxy.all_of(Kind.POST)] == [1, 2, 3]


def test_what_is_open_is_resent_after_a_lost_connection(proxy: FakeProxy, run: Run) -> None:
    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            proxy.answers[Kind.REQUEST] = silent
            tasks = [asyncio.create_task(node.request("gradients", number)) for number in range(3)]
            await until(lambda: len(proxy.all_of(Kind.REQUEST)) == 3, "the requests heard")
            proxy.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, heard.body)
            proxy.drop_all()
            assert [(await task).body for task in tasks] == [0, 1, 2]

    run(main())
    resent = [bool(heard.envelope.flags & Flag.RESENT) for heard in proxy.all_of(Kind.REQUEST)]
    assert resent == 3 * [False] + 3 * [True]


def test_a_socket_that_libzmq_gave_up_is_rebuilt(
    proxy: FakeProxy, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zproxy.client.wire.WELCOME_S", 0.2)
    proxy.on_connection = Connection.zmtp_error

    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            with pytest.raises(zproxy.RequestTimeout, match="no proxy has answered"):
                await node.request("gradients", timeout=SHORT_S)
            proxy.on_connection = Connection.welcome
            assert (await node.request("gradients", 1, timeout=20)).body == 1
            assert (await node.request("gradients", 2, timeout=20)).body == 2

    run(main())


def test_close_ends_what_is_open(proxy: FakeProxy, run: Run) -> None:
    proxy.answers[Kind.REQUEST] = silent

    async def main() -> None:
        node = AsyncNode("node1", proxy.endpoint)
        task = asyncio.create_task(node.request("gradients"))
        await until(lambda: proxy.all_of(Kind.REQUEST), "the request heard")
        await node.close()
        with pytest.raises(zproxy.NodeClosed):
            await task
        await node.close()
        with pytest.raises(zproxy.NodeClosed):
            await node.request("gradients")

    run(main())
    assert len(proxy.all_of(Kind.GOODBYE)) == 1


def test_close_does_not_wait_for_a_proxy_that_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("async_node", "readers"):
        monkeypatch.setattr(f"zproxy.client.{module}.CLOSE_S", LONG_S)

    async def main() -> None:
        with FakeProxy() as proxy:
            node = AsyncNode("node1", proxy.endpoint)
            await node.request("gradients")
        began = time.monotonic()
        await node.close()
        assert time.monotonic() - began < LONG_S / 2

    run(main())


def test_progress_that_nobody_hears_says_so(proxy: FakeProxy, run: Run) -> None:
    proxy.answers[Kind.REQUEST] = failing(Code.NO_WORKER)

    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            with pytest.raises(zproxy.NoWorker, match='no master offers any more the service "progress"'):
                await node.send_progress(50)

    run(main())


def test_nothing_is_left_after_the_loop(proxy: FakeProxy, run: Run) -> None:
    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            await node.request("gradients")

    run(main())
    proxy.drop_all()
    before = descriptor_count(os.getpid())
    run(main())
    proxy.drop_all()
    wait_until(lambda: descriptor_count(os.getpid()) <= before, "as many open files as before")


def test_an_unclosed_node_is_warned_of_and_ends(proxy: FakeProxy, run: Run) -> None:
    async def main() -> None:
        node = AsyncNode("node1", proxy.endpoint)
        await node.request("gradients")
        del node

    with pytest.warns(ResourceWarning, match="an AsyncNode was dropped"):
        run(main())
        gc.collect()


def test_a_forked_child_is_told_by_every_method(proxy: FakeProxy) -> None:
    async def told(node: AsyncNode) -> int:
        """How many of its methods raise ForkedNode."""
        calls = (node.request("a"), node.post("a"), node.send_progress(1), node.close(), node.__aenter__())
        found: list[object] = list(await asyncio.gather(*calls, return_exceptions=True))
        try:
            node.stats()
        except zproxy.ForkedNode as error:
            found.append(error)
        return sum(isinstance(each, zproxy.ForkedNode) for each in found)

    node = AsyncNode("node1", proxy.endpoint)
    child = os.fork()
    if child == 0:
        os._exit(asyncio.run(told(node)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
    asyncio.run(node.close())


def test_a_node_stays_with_its_loop(proxy: FakeProxy) -> None:
    node = AsyncNode("node1", proxy.endpoint)
    assert asyncio.run(answered(node.request("gradients", 1))) == 1
    with pytest.raises(zproxy.ZproxyError, match="another event loop"):
        asyncio.run(answered(node.request("gradients", 2)))
    asyncio.run(node.close())
    wait_until(lambda: not any(thread.name == "node1-reader" for thread in threading.enumerate()), "no thread")


async def answered(asked: Awaitable[zproxy.Reply]) -> object:
    return (await asked).body


def test_a_loop_that_closed_under_open_requests_leaves_nothing(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    before = descriptor_count(os.getpid())
    loop = asyncio.new_event_loop()
    node = AsyncNode("node1", proxy.endpoint)
    task = loop.create_task(node.request("gradients"))
    loop.run_until_complete(until(lambda: proxy.all_of(Kind.REQUEST), "the request heard"))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    asyncio.run(node.close())
    proxy.drop_all()
    wait_until(lambda: descriptor_count(os.getpid()) <= before, "as many open files as before")
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_close_from_another_thread_ends_what_is_open(proxy: FakeProxy, run: Run) -> None:
    proxy.answers[Kind.REQUEST] = silent

    async def main() -> None:
        node = AsyncNode("node1", proxy.endpoint)
        task = asyncio.create_task(node.request("gradients"))
        await until(lambda: proxy.all_of(Kind.REQUEST), "the request heard")
        await asyncio.to_thread(asyncio.run, node.close())
        with pytest.raises(zproxy.NodeClosed):
            await asyncio.wait_for(task, 10)

    run(main())


def test_an_error_within_a_step_stops_no_time_out(proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.answers[Kind.REQUEST] = silent
    step = Line.step

    def fail_once(self: Line, now: float) -> None:
        monkeypatch.setattr(Line, "step", step)
        raise MemoryError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        async with AsyncNode("node1", proxy.endpoint) as node:
            task = asyncio.create_task(node.request("gradients", timeout=1))
            await until(lambda: proxy.all_of(Kind.REQUEST), "the request heard")
            monkeypatch.setattr(Line, "step", fail_once)
            with pytest.raises(zproxy.RequestTimeout):
                await asyncio.wait_for(task, 10)

    faults: list[Any] = []
    asyncio.run(main())
    assert [type(fault["exception"]) for fault in faults] == [MemoryError]
