"""Access: who the rules keep out hears why, and nothing else comes of it; a swap of the rules takes hold at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.brokers import Desk, Flag, Kind, Node, Permit, Told

from zproxy.broker.access import permits_pack

OPEN = Permit(allow=("*",), serve=("*",))
SERVICES = ("echo", "gradients/w", "gradients/b", "checkpoints")
PATTERNS = ("*", "echo", "gradients/*", "gradients/w", "c*", "other")


def may(patterns: tuple[str, ...], service: str) -> bool:
    return any(service.startswith(each[:-1]) if each.endswith("*") else service == each for each in patterns)


def desk_of(*rows: Permit, **settings: Any) -> Desk:
    desk = Desk(**settings)
    desk.permit(*rows)
    return desk


# ---- what may be used ----


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.POST])
@pytest.mark.parametrize("flags", [0, Flag.RESENT | Flag.NOT_IDEMPOTENT, Flag.ORDERED, Flag.WANTS_ACCEPTED])
def test_a_denied_request_is_answered_and_never_accepted(kind: Kind, flags: int) -> None:
    desk = desk_of(Permit(allow=("gradients/*",)))
    desk.worker(101, ("checkpoints",))
    told = desk.node(1, "rank7", permit=1).request(1, "checkpoints", kind, flags=flags, key_hash=1)
    assert str(told) == "SAY 1 ERROR DENIED"
    assert told.envelope.sequence == 1
    assert told.sentence == (
        '无权访问: access denied: node "rank7" may not use service "checkpoints": ask the operator to allow it'
    )
    assert desk.steps() == []
    assert desk.counts() == {"refused_denied": 1}


@given(allow=st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple), asked=st.lists(st.sampled_from(SERVICES)))
def test_what_reaches_a_worker_is_what_the_patterns_allow(allow: tuple[str, ...], asked: list[str]) -> None:
    desk = desk_of(Permit(allow=allow))
    desk.worker(101, ("*",), credit=100)
    node = desk.node(1, permit=1)
    for sequence, service in enumerate(asked, 1):
        told = node.request(sequence, service)
        assert str(told) == ("PASS 101 REQUEST" if may(allow, service) else "SAY 1 ERROR DENIED")


def test_names_that_are_invented_and_denied_are_not_remembered() -> None:
    desk = desk_of(Permit(allow=("echo",)))
    node = desk.node(1, permit=1)
    for sequence in range(1, 1000):
        assert node.request(sequence, f"name-{sequence}").code == "DENIED"
    assert desk.probe.used()["services"] == 0
    assert desk.probe.rows()[0] == []


def test_a_row_that_is_not_in_the_table_allows_nothing() -> None:
    desk = Desk()
    node, worker = desk.node(1, permit=1), desk.connect_worker(101, permit=1)
    assert node.request(1).code == "DENIED"
    assert worker.ready(name="m", incarnation=1).code == "DENIED"
    assert desk.node(2).request(1).verdict == "KEEP"


def test_a_service_that_is_forgotten_leaves_nothing_to_who_takes_its_number() -> None:
    desk = desk_of(Permit(allow=("red",)), Permit(allow=("green",)))
    first, second = desk.node(1, permit=1), desk.node(2, permit=2)
    for sequence in (1, 3, 5):
        for node, own, others in ((first, "red", "green"), (second, "green", "red")):
            assert node.request(sequence, own).verdict == "KEEP"
            assert node.request(sequence + 1, own).verdict == "KEEP"
            assert (first if node is second else second).request(sequence + 100, own).code == "DENIED"
            assert node.request(sequence + 50, others).code == "DENIED"
            node.cancel(sequence)
            node.cancel(sequence + 1)
            assert desk.probe.used()["services"] == 0


def test_who_may_not_ask_may_still_cancel_and_answer() -> None:
    desk = desk_of(OPEN)
    node, worker = desk.node(1, permit=1), desk.worker(101, permit=1, credit=2)
    first, _ = node.request(1), node.request(2)
    desk.permit(Permit())
    assert str(worker.answer(first)) == "PASS 1 REPLY"
    assert node.cancel(2).code == "CANCELLED"
    assert node.request(3).code == "DENIED"


# ---- names ----


@pytest.mark.parametrize("is_worker", [False, True])
def test_a_name_that_is_not_the_keys_is_denied_and_not_taken(is_worker: bool) -> None:
    desk = desk_of(OPEN)
    if is_worker:
        told = desk.connect_worker(1, 1, "a").ready(name="b", incarnation=7)
    else:
        told = desk.connect_node(1, 1, "a").hello("b", 7)
    role = "worker" if is_worker else "node"
    assert (told.code, told.envelope.sequence) == ("DENIED", 0)
    assert told.sentence.startswith(f'无权访问: access denied: the key belongs to {role} "a", not to "b": give it')
    assert desk.counts() == {"refused_denied": 1}
    owner = desk.worker(2, name="b") if is_worker else desk.node(2, "b")
    assert owner.name == "b", "the name is free"


def test_the_keys_own_name_is_accepted_after_another_was_denied() -> None:
    desk = desk_of(OPEN)
    node = desk.connect_node(1, 1, "a")
    assert node.hello("b", 7).code == "DENIED"
    assert node.request(1).code == "NEED_HELLO"
    assert node.hello("a", 7).kind == "ACCEPTED"
    assert node.request(2).verdict == "KEEP"
    assert node.hello("b", 7).code == "DENIED"


@pytest.mark.parametrize("elders_key", ["a", ""])
def test_who_comes_back_has_the_row_and_the_key_it_comes_back_with(elders_key: str) -> None:
    desk = desk_of(OPEN, Permit(allow=("red",)))
    elder = desk.connect_node(1, 1, elders_key)
    elder.hello("a", 7)
    assert elder.request(1, "green").verdict == "KEEP"
    newer = desk.connect_node(2, 2, "a")
    assert newer.hello("a", 7).closing == 1
    assert newer.request(2, "green").code == "DENIED"
    assert newer.request(1, "green").verdict == "DROP", "it is open, and joined"
    assert newer.hello("b", 7).code == "DENIED"


def test_an_absent_node_comes_back_to_its_requests_and_to_a_new_row() -> None:
    desk = desk_of(OPEN, Permit(), dedup_bytes=1 << 20)
    node = desk.node(1, "a", 7, permit=1)
    node.request(1)
    node.leave()
    desk.steps()
    heir = desk.node(2, "a", 7, permit=2)
    assert heir.request(1, flags=Flag.RESENT).verdict == "DROP"
    assert heir.request(2).code == "DENIED"


# ---- what may be served ----


def test_a_ready_with_a_service_that_may_not_be_served_is_denied_as_a_whole() -> None:
    desk = desk_of(Permit(serve=("red", "green")))
    worker = desk.worker(101, ("red",), name="m1", incarnation=1, permit=1)
    told = worker.ready(("green", "blue"), credit=9)
    assert str(told) == "SAY 101 ERROR DENIED"
    assert told.sentence == (
        '无权访问: access denied: worker "m1" may not serve "blue": ask the operator to allow it, or start it without'
    )
    node = desk.node(1)
    assert [node.request(1, "green").verdict, node.request(2, "red").verdict] == ["KEEP", "PASS"]
    assert node.request(3, "red").verdict == "KEEP", "its credit is what it was"
    assert desk.counts()["refused_denied"] == 1


@pytest.mark.parametrize("serve", [(), ("red",), ("a*",)])
def test_any_service_is_offered_by_who_may_serve_all_alone(serve: tuple[str, ...]) -> None:
    desk = desk_of(Permit(serve=serve), Permit(serve=("*",)))
    assert desk.connect_worker(101, 1).ready(("*",), name="m", incarnation=1).code == "DENIED"
    assert desk.connect_worker(102, 2).ready(("*",), name="m", incarnation=2).kind == "ACCEPTED"


# ---- swaps ----


def test_what_a_worker_may_serve_no_more_is_withdrawn_and_what_it_has_it_finishes() -> None:
    desk = desk_of(OPEN)
    node, worker = desk.node(1), desk.worker(101, ("red", "green", "blue"), credit=9, permit=1)
    given = node.request(1, "red")
    desk.permit(Permit(serve=("green",)))
    assert desk.probe.rows()[2] == [(101, "green")]
    assert node.request(2, "red").verdict == "KEEP"
    assert str(node.request(3, "green")) == "PASS 101 REQUEST"
    assert str(worker.answer(given)) == "PASS 1 REPLY"
    assert worker.ready(("red",)).code == "DENIED"
    desk.permit(Permit(serve=("red",)))
    assert desk.probe.rows()[2] == []
    assert worker.ready(("red",), credit=9).kind == "ACCEPTED"
    assert desk.said() == ["SEND 101 REQUEST"]


def test_a_worker_whose_turn_was_at_what_is_withdrawn_goes_on_with_the_rest() -> None:
    desk = desk_of(OPEN)
    node, worker = desk.node(1), desk.worker(101, ("red", "green", "blue"), permit=1)
    first = node.request(1, "red")
    assert node.request(2, "green").verdict == "KEEP"
    worker.answer(first)
    (second,) = desk.steps()
    assert node.request(3, "red").verdict == "KEEP"
    desk.permit(Permit(serve=("red",)))
    worker.answer(second)
    assert desk.said() == ["SEND 101 REQUEST"]


def test_workers_that_go_after_something_was_withdrawn_are_given_nothing() -> None:
    desk = desk_of(OPEN)
    first, second, third = (desk.worker(slot, ("red", "green"), permit=1) for slot in (101, 102, 103))
    desk.permit(Permit(serve=("green",)))
    first.leave()
    third.leave()
    node = desk.node(1)
    assert [node.request(1, "green").peer, node.request(2, "green").peer] == [second.slot, None]


def test_whoever_offers_any_service_takes_what_was_withdrawn() -> None:
    desk = desk_of(OPEN)
    node, worker = desk.node(1), desk.worker(101, ("red",), permit=1)
    desk.worker(102, ("*",), credit=9)
    node.request(1, "red")
    assert node.request(2, "red").verdict == "KEEP", "it is named, and its worker busy"
    desk.permit(Permit())
    assert desk.said() == ["SEND 102 REQUEST"]
    worker.leave()
    assert desk.said() == ["SEND 102 REQUEST"], "lost, and delivered again"


def test_keys_at_home_with_a_worker_that_may_not_serve_them_move() -> None:
    desk = desk_of(OPEN, OPEN, policy="hash")
    node = desk.node(1)
    desk.worker(101, ("red",), credit=1, permit=1)
    desk.worker(102, ("red",), credit=99, permit=2)
    told = [node.request(sequence, "red", key_hash=sequence * 0x9E3779B97F4A7C15 % 2**64) for sequence in range(1, 40)]
    kept = [each for each in told if each.verdict == "KEEP"]
    assert len(kept) > 5
    desk.permit(Permit(), OPEN)
    assert desk.said() == ["SEND 102 REQUEST"] * len(kept)


def test_what_was_accepted_before_a_swap_stays_so() -> None:
    desk = desk_of(OPEN)
    node = desk.node(1, permit=1)
    assert node.request(1).verdict == "KEEP"
    desk.permit(Permit())
    desk.worker(101)
    assert desk.said() == ["SEND 101 REQUEST"]


@given(
    tables=st.lists(st.lists(st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple), max_size=3), max_size=5),
    asked=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(SERVICES)), max_size=6),
)
def test_a_reload_never_widens_what_a_row_was_not_given(
    tables: list[list[tuple[str, ...]]], asked: list[tuple[int, str]]
) -> None:
    desk = Desk()
    nodes = [desk.node(row, permit=row) for row in (1, 2, 3)]
    sequence = 0
    for table in tables:
        desk.permit(*(Permit(allow=patterns) for patterns in table))
        for row, service in asked:
            sequence += 1
            is_given = row < len(table) and may(table[row], service)
            assert (nodes[row].request(sequence, service).code == "DENIED") != is_given
    desk.counts()


@given(
    tables=st.lists(st.lists(st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple), max_size=3), max_size=5),
    offered=st.permutations(SERVICES),
    leavers=st.permutations([101, 102, 103]),
)
def test_a_worker_offers_what_it_was_allowed_by_every_table_since(
    tables: list[list[tuple[str, ...]]], offered: list[str], leavers: list[int]
) -> None:
    desk = desk_of(OPEN, OPEN, OPEN)
    workers = {slot: desk.worker(slot, offered, credit=99, permit=slot - 100) for slot in (101, 102, 103)}
    left = {slot: set(offered) for slot in workers}
    for table in tables:
        desk.permit(*(Permit(serve=patterns) for patterns in table))
        for slot in left:
            patterns = table[slot - 101] if slot - 101 < len(table) else ()
            left[slot] = {service for service in left[slot] if may(patterns, service)}
        told = desk.probe.rows()[2]
        assert sorted(told) == sorted((slot, service) for slot in left for service in left[slot])
    for sequence, slot in enumerate(leavers):
        for number, service in enumerate(SERVICES):
            takers: set[int | None] = {each for each in left if service in left[each]}
            assert desk.node(1 + sequence * 4 + number).request(1, service).peer in (takers or {None})
        workers[slot].leave()
        desk.steps()
        left[slot] = set()
    assert desk.probe.rows()[2] == []


@pytest.mark.parametrize("junk", [b"\0", b"junk", permits_pack([OPEN])[:-1], permits_pack([OPEN]) + b"\x80"])
def test_rules_that_are_none_leave_the_old_ones(junk: bytes) -> None:
    desk = desk_of(Permit(allow=("red",)))
    node = desk.node(1, permit=1)
    assert not desk.probe.set_permits(junk)
    assert [node.request(1, "red").verdict, node.request(2, "green").code] == ["KEEP", "DENIED"]


# ---- how much ----


def busy(told: Told) -> int | None:
    return told.envelope.remaining_ms if told.code == "BUSY" else None


def test_a_node_over_its_rate_hears_busy_and_when_to_try_again() -> None:
    desk = desk_of(Permit(("*",), messages_per_second=4))
    node = desk.node(1, "rank7", permit=1)
    assert [busy(node.request(sequence)) for sequence in range(1, 6)] == [None] * 4 + [250]
    told = node.request(6)
    assert told.sentence == (
        'node "rank7" may send 4 messages in 1000 ms, and has: try again later, or ask the operator for more'
    )
    desk.now_ms += 250
    assert [busy(node.post(7)), busy(node.request(8))] == [None, 250]
    assert desk.counts() == {"accepted": 5, "refused_rate": 3}


def test_bytes_over_the_rate_are_refused_but_for_one_message_of_any_size() -> None:
    desk = desk_of(Permit(("*",), bytes_per_second=1000))
    node = desk.node(1, permit=1)
    assert busy(node.request(1, message_bytes=3000)) is None
    told = node.request(2, message_bytes=500)
    assert busy(told) == 2500 and "1000 bytes in 1000 ms" in told.sentence
    desk.now_ms += 2500
    assert busy(node.request(3, message_bytes=500)) is None
    assert desk.counts() == {"accepted": 2, "refused_rate": 1}


def test_a_slow_rate_is_said_in_milliseconds() -> None:
    desk = desk_of(Permit(("*",), messages_per_second=0.5))
    node = desk.node(1, permit=1)
    assert busy(node.request(1)) is None
    told = node.request(2)
    assert busy(told) == 2000 and "may send 1 messages in 2000 ms" in told.sentence


def test_a_node_has_so_many_requests_open_and_no_more() -> None:
    desk = desk_of(Permit(("*",), in_flight=2))
    node, other = desk.node(1, "rank7", permit=1), desk.node(2)
    assert [node.request(1).verdict, node.post(2).verdict] == ["KEEP", "KEEP"]
    told = node.request(3)
    assert busy(told) == 500
    assert told.sentence.startswith('node "rank7" may have 2 requests open, and has: try again later')
    assert [other.request(sequence).verdict for sequence in (1, 2, 3)] == ["KEEP"] * 3
    node.cancel(1)
    assert node.request(4).verdict == "KEEP"
    assert desk.counts() == {"accepted": 6, "cancelled": 1, "refused_in_flight": 1}


def test_a_message_above_the_limit_is_too_large_and_both_sizes_are_named() -> None:
    desk = desk_of(Permit(("*",), max_message_bytes=1000))
    node = desk.node(1, "rank7", permit=1)
    assert node.request(1, message_bytes=1000).verdict == "KEEP"
    told = node.request(2, message_bytes=1200)
    assert str(told) == "SAY 1 ERROR TOO_LARGE"
    assert told.sentence.startswith('node "rank7" may send messages of 1000 bytes, and this one has 1200: send less')
    assert desk.counts() == {"accepted": 1, "refused_too_large": 1}


def test_a_duplicate_is_answered_as_before_and_takes_nothing_out() -> None:
    desk = desk_of(Permit(("*",), messages_per_second=2, in_flight=2), dedup_bytes=1 << 20)
    node, worker = desk.node(1, permit=1), desk.worker(101)
    given = node.request(1)
    assert node.request(1, flags=Flag.RESENT).verdict == "DROP"
    worker.answer(given)
    assert str(node.request(1, flags=Flag.RESENT)) == "SEND 1 REPLY"
    assert node.request(2).verdict == "PASS"
    assert busy(node.request(3)) == 500
    assert desk.counts()["refused_rate"] == 1


def test_what_is_refused_otherwise_takes_nothing_out() -> None:
    desk = desk_of(Permit(("*",), messages_per_second=2), queue_bytes=100)
    node = desk.node(1, permit=1)
    assert node.request(1, message_bytes=100).verdict == "KEEP"
    assert [node.request(sequence, message_bytes=100).code for sequence in range(2, 9)] == ["BUSY"] * 7
    node.cancel(1)
    assert node.request(9, message_bytes=100).verdict == "KEEP"
    assert desk.counts() == {"accepted": 2, "cancelled": 1, "refused_overload": 7}


def test_cancels_and_answers_are_never_refused_for_a_rate() -> None:
    desk = desk_of(Permit(("*",), ("*",), 1, 1, 1, 0))
    node, worker = desk.node(1, permit=1), desk.worker(101, permit=1)
    given = node.request(1, flags=Flag.WANTS_PROGRESS)
    for _ in range(5):
        assert str(worker.answer(given, Kind.PROGRESS)) == "PASS 1 PROGRESS"
    assert node.cancel(1).code == "CANCELLED"


# ---- streams ----


def streamed(desk: Desk) -> tuple[Node, Told]:
    """A request with a stream, opened."""
    node = desk.node(1, "rank7", permit=1)
    desk.worker(101)
    given = node.request(1, stream=1)
    assert desk.said() == ["SAY 1 WINDOW"]
    return node, given


def chunk(node: Node, message_bytes: int) -> Told:
    return node.say(
        Kind.CHUNK, incarnation=node.incarnation, sequence=1, attempt=1, stream=1, message_bytes=message_bytes
    )


def test_chunks_pass_and_are_taken_out_of_the_bucket() -> None:
    desk = desk_of(Permit(("*",), bytes_per_second=1000))
    node, _ = streamed(desk)
    assert [chunk(node, 2000).verdict for _ in range(3)] == ["PASS"] * 3
    wait_ms = busy(node.request(2, message_bytes=1))
    assert wait_ms is not None and 5000 <= wait_ms <= 5200


def test_a_chunk_above_the_limit_ends_its_request() -> None:
    desk = desk_of(Permit(("*",), max_message_bytes=1000))
    node, _ = streamed(desk)
    told = chunk(node, 1001)
    assert (str(told), told.envelope.sequence) == ("SAY 1 ERROR TOO_LARGE", 1)
    assert desk.said() == ["SAY 101 CANCEL"]
    assert chunk(node, 1001).verdict == "DROP"
    assert desk.counts() == {"accepted": 1, "deliveries": 1, "dropped_chunks": 1, "failed": 1, "refused_too_large": 1}
