"""How requests end through a real proxy and a master in another process: served late, or in the error that says why."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.master_process import MasterProcess
from support.processes import halted
from support.proxies import HostedProxy

import zproxy
from zproxy import Node
from zproxy.envelope import Code
from zproxy.errors import RequestError

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]

NOBODY = "tcp://127.0.0.1:1"  # no proxy ever listens there


def assert_tells(error: RequestError, code: Code, service: str, worker: str = "", attempt: int = 0) -> None:
    """It carries all that is known, and says it."""
    told = (error.code, error.service, error.node, error.worker, error.attempt)
    assert told == (code, service, "node1", worker, attempt), f"{told}: {error}"
    assert f'request of "node1" to "{service}": ' in str(error)
    assert not worker or str(error).count(f'worker "{worker}"') == 1


@pytest.mark.parametrize("service", ["echo", "add"])
def test_a_service_that_starts_after_its_requests_serves_them(
    hosted: Host, master_process: Start, service: str
) -> None:
    proxy = hosted()
    with Node("node1", proxy.frontend) as node:
        bodies = [{"left": number, "right": 1} for number in range(20)]
        futures = [node.submit(service, body) for body in bodies]
        proxy.wait_for("managed_waiting", len(futures))
        master_process(proxy.backend)
        replies = [future.result(20) for future in futures]
    wanted = bodies if service == "echo" else [number + 1 for number in range(20)]
    assert [reply.body for reply in replies] == wanted
    assert {(reply.worker, reply.service, reply.attempt) for reply in replies} == {("m1", service, 1)}


@pytest.fixture
def patient_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for the proxy's word beyond the deadline, however slow this machine is."""
    monkeypatch.setattr("zproxy.client.session.GRACE_S", 10.0)


@pytest.mark.usefixtures("patient_nodes")
def test_a_service_nobody_ever_offered_is_unknown_at_the_deadline(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend).wait_serving()
    with Node("node1", proxy.frontend) as node:
        node.request("echo")
        began = time.monotonic()
        with pytest.raises(zproxy.UnknownService, match='no worker has ever offered service "nobody"') as caught:
            node.request("nobody", timeout=0.5)
        assert time.monotonic() - began > 0.49, "its time is rounded down to milliseconds, no more"
    assert_tells(caught.value, Code.UNKNOWN_SERVICE, "nobody")
    assert str(caught.value).count("has ever offered") == 1


@pytest.mark.usefixtures("patient_nodes")
def test_a_service_whose_worker_has_gone_has_no_worker_at_the_deadline(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        assert node.request("echo", 1).body == 1
        master.kill()
        proxy.wait_for("connections_closed")
        with pytest.raises(zproxy.NoWorker, match="no worker is there any more") as caught:
            node.request("echo", 2, timeout=0.5)
    assert type(caught.value) is zproxy.NoWorker
    assert_tells(caught.value, Code.NO_WORKER, "echo")


def test_what_a_handler_raises_reaches_its_node(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        with pytest.raises(zproxy.HandlerError) as caught:
            node.request("fail", 7)
        assert node.request("echo", 8).body == 8, "the master goes on"
    assert (caught.value.type, caught.value.text) == ("ValueError", "no such step: 7")
    assert_tells(caught.value, Code.HANDLER_ERROR, "fail", "m1", 1)
    assert str(caught.value).count("no such step: 7") == 1


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({"left": 1, "right": "two"}, "$.right", "Expected `int`, got `str`"),
        ({"left": 1}, "$", "missing required field `right`"),
        ([1, 2], "$", "Expected `object`, got `array`"),
    ],
)
def test_a_body_that_does_not_fit_never_reaches_the_handler(
    hosted: Host, master_process: Start, body: object, path: str, reason: str
) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        with pytest.raises(zproxy.MalformedRequest) as caught:
            node.request("add", body)
        assert master.adds() == 0
        assert node.request("add", {"left": 1, "right": 2}).body == 3
    assert f"{path}: " in str(caught.value) and reason in str(caught.value)
    assert_tells(caught.value, Code.MALFORMED, "add", "m1", 1)


def test_a_worker_that_is_killed_in_its_handler_is_lost(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        future = node.submit("once", timeout=600)
        master.wait_begun()
        master.kill()
        with pytest.raises(zproxy.WorkerLost, match='worker "m1" is gone') as caught:
            future.result(10)
    assert_tells(caught.value, Code.WORKER_LOST, "once", "m1", 1)


@pytest.mark.usefixtures("patient_nodes")
def test_a_handler_that_takes_too_long_times_out_and_is_told(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        node.request("echo")
        with pytest.raises(zproxy.RequestTimeout, match='worker "m1" had it') as caught:
            node.request("hold", "slow", timeout=0.5)
        master.wait_cancelled("slow")
    assert isinstance(caught.value, TimeoutError)
    assert_tells(caught.value, Code.TIMEOUT, "hold", "m1", 1)


@pytest.mark.usefixtures("patient_nodes")
def test_a_request_that_no_busy_worker_takes_times_out_unbegun(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend, prefetch=0)
    with Node("node1", proxy.frontend) as node:
        held = node.submit("hold", "first")
        master.wait_begun()
        with pytest.raises(zproxy.RequestTimeout, match="all workers were busy") as caught:
            node.request("hold", "second", timeout=0.5)
        master.open_gate()
        assert held.result(10).body["body"] == "first"
        assert [each["body"] for each in master.begun()] == ["first"]
    assert_tells(caught.value, Code.TIMEOUT, "hold")


def test_a_proxy_that_is_not_there_is_named() -> None:
    with Node("node1", NOBODY) as node:
        with pytest.raises(zproxy.RequestTimeout, match=f"no proxy has answered at {NOBODY} within 0.3 s") as caught:
            node.request("echo", timeout=0.3)
    assert_tells(caught.value, Code.TIMEOUT, "echo")


def test_a_proxy_that_stands_still_is_named(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master_process(proxy.backend)
    with Node("node1", proxy.frontend) as node:
        node.request("echo")
        with halted(proxy.pid):
            with pytest.raises(zproxy.RequestTimeout, match=f"the proxy at {proxy.frontend} did not answer") as caught:
                node.request("echo", timeout=0.3)
        assert node.request("echo", "after").body == "after"
    assert_tells(caught.value, Code.TIMEOUT, "echo", attempt=-1)
