"""Managed peers while memory is short, budgets are full, or somebody does not read: nobody is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.managed import ManagedPeer
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer

from zproxy.envelope import Code, Envelope, Kind

Host = Callable[..., HostedProxy]
Managed = Callable[..., ManagedPeer]

KIB, MIB = 1 << 10, 1 << 20
CONTENT = b"\x92\xc0\x90"


def greeted_node(
    proxy: HostedProxy, managed: Managed, name: str = "node1", incarnation: int | None = None
) -> ManagedPeer:
    node = managed(proxy.frontend, name, incarnation=incarnation)
    node.hello()
    return node


def test_peers_are_welcomed_however_full_the_memory_is(hosted: Host, managed: Managed) -> None:
    proxy = hosted(memory=8 * MIB, connection_memory=8 * MIB)
    node = greeted_node(proxy, managed)
    for _ in range(62):
        node.request("later", bytes(100_000))
    proxy.wait_for("memory_bytes", 6 * MIB)
    worker = managed(proxy.backend, "m1")
    worker.ready("later", credit=100)
    for _ in range(62):
        worker.read(Kind.REQUEST)


def test_an_answer_a_slow_node_cannot_take_is_told_all_the_same(
    hosted: Host, managed: Managed, raw_peer: Callable[..., ZmtpPeer]
) -> None:
    proxy = hosted(memory=32 * MIB, connection_memory=MIB)
    slow = raw_peer(proxy.frontend)
    slow.handshake("DEALER", is_managed=True)
    conversation = Envelope.parse(slow.read_message()[0]).conversation
    same: dict[str, Any] = {"incarnation": 7, "conversation": conversation}
    slow.send_message(Envelope(Kind.HELLO, name="slow", **same).pack())
    slow.read_message()
    worker = managed(proxy.backend, "m1")
    worker.ready("tensors", credit=100)
    for sequence in range(1, 41):
        slow.send_message(
            Envelope(Kind.REQUEST, service="tensors", sequence=sequence, remaining_ms=60_000, **same).pack(), CONTENT
        )
    for _ in range(40):
        worker.answer(worker.read(Kind.REQUEST)[0], CONTENT, bytes(MIB))
    undelivered = proxy.wait_for("managed_undelivered")["managed_undelivered"]
    told = [Envelope.parse(slow.read_message()[0]) for _ in range(40)]
    assert sorted(outcome.sequence for outcome in told) == list(range(1, 41))
    assert sum(outcome.code == Code.RESEND for outcome in told) >= undelivered
    assert proxy.stats()["managed_untold"] == 0


@pytest.mark.parametrize("count", [10, 300])
def test_a_node_that_ends_over_its_budget_leaves_nothing_behind(hosted: Host, managed: Managed, count: int) -> None:
    """Of three hundred requests most are still in the sockets, with its FIN behind them."""
    proxy = hosted(connection_memory=64 * KIB, memory=64 * MIB, absence="0s")
    node = greeted_node(proxy, managed)
    for _ in range(count):
        node.request("later", bytes(10_000))
    proxy.wait_for("paused_connections")
    node.close()
    stats = proxy.wait_for("connections_closed")
    assert proxy.wait_for("managed_cancelled", stats["managed_accepted"])["managed_live"] == 0
    greeted_node(proxy, managed)


def test_a_node_come_back_is_still_bound_by_its_budget(hosted: Host, managed: Managed) -> None:
    proxy = hosted(connection_memory=64 * KIB, memory=64 * MIB)
    node = greeted_node(proxy, managed, incarnation=7)
    for _ in range(50):
        node.request("later", bytes(10_000))
    held = proxy.wait_for("paused_connections")["managed_waiting"]
    again = greeted_node(proxy, managed, incarnation=7)
    for sequence in range(51, 101):
        again.request("later", bytes(10_000), sequence=sequence)
    proxy.wait_for("connections_closed")
    proxy.wait_for("paused_connections")
    assert proxy.stats()["managed_waiting"] <= held + 8
    worker = managed(proxy.backend, "m1")
    worker.ready("later", credit=100)
    for _ in range(held + 50):
        worker.read(Kind.REQUEST)


def test_ready_is_not_larger_than_its_services_can_be(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    worker = managed(proxy.backend, "m1")
    worker.send(Kind.READY, b"\0\1\0\0\0\0\0\0x", bytes(MIB), name="m1", credit=1)
    error, _ = worker.read(Kind.ERROR)
    assert error.code == Code.MALFORMED
    worker.ready("x")


def test_a_node_over_its_budget_hears_that_zproxy_lives(
    hosted: Host, managed: Managed, raw_peer: Callable[..., ZmtpPeer]
) -> None:
    """Its own PINGs lie behind what is not read: without a word it would take zproxy for dead, and connect anew."""
    proxy = hosted(connection_memory=64 * KIB, memory=64 * MIB)
    node = raw_peer(proxy.frontend)
    node.handshake("DEALER", is_managed=True)
    same: dict[str, Any] = {"incarnation": 7, "conversation": Envelope.parse(node.read_message()[0]).conversation}
    node.send_message(Envelope(Kind.HELLO, name="node1", **same).pack())
    node.read_message()
    for sequence in range(1, 21):
        node.send_message(
            Envelope(Kind.REQUEST, service="later", sequence=sequence, remaining_ms=60_000, **same).pack(),
            bytes(10_000),
        )
    proxy.wait_for("paused_connections")
    assert [node.read_command()[:5] for _ in range(4)] == [b"\x04PING"] * 4
    assert proxy.stats()["closed_heartbeat"] == 0


def test_a_node_that_asks_for_too_much_hears_busy_where_the_operator_wants_it(hosted: Host, managed: Managed) -> None:
    proxy = hosted(connection_memory=2 * MIB, overload="busy")
    flood, other = (greeted_node(proxy, managed, name) for name in ("flood", "other"))
    for _ in range(20):
        flood.request("later", bytes(100_000))
    refused = [flood.read(Kind.ERROR)[0] for _ in range(10)]
    assert [each.sequence for each in refused] == [*range(11, 21)]
    assert {(each.code, each.remaining_ms > 0) for each in refused} == {(Code.BUSY, True)}
    assert proxy.wait_for("managed_refused_overload", 10)["managed_accepted"] == 10
    worker = managed(proxy.backend, "m1")
    worker.ready("later", "now", credit=100)
    other.request("now")
    deliveries = [worker.read(Kind.REQUEST)[0] for _ in range(11)]
    assert sorted(each.name for each in deliveries) == ["flood"] * 10 + ["other"]
    for delivery in deliveries:
        worker.answer(delivery, CONTENT)
    assert flood.read(Kind.REPLY)[0].sequence == 1
    assert other.read(Kind.REPLY)[0].sequence == 1


def test_a_service_that_nobody_serves_leaves_room_for_others(hosted: Host, managed: Managed) -> None:
    proxy = hosted(service_memory=MIB)
    node = greeted_node(proxy, managed)
    for _ in range(12):
        node.request("dead", bytes(100_000))
    assert node.read(Kind.ERROR)[0].code == Code.BUSY
    worker = managed(proxy.backend, "m1")
    worker.ready("alive")
    node.request("alive")
    worker.answer(worker.read(Kind.REQUEST)[0], CONTENT)
    while node.read()[0].kind != Kind.REPLY:
        pass
