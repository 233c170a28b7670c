"""Ordered requests through a real proxy: one at a time for each key, in the order they came, whoever sent them."""

from __future__ import annotations

from collections.abc import Callable

from support.master_process import MasterProcess
from support.proxies import HostedProxy

from zproxy import Node

Host = Callable[..., HostedProxy]
Start = Callable[..., MasterProcess]


def test_requests_of_one_key_run_one_at_a_time_in_the_order_they_came(hosted: Host, master_process: Start) -> None:
    proxy = hosted()
    master = master_process(proxy.backend, concurrency=8)
    with Node("left", proxy.frontend) as left, Node("right", proxy.frontend) as right:
        futures = []
        for number in range(6):
            futures.append((left, right)[number % 2].submit("hold", number, key="shard7", ordered=True))
            proxy.wait_for("managed_accepted", number + 1)
        master.wait_begun(1)
        other = left.submit("hold", "other", key="shard8", ordered=True)
        assert right.request("echo", "unordered", key="shard7").body == "unordered"
        assert [each["body"] for each in master.wait_begun(2)] == [0, "other"]
        master.open_gate()
        for future in [*futures, other]:
            future.result(20)
    assert [each["body"] for each in master.begun() if each["body"] != "other"] == [*range(6)]
