"""Managed requests from a node to a worker and back, by hand, through a real proxy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq
from support.brokers import home_of
from support.managed import ManagedPeer
from support.peers import Peers
from support.proxies import HostedProxy
from support.zmtp_peer import ZmtpPeer, command, greeting, ready

from zproxy.envelope import Code, Envelope, Flag, Kind, Tlv, offers_pack, tlvs_pack, tlvs_parse

Host = Callable[..., HostedProxy]
Managed = Callable[..., ManagedPeer]

CONTENT = b"\x92\xc0\x90"


def pair(proxy: HostedProxy, managed: Managed, credit: int = 1) -> tuple[ManagedPeer, ManagedPeer]:
    """A node and a worker of "square", both accepted."""
    node = managed(proxy.frontend, "node1")
    node.hello()
    worker = managed(proxy.backend, "m1")
    worker.ready("square", credit=credit)
    return node, worker


def sentence(error: Envelope) -> str:
    return tlvs_parse(error.tlvs)[Tlv.SENTENCE].decode()


def test_every_managed_peer_is_welcomed_unasked(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    for endpoint in (proxy.frontend, proxy.backend):
        peer = managed(endpoint, "anybody")
        assert peer.welcome.conversation != 0
        assert len(peer.welcome_frames) == 1


def test_a_request_reaches_a_worker_and_its_reply_the_node(hosted: Host, managed: Managed) -> None:
    node, worker = pair(hosted(), managed)
    trace = bytes(range(25))
    tlvs = tlvs_pack({0x8001: b"mine"})
    sequence = node.request("square", CONTENT, b"tensor", trace=trace, priority=2, tlvs=tlvs, remaining_ms=5000)
    delivery, frames = worker.read(Kind.REQUEST)
    assert frames == [CONTENT, b"tensor"]
    assert (delivery.service, delivery.name, delivery.attempt) == ("square", "node1", 1)
    assert (delivery.incarnation, delivery.sequence) == (node.incarnation, sequence)
    assert (delivery.trace, delivery.priority, delivery.tlvs) == (trace, 2, tlvs)
    assert delivery.conversation == worker.conversation
    assert delivery.lease != 0
    assert 0 < delivery.remaining_ms <= 5000
    worker.answer(delivery, CONTENT, b"result")
    reply, frames = node.read(Kind.REPLY)
    assert frames == [CONTENT, b"result"]
    assert (reply.sequence, reply.incarnation, reply.conversation) == (sequence, node.incarnation, node.conversation)
    assert (reply.name, reply.attempt, reply.lease) == ("m1", 1, 0)


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 5000, 65_536, 1_000_000, 20_000_000])
def test_content_and_tensors_pass_as_they_came(hosted: Host, managed: Managed, size: int) -> None:
    node, worker = pair(hosted(), managed)
    tensor = bytes(range(256)) * (size // 256 + 1)
    node.request("square", CONTENT, tensor[:size], b"", tensor[: size // 2])
    delivery, frames = worker.read(Kind.REQUEST)
    assert frames == [CONTENT, tensor[:size], b"", tensor[: size // 2]]
    worker.answer(delivery, *frames)
    assert node.read(Kind.REPLY)[1] == frames


@pytest.mark.parametrize("size", [0, 3000, 5000, 1_000_000])
def test_a_request_waits_for_its_worker(hosted: Host, managed: Managed, size: int) -> None:
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    sequences = [node.request("later", CONTENT, bytes([index]) * size) for index in range(5)]
    proxy.wait_for("managed_waiting", 5)
    worker = managed(proxy.backend, "m1")
    worker.ready("later", credit=2)
    for index, sequence in enumerate(sequences):
        delivery, frames = worker.read(Kind.REQUEST)
        assert (delivery.sequence, frames) == (sequence, [CONTENT, bytes([index]) * size])
        worker.answer(delivery, *frames)
        assert node.read(Kind.REPLY)[0].sequence == sequence
    assert proxy.stats()["managed_waiting_bytes"] == 0


def test_a_large_envelope_alone_is_a_message(hosted: Host, managed: Managed) -> None:
    node, worker = pair(hosted(), managed)
    tlvs = tlvs_pack({0x8001: bytes(4092)})
    node.request("square", tlvs=tlvs)
    delivery, frames = worker.read(Kind.REQUEST)
    assert (delivery.tlvs, frames) == (tlvs, [])
    worker.answer(delivery, tlvs=tlvs)
    assert node.read(Kind.REPLY)[0].tlvs == tlvs


def test_a_worker_has_no_more_than_its_credit(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed, credit=2)
    for _ in range(5):
        node.request("square", CONTENT)
    first, _ = worker.read(Kind.REQUEST)
    worker.read(Kind.REQUEST)
    proxy.wait_for("managed_waiting", 3)
    assert worker.hears_nothing()
    worker.answer(first, CONTENT)
    worker.read(Kind.REQUEST)
    assert proxy.stats()["managed_waiting"] == 2


def test_two_workers_share_by_what_each_has(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, one = pair(proxy, managed, credit=10)
    other = managed(proxy.backend, "m2")
    other.ready("square", credit=10)
    for _ in range(10):
        node.request("square", CONTENT)
    for worker in (one, other):
        for _ in range(5):
            worker.read(Kind.REQUEST)


def test_a_dead_workers_requests_go_to_another(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    sequence = node.request("square", CONTENT, bytes(300_000))
    worker.read(Kind.REQUEST)
    worker.close()
    other = managed(proxy.backend, "m2")
    other.ready("square")
    again, frames = other.read(Kind.REQUEST)
    assert (again.sequence, again.attempt, frames) == (sequence, 2, [CONTENT, bytes(300_000)])
    other.answer(again, CONTENT)
    reply, _ = node.read(Kind.REPLY)
    assert (reply.sequence, reply.attempt, reply.name) == (sequence, 2, "m2")
    proxy.assert_books_balance()


def test_a_node_sends_again_what_the_proxy_had_no_room_to_keep(hosted: Host, managed: Managed) -> None:
    proxy = hosted(retain="0B")
    node, worker = pair(proxy, managed)
    sequence = node.request("square", CONTENT, b"tensor")
    worker.read(Kind.REQUEST)
    worker.close()
    asked, _ = node.read(Kind.ERROR)
    assert (asked.code, asked.sequence, asked.attempt) == (Code.RESEND, sequence, 1)
    other = managed(proxy.backend, "m2")
    other.ready("square")
    node.request("square", CONTENT, b"tensor", sequence=sequence, flags=Flag.RESENT)
    again, frames = other.read(Kind.REQUEST)
    assert (again.sequence, again.attempt, frames) == (sequence, 2, [CONTENT, b"tensor"])
    other.answer(again, CONTENT)
    assert node.read(Kind.REPLY)[0].sequence == sequence
    proxy.assert_books_balance()


def test_a_worker_that_gives_no_sign_loses_the_lease_and_its_late_reply(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    frozen = managed(proxy.backend, "m1")
    frozen.ready("square", lease_ms=50)
    sequence = node.request("square", CONTENT)
    late, _ = frozen.read(Kind.REQUEST)
    other = managed(proxy.backend, "m2")
    other.ready("square", lease_ms=60_000)
    assert frozen.read(Kind.CANCEL)[0].lease == late.lease
    again, _ = other.read(Kind.REQUEST)
    assert (again.sequence, again.attempt) == (sequence, 2)
    frozen.answer(late, b"\x92\x01\x90")
    proxy.wait_for("managed_late")
    other.answer(again, b"\x92\x02\x90")
    assert node.read(Kind.REPLY)[1] == [b"\x92\x02\x90"]
    assert node.hears_nothing()
    proxy.assert_books_balance()


def test_what_a_worker_gives_back_goes_to_another(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    other = managed(proxy.backend, "m2")
    other.ready("square")
    for _ in range(2):
        node.request("square", CONTENT)
    first, _ = worker.read(Kind.REQUEST)
    second, _ = other.read(Kind.REQUEST)
    other.answer(second, CONTENT)
    node.read(Kind.REPLY)
    worker.answer(first, kind=Kind.ERROR, code=Code.BUSY)
    again, _ = other.read(Kind.REQUEST)
    assert (again.sequence, again.attempt) == (first.sequence, 1)
    other.answer(again, CONTENT)
    assert node.read(Kind.REPLY)[0].attempt == 1


def test_what_may_not_run_twice_ends_with_its_worker(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    sequence = node.request("square", CONTENT, flags=Flag.NOT_IDEMPOTENT)
    worker.read(Kind.REQUEST)
    worker.close()
    error, _ = node.read(Kind.ERROR)
    assert (error.code, error.sequence, error.attempt) == (Code.WORKER_LOST, sequence, 1)
    assert "m1" in sentence(error) and "square" in sentence(error)


def test_a_service_nobody_offers_ends_at_the_deadline(hosted: Host, managed: Managed) -> None:
    node = managed(hosted().frontend, "node1")
    node.hello()
    sequence = node.request("nobody", CONTENT, remaining_ms=100)
    error, _ = node.read(Kind.ERROR)
    assert (error.code, error.sequence, error.attempt) == (Code.UNKNOWN_SERVICE, sequence, 0)
    assert "nobody" in sentence(error)


def test_a_service_without_a_worker_now_ends_in_no_worker(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    worker.close()
    proxy.wait_for("connections_closed")
    node.request("square", CONTENT, remaining_ms=100)
    assert node.read(Kind.ERROR)[0].code == Code.NO_WORKER


def test_no_worker_wait_ends_it_before_its_deadline(hosted: Host, managed: Managed) -> None:
    node = managed(hosted(no_worker_wait="50ms").frontend, "node1")
    node.hello()
    node.request("nobody", CONTENT, remaining_ms=3_600_000)
    assert node.read(Kind.ERROR)[0].code == Code.UNKNOWN_SERVICE


def test_a_deadline_ends_a_request_that_a_worker_has(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    node.request("square", CONTENT, remaining_ms=200)
    delivery, _ = worker.read(Kind.REQUEST)
    error, _ = node.read(Kind.ERROR)
    assert (error.code, error.attempt) == (Code.TIMEOUT, 1)
    cancel, _ = worker.read(Kind.CANCEL)
    assert (cancel.lease, cancel.sequence) == (delivery.lease, delivery.sequence)
    worker.answer(delivery, CONTENT)
    assert proxy.wait_for("managed_late")["managed_expired"] == 1
    assert node.hears_nothing()


def test_cancel_is_answered_at_once_and_passed_on(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    held, waiting = node.request("square", CONTENT), node.request("square", bytes(10_000))
    delivery, _ = worker.read(Kind.REQUEST)
    proxy.wait_for("managed_waiting")
    for sequence in (waiting, held):
        node.send(Kind.CANCEL, sequence=sequence)
        error, _ = node.read(Kind.ERROR)
        assert (error.code, error.sequence) == (Code.CANCELLED, sequence)
    assert worker.read(Kind.CANCEL)[0].lease == delivery.lease
    assert proxy.stats()["managed_cancelled"] == 2


def test_an_error_of_the_handler_reaches_the_node(hosted: Host, managed: Managed) -> None:
    node, worker = pair(hosted(), managed)
    node.request("square", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    told = tlvs_pack({Tlv.SENTENCE: b"no such weights"})
    worker.answer(delivery, b"detail", kind=Kind.ERROR, code=Code.HANDLER_ERROR, tlvs=told)
    error, frames = node.read(Kind.ERROR)
    assert (error.code, error.name, frames, sentence(error)) == (
        Code.HANDLER_ERROR, "m1", [b"detail"], "no such weights",
    )  # fmt: skip


def test_progress_is_passed_on_to_who_wants_it(hosted: Host, managed: Managed) -> None:
    node, worker = pair(hosted(), managed)
    node.request("square", CONTENT, flags=Flag.WANTS_PROGRESS)
    delivery, _ = worker.read(Kind.REQUEST)
    worker.answer(delivery, CONTENT, kind=Kind.PROGRESS, progress=50.0, flags=Flag.HAS_PROGRESS)
    told, frames = node.read(Kind.PROGRESS)
    assert (told.progress, frames) == (50.0, [CONTENT])
    worker.answer(delivery, CONTENT)
    node.read(Kind.REPLY)


def test_a_post_is_not_answered(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    node.request("square", CONTENT, kind=Kind.POST)
    delivery, _ = worker.read(Kind.POST)
    worker.answer(delivery, CONTENT)
    proxy.wait_for("managed_delivered")
    assert node.hears_nothing()


def test_plain_and_managed_peers_share_the_ports_and_never_mix(hosted: Host, managed: Managed, peers: Peers) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    plain_worker = peers.connect(zmq.DEALER, proxy.backend)
    client = peers.connect(zmq.DEALER, proxy.frontend, routing_id=b"plain")
    client.send(b"raw")
    assert plain_worker.recv_multipart() == [b"plain", b"raw"]
    node.request("square", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    plain_worker.send_multipart([b"plain", b"answer"])
    assert client.recv() == b"answer"
    worker.answer(delivery, CONTENT)
    node.read(Kind.REPLY)


def test_what_is_malformed_is_answered_and_counted(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    good = Envelope(Kind.REQUEST, service="square", incarnation=node.incarnation, sequence=1, remaining_ms=1).pack()
    hostile = [b"", b"x", good[:127], good + b"x", b"ABCD" + good[4:], bytes(5000), good[:4] + b"\x63" + good[5:]]
    for frame in hostile:
        for rest in ([], [CONTENT], [bytes(100_000)]):
            node.socket.send_multipart([frame, *rest])
            assert node.read(Kind.ERROR)[0].code == Code.MALFORMED
    node.socket.send_multipart([good, *[b""] * 20_000])
    assert node.read(Kind.ERROR)[0].code == Code.MALFORMED
    assert proxy.stats()["managed_accepted"] == 0


def test_a_node_that_leaves_takes_its_requests_along(hosted: Host, managed: Managed) -> None:
    proxy = hosted(absence="0s")
    node, worker = pair(proxy, managed)
    node.request("square", CONTENT)
    node.request("square", bytes(100_000))
    delivery, _ = worker.read(Kind.REQUEST)
    proxy.wait_for("managed_waiting")
    node.close()
    assert worker.read(Kind.CANCEL)[0].lease == delivery.lease
    assert proxy.wait_for("managed_cancelled", 2)["managed_live"] == 0


def test_a_node_over_its_budget_is_not_read_until_its_requests_are_taken(hosted: Host, managed: Managed) -> None:
    proxy = hosted(connection_memory="64KiB", memory="64MiB")
    node = managed(proxy.frontend, "node1")
    node.hello()
    for _ in range(50):
        node.request("later", bytes(10_000))
    proxy.wait_for("paused_connections")
    assert proxy.stats()["managed_waiting"] < 20
    worker = managed(proxy.backend, "m1")
    worker.ready("later", credit=50)
    for _ in range(50):
        worker.read(Kind.REQUEST)


def test_a_stop_refuses_what_is_new_and_awaits_what_is_held(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    node.request("square", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    proxy.begin_stop(20)
    for peer in (node, worker):
        peer.read(Kind.GOODBYE)
    late = node.request("square", CONTENT)
    error, _ = node.read(Kind.ERROR)
    assert (error.code, error.sequence) == (Code.DRAINING, late)
    worker.answer(delivery, CONTENT)
    assert node.read(Kind.REPLY)[0].sequence != late
    assert proxy.wait_stopped()


@pytest.mark.parametrize("drain_seconds", [0, 10])
def test_an_idle_stop_says_goodbye_before_it_hangs_up(hosted: Host, managed: Managed, drain_seconds: float) -> None:
    proxy = hosted()
    both = pair(proxy, managed)
    proxy.begin_stop(drain_seconds)
    for peer in both:
        peer.read(Kind.GOODBYE)
    assert proxy.wait_stopped()
    assert proxy.stats()["managed_untold"] == 0


def test_a_stop_whose_time_is_over_tells_what_it_gives_up(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    held, waiting = node.request("square", CONTENT), node.request("square", CONTENT)
    worker.read(Kind.REQUEST)
    proxy.wait_for("managed_live", 2)
    proxy.begin_stop(0.2)
    node.read(Kind.GOODBYE)
    told = {node.read(Kind.ERROR)[0].sequence for _ in range(2)}
    assert told == {held, waiting}
    assert proxy.wait_stopped()


def test_a_request_before_hello_is_asked_for_it(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.request("square", CONTENT)
    error, _ = node.read(Kind.ERROR)
    assert (error.code, error.sequence) == (Code.NEED_HELLO, 1)
    node.hello()
    node.request("square", CONTENT, conversation=node.conversation ^ 1)
    assert node.read(Kind.ERROR)[0].code == Code.NEED_HELLO


def test_a_name_in_use_is_refused_and_free_again_when_its_holder_goes(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    holder = managed(proxy.frontend, "node1")
    holder.hello()
    newcomer = managed(proxy.frontend, "node1")
    newcomer.send(Kind.HELLO, name="node1")
    error, _ = newcomer.read(Kind.ERROR)
    assert error.code == Code.NAME_IN_USE and error.remaining_ms > 0
    holder.close()
    proxy.wait_for("connections_closed")
    newcomer.hello()


def test_a_thousand_services_are_read_however_large_their_list(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    worker = managed(proxy.backend, "m1")
    names = [f"{index:04}{'s' * 60}" for index in range(1024)]
    worker.ready(*names)
    node = managed(proxy.frontend, "node1")
    node.hello()
    node.request(names[-1], CONTENT)
    assert worker.read(Kind.REQUEST)[0].service == names[-1]


def test_a_silent_worker_gets_nothing_new_and_is_closed_in_the_end(
    hosted: Host, managed: Managed, raw_peer: Callable[..., ZmtpPeer]
) -> None:
    """Managed peers have a beat of 2 s, whatever --heartbeat says: one missed, no new work; three, the end."""
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    silent = raw_peer(proxy.backend)
    silent.handshake("DEALER", is_managed=True)
    conversation = Envelope.parse(silent.read_message()[0]).conversation
    said = Envelope(Kind.READY, name="m1", incarnation=7, credit=9, conversation=conversation)
    silent.send_message(said.pack(), offers_pack([("square", 0, 0)]))
    assert Envelope.parse(silent.read_message()[0]).kind == Kind.ACCEPTED
    assert [silent.read_command()[:5] for _ in range(2)] == [b"\x04PING"] * 2
    node.request("square", CONTENT)
    assert proxy.wait_for("managed_waiting")["managed_accepted"] == 1
    assert proxy.wait_for("closed_heartbeat")["managed_live"] == 1


def test_a_silent_worker_that_is_heard_again_gets_work_again(
    hosted: Host, managed: Managed, raw_peer: Callable[..., ZmtpPeer]
) -> None:
    proxy = hosted()
    node = managed(proxy.frontend, "node1")
    node.hello()
    silent = raw_peer(proxy.backend)
    silent.handshake("DEALER", is_managed=True)
    conversation = Envelope.parse(silent.read_message()[0]).conversation
    said = Envelope(Kind.READY, name="m1", incarnation=7, credit=9, conversation=conversation)
    silent.send_message(said.pack(), offers_pack([("square", 0, 0)]))
    silent.read_message()
    assert [silent.read_command()[:5] for _ in range(2)] == [b"\x04PING"] * 2
    node.request("square", CONTENT)
    proxy.wait_for("managed_waiting")
    silent.send(command(b"PONG"))
    assert Envelope.parse(silent.read_message()[0]).kind == Kind.REQUEST


@pytest.mark.parametrize("socket_type", ["REQ", "ROUTER"])
def test_a_managed_peer_is_a_dealer(hosted: Host, raw_peer: Callable[..., ZmtpPeer], socket_type: str) -> None:
    proxy = hosted()
    peer = raw_peer(proxy.frontend)
    peer.send(greeting() + ready(socket_type, {"X-zproxy": b"1"}))
    proxy.wait_for("refused_socket_type")


def test_a_routing_id_announces_where_metadata_cannot(hosted: Host, peers: Peers) -> None:
    proxy = hosted()
    for endpoint in (proxy.frontend, proxy.backend):
        peer = peers.connect(zmq.DEALER, endpoint, routing_id=b"\0ZPX\1anything")
        assert Envelope.parse(peer.recv_multipart()[0]).kind == Kind.WELCOME


# ---- nodes that come back ----


def test_a_node_that_comes_back_has_its_outcome_without_another_run(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    sequence = node.request("square", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    node.close()
    proxy.wait_for("connections_closed")
    worker.answer(delivery, CONTENT, b"result" * 10_000)
    proxy.wait_for("managed_undelivered")
    back = managed(proxy.frontend, "node1", incarnation=node.incarnation)
    back.hello()
    back.request("square", CONTENT, sequence=sequence, flags=Flag.RESENT)
    reply, frames = back.read(Kind.REPLY)
    assert (reply.sequence, reply.name, reply.conversation) == (sequence, "m1", back.conversation)
    assert frames == [CONTENT, b"result" * 10_000]
    back.request("square", CONTENT, sequence=sequence, flags=Flag.RESENT)
    assert back.read(Kind.REPLY)[1] == frames
    assert worker.hears_nothing()
    stats = proxy.stats()
    assert (stats["managed_deliveries"], stats["managed_recalled"]) == (1, 2)
    proxy.assert_books_balance()


def test_what_a_node_has_open_goes_on_while_it_is_away(hosted: Host, managed: Managed) -> None:
    proxy = hosted()
    node, worker = pair(proxy, managed)
    running, waiting = node.request("square", CONTENT), node.request("square", CONTENT)
    delivery, _ = worker.read(Kind.REQUEST)
    node.close()
    proxy.wait_for("connections_closed")
    back = managed(proxy.frontend, "node1", incarnation=node.incarnation)
    back.hello()
    for sequence in (running, waiting):
        back.request("square", CONTENT, sequence=sequence, flags=Flag.RESENT)
    proxy.wait_for("managed_joined", 2)
    worker.answer(delivery, CONTENT)
    assert back.read(Kind.REPLY)[0].sequence == running
    worker.answer(worker.read(Kind.REQUEST)[0], CONTENT)
    assert back.read(Kind.REPLY)[0].sequence == waiting
    proxy.assert_books_balance()
def test_equal_keys_go_to_one_worker_and_wait_for_it(hosted: Host, managed: Managed) -> None:
    proxy = hosted(balance="square=hash")
    node, worker = pair(proxy, managed, credit=2)
    other = managed(proxy.backend, "m2")
    other.ready("square", credit=2)
    mine = next(key for key in range(1, 99) if home_of(key, {1: "m1", 2: "m2"}) == 1)
    for _ in range(3):
        node.request("square", CONTENT, key_hash=mine)
    held, _ = worker.read(Kind.REQUEST)
    assert worker.read(Kind.REQUEST)[0].key_hash == mine
    assert proxy.wait_for("managed_waiting")["managed_deliveries"] == 2
    worker.answer(held, CONTENT)
    assert worker.read(Kind.REQUEST)[0].sequence == held.sequence + 2
    assert other.hears_nothing()


def test_keys_of_a_worker_that_goes_find_another(hosted: Host, managed: Managed) -> None:
    proxy = hosted(balance="hash")
    node, worker = pair(proxy, managed)
    other = managed(proxy.backend, "m2")
    other.ready("square")
    mine = next(key for key in range(1, 99) if home_of(key, {1: "m1", 2: "m2"}) == 1)
    node.request("square", CONTENT, key_hash=mine, flags=Flag.NOT_IDEMPOTENT)
    worker.read(Kind.REQUEST)
    waits = node.request("square", CONTENT, key_hash=mine)
    proxy.wait_for("managed_waiting")
    worker.close()
    assert other.read(Kind.REQUEST)[0].sequence == waits
    assert node.read(Kind.ERROR)[0].code == Code.WORKER_LOST


def test_who_waits_for_the_worker_of_its_key_hears_its_name(hosted: Host, managed: Managed) -> None:
    node, worker = pair(hosted(balance="hash"), managed)
    node.request("square", CONTENT, key_hash=1)
    worker.read(Kind.REQUEST)
    node.request("square", CONTENT, key_hash=1, remaining_ms=100)
    error, _ = node.read(Kind.ERROR)
    assert error.code == Code.TIMEOUT
    assert 'worker "m1" was busy or paused, which alone has its key, for service "square"' in sentence(error)
