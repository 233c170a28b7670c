"""What a node cannot do is refused before anything is sent: an error says which argument, and what it may be."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.fake_proxy import FakeProxy, silent

import zproxy
from zproxy import AsyncNode, Node
from zproxy.envelope import Kind

WRONG_OPTIONS: list[dict[str, Any]] = [
    {"timeout": "2s"},
    {"timeout": None},
    {"timeout": True},
    {"timeout": np.ones(2)},
    {"priority": 2.5},
    {"priority": True},
    {"priority": 3},
    {"key": 3},
    {"ordered": True},
    {"ordered": "yes"},
    {"key": "\ud800"},
    {"step": 1.5},
    {"idempotent": "no"},
    {"idempotent": None},
    {"retries": -1},
    {"retries": ""},
    {"retries": 255},
    {"body_type": 3},
    {"body_type": "int"},
    {"body_type": ["int"]},
]
# Names that are parameters somewhere within are no options.
UNKNOWN_OPTIONS = ("tiemout", "confirm", "progress", "attended", "waiter", "now", "kind", "frames", "service_")


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


@pytest.fixture
def node(proxy: FakeProxy) -> Iterator[Node]:
    with Node("node1", proxy.endpoint) as made:
        yield made


def option_id(options: dict[str, Any]) -> str:
    return ascii(options)


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=option_id)
@pytest.mark.parametrize("call", ["request", "submit"])
def test_an_option_that_cannot_be_is_named(proxy: FakeProxy, node: Node, call: str, options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(zproxy.SettingError) as caught:
        getattr(node, call)("gradients", **options)
    assert str(caught.value).startswith(f"bad {name} {value!r}: ")
    assert node.stats()["requests"] == 0


@pytest.mark.parametrize("name", UNKNOWN_OPTIONS)
@pytest.mark.parametrize("call", ["request", "submit"])
def test_an_option_that_does_not_exist_is_named(node: Node, call: str, name: str) -> None:
    with pytest.raises(TypeError, match=f"no option '{name}': tensors, timeout, body_type, priority"):
        getattr(node, call)("gradients", **{name: 1})


def test_a_post_names_the_options_that_it_has(node: Node) -> None:
    with pytest.raises(TypeError, match="no option 'body_type': tensors, timeout, confirm, priority"):
        node.post("metrics", body_type=int)  # type: ignore[call-arg]
    with pytest.raises(zproxy.SettingError, match="bad confirm 'yes': True or False"):
        node.post("metrics", confirm="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=option_id)
def test_an_async_node_names_them_as_well(proxy: FakeProxy, options: dict[str, Any]) -> None:
    async def main() -> None:
        async with AsyncNode("node1", proxy.endpoint) as node:
            with pytest.raises(zproxy.SettingError, match=f"bad {next(iter(options))} "):
                await node.request("gradients", **options)
            with pytest.raises(TypeError, match="no option 'waiter'"):
                await node.request("gradients", waiter=1)  # type: ignore[call-arg]

    asyncio.run(main())


def test_a_reply_of_another_type_names_who_made_it(node: Node) -> None:
    with pytest.raises(zproxy.MalformedContent) as caught:
        node.request("gradients", "text", body_type=int)
    assert caught.value.path == "$"
    for words in ('worker "worker1"', '"gradients"', "got `str`", "body_type"):
        assert words in str(caught.value)


def test_a_future_that_is_waited_for_in_vain_says_so(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = silent
    future = node.submit("gradients")
    for call in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError, match='"node1" to "gradients": no outcome within 0.05 s'):
            call(0.05)
        with pytest.raises(zproxy.SettingError, match="bad timeout '2s'"):
            call("2s")  # type: ignore[arg-type]


def test_a_closed_node_is_not_entered_again(proxy: FakeProxy) -> None:
    async def main() -> None:
        node = AsyncNode("node2", proxy.endpoint)
        await node.close()
        with pytest.raises(zproxy.NodeClosed):
            async with node:
                pass

    node = Node("node1", proxy.endpoint)
    node.close()
    with pytest.raises(zproxy.NodeClosed), node:
        pass
    asyncio.run(main())


def test_who_was_open_at_the_close_learns_whether_it_was_sent(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    node, lonely = Node("node1", proxy.endpoint), Node("node2", "tcp://127.0.0.1:9")
    sent, waiting = node.submit("gradients"), lonely.submit("gradients")
    proxy.wait_for(Kind.REQUEST)
    node.close()
    lonely.close()
    with pytest.raises(zproxy.NodeClosed, match='"gradients" had an outcome: it may have run'):
        sent.result(0)
    with pytest.raises(zproxy.NodeClosed, match='"gradients" was sent: '):
        waiting.result(0)
