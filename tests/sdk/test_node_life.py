"""A Node's end: close, garbage collection, Ctrl-C, fork, the end of Python; nothing hangs and nothing is left."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.fake_proxy import FakeProxy, silent
from support.processes import FORKS_QUIETLY
from support.waiting import wait_until

import zproxy
from zproxy import Node
from zproxy.envelope import Kind
from zproxy.processes import spawn
from zproxy.procfs import descriptor_count

CHILD_SECONDS = 20
LONG_S = 20.0  # of a close, where the test is that it does not take its time, or loses nothing


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


def python(script: str, proxy: FakeProxy, *flags: str) -> subprocess.Popen[str]:
    head = f"import os, signal, sys, threading, time, zproxy\nendpoint = {proxy.endpoint!r}\n"
    argv = [sys.executable, *flags, "-c", head + script]
    return spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tempfile.gettempdir())


def test_close_ends_what_is_open_and_says_goodbye(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    node = Node("node1", proxy.endpoint)
    future = node.submit("gradients")
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            node.request("gradients")
        except zproxy.NodeClosed as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    proxy.wait_for(Kind.REQUEST, 2)
    node.close()
    thread.join(10)
    assert [type(error) for error in caught] == [zproxy.NodeClosed]
    with pytest.raises(zproxy.NodeClosed, match="node1"):
        future.result(0)
    assert len(proxy.wait_for(Kind.GOODBYE)) == 1
    node.close()
    for call in (node.request, node.submit, node.post):
        with pytest.raises(zproxy.NodeClosed):
            call("gradients")


def test_posts_that_wait_go_before_goodbye(monkeypatch: pytest.MonkeyPatch, proxy: FakeProxy) -> None:
    monkeypatch.setattr("zproxy.client.readers.CLOSE_S", LONG_S)
    with Node("node1", proxy.endpoint) as node:
        for number in range(300):
            node.post("metrics", number)
    assert [heard.body for heard in proxy.wait_for(Kind.POST, 300)] == list(range(300))
    kinds = [heard.kind for heard in proxy.heard]
    assert kinds.index(Kind.GOODBYE) == len(kinds) - 1


def test_close_does_not_wait_for_a_proxy_that_is_not_there() -> None:
    with FakeProxy() as proxy:
        pass
    node = Node("node1", proxy.endpoint)
    node.post("metrics", 1)
    node.close()
    assert node.stats()["posts_lost"] == 1


def test_close_does_not_wait_for_a_proxy_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zproxy.client.readers.CLOSE_S", LONG_S)
    with FakeProxy() as proxy:
        node = Node("node1", proxy.endpoint)
        node.request("gradients")
    began = time.monotonic()
    node.close()
    assert time.monotonic() - began < LONG_S / 2


def test_nothing_is_left_after_a_close(proxy: FakeProxy) -> None:
    def once() -> None:
        with Node("node1", proxy.endpoint) as node:
            node.request("gradients")
            node.submit("gradients").result(10)

    once()
    proxy.drop_all()
    before = descriptor_count(os.getpid())
    once()
    proxy.drop_all()
    wait_until(lambda: descriptor_count(os.getpid()) <= before, "as many open files as before")
    assert [each.name for each in threading.enumerate() if each.name == "node1-reader"] == []


def test_an_unclosed_node_is_warned_of_and_ends(proxy: FakeProxy) -> None:
    node = Node("node1", proxy.endpoint)
    node.request("gradients")
    node.submit("gradients").result(10)
    seen = weakref.ref(node)
    with pytest.warns(ResourceWarning, match="a Node was dropped"):
        del node
        wait_until(lambda: gc.collect() is not None and seen() is None, "the node collected")


def test_open_futures_keep_their_node(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    future = Node("node1", proxy.endpoint).submit("gradients")
    [request] = proxy.wait_for(Kind.REQUEST)
    gc.collect()
    request.on.reply(request, "still there")
    assert future.result(10).body == "still there"
    with pytest.warns(ResourceWarning):
        del future
        wait_until(lambda: proxy.connections[0].has_ended or gc.collect() < 0, "the connection ended")


def test_control_c_ends_a_request_and_the_node_goes_on(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    child = python(
        """
node = zproxy.Node("node1", endpoint)
try:
    node.request("gradients", timeout=600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(node.request("gradients", "after").body, flush=True)
node.close()
""",
        proxy,
    )
    [request] = proxy.wait_for(Kind.REQUEST)
    proxy.answers[Kind.REQUEST] = lambda heard: heard.on.reply(heard, heard.body)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=CHILD_SECONDS)
    assert (child.returncode, out.split(), err) == (0, ["interrupted", "after"], "")
    assert [cancel.sequence for cancel in proxy.all_of(Kind.CANCEL)] == [request.sequence]


def test_control_c_ends_a_request_while_another_thread_reads(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    child = python(
        """
node = zproxy.Node("node1", endpoint)
thread = threading.Thread(target=lambda: print(node.request("gradients", "other", timeout=600).body, flush=True))
thread.start()
try:
    node.request("gradients", "main", timeout=600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
thread.join()
node.close()
""",
        proxy,
    )
    proxy.wait_for(Kind.REQUEST, 2)
    child.send_signal(signal.SIGINT)
    [cancel] = proxy.wait_for(Kind.CANCEL)
    [other] = [heard for heard in proxy.all_of(Kind.REQUEST) if heard.sequence != cancel.sequence]
    assert other.body == "other"
    other.on.reply(other, "answered")
    out, err = child.communicate(timeout=CHILD_SECONDS)
    assert (child.returncode, out.split(), err) == (0, ["interrupted", "answered"], "")


def test_interrupts_at_any_moment_lose_no_request(proxy: FakeProxy) -> None:
    """SIGALRM raises somewhere in the middle of requests, hundreds of times; each request after it is answered."""
    child = python(
        """
class Alarm(Exception): pass
armed = False
def ring(number, frame):
    global armed
    if armed:
        armed = False  # the next one may come before this one is caught
        raise Alarm
signal.signal(signal.SIGALRM, ring)
node = zproxy.Node("node1", endpoint)
node.request("gradients")
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.0037)
for number in range(300):
    try:
        armed = True
        while True:
            node.request("gradients", number, timeout=20)
    except Alarm:
        pass
    assert node.request("gradients", number, timeout=20).body == number
signal.setitimer(signal.ITIMER_REAL, 0)
print(node.stats()["open"], node.stats()["timeouts"], flush=True)
node.close()
""",
        proxy,
    )
    out, _ = child.communicate(timeout=CHILD_SECONDS)  # pyzmq may say on stderr that a frame's end took an alarm
    assert (child.returncode, out.split()) == (0, ["0", "0"])


def test_a_forked_child_is_told_and_the_parent_goes_on(proxy: FakeProxy) -> None:
    child = python(
        """
node = zproxy.Node("node1", endpoint)
node.request("gradients")
future = node.submit("slow")
pid = os.fork()
if pid == 0:
    told = []
    for call in ("request('a')", "submit('a')", "post('a')", "send_progress(1)", "stats()", "close()"):
        try:
            eval("node." + call)
        except zproxy.ForkedNode as error:
            told.append(str(os.getppid()) in str(error))
    future.cancel()
    sys.exit(0 if told == [True] * 6 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print(node.request("gradients", "parent").body, future.done(), flush=True)
node.close()
""",
        proxy,
        *FORKS_QUIETLY,
    )
    out, err = child.communicate(timeout=CHILD_SECONDS)
    assert (child.returncode, out.split()[0], err) == (0, "parent", "")
    assert proxy.all_of(Kind.CANCEL) == []


@pytest.mark.parametrize("use", ["node.request('a')", "node.submit('a').result()", "node.post('a')", "pass"])
def test_python_ends_with_an_open_node(proxy: FakeProxy, use: str) -> None:
    child = python(f"node = zproxy.Node('node1', endpoint)\n{use}\n", proxy, "-W", "always::ResourceWarning")
    _, err = child.communicate(timeout=CHILD_SECONDS)
    assert child.returncode == 0
    assert err.count("ResourceWarning") == 1
    assert "Traceback" not in err


def test_python_ends_while_futures_are_open(proxy: FakeProxy) -> None:
    proxy.answers[Kind.REQUEST] = silent
    child = python("node = zproxy.Node('node1', endpoint)\nfuture = node.submit('a')\ntime.sleep(0.1)\n", proxy)
    _, err = child.communicate(timeout=CHILD_SECONDS)
    assert (child.returncode, err) == (0, "")


def test_two_nodes_of_one_process_do_not_meet(proxy: FakeProxy) -> None:
    with FakeProxy() as other, Node("node1", proxy.endpoint) as one, Node("node2", other.endpoint) as two:
        assert (one.request("a", 1).body, two.request("a", 2).body) == (1, 2)
        one.close()
        assert two.request("a", 3).body == 3


@pytest.mark.parametrize("endpoints", ["tcp://nowhere", "ftp://127.0.0.1:1", [], ["tcp://127.0.0.1:1", "tcp://x"]])
def test_an_endpoint_that_can_never_work_is_refused(endpoints: str | list[str]) -> None:
    with pytest.raises(zproxy.SettingError if endpoints == [] else zproxy.EndpointError):
        Node("node1", endpoints)


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        (5555, "bad endpoint 5555"),
        (b"tcp://127.0.0.1:1", "bad endpoint b'tcp://127.0.0.1:1'"),
        ("tcp://127.0.0.1:0", "name the host and the port"),
        (["tcp://*:5555"], "name the host and the port"),
    ],
)
def test_an_endpoint_is_named_as_it_was_given(endpoints: Any, words: str) -> None:
    with pytest.raises(zproxy.EndpointError, match=words):
        Node("node1", endpoints)


@pytest.mark.parametrize("name", ["node 1", "", "n" * 65, None, 5])
def test_a_name_that_no_envelope_can_carry_is_refused(name: str) -> None:
    with pytest.raises(zproxy.SettingError, match=f"bad node name {name!r}"):
        Node(name, "tcp://127.0.0.1:5555")


@pytest.mark.parametrize("peer", [Node, zproxy.Master])
def test_no_endpoint_at_all_is_refused(peer: type[Node]) -> None:
    with pytest.raises(zproxy.SettingError, match="endpoint"):
        peer(name="node1", endpoints=None)  # type: ignore[arg-type]
