"""A Node with several proxies: it uses all that live, moves what is open from one that is lost, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from support.fake_proxy import FakeProxy, Heard, silent
from support.waiting import wait_until

import zproxy
from zproxy import AsyncNode, Node
from zproxy.client.conversation import Conversation
from zproxy.envelope import Code, Flag, Kind


@pytest.fixture
def first() -> Iterator[FakeProxy]:
    with FakeProxy(proxy=1) as proxy:
        yield proxy


@pytest.fixture
def second() -> Iterator[FakeProxy]:
    with FakeProxy(proxy=2) as proxy:
        yield proxy


@pytest.fixture
def node(first: FakeProxy, second: FakeProxy) -> Iterator[Node]:
    """One that both have accepted."""
    with Node("node1", [first.endpoint, second.endpoint]) as made:
        wait_until(lambda: has_asked(made, first) and has_asked(made, second), "both used")
        for proxy in (first, second):
            proxy.heard.clear()
        yield made


def has_asked(node: Node, proxy: FakeProxy) -> bool:
    node.request("gradients")
    return bool(proxy.all_of(Kind.REQUEST))


def conversation_of(node: Node, which: int) -> Conversation:
    return node._readers.line.session.conversations[which]


def bodies(proxy: FakeProxy) -> list[object]:
    return [heard.body for heard in proxy.all_of(Kind.REQUEST)]


def test_endpoints_may_be_one_text(first: FakeProxy, second: FakeProxy) -> None:
    with Node("node1", f"{first.endpoint},{second.endpoint}") as node:
        wait_until(lambda: has_asked(node, first) and has_asked(node, second), "both used")


def test_an_endpoint_that_is_named_twice_is_used_once(first: FakeProxy) -> None:
    with Node("node1", [first.endpoint, first.endpoint]) as node:
        assert node.request("gradients", 1).body == 1
    assert len(first.connections) == 1


def test_requests_take_turns_over_all_living_proxies(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    for number in range(6):
        assert node.request("gradients", number).body == number
    assert len(bodies(first)) == len(bodies(second)) == 3


def test_the_proxy_with_fewer_open_requests_has_the_next_one(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    first.answers[Kind.REQUEST] = silent
    held = [node.submit("gradients", "held") for _ in range(2)]
    wait_until(lambda: "held" in bodies(first) and any(future.done() for future in held), "one is held")
    for number in range(4):
        node.request("gradients", number, timeout=5)
    assert bodies(second)[-4:] == [0, 1, 2, 3]
    for heard in first.all_of(Kind.REQUEST):
        heard.on.reply(heard, "late")
    assert {future.result(10).body for future in held} <= {"held", "late"}


def test_equal_keys_go_by_the_same_proxy(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    for key in range(20):
        for _ in range(2):
            node.request("gradients", key, key=str(key))
    assert set(bodies(first)) and set(bodies(second))
    assert not set(bodies(first)) & set(bodies(second))


def test_what_a_lost_proxy_had_is_resent_at_once_over_the_other(
    first: FakeProxy, second: FakeProxy, node: Node
) -> None:
    for proxy in (first, second):
        proxy.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number) for number in range(6)]
    [*lost] = first.wait_for(Kind.REQUEST, 3)
    second.wait_for(Kind.REQUEST, 3)
    first.close()
    moved = second.wait_for(Kind.REQUEST, 6)[3:]
    assert [heard.sequence for heard in moved] == [heard.sequence for heard in lost]
    assert all(heard.envelope.flags & Flag.RESENT for heard in moved)
    assert all(
        again.envelope.remaining_ms <= heard.envelope.remaining_ms for again, heard in zip(moved, lost, strict=True)
    ), "the deadline stays as it was"
    for heard in second.all_of(Kind.REQUEST):
        heard.on.reply(heard, heard.body)
    assert [future.result(10).body for future in futures] == list(range(6))
    assert node.stats()["moved"] == 3


def test_what_may_not_run_twice_waits_for_the_proxy_that_has_it(
    first: FakeProxy, second: FakeProxy, node: Node
) -> None:
    for proxy in (first, second):
        proxy.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number, idempotent=False) for number in range(2)]
    [held] = first.wait_for(Kind.REQUEST)
    first.close()
    wait_until(lambda: conversation_of(node, 0).is_lost, "the loss noticed")
    unsent = node.submit("gradients", "unsent", idempotent=False)
    second.wait_for(Kind.REQUEST, 2)
    with FakeProxy(first.endpoint, proxy=1) as back:
        [again] = back.wait_for(Kind.REQUEST)
        assert (again.sequence, again.body) == (held.sequence, held.body)
        for heard in second.all_of(Kind.REQUEST):
            heard.on.reply(heard, heard.body)
        assert [future.result(10).body for future in (*futures, unsent)] == [0, 1, "unsent"]
    assert held.body not in bodies(second)


def test_what_may_not_run_twice_ends_as_unknown_where_its_proxy_stays_away(
    first: FakeProxy, second: FakeProxy, node: Node
) -> None:
    for proxy in (first, second):
        proxy.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number, timeout=2, idempotent=False) for number in range(2)]
    [held] = first.wait_for(Kind.REQUEST)
    first.close()
    with pytest.raises(zproxy.OutcomeUnknown, match="only that one could tell"):
        futures[held.body].result(10)


def test_a_proxy_that_comes_back_is_used_again(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    first.close()
    for number in range(3):
        assert node.request("gradients", number, timeout=10).body == number
    with FakeProxy(first.endpoint, proxy=3) as back:
        wait_until(lambda: has_asked(node, back), "used again")
        second.close()
        assert node.request("gradients", "back", timeout=10).body == "back"


def test_where_no_proxy_is_left_what_is_open_waits_for_any(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    for proxy in (first, second):
        proxy.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number) for number in range(2)]
    for proxy in (first, second):
        proxy.wait_for(Kind.REQUEST)
        proxy.close()
    with FakeProxy(second.endpoint, proxy=4):
        assert [future.result(10).body for future in futures] == [0, 1]


def test_a_proxy_that_drains_answers_what_it_has_and_gets_nothing_new(
    first: FakeProxy, second: FakeProxy, node: Node
) -> None:
    for proxy in (first, second):
        proxy.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number) for number in range(2)]
    [held] = first.wait_for(Kind.REQUEST)
    second.wait_for(Kind.REQUEST)
    held.on.say(Kind.GOODBYE)
    wait_until(lambda: conversation_of(node, 0).is_draining, "heard")
    second.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, heard.body)
    for number in range(4):
        assert node.request("gradients", number).body == number
    assert len(bodies(first)) == 1
    held.on.reply(held, "still answered")
    assert futures[held.body].result(10).body == "still answered"


def test_what_a_draining_proxy_refuses_goes_to_the_other(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    def drain(heard: Heard) -> None:
        heard.on.say(Kind.GOODBYE)
        heard.on.error(Code.DRAINING, heard)

    first.answers[Kind.REQUEST] = drain
    for number in range(4):
        assert node.request("gradients", number, timeout=10).body == number
    assert len(bodies(first)) == 1


def test_of_two_connections_to_one_proxy_one_is_closed_until_it_is_needed() -> None:
    with FakeProxy(proxy=1) as first, FakeProxy(proxy=1) as way_round:
        with Node("node1", [first.endpoint, way_round.endpoint]) as node:
            for number in range(4):
                assert node.request("gradients", number).body == number
            held = node.submit("lasts")  # so that the node looks
            wait_until(lambda: sum(bool(proxy.all_of(Kind.HELLO)) for proxy in (first, way_round)) == 1, "one HELLO")
            assert held.result(10).service == "lasts"
            used, other = (first, way_round) if first.all_of(Kind.HELLO) else (way_round, first)
            assert not other.all_of(Kind.HELLO) and not other.all_of(Kind.REQUEST)
            used.close()
            assert node.request("gradients", "by the other way", timeout=10).body == "by the other way"
            assert bodies(other) == ["by the other way"]


def test_one_proxy_that_refuses_the_name_is_done_without(second: FakeProxy) -> None:
    with FakeProxy(proxy=1) as first:
        first.answers[Kind.HELLO] = lambda heard: heard.on.error(Code.DENIED, sentence="not on the list")
        with Node("node1", [first.endpoint, second.endpoint]) as node:
            for number in range(4):
                assert node.request("gradients", number, timeout=10).body == number


def test_fenced_by_one_proxy_is_fenced_for_good(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    first.answers[Kind.REQUEST] = lambda heard: heard.on.error(Code.FENCED, sentence="another node1 has come")
    second.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number) for number in range(4)]
    for future in futures:
        with pytest.raises(zproxy.Fenced, match="another node1 has come") as caught:
            future.result(10)
        assert (caught.value.node, caught.value.service) == ("node1", "gradients")
    with pytest.raises(zproxy.Fenced, match="start it anew under another name"):
        node.request("gradients")


def test_a_closed_node_has_said_goodbye_to_all(first: FakeProxy, second: FakeProxy, node: Node) -> None:
    node.close()
    for proxy in (first, second):
        proxy.wait_for(Kind.GOODBYE)


def test_tasks_move_to_the_other_proxy(first: FakeProxy, second: FakeProxy) -> None:
    for proxy in (first, second):
        proxy.answers[Kind.REQUEST] = silent

    async def main() -> list[object]:
        async with AsyncNode("node1", [first.endpoint, second.endpoint]) as node:
            tasks = [asyncio.ensure_future(node.request("gradients", number)) for number in range(6)]
            await asyncio.to_thread(wait_until, lambda: len(bodies(first)) + len(bodies(second)) == 6, "all sent")
            second.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, heard.body)
            for heard in second.all_of(Kind.REQUEST):
                heard.on.reply(heard, heard.body)
            await asyncio.to_thread(first.close)
            replies = await asyncio.wait_for(asyncio.gather(*tasks), 10)
            return [reply.body for reply in replies]

    assert asyncio.run(main()) == list(range(6))
