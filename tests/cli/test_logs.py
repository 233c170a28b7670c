"""The log: every line can be taken apart, one connection's life can be grepped, a flood stays bounded."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pty
import re
import resource
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import zmq
from support.commands import RunningProxy
from support.peers import EchoWorkers, Peers
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer, frame_header, greeting, ready

from zproxy.cli.logs import JsonLines, Lines
from zproxy.entries import Entry
from zproxy.procfs import descriptor_count

Connect = Callable[..., ZmtpPeer]

MIB = 1 << 20
CROWD = 300
BURST = 100  # refusals of one reason that are logged one by one


def test_one_connections_life_is_found_by_its_peer(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path) as proxy:
        peer = raw_peer(proxy.frontend)
        address = ":".join(map(str, peer.socket.getsockname()))
        peer.handshake("DEALER", b"rank 7")
        peer.close()
        proxy.wait_for("disconnected")
        life = [line for line in proxy.log() if line.get("peer") == address]
    fields = {"level": "info", "side": "frontend", "endpoint": proxy.frontend, "peer": address}
    fields |= {"socket_type": "DEALER", "routing_id": "rank 7"}
    assert [line.pop("event") for line in life] == ["connected", "disconnected"]
    times = [datetime.fromisoformat(line.pop("time").replace("Z", "+00:00")) for line in life]
    assert times == sorted(times)
    assert life == [fields, {**fields, "reason": "eof"}]


def test_a_stop_is_told_of_each_connection(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path) as proxy:
        raw_peer(proxy.frontend).handshake("DEALER", b"rank 7")
        proxy.wait_for("connected")
    assert [(line["routing_id"], line["reason"]) for line in proxy.log("disconnected")] == [("rank 7", "stop")]


@pytest.mark.parametrize(
    ("side", "words", "reason", "advice"),
    [
        ("frontend", greeting() + ready("REP"), "socket_type", "REP does not fit the frontend, which serves REQ"),
        ("backend", greeting() + ready("REQ"), "socket_type", "REQ does not fit the backend, which serves REP"),
        ("frontend", greeting(mechanism=b"CURVE"), "mechanism", "turn CURVE or PLAIN off"),
        ("frontend", greeting(major=2), "version", "libzmq 4.0 or newer"),
        ("backend", b"GET / HTTP/1.1\r\n" * 8, "malformed", "is it a ZeroMQ peer"),
        ("frontend", greeting() + ready("DEALER", {"Identity": b"\0one"}), "routing_id", "choose another"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(
    tmp_path: Path, raw_peer: Connect, side: str, words: bytes, reason: str, advice: str
) -> None:
    with RunningProxy(tmp_path) as proxy:
        peer = raw_peer(proxy.ready[side][0])
        peer.send(words)
        line = proxy.wait_for("refused")
        peer.close()
        totals = proxy.totals()
    assert (line["level"], line["side"], line["reason"]) == ("warning", side, reason)
    assert advice in line["sentence"]
    assert totals[f"refused_{reason}"] == 1


def test_a_message_too_large_is_refused_with_size_and_limit(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path, "--max-message", "1MiB") as proxy:
        peer = raw_peer(proxy.frontend)
        peer.handshake("DEALER", b"\xff\x00")
        peer.send(frame_header(2 * MIB))
        line = proxy.wait_for("refused")
        peer.close()
        totals = proxy.totals()
    assert (line["reason"], line["size"], line["limit"], line["routing_id"]) == ("too_large", 2 * MIB, MIB, "0xff00")
    assert "2MiB is above the limit of 1MiB: raise --max-message" in line["sentence"]
    assert totals["closed_too_large"] == 1


def test_a_second_peer_of_a_name_is_refused_and_told(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path) as proxy:
        raw_peer(proxy.frontend).handshake("DEALER", b"rank7", minor=0)
        proxy.wait_for("connected")
        raw_peer(proxy.frontend).send(greeting() + ready("DEALER", {"Identity": b"rank7"}))
        line = proxy.wait_for("refused")
    assert (line["reason"], line["routing_id"]) == ("name_in_use", "rank7")


def test_a_stalled_message_is_a_warning(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path, "--stall", "100ms") as proxy:
        peer = raw_peer(proxy.frontend)
        peer.handshake("DEALER", b"slow")
        peer.send(frame_header(100_000) + b"not all of it")
        line = proxy.wait_for("disconnected")
    assert (line["level"], line["reason"], line["routing_id"]) == ("warning", "stalled", "slow")
    assert "--stall" in line["sentence"]


def test_an_endpoint_nobody_serves_is_a_warning_with_the_systems_reason(tmp_path: Path) -> None:
    with RunningProxy(tmp_path, "--backend-connect", f"ipc://{tmp_path}/nobody") as proxy:
        line = proxy.wait_for("connect_failed")
    assert (line["level"], line["endpoint"]) == ("warning", f"ipc://{tmp_path}/nobody")
    assert line["error"] == "No such file or directory"


def test_a_flood_of_refusals_is_bounded_and_none_goes_uncounted(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path) as proxy:
        for _ in range(CROWD):
            raw_peer(proxy.frontend).send(greeting(mechanism=b"CURVE"))
        proxy.wait_for("refused", BURST)
        totals = wait_totals(proxy, raw_peer)
        logged = len([line for line in proxy.log("refused") if line["reason"] == "mechanism"])
        suppressed = [line for line in proxy.log("suppressed") if line["reason"] == "mechanism"]
    assert totals["refused_mechanism"] == CROWD
    assert logged < CROWD
    assert logged + sum(line["count"] for line in suppressed) == CROWD
    assert {(line["of"], line["side"]) for line in suppressed} == {("refused", "frontend")}


def wait_totals(proxy: RunningProxy, raw_peer: Connect) -> dict[str, int]:
    """Totals after everything sent before was seen: a last peer, on the same listener, is refused otherwise."""
    raw_peer(proxy.frontend).send(b"GET / HTTP/1.1\r\n" * 8)
    wait_until(lambda: any(line["reason"] == "malformed" for line in proxy.log("refused")), "the last one is refused")
    return proxy.totals()


def test_what_is_dropped_is_a_warning_and_in_the_totals(tmp_path: Path, peers: Peers) -> None:
    with RunningProxy(tmp_path, "--log-level", "warning") as proxy:
        worker = peers.connect(zmq.DEALER, proxy.backend)
        client = peers.connect(zmq.REQ, proxy.frontend)
        worker.send_multipart([b"nobody", b"", b"lost"])
        client.send(b"hello")
        worker.send_multipart(worker.recv_multipart())
        client.recv()
        totals = proxy.totals()
        (lost,) = proxy.log("lost")
        assert not proxy.log("connected"), "info is not logged"
    assert (totals["level"], totals["dropped_client_gone"], totals["replies_out"]) == ("warning", 1, 1)
    assert (lost["counter"], lost["count"], lost["total"]) == ("dropped_client_gone", 1, 1)


def test_totals_of_a_day_without_loss_are_info(tmp_path: Path, peers: Peers) -> None:
    with RunningProxy(tmp_path) as proxy:
        with EchoWorkers(proxy.backend):
            client = peers.connect(zmq.REQ, proxy.frontend)
            client.send(b"hello")
            client.recv()
        totals = proxy.totals()
    flows = [totals[name] for name in ("requests_in", "requests_out", "replies_in", "replies_out")]
    assert (totals["level"], flows) == ("info", [1, 1, 1, 1])


def test_on_a_terminal_the_log_is_for_people(tmp_path: Path, raw_peer: Connect) -> None:
    terminal, side = pty.openpty()
    with RunningProxy(tmp_path, stderr=side) as proxy:
        os.close(side)
        raw_peer(proxy.frontend).send(greeting(mechanism=b"CURVE"))
        said = ""
        while "refused" not in said or not said.endswith("\n"):
            said += os.read(terminal, 65536).decode()
        os.close(terminal)
    line = next(line for line in said.splitlines() if "refused" in line)
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} warning refused side=frontend .*reason=mechanism: it asks for "
    assert re.match(pattern, line)


def test_a_log_that_nobody_reads_costs_lines_and_not_the_proxy(tmp_path: Path, peers: Peers) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with RunningProxy(tmp_path, stderr=writing) as proxy:
        os.close(writing)
        with EchoWorkers(proxy.backend):
            for number in range(30):
                client = peers.connect(zmq.REQ, proxy.frontend)
                client.send(b"%d" % number)
                assert client.recv() == b"%d" % number
                client.close()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
    with open(reading) as log:
        assert 1 <= len(log.readlines()) < 30


def test_a_reader_who_comes_back_is_told_how_many_lines_it_missed() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    handler = Lines(writing)
    handler.setFormatter(JsonLines())
    for number in range(40):
        handler.emit(
            logging.makeLogRecord({"levelname": "INFO", "msg": Entry(logging.INFO, "x" * 400, "", {"n": number})})
        )
    written = [json.loads(line) for line in os.read(reading, 65536).splitlines()]
    handler.emit(logging.makeLogRecord({"levelname": "INFO", "msg": Entry(logging.INFO, "last")}))
    missed, last = (json.loads(line) for line in os.read(reading, 65536).splitlines())
    assert [line["n"] for line in written] == list(range(len(written)))
    assert (missed["event"], missed["count"], last["event"]) == ("suppressed", 40 - len(written), "last")
    for end in (reading, writing):
        os.close(end)


def test_no_descriptors_left_is_a_warning_with_the_remedy(tmp_path: Path, raw_peer: Connect) -> None:
    with RunningProxy(tmp_path) as proxy:
        frontend = proxy.frontend
        few = descriptor_count(proxy.process.pid) + 2
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (few, few))
        for _ in range(4):
            raw_peer(frontend)
        line = proxy.wait_for("accept_failed")
    assert (line["level"], line["side"], line["endpoint"]) == ("warning", "frontend", frontend)
    assert line["error"] == "Too many open files" and "ulimit -n" in line["sentence"]


def test_text_and_json_can_be_asked_for(tmp_path: Path) -> None:
    with RunningProxy(tmp_path, "--log-format", "text") as proxy:
        assert proxy.ready
        assert proxy.stop() == 0
        first, *_, last = proxy.stderr.splitlines()
    assert " info starting version=" in first
    assert last.endswith(" info totals requests_in=0 requests_out=0 replies_in=0 replies_out=0")


def test_a_budget_below_one_message_is_told(tmp_path: Path) -> None:
    with RunningProxy(tmp_path, "--memory", "2MiB", "--max-message", "4MiB") as proxy:
        assert "--memory is 2MiB, and one message may have 4MiB" in proxy.wait_for("settings")["sentence"]
