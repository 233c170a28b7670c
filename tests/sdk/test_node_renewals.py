"""A Node that hears BUSY, ALREADY_DONE or DRAINING: the caller hears of it only where nothing else helps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.fake_proxy import Answer, FakeProxy, Heard, failing

import zproxy
from zproxy import AsyncNode, Node
from zproxy.envelope import Code, Kind


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


@pytest.fixture
def node(proxy: FakeProxy) -> Iterator[Node]:
    with Node("node1", proxy.endpoint) as made:
        yield made


def at_first(code: int, times: int, **options: Any) -> Answer:
    """Answers so many requests with that error, and then as asked."""
    left = iter(range(times))

    def answer(heard: Heard) -> None:
        if next(left, None) is None:
            heard.on.reply(heard, heard.body)
        else:
            heard.on.error(code, heard, **options)

    return answer


@pytest.mark.parametrize("code", [Code.BUSY, Code.ALREADY_DONE, Code.DRAINING])
def test_a_call_goes_on_until_it_is_answered(proxy: FakeProxy, node: Node, code: Code) -> None:
    proxy.answers[Kind.REQUEST] = at_first(code, 3, remaining_ms=20)
    assert node.request("gradients", 1, timeout=20).body == 1
    sequences = [heard.sequence for heard in proxy.all_of(Kind.REQUEST)]
    assert sequences == sorted(set(sequences)) and len(sequences) == 4
    assert node.stats()["renewed"] == 3
    assert node.stats()["errors"] == 0


def test_futures_go_on_too(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = at_first(Code.BUSY, 5, remaining_ms=20)
    futures = [node.submit("gradients", number) for number in range(5)]
    assert [future.result(20).body for future in futures] == list(range(5))


def test_tasks_go_on_too(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = at_first(Code.BUSY, 2, remaining_ms=20)

    async def main() -> object:
        async with AsyncNode("node1", proxy.endpoint) as node:
            return (await node.request("gradients", 1, timeout=20)).body

    assert asyncio.run(main()) == 1


def test_the_deadline_is_the_callers(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = failing(Code.BUSY, sentence="no memory; try again later", remaining_ms=60_000)
    with pytest.raises(zproxy.Busy, match="no memory; try again after 60 s") as caught:
        node.request("gradients", timeout=5)
    assert caught.value.retry_after == 60
    assert len(proxy.all_of(Kind.REQUEST)) == 1


def test_retries_0_hears_busy_at_once(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = failing(Code.BUSY, remaining_ms=20)
    with pytest.raises(zproxy.Busy):
        node.request("gradients", retries=0)
    assert len(proxy.all_of(Kind.REQUEST)) == 1


def test_what_may_not_run_twice_hears_that_it_has_run(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = failing(Code.ALREADY_DONE)
    with pytest.raises(zproxy.AlreadyDone, match="do not send it again"):
        node.request("gradients", idempotent=False)
    proxy.answers[Kind.REQUEST] = failing(Code.OUTCOME_UNKNOWN)
    with pytest.raises(zproxy.OutcomeUnknown, match="find out whether it took effect"):
        node.request("gradients", idempotent=False)
    assert len(proxy.all_of(Kind.REQUEST)) == 2
