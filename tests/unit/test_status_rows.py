"""What a proxy says of its peers, and how `zproxy status` draws it: nothing is cut off, whatever the width."""

from __future__ import annotations

import io
import re
from typing import Any

import msgspec
import pytest
from rich.console import Console

from zproxy import Proxy
from zproxy._report import PeerRow
from zproxy.cli.status import picture
from zproxy.status import Service, Status, nodes_of, status_of, worker_of, worker_state

PEER = PeerRow(
    name="m1",
    is_worker=True,
    is_known=True,
    is_leaving=False,
    is_usable=True,
    is_resting=False,
    address="127.0.0.1:41240",
    incarnation=1 << 63,
    credit=2,
    in_flight=1,
    oldest_ms=321,
    settled=17,
    services=("sum", "gradients"),
    waiting_bytes=0,
    unread_bytes=0,
    heard_ms=1234,
    step=None,
    progress=None,
    told_ms=None,
)
SERVICES = (
    Service("gradients", True, ("m1", "m2"), 3, 5 << 20, 1234, "least_outstanding"),
    Service("gradeints", False, (), 1, 500, 63_000, "hash"),
    Service("progress", True, (), 2, 700, 3, accepted=9, delivered=2, failed=1, expired=1, undelivered=3, live=2),
    Service("quiet", True, (), 0, 0, None),
    Service("", False, (), 0, 0, None, accepted=3, cancelled=3),
)


def node(name: str, step: int | None, **fields: Any) -> PeerRow:
    return PEER._replace(name=name, is_worker=False, services=(), step=step, **fields)


def status(**fields: Any) -> Status:
    """Of an idle proxy, with other fields."""
    with Proxy("tcp://127.0.0.1:0", "tcp://127.0.0.1:0") as proxy:
        return msgspec.structs.replace(status_of(proxy, 0.0), **fields)


def drawn(of: Status, width: int) -> str:
    output = io.StringIO()
    Console(file=output, width=width, highlight=False).print(picture(of))
    return output.getvalue()


def line_of(name: str, text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line


def test_who_is_furthest_behind_comes_first_and_who_told_no_step_last() -> None:
    rows = [node("a", None), node("b", 1041), node("c", 1044), node("d", 1041), node("e", 0)]
    assert [(each.name, each.behind) for each in nodes_of(rows)] == [
        ("e", 1044),
        ("b", 3),
        ("d", 3),
        ("c", 0),
        ("a", None),
    ]
    assert nodes_of([]) == ()


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -1.0, 100.5, 3e38])
def test_what_is_no_per_cent_is_no_progress(told: float) -> None:
    of = status(nodes=nodes_of([node("a", 1, progress=told), node("b", 1, progress=100.0)]))
    assert [row.progress for row in of.nodes] == [None, 100.0]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "ready"),
        ({"in_flight": 2}, "busy"),
        ({"credit": 0, "in_flight": 0}, "paused"),
        ({"is_usable": False}, "suspect"),
        ({"is_resting": True}, "resting"),
        ({"is_usable": False, "is_leaving": True}, "draining"),
        ({"is_known": False, "is_leaving": True}, "hello"),
    ],
)
def test_a_workers_state_is_what_keeps_it_from_more_work(fields: dict[str, Any], state: str) -> None:
    assert worker_state(PEER._replace(**fields)) == state


def test_numbers_that_json_readers_round_are_text() -> None:
    assert worker_of(PEER).incarnation == "8000000000000000"
    assert nodes_of([node("a", 1)])[0].incarnation == "8000000000000000"


def test_it_survives_its_way_as_json_and_fields_of_later_versions() -> None:
    of = status(services=SERVICES, workers=(worker_of(PEER),), nodes=nodes_of([node("a", 1, progress=2.5)]))
    sent = msgspec.json.encode(of)
    assert msgspec.json.decode(sent, type=Status) == of
    assert msgspec.json.decode(sent.replace(b"{", b'{"later":1,'), type=Status, strict=False).pid == of.pid


def test_an_idle_proxy_says_that_nobody_is_there() -> None:
    text = drawn(status(), 80)
    for words in ("services: none", "workers: none", "nodes: none", "frontend  tcp://127.0.0.1:"):
        assert words in text


def test_rows_say_what_an_operator_asks() -> None:
    behind = node("rank12", 1041, in_flight=4, waiting_bytes=3 << 20)
    rows = [node("rank1", 1044, progress=50.0), behind, node("x", None)]
    text = drawn(status(services=SERVICES, workers=(worker_of(PEER),), nodes=nodes_of(rows)), 80)
    served, booked = text.split("requests, by service")
    assert line_of("progress", booked).split()[1:] == [
        *("accepted=9", "delivered=2", "failed=1", "expired=1", "undelivered=3", "live=2")
    ]
    assert line_of("(forgotten)", booked).split()[1:] == ["accepted=3", "cancelled=3"]
    assert "(forgotten)" not in served and "quiet" not in booked
    assert line_of("gradients", text).split() == ["gradients", "2", "3", "5MiB", "1.2s", "least_outstanding"]
    assert "never offered: is its name right?" in line_of("gradeints", text)
    assert "no worker now" in line_of("progress", served)
    assert line_of("quiet", text).split() == ["quiet", "0", "0", "0B", "–"]
    worker = ["m1", "127.0.0.1:41240", "gradients,", "sum", "1/2", "320ms", "17", "1.2s", "ready"]
    assert line_of("m1", text).split() == worker
    assert line_of("rank12", text).split() == ["rank12", "127.0.0.1:41240", "4", "3MiB", "1041", "-3", "–", "1.2s"]
    assert line_of("rank1", text).split() == ["rank1", "127.0.0.1:41240", "1", "0B", "1044", "50%", "1.2s"]
    assert line_of("x", text).split() == ["x", "127.0.0.1:41240", "1", "0B", "–", "–", "1.2s"]
    assert text.index("rank12") < text.index("rank1 ") < text.index("\n  x ")


def test_counters_that_are_not_0_stand_in_groups() -> None:
    of = status()
    counted = {"refused_limit": 3, "requests_in": 5, "requests_in_bytes": 2048, "turns": 7}
    managed = {"managed_late": 1, "managed_refused_busy": 2, "managed_refused_draining": 4}
    text = drawn(
        msgspec.structs.replace(
            of,
            counters={**dict.fromkeys(of.counters, 0), **counted, **managed},
            gauges=dict.fromkeys(of.gauges, 0),
        ),
        80,
    )
    lines = text.split("counters that are not 0\n")[1].splitlines()
    assert [line.strip() for line in lines] == [
        "requests_in=5 requests_in_bytes=2KiB",
        "refused_limit=3",
        "managed_late=1",
        "managed_refused_draining=4 managed_refused_busy=2",
        "turns=7",
    ]


@pytest.mark.parametrize("width", [80, 100, 1000])
def test_the_longest_names_are_whole(width: int) -> None:
    long = "n" * 32 + "a" * 32
    address = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535"
    peer = PEER._replace(name=long, address=address, services=(long, "s" * 64), credit=65_535, in_flight=65_535)
    nodes = nodes_of([peer._replace(is_worker=False, step=(1 << 64) - 1, progress=99.99, waiting_bytes=(1 << 40) - 1)])
    service = Service(long, False, (), 1 << 30, 1 << 40, 10**9)
    text = drawn(status(services=(service,), workers=(worker_of(peer),), nodes=nodes), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    letters = re.sub(r"\s", "", text)
    assert letters.count("n") >= 3 * 32 and letters.count("s") >= 64
    assert str((1 << 64) - 1) in text and "65535/65535" in text


def test_brackets_of_an_address_are_no_markup() -> None:
    peer = PEER._replace(address="[::1]:5555")
    text = drawn(status(frontend=("ipc:///run/[red]/x",), workers=(worker_of(peer),)), 80)
    assert "[::1]:5555" in text and "ipc:///run/[red]/x" in text


def test_a_row_is_one_line_where_there_is_room() -> None:
    """An empty last column is no reason to fold the first."""
    lines = drawn(status(services=(Service("gradients", True, ("m1",), 0, 0, None),)), 160).splitlines()
    assert any(line.split() == ["gradients", "1", "0", "0B", "–"] for line in lines)
