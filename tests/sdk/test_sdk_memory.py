"""What a request brought and took is free as soon as nobody holds it: no cycle keeps it for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.fake_proxy import FakeProxy, echo, failing
from support.waiting import wait_until

import zproxy
from zproxy import AsyncNode, Node
from zproxy.envelope import Code, Kind

LARGE = 1 << 17
DEADLINE_S = 10.0


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ask(node: Node, sent: Any, **options: Any) -> Any:
    return node.request("gradients", 1, tensors={"w": sent}, timeout=DEADLINE_S, **options)


def submit(node: Node, sent: Any, **options: Any) -> Any:
    return node.submit("gradients", 1, tensors={"w": sent}, timeout=DEADLINE_S, **options).result(DEADLINE_S)


@pytest.mark.parametrize("call", [ask, submit])
@pytest.mark.parametrize(
    ("answer", "options"),
    [(echo, {}), (failing(Code.DENIED), {}), (echo, {"body_type": str})],
    ids=["reply", "error", "malformed reply"],
)
def test_nothing_is_held_after_an_outcome(proxy: FakeProxy, call: Any, answer: Any, options: dict[str, Any]) -> None:
    proxy.answers[Kind.REQUEST] = answer
    with Node("node1", proxy.endpoint) as node:
        sent = np.ones(LARGE)
        refs = [weakref.ref(sent)]
        try:
            reply = call(node, sent, **options)
            refs.append(weakref.ref(reply.tensors["w"].base))
            del reply
        except zproxy.ZproxyError:
            pass
        proxy.heard.clear()
        del sent
        wait_until(lambda: all(ref() is None for ref in refs), "the arrays are free")


@pytest.mark.parametrize("answer", [echo, failing(Code.DENIED)], ids=["reply", "error"])
def test_nothing_is_held_by_an_async_node(proxy: FakeProxy, answer: Any) -> None:
    proxy.answers[Kind.REQUEST] = answer

    async def ask_once() -> weakref.ref[Any]:
        async with AsyncNode("node1", proxy.endpoint) as node:
            sent = np.ones(LARGE)
            try:
                await node.request("gradients", 1, tensors={"w": sent}, timeout=DEADLINE_S)
            except zproxy.Denied:
                pass
            ref = weakref.ref(sent)
            del sent
            for _ in range(200):
                if ref() is None:
                    break
                await asyncio.sleep(0.01)
            assert ref() is None
            return ref

    asyncio.run(ask_once())
