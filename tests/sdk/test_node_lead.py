"""Who reads a node's line: the lead is never with a thread that does not read, whatever callbacks and signals do."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from support.fake_proxy import FakeProxy, Heard, echo, silent
from support.waiting import wait_until

from zproxy import Node
from zproxy.client import readers
from zproxy.client.readers import Readers
from zproxy.envelope import Kind

DEADLINE_S = 10.0


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


@pytest.fixture
def node(proxy: FakeProxy) -> Iterator[Node]:
    with Node("node1", proxy.endpoint) as made:
        made.request("warm", timeout=DEADLINE_S)
        yield made


def test_a_request_does_not_take_the_lead_from_a_reader_that_has_just_begun(
    proxy: FakeProxy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, read = threading.Event(), Readers._read

    def read_later(self: Readers) -> None:
        begins.wait(DEADLINE_S)
        read(self)

    def answer(heard: Heard) -> None:
        if heard.body == "second":
            begins.set()
            echo(heard)

    monkeypatch.setattr(Readers, "_read", read_later)
    monkeypatch.setattr(readers, "IDLE_S", 600.0)
    proxy.answers[Kind.REQUEST] = answer
    future = node.submit("gradients", "first")
    node.request("gradients", "second", timeout=DEADLINE_S)
    echo(proxy.all_of(Kind.REQUEST)[1])
    assert future.result(DEADLINE_S).body == "first"


def test_the_lead_never_goes_to_a_thread_that_waits_in_a_callback(
    proxy: FakeProxy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    tells, tell = threading.Event(), Readers._tell
    by_name: dict[str, Heard] = {}
    came = {name: threading.Event() for name in ("leader", "future", "follower", "nested")}
    bodies: list[Any] = []

    def tell_later(self: Readers) -> None:
        if threading.current_thread() is leader and self.line.session.ended:
            tells.wait(DEADLINE_S)
        tell(self)

    def answer(heard: Heard) -> None:
        by_name[heard.body] = heard
        came[heard.body].set()

    def ask(name: str) -> None:
        bodies.append(node.request("gradients", name, timeout=600).body)

    proxy.answers[Kind.REQUEST] = answer
    leader = threading.Thread(target=ask, args=("leader",), daemon=True)
    leader.start()
    assert came["leader"].wait(DEADLINE_S)
    node.submit("gradients", "future").add_done_callback(lambda _: ask("nested"))
    assert came["future"].wait(DEADLINE_S)
    monkeypatch.setattr(Readers, "_tell", tell_later)
    echo(by_name["future"])
    while not node._readers.line.session.ended:
        assert not tells.wait(0.001)
    follower = threading.Thread(target=ask, args=("follower",), daemon=True)
    follower.start()
    assert came["nested"].wait(DEADLINE_S)
    echo(by_name["leader"])
    tells.set()
    leader.join(DEADLINE_S)
    echo(by_name["nested"])
    echo(by_name["follower"])
    follower.join(DEADLINE_S)
    assert bodies == ["leader", "nested", "follower"]


def test_a_callback_that_wants_to_end_its_thread_ends_nothing(proxy: FakeProxy, node: Node) -> None:
    def leave(_: object) -> None:
        raise SystemExit(1)

    proxy.answers[Kind.REQUEST] = silent
    ended = node.submit("gradients", 1)
    ended.add_done_callback(leave)
    heard = proxy.wait_for(Kind.REQUEST, 2)[1]
    proxy.answers[Kind.REQUEST] = echo
    echo(heard)
    assert ended.result(DEADLINE_S).body == 1
    assert node.submit("gradients", 2).result(DEADLINE_S).body == 2
    proxy.answers[Kind.REQUEST] = silent
    with pytest.raises(TimeoutError):
        node.request("gradients", timeout=0.1)


def test_an_interrupted_submit_tears_no_message(
    proxy: FakeProxy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    [wire] = node._readers.line._wires

    def interrupted(message: Any) -> bool:
        assert wire._socket is not None
        wire._socket._socket.send(message[0], zmq.SNDMORE)
        raise KeyboardInterrupt

    for call in (node.submit, node.post):
        monkeypatch.setattr(wire._socket, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call("gradients", "interrupted")
        assert node.request("gradients", "whole", timeout=DEADLINE_S).body == "whole"
    assert [heard.body for heard in proxy.all_of(Kind.REQUEST)] == [None, "whole", "whole"]
    assert node.stats()["open"] == 0


def test_a_reader_that_cannot_begin_hangs_nobody(
    proxy: FakeProxy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        monkeypatch.undo()
        raise RuntimeError("can't start new thread")

    proxy.answers[Kind.REQUEST] = silent
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="thread"):
        node.submit("gradients", 1)
    proxy.answers[Kind.REQUEST] = echo
    assert node.request("gradients", 2, timeout=DEADLINE_S).body == 2
    assert node.submit("gradients", 3).result(DEADLINE_S).body == 3
    assert node.stats()["open"] == 0


def test_a_callback_may_wait_for_another_future(node: Node) -> None:
    bodies: list[Any] = []
    done = threading.Event()

    def ask_again(_: object) -> None:
        bodies.append(node.submit("gradients", 2).result(DEADLINE_S).body)
        bodies.append(node.submit("gradients", 3).exception(DEADLINE_S))
        done.set()

    node.submit("gradients", 1).add_done_callback(ask_again)
    assert done.wait(2 * DEADLINE_S)
    assert bodies == [2, None]


def test_a_wait_in_a_callback_ends_in_time(proxy: FakeProxy, node: Node) -> None:
    ended: list[bool] = []
    done = threading.Event()
    later = node.submit("gradients", 1)

    def wait_in_vain(_: object) -> None:
        proxy.answers[Kind.REQUEST] = silent
        silenced = node.submit("gradients", 2, timeout=600)
        try:
            silenced.result(0.1)
        except concurrent.futures.TimeoutError:  # Python's own from 3.11 on
            ended.append(silenced.cancel())
        done.set()

    later.add_done_callback(wait_in_vain)
    assert done.wait(DEADLINE_S)
    assert ended == [True]


def test_a_callback_that_takes_long_holds_up_no_other_thread_for_good(proxy: FakeProxy, node: Node) -> None:
    in_callback, answered = threading.Event(), threading.Event()
    waited: list[bool] = []

    def hold(_: object) -> None:
        in_callback.set()
        waited.append(answered.wait(DEADLINE_S))

    proxy.answers[Kind.REQUEST] = silent
    node.submit("gradients", 1).add_done_callback(hold)
    first = proxy.wait_for(Kind.REQUEST, 2)[1]
    proxy.answers[Kind.REQUEST] = echo
    echo(first)
    assert in_callback.wait(DEADLINE_S)
    assert node.request("gradients", 2, timeout=DEADLINE_S / 2).body == 2
    answered.set()
    wait_until(lambda: waited == [True], "the callback has ended")
    assert node.submit("gradients", 3).result(DEADLINE_S).body == 3


def test_any_number_of_callbacks_may_ask_the_node(proxy: FakeProxy, node: Node) -> None:
    count = 1500
    replies: list[Any] = []
    proxy.answers[Kind.REQUEST] = silent
    futures = [node.submit("gradients", number) for number in range(count)]
    for future in futures:
        future.add_done_callback(lambda _: replies.append(node.request("gradients", timeout=DEADLINE_S)))
    heard = proxy.wait_for(Kind.REQUEST, count + 1)[1:]
    proxy.answers[Kind.REQUEST] = echo
    for each in heard:
        echo(each)
    wait_until(lambda: len(replies) == count, "all callbacks have asked", 2 * DEADLINE_S)
    assert [future.result(0).body for future in futures] == list(range(count))
