"""Proxies, masters and nodes that die and come back, all of them real processes; and names that two want at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from subprocess import DEVNULL

import pytest
from support.master_process import MasterProcess
from support.masters import InThread
from support.processes import halted
from support.proxies import HostedProxy, MortalProxy

import zproxy
from zproxy import AsyncNode, Node
from zproxy.processes import spawn

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]

BACK_SECONDS = 20.0  # a new proxy, and both sides' next connection

WAITING_NODE = """
import sys, zproxy
zproxy.Node("node1", sys.argv[1]).request("hold", "of the first life", timeout=600)
"""


def test_what_is_open_when_the_proxy_dies_is_answered_by_the_next_one(
    mortal_proxy: MortalProxy, master_process: Start
) -> None:
    master = master_process(mortal_proxy.backend, concurrency=8)
    with Node("node1", mortal_proxy.frontend) as node:
        asking = [InThread(node.request, "hold", number) for number in (0, 1)]
        futures = [node.submit("hold", number) for number in (2, 3)]
        waiting = [node.submit("echo", number) for number in range(4, 50)]
        master.wait_begun(4)
        mortal_proxy.die()
        meanwhile = node.submit("echo", "meanwhile")
        master.open_gate()
        mortal_proxy.come_back()
        replies = [call.join() for call in asking] + [future.result(BACK_SECONDS) for future in futures]
        assert [reply.body["body"] for reply in replies] == [0, 1, 2, 3]
        assert [future.result(BACK_SECONDS).body for future in waiting] == list(range(4, 50))
        assert meanwhile.result(BACK_SECONDS).body == "meanwhile"
        counts = node.stats()
    assert (counts["conversations"], counts["open"], counts["errors"], counts["timeouts"]) == (2, 0, 0, 0)
    assert counts["resent"] >= 4
    assert len(master.begun()) == 4, "delivered in both lives of the proxy, each of the four was run once"


def test_what_tasks_wait_for_when_the_proxy_dies_is_answered_by_the_next_one(
    mortal_proxy: MortalProxy, master_process: Start
) -> None:
    master = master_process(mortal_proxy.backend, concurrency=20)

    async def main() -> list[object]:
        async with AsyncNode("node1", mortal_proxy.frontend) as node:
            tasks = [asyncio.ensure_future(node.request("hold", number)) for number in range(20)]
            await asyncio.to_thread(master.wait_begun, 20)
            mortal_proxy.die()
            master.open_gate()
            mortal_proxy.come_back()  # in this thread: a child ends with the thread that started it
            replies = await asyncio.wait_for(asyncio.gather(*tasks), BACK_SECONDS)
            return [reply.body["body"] for reply in replies]

    assert asyncio.run(main()) == list(range(20))


def test_what_may_not_run_twice_is_not_delivered_by_the_next_proxy(
    mortal_proxy: MortalProxy, master_process: Start
) -> None:
    master = master_process(mortal_proxy.backend, concurrency=4)
    with Node("node1", mortal_proxy.frontend) as node:
        guarded = [node.submit("hold", "by its node", idempotent=False), node.submit("once", "by its service")]
        master.wait_begun(2)
        mortal_proxy.die()
        unsent = node.submit("echo", "was never sent", idempotent=False)
        master.open_gate()
        mortal_proxy.come_back()
        with pytest.raises(zproxy.OutcomeUnknown, match='"hold": it may have run before') as caught:
            guarded[0].result(BACK_SECONDS)
        assert (caught.value.service, caught.value.node) == ("hold", "node1")
        assert unsent.result(BACK_SECONDS).body == "was never sent"
        with pytest.raises(zproxy.OutcomeUnknown):
            guarded[1].result(BACK_SECONDS)
    assert [each["body"] for each in master.begun()].count("by its node") == 1
    assert [each["body"] for each in master.begun()].count("by its service") == 1


def test_a_proxy_that_never_comes_back_leaves_nobody_hanging(
    mortal_proxy: MortalProxy, master_process: Start
) -> None:
    master = master_process(mortal_proxy.backend, concurrency=2)
    with Node("node1", mortal_proxy.frontend) as node:
        node.request("echo")
        future = node.submit("hold", "sent", timeout=1.5)
        master.wait_begun()
        mortal_proxy.die()
        calls = [InThread(partial(node.request, "hold", "new", timeout=1.0)) for _ in range(3)]
        for call in calls:
            with pytest.raises(zproxy.RequestTimeout):
                call.join()
        with pytest.raises(zproxy.RequestTimeout):
            future.result(10)
    mortal_proxy.come_back()


def test_a_master_that_is_killed_and_comes_back_takes_work_again(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    with Node("node1", proxy.frontend) as node:
        pids = []
        for life in range(4):
            master = master_process(proxy.backend, "m1")
            reply = node.request("echo", life)
            assert (reply.body, reply.worker) == (life, "m1")
            held = node.submit("once", life)
            master.wait_begun()
            pids.append(master.pid)
            master.kill()
            with pytest.raises(zproxy.WorkerLost):
                held.result(10)
        waiting = node.submit("echo", "between two lives")
        master_process(proxy.backend, "m1")
        assert waiting.result(BACK_SECONDS).body == "between two lives"
    assert len(set(pids)) == 4


def test_a_killed_node_that_comes_back_at_once_is_accepted_and_its_elders_requests_end(
    hosted: Host, master_process: Start
) -> None:
    proxy = hosted()
    master = master_process(proxy.backend, concurrency=2)
    elder = spawn(
        [sys.executable, "-c", WAITING_NODE, proxy.frontend], stdin=DEVNULL, cwd=tempfile.gettempdir()
    )
    master.wait_begun()
    os.kill(elder.pid, signal.SIGKILL)
    with Node("node1", proxy.frontend) as node:
        assert node.request("echo", "of the second life", timeout=10).body == "of the second life"
        master.wait_cancelled("of the first life")
        master.open_gate()
        assert node.request("hold", "again").body["body"] == "again"
        counts = node.stats()
    elder.wait()
    assert (counts["replies"], counts["late"]) == (2, 0), "nothing of the first life reaches the second"


def test_a_node_that_is_closed_and_made_again_is_accepted_every_time(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend)
    for life in range(10):
        with Node("node1", proxy.frontend) as node:
            assert node.request("echo", life, timeout=10).body == life


def test_other_living_nodes_of_a_name_are_told_and_the_first_goes_on(hosted: Host, master_process: Start) -> None:
    """One that is waited for by a thread, and one by a task."""
    proxy = hosted()
    master_process(proxy.backend)

    async def ask() -> None:
        async with AsyncNode("node1", proxy.frontend) as third:
            await third.request("echo", timeout=25)

    with Node("node1", proxy.frontend) as first:
        assert first.request("echo", 1).body == 1
        with Node("node1", proxy.frontend) as second:
            asked = second.submit("echo", timeout=25)
            for call in (lambda: asyncio.run(ask()), asked.result):
                with pytest.raises(zproxy.NameInUse, match='"node1"') as caught:
                    call()
                assert (caught.value.node, caught.value.service) == ("node1", "echo")
        assert first.request("echo", 2).body == 2


def test_a_node_whose_name_becomes_free_is_accepted_without_its_doing(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend)
    first = Node("node1", proxy.frontend)
    first.request("echo")
    with Node("node1", proxy.frontend) as second:
        waiting = second.submit("echo", "patient", timeout=25)
        proxy.wait_for("managed_refused_name_in_use")
        first.close()
        assert waiting.result(20).body == "patient"


def test_a_silent_holder_of_a_name_is_succeeded_and_stays_out(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    elder = master_process(proxy.backend)
    elder.wait_serving()
    with Node("node1", proxy.frontend) as node:
        assert node.request("echo", 1, timeout=25).body == 1
        with halted(elder.pid):
            successor = master_process(proxy.backend)  # of the same name
            proxy.wait_for("closed_fenced")
            assert node.request("echo", 2, timeout=25).body == 2
        proxy.wait_for("managed_refused_fenced")
        assert node.request("echo", 3, timeout=25).body == 3
    assert successor.stats()["replied"] == 2
