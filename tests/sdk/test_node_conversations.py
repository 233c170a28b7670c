"""A Node whose proxy goes, comes back, refuses it or stops: what becomes of what is open."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
import zmq
from support.fake_proxy import Connection, FakeProxy, Heard, failing, silent, welcome_after
from support.waiting import wait_until

import zproxy
from zproxy import Node
from zproxy.envelope import Code, Flag, Kind

SHORT_S = 0.3


def nobody() -> str:
    """An endpoint where nobody listens, until somebody does."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as probe:
        return f"tcp://127.0.0.1:{probe.bind_to_random_port('tcp://127.0.0.1')}"


def test_without_a_proxy_the_error_says_so() -> None:
    endpoint = nobody()
    with Node("node1", endpoint) as node:
        with pytest.raises(zproxy.RequestTimeout, match="no proxy has answered at") as caught:
            node.request("gradients", timeout=SHORT_S)
    assert endpoint in str(caught.value) and "check endpoint and keys" in str(caught.value)
    assert caught.value.attempt == 0


def test_start_order_does_not_matter() -> None:
    endpoint = nobody()
    with Node("node1", endpoint) as node:
        future = node.submit("gradients", "early")
        with FakeProxy(endpoint):
            assert future.result(10).body == "early"


def test_what_is_open_is_resent_to_a_proxy_that_came_back() -> None:
    with FakeProxy() as first:
        first.answers[Kind.REQUEST] = silent
        node = Node("node1", first.endpoint)
        futures = [node.submit("gradients", number) for number in range(3)]
        sent = first.wait_for(Kind.REQUEST, 3)
    with FakeProxy(first.endpoint, proxy=2) as second, node:
        assert [future.result(10).body for future in futures] == [0, 1, 2]
        again = second.all_of(Kind.REQUEST)
    assert [heard.sequence for heard in again] == [heard.sequence for heard in sent]
    assert all(heard.envelope.flags & Flag.RESENT for heard in again)
    assert not any(heard.envelope.flags & Flag.RESENT for heard in sent)
    assert all(heard.envelope.remaining_ms < sent[0].envelope.remaining_ms for heard in again)
    assert {heard.envelope.incarnation for heard in again} == {sent[0].envelope.incarnation}


def test_every_welcome_begins_a_new_conversation() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        proxy.answers[Kind.REQUEST] = silent
        future = node.submit("gradients", "once more")
        [request] = proxy.wait_for(Kind.REQUEST)
        proxy.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, heard.body)
        request.on.conversation = 2222
        request.on.welcome()
        assert future.result(10).body == "once more"
        assert [heard.envelope.conversation for heard in proxy.all_of(Kind.HELLO)] == [1000, 2222]


def test_a_request_refused_for_want_of_hello_goes_again_unmarked() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        once = iter([Code.NEED_HELLO])

        def need_hello_once(heard: Heard) -> None:
            if code := next(once, None):
                heard.on.error(code, heard)
            else:
                heard.on.reply(heard, heard.body)

        proxy.answers[Kind.REQUEST] = need_hello_once
        assert node.request("gradients", "again").body == "again"
        flags = [heard.envelope.flags & Flag.RESENT for heard in proxy.all_of(Kind.REQUEST)]
        assert flags == [0, 0]
        assert len(proxy.all_of(Kind.HELLO)) == 1


@pytest.mark.parametrize("code", [Code.RESEND, Code.NOT_SHARED])
def test_the_proxy_may_ask_for_a_request_again(code: Code) -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:

        def ask_once(heard: Heard) -> None:
            if heard.envelope.flags & Flag.RESENT:
                heard.on.reply(heard, heard.body, attempt=2)
            else:
                heard.on.error(code, heard)

        proxy.answers[Kind.REQUEST] = ask_once
        reply = node.request("gradients", "again")
        assert (reply.body, reply.attempt) == ("again", 2)
        first, second = proxy.all_of(Kind.REQUEST)
        assert first.sequence == second.sequence


def test_a_post_refused_for_want_of_hello_goes_again() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        proxy.answers[Kind.POST] = failing(Code.NEED_HELLO)
        node.post("metrics", 1)
        proxy.wait_for(Kind.POST)
        proxy.answers[Kind.POST] = silent
        node.request("gradients")
        assert [heard.body for heard in proxy.wait_for(Kind.POST, 2)] == [1, 1]


def test_a_sent_post_is_not_resent_to_another_proxy() -> None:
    with FakeProxy() as first:
        node = Node("node1", first.endpoint)
        node.post("metrics", 1)
        first.wait_for(Kind.POST)
    with FakeProxy(first.endpoint, proxy=2) as second, node:
        assert node.request("gradients", timeout=10).body is None
        assert second.all_of(Kind.POST) == []


def test_a_name_in_use_is_tried_again() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        refusals = iter([50, 50])

        def in_use_twice(heard: Heard) -> None:
            if (remaining_ms := next(refusals, None)) is not None:
                heard.on.error(Code.NAME_IN_USE, remaining_ms=remaining_ms)
            else:
                heard.on.accept()

        proxy.answers[Kind.HELLO] = in_use_twice
        assert node.request("gradients", 1, timeout=10).body == 1


def test_a_name_that_stays_in_use_is_named() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        proxy.answers[Kind.HELLO] = lambda heard: heard.on.error(Code.NAME_IN_USE, remaining_ms=10)
        with pytest.raises(zproxy.NameInUse, match='"node1"'):
            node.request("gradients", timeout=20)
        proxy.answers[Kind.HELLO] = lambda heard: heard.on.accept()
        assert node.request("gradients", 1, timeout=20).body == 1


def test_a_name_that_is_denied_fails_what_is_open() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        proxy.answers[Kind.HELLO] = failing_peer(Code.DENIED, sentence="node1 is not on the list")
        with pytest.raises(zproxy.Denied, match="not on the list"):
            node.request("gradients", timeout=20)


def failing_peer(code: int, sentence: str = "") -> Callable[[Heard], None]:
    return lambda heard: heard.on.error(code, sentence=sentence)


def test_a_fenced_node_does_not_come_back() -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        proxy.answers[Kind.REQUEST] = lambda heard: heard.on.error(Code.FENCED)
        with pytest.raises(zproxy.Fenced):
            node.request("gradients", timeout=20)
        with pytest.raises(zproxy.Fenced):
            node.request("gradients", timeout=20)
        assert len(proxy.all_of(Kind.HELLO)) == 1


def test_a_proxy_that_drains_answers_what_is_open_and_gets_nothing_new(caplog: pytest.LogCaptureFixture) -> None:
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        proxy.answers[Kind.REQUEST] = silent
        opened = node.submit("gradients", 1)
        [request] = proxy.wait_for(Kind.REQUEST)
        request.on.say(Kind.GOODBYE)
        with caplog.at_level(logging.WARNING, "zproxy.node"):
            wait_until(lambda: "stops" in caplog.text, "the drain logged")
            with pytest.raises(zproxy.Draining, match="no other was there"):
                node.request("gradients", 2, timeout=SHORT_S)
        request.on.reply(request, "still answered")
        assert opened.result(10).body == "still answered"
        assert len(proxy.all_of(Kind.REQUEST)) == 1


def test_a_socket_that_libzmq_gave_up_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zproxy.client.wire.WELCOME_S", 0.2)
    with FakeProxy() as proxy:
        proxy.on_connection = Connection.zmtp_error
        with Node("node1", proxy.endpoint) as node:
            with pytest.raises(zproxy.RequestTimeout):
                node.request("gradients", timeout=SHORT_S)
            proxy.on_connection = Connection.welcome
            assert node.request("gradients", 1, timeout=20).body == 1
        assert len(proxy.connections) > 1


def test_a_proxy_that_does_not_answer_hello_is_connected_to_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zproxy.client.conversation.HELLO_S", 0.2)
    with FakeProxy() as proxy, Node("node1", proxy.endpoint) as node:
        deaf = threading.Event()

        def accept_the_second(heard: Heard) -> None:
            if deaf.is_set():
                heard.on.accept()
            deaf.set()

        proxy.answers[Kind.HELLO] = accept_the_second
        assert node.request("gradients", 1, timeout=20).body == 1
        assert len(proxy.connections) == 2


def test_nothing_is_resent_after_the_window_of_the_proxy() -> None:
    with FakeProxy() as first:
        first.answers[Kind.REQUEST] = silent
        node = Node("node1", first.endpoint)
        old = node.submit("gradients", "old")
        first.wait_for(Kind.REQUEST)
    with FakeProxy(first.endpoint) as second, node:
        second.dedup = [4096, 1]
        with pytest.raises(zproxy.OutcomeUnknown):
            old.result(10)
        assert second.all_of(Kind.REQUEST) == []


def test_a_cancel_is_said_in_the_next_conversation() -> None:
    with FakeProxy() as first:
        first.answers[Kind.REQUEST] = silent
        node = Node("node1", first.endpoint)
        future = node.submit("gradients")
        [request] = first.wait_for(Kind.REQUEST)
        gate = threading.Event()
        first.on_connection = welcome_after(gate)
        first.drop_all()
        wait_until(lambda: len(first.connections) == 2, "connected again")
        assert future.cancel()
        gate.set()
        node.post("metrics")
        first.wait_for(Kind.POST)
        assert request.sequence in [heard.sequence for heard in first.all_of(Kind.CANCEL)]
        node.close()
