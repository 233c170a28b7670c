"""A Node against a proxy made by hand: requests, futures and posts, and how they end."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.fake_proxy import WORKER, FakeProxy, Heard, failing, silent, welcome_after
from support.waiting import wait_until

import zproxy
from zproxy import Node
from zproxy.client.pending import Pending
from zproxy.envelope import Code, Flag, Kind, key_hash

SHORT_S = 0.2


@dataclass
class Step:
    step: int


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


@pytest.fixture
def node(proxy: FakeProxy) -> Iterator[Node]:
    with Node("node1", proxy.endpoint) as made:
        yield made


def test_a_reply_has_body_tensors_and_who_made_it(node: Node) -> None:
    gradient = np.arange(12, dtype=np.float32).reshape(3, 4)
    reply = node.request("gradients", {"step": 3}, tensors={"w": gradient})
    assert (reply.body, reply.worker, reply.service, reply.attempt) == ({"step": 3}, WORKER, "gradients", 1)
    np.testing.assert_array_equal(reply.tensors["w"], gradient)
    assert not reply.tensors["w"].flags.writeable
    assert 0 < reply.elapsed < 10


def test_a_request_leaves_nothing_of_itself_to_the_collector(node: Node) -> None:
    node.request("gradients")
    node.submit("gradients").result()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        node.request("gradients")
        node.submit("gradients").result()
        gc.collect()
        assert not [found for found in gc.garbage if isinstance(found, Pending)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_a_large_tensor_comes_back_as_it_went(node: Node) -> None:
    large = np.arange(1 << 18, dtype=np.float64)
    np.testing.assert_array_equal(node.request("gradients", tensors={"w": large}).tensors["w"], large)


def test_the_node_announces_itself_and_says_hello_once(proxy: FakeProxy, node: Node) -> None:
    node.request("gradients")
    node.request("gradients")
    assert b"X-zproxy" in proxy.connections[0].properties
    [hello] = proxy.all_of(Kind.HELLO)
    assert hello.envelope.name == "node1"
    assert hello.envelope.conversation == proxy.connections[0].conversation


def test_options_are_in_the_envelope(proxy: FakeProxy, node: Node) -> None:
    node.request("a/b.c", priority=2, idempotent=False, step=7, retries=4, key="rank7", ordered=True, timeout=9.0)
    envelope = proxy.all_of(Kind.REQUEST)[0].envelope
    assert (envelope.service, envelope.priority, envelope.step, envelope.max_attempts) == ("a/b.c", 2, 7, 5)
    assert envelope.flags == Flag.NOT_IDEMPOTENT | Flag.HAS_STEP | Flag.RETRY_ERRORS | Flag.ORDERED
    assert envelope.key_hash == key_hash(b"rank7")
    assert 8000 < envelope.remaining_ms <= 9000


def test_progress_is_a_request_that_the_proxy_can_read(proxy: FakeProxy, node: Node) -> None:
    assert node.send_progress(50, step=3).body == {"progress": 50.0, "step": 3}
    envelope = proxy.all_of(Kind.REQUEST)[0].envelope
    assert (envelope.service, envelope.progress, envelope.step) == ("progress", 50.0, 3)
    assert envelope.flags == Flag.HAS_PROGRESS | Flag.HAS_STEP
    with pytest.raises(zproxy.SettingError, match="from 0 to 100"):
        node.send_progress(101)


def test_progress_that_nobody_hears_says_so(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = failing(Code.UNKNOWN_SERVICE, sentence="no worker; start a worker for it")
    with pytest.raises(zproxy.UnknownService) as caught:
        node.send_progress(50, 3)
    for words in ('"node1"', 'no master has ever offered the service "progress"', "zproxy status", "step="):
        assert words in str(caught.value)
    assert proxy.all_of(Kind.REQUEST)[0].envelope.remaining_ms <= 5000


def test_the_body_of_a_reply_is_what_was_asked_for(node: Node) -> None:
    assert node.request("gradients", {"step": 3}, body_type=Step).body == Step(3)
    with pytest.raises(zproxy.MalformedContent, match="step"):
        node.request("gradients", {"step": "three"}, body_type=Step)


def test_nothing_leaves_when_the_body_cannot_be_sent(proxy: FakeProxy, node: Node) -> None:
    for call in (node.request, node.submit, node.post):
        with pytest.raises(TypeError, match="set"):
            call("gradients", {"steps": {1, 2}})
    assert proxy.all_of(Kind.REQUEST) == proxy.all_of(Kind.POST) == []


@pytest.mark.parametrize(
    "bad",
    [
        *({"service": service} for service in ("no spaces", "", "x" * 65, None, ["a"], b"a")),
        *({"timeout": timeout} for timeout in (0, -1, None, "5s", float("inf"), float("nan"))),
        {"step": -1}, {"step": 1.5}, {"priority": 3}, {"retries": True}, {"key": 5},
    ],
)  # fmt: skip
def test_what_no_envelope_can_say_is_refused(node: Node, bad: dict[str, Any]) -> None:
    with pytest.raises(zproxy.SettingError, match=f"bad {next(iter(bad))}"):
        node.request(**{"service": "gradients", **bad})
    assert node.request("gradients").body is None


@pytest.mark.parametrize("code", [code for code in Code if code not in (Code.NEED_HELLO, Code.RESEND, Code.NOT_SHARED)])
def test_every_code_becomes_its_exception(proxy: FakeProxy, node: Node, code: Code) -> None:
    detail = {"type": "ValueError", "text": "no such step"}
    proxy.answers[Kind.REQUEST] = failing(
        code, sentence="as the proxy says", detail=detail, name=WORKER, attempt=2, remaining_ms=1500
    )
    with pytest.raises(zproxy.RequestError, match="as the proxy says") as caught:
        node.request("gradients", timeout=5, retries=0)
    error = caught.value
    assert (error.code, error.service, error.node, error.worker) == (code, "gradients", "node1", WORKER)
    assert (error.attempt, error.retry_after) == (2, 1.5)
    assert isinstance(error, zproxy.HandlerError) == (code == Code.HANDLER_ERROR)
    proxy.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, "well")
    assert node.request("gradients").body == "well"


def test_a_silent_proxy_hangs_nobody(proxy: FakeProxy, node: Node) -> None:
    node.request("gradients")
    proxy.answers[Kind.REQUEST] = silent
    with pytest.raises(zproxy.RequestTimeout, match="did not answer"):
        node.request("gradients", timeout=SHORT_S)
    assert node.stats()["timeouts"] == 1


def test_a_late_reply_is_counted_and_settles_nothing(proxy: FakeProxy, node: Node) -> None:
    node.request("gradients")
    proxy.answers[Kind.REQUEST] = silent
    with pytest.raises(zproxy.RequestTimeout):
        node.request("gradients", timeout=SHORT_S)

    def late_then_right(heard: Heard) -> None:
        heard.on.reply(proxy.all_of(Kind.REQUEST)[1], "late")
        heard.on.reply(heard, "right")

    proxy.answers[Kind.REQUEST] = late_then_right
    assert node.request("gradients").body == "right"
    assert node.stats()["late"] == 1


def test_a_message_of_another_conversation_is_dropped(proxy: FakeProxy, node: Node) -> None:
    def of_two(heard: Heard) -> None:
        heard.on.reply(heard, "of an ended one", conversation=4711)
        heard.on.reply(heard, "of this one")

    proxy.answers[Kind.REQUEST] = of_two
    assert node.request("gradients").body == "of this one"
    assert node.stats()["stale"] == 1


def test_what_is_no_envelope_is_counted_and_survived(proxy: FakeProxy, node: Node) -> None:
    def garbage_then_reply(heard: Heard) -> None:
        heard.on.say_frames(b"garbage", b"and more")
        heard.on.reply(heard, "well")

    proxy.answers[Kind.REQUEST] = garbage_then_reply
    assert node.request("gradients").body == "well"
    assert node.stats()["malformed"] == 1


def test_a_message_above_the_limit_is_refused_here() -> None:
    with FakeProxy(max_message=2000) as proxy, Node("node1", proxy.endpoint) as node:
        with pytest.raises(zproxy.TooLarge, match=r"4\d\d\d bytes.*takes 2000"):
            node.request("gradients", tensors={"w": np.zeros(1000, np.float32)})
        assert proxy.all_of(Kind.REQUEST) == []
        assert node.request("gradients", tensors={"w": np.zeros(100, np.float32)}).worker == WORKER


# ---- futures ----


def test_many_futures_are_open_at_once(proxy: FakeProxy, node: Node) -> None:
    kept: list[Heard] = []
    proxy.answers[Kind.REQUEST] = kept.append
    futures = [node.submit("gradients", number) for number in range(64)]
    wait_until(lambda: len(kept) == 64, "all 64 at the proxy")
    for heard in reversed(kept):
        heard.on.reply(heard, heard.body)
    assert [future.result(10).body for future in futures] == list(range(64))


def test_the_background_reader_ends_when_nothing_is_open(node: Node) -> None:
    assert node.submit("gradients", 1).result(10).body == 1
    wait_until(lambda: not readers(), "no reader thread")
    assert node.submit("gradients", 2).result(10).body == 2


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "node1-reader"]


def test_no_thread_reads_for_requests(node: Node) -> None:
    for _ in range(3):
        node.request("gradients")
    assert readers() == []


def test_a_cancelled_future_is_cancelled_at_the_proxy(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = silent
    future = node.submit("gradients")
    [request] = proxy.wait_for(Kind.REQUEST)
    assert future.cancel()
    [cancel] = proxy.wait_for(Kind.CANCEL)
    assert cancel.sequence == request.sequence
    with pytest.raises(CancelledError):
        future.result(0)
    assert wait([future], 10).done == {future}
    stats = node.stats()
    assert (stats["cancelled"], stats["open"], stats["late"]) == (1, 0, 0)


def test_a_future_that_is_done_is_not_cancelled(proxy: FakeProxy, node: Node) -> None:
    future = node.submit("gradients")
    future.result(10)
    assert not future.cancel()
    assert proxy.all_of(Kind.CANCEL) == []


def test_errors_reach_futures(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = failing(Code.NO_WORKER)
    with pytest.raises(zproxy.NoWorker):
        node.submit("gradients").result(10)
    proxy.answers[Kind.REQUEST] = silent
    with pytest.raises(zproxy.RequestTimeout):
        node.submit("gradients", timeout=SHORT_S).result(10)


def test_a_callback_may_ask_the_same_node(node: Node) -> None:
    found: list[object] = []

    def ask(future: Future[zproxy.Reply]) -> None:
        found.append(node.request("gradients", "from a callback", timeout=5).body)

    future = node.submit("gradients", "first")
    future.add_done_callback(ask)
    wait_until(lambda: found == ["from a callback"], "the callback's own request answered")


def test_a_callback_may_close_the_node(proxy: FakeProxy) -> None:
    node = Node("node1", proxy.endpoint)
    closed = threading.Event()

    def close(future: Future[zproxy.Reply]) -> None:
        node.close()
        closed.set()

    proxy.answers[Kind.REQUEST] = silent
    future = node.submit("gradients")
    future.add_done_callback(close)
    [request] = proxy.wait_for(Kind.REQUEST)
    request.on.reply(request)
    assert closed.wait(10)


# ---- posts ----


def test_a_post_goes_and_nothing_is_waited_for(proxy: FakeProxy, node: Node) -> None:
    node.post("metrics", {"loss": 0.1})
    [post] = proxy.wait_for(Kind.POST)
    assert post.body == {"loss": 0.1}
    assert post.envelope.flags == 0


def test_a_confirmed_post_waits_for_a_worker(proxy: FakeProxy, node: Node) -> None:
    def accepted(heard: Heard) -> None:
        envelope = heard.envelope
        heard.on.say(Kind.ACCEPTED, incarnation=envelope.incarnation, sequence=envelope.sequence)

    proxy.answers[Kind.POST] = accepted
    node.post("metrics", {"loss": 0.1}, confirm=True)
    assert proxy.all_of(Kind.POST)[0].envelope.flags == Flag.WANTS_ACCEPTED
    proxy.answers[Kind.POST] = failing(Code.BUSY, remaining_ms=200)
    with pytest.raises(zproxy.Busy) as caught:
        node.post("metrics", {"loss": 0.1}, confirm=True)
    assert caught.value.retry_after == 0.2


def test_a_refused_post_is_logged_and_counted(
    proxy: FakeProxy, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.answers[Kind.POST] = failing(Code.DENIED)
    with caplog.at_level(logging.WARNING, "zproxy.node"):
        node.post("metrics", {"loss": 0.1})
        proxy.wait_for(Kind.POST)
        node.request("gradients")
    assert "无权访问" in caplog.text
    assert node.stats()["posts_refused"] == 1


def test_a_post_is_as_it_was_when_it_was_given(proxy: FakeProxy) -> None:
    gate = threading.Event()
    proxy.on_connection = welcome_after(gate)
    with Node("node1", proxy.endpoint) as node:
        loss = np.ones(3)
        node.post("metrics", tensors={"loss": loss})
        loss[:] = 2
        gate.set()
        [post] = proxy.wait_for(Kind.POST)
    assert post.frames[1] == np.ones(3).tobytes()


# ---- threads ----


def test_many_threads_share_one_node(node: Node) -> None:
    wrong: list[object] = []

    def ask(thread: int) -> None:
        for number in range(40):
            sent = [thread, number]
            if (found := node.request("gradients", sent, timeout=20).body) != sent:
                wrong.append((sent, found))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert wrong == []
    stats = node.stats()
    assert (stats["replies"], stats["open"], stats["late"]) == (320, 0, 0)


def test_a_thread_that_leaves_passes_the_lead_on(proxy: FakeProxy, node: Node) -> None:
    kept: list[Heard] = []
    proxy.answers[Kind.REQUEST] = kept.append
    found: dict[str, object] = {}
    threads = [
        threading.Thread(target=lambda name=name: found.update({name: node.request("gradients", name).body}))
        for name in ("first", "second", "third")
    ]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda number=number: len(kept) == number, f"request {number}")  # type: ignore[misc]
    for heard in list(kept):
        heard.on.reply(heard, heard.body)
        wait_until(lambda heard=heard: heard.body in found, f"{heard.body} answered")  # type: ignore[misc]
    for thread in threads:
        thread.join(10)
    assert found == {name: name for name in ("first", "second", "third")}


def test_a_short_timeout_ends_in_time_behind_a_long_one(proxy: FakeProxy, node: Node) -> None:
    proxy.answers[Kind.REQUEST] = silent
    long = node.submit("gradients", timeout=30)
    proxy.wait_for(Kind.REQUEST)
    with pytest.raises(zproxy.RequestTimeout):
        node.request("gradients", timeout=SHORT_S)
    assert not long.done()


@pytest.mark.parametrize("tensors", [np.ones(3), [np.ones(3)], "w"])
def test_tensors_without_names_are_refused(node: Node, tensors: Any) -> None:
    with pytest.raises(zproxy.Unsendable, match=r"tensors: .* has no names: send \{name: array\}"):
        node.request("gradients", tensors=tensors)


def test_whole_numbers_of_numpy_are_steps(proxy: FakeProxy, node: Node) -> None:
    node.send_progress(50, np.int64(3))  # type: ignore[arg-type]
    assert proxy.all_of(Kind.REQUEST)[0].envelope.step == 3
