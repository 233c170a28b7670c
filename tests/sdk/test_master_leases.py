"""A master's leases and kept answers, at a fake backend and through a proxy: long handlers, frozen processes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest
from support.fake_backend import FakeBackend
from support.master_process import MasterProcess
from support.masters import Hosted, InThread, echo
from support.proxies import HostedProxy
from support.waiting import wait_until

import zproxy
from zproxy import Node
from zproxy.envelope import Code, Kind, offers_parse

LEASE_S = 0.3


def test_ready_says_how_long_a_lease_is(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.master()
    master.service("long", lease="1.5s")(echo)
    master.service("longer", lease=7)(echo)
    master.start()
    offers = offers_parse(backend.join().frames[0])
    assert offers is not None
    assert offers[-2:] == [("long", 1500, 0), ("longer", 7000, 0)]


@pytest.mark.parametrize("lease", [0.01, -1, "soon", 1e9, True, float("nan")])
def test_a_lease_that_cannot_be_is_refused(hosted_master: Hosted, lease: float) -> None:
    master = hosted_master.master()
    with pytest.raises((zproxy.SettingError, zproxy.ServiceError), match="lease"):
        master.service("long", lease=lease)(echo)


def test_what_runs_and_what_waits_is_extended_while_the_only_handler_is_busy(
    backend: FakeBackend, hosted_master: Hosted
) -> None:
    master = hosted_master.master()
    master.service("long", lease=LEASE_S)(hosted_master.gate)
    master.start()
    backend.join()
    for lease in (71, 72):
        backend.request(lease, service="long")
    hosted_master.gate.wait_begun()
    extended = Counter[int]()
    while min(extended[71], extended[72]) < 3:
        extended[backend.hear(Kind.PROGRESS).lease] += 1
    assert extended.keys() == {71, 72}
    hosted_master.gate.open()
    while (heard := backend.hear()).kind == Kind.PROGRESS:
        continue
    assert (heard.kind, heard.lease) == (Kind.REPLY, 71)


def test_a_lost_lease_reaches_the_handler_and_a_new_one_is_answered_by_it(
    backend: FakeBackend, hosted_master: Hosted
) -> None:
    hosted_master.serving()
    backend.request(71, "only once", service="hold")
    hosted_master.gate.wait_begun()
    backend.cancel(71)
    running = hosted_master.gate.requests[0]
    wait_until(lambda: running.is_cancelled, "the handler knows")
    backend.request(72, "only once", service="hold", sequence=backend.sequence_of(71), attempt=2)
    wait_until(lambda: not running.is_cancelled, "somebody waits again")
    hosted_master.gate.open()
    assert (backend.hear(Kind.ERROR).code, backend.hear(Kind.REPLY).lease) == (Code.CANCELLED, 72)
    assert hosted_master.gate.count == 1


def test_a_reply_that_was_lost_with_its_connection_is_said_again(
    backend: FakeBackend, hosted_master: Hosted
) -> None:
    hosted_master.serving()
    first = backend.sequence_of(71)
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.join()
    hosted_master.gate.open()
    wait_until(lambda: hosted_master.stats("late") == 1, "finished for nobody")
    backend.request(72, service="hold", sequence=first, attempt=2)
    assert backend.hear(Kind.REPLY).body == {"begun": 1}
    assert (hosted_master.gate.count, hosted_master.stats("repeated")) == (1, 1)


# ---- through the proxy ----

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]


def test_a_handler_that_takes_many_leases_runs_once(hosted: Host, hosted_master: Hosted) -> None:
    proxy = hosted()
    master = zproxy.Master(proxy.backend, "m1")
    master.service("long", lease=LEASE_S)(hosted_master.gate)
    with master, Node("node1", proxy.frontend) as node:
        asked = InThread(node.request, "long")
        hosted_master.gate.wait_begun()
        wait_until(lambda: master.stats()["extended"] >= 10, "three leases and more")
        hosted_master.gate.open()
        assert asked.join().attempt == 1
    assert hosted_master.gate.count == 1


def test_what_a_frozen_master_has_goes_to_another_one_when_its_lease_is_over(
    hosted: Host, master_process: Start
) -> None:
    proxy = hosted()
    frozen = master_process(proxy.backend, "m1", lease=LEASE_S)
    with Node("node1", proxy.frontend) as node:
        asked = InThread(node.request, "hold", "to be moved")
        frozen.wait_begun()
        other = master_process(proxy.backend, "m2", lease=LEASE_S)
        other.wait_serving()
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            other.wait_begun()
            other.open_gate()
            reply = asked.join()
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
    assert reply.worker == "m2" and reply.attempt > 1
