"""Between boxes and frames: what goes in at one end comes out at the other, in order and once, or nothing does."""

from __future__ import annotations

import os
import socket

import pytest
from support.curve_peer import drain
from support.zmtp_peer import command, frame, message

from zproxy.relay.cipher import CipherProbe

KEYS = bytes(range(32)), bytes(range(32, 64))
PING = command(b"PING", bytes(2))
MIB = 1 << 20
DONE, AGAIN, BLOCKED, FAILED = range(4)


def ends() -> tuple[CipherProbe, CipherProbe]:
    return CipherProbe(KEYS[0], KEYS[1]), CipherProbe(KEYS[1], KEYS[0])


def put(cipher: CipherProbe, unit: bytes) -> None:
    if len(unit) > 60_000:
        cipher.link(unit)
    else:
        cipher.copy(unit)


def wire_of(*units: bytes) -> bytes:
    """All of them, closed."""
    sender, _ = ends()
    for unit in units:
        put(sender, unit)
    wire = drain(sender)
    assert (sender.bytes_left, sender.live_blocks, sender.live_slices) == (0, 0, 0)
    return wire


def named(*units: bytes) -> list[tuple[str, bytes]]:
    return [("command", unit[2:]) if unit[0] & 4 else ("message", unit) for unit in units]


SMALL = [message(b""), message(b"a", b"", b"b" * 300), PING, message(b"x" * 255), message(b"y" * 256), PING]
LARGE = [message(os.urandom(70_000)), message(b"id", os.urandom(3 * MIB), b"", os.urandom(5000)), message(b"last")]
MIDDLE = [message(os.urandom(size)) for size in (4000, 4054, 4055, 4056, 4063, 4096, 4097, 8000, 65_500, 65_536)]


@pytest.mark.parametrize(
    "units", [SMALL, LARGE, MIDDLE, SMALL + LARGE + SMALL], ids=["small", "large", "middle", "mix"]
)
@pytest.mark.parametrize("step", [1 << 30, 65_536, 4099, 1000])
def test_what_goes_in_comes_out_however_it_is_cut(units: list[bytes], step: int) -> None:
    wire, (_, receiver) = wire_of(*units), ends()
    found: list[tuple[str, bytes]] = []
    for begin in range(0, len(wire), step):
        found += receiver.feed(wire[begin : begin + step])
    assert found == named(*units)
    assert (receiver.live_blocks, receiver.live_slices) == (0, 0)


def test_every_cut_in_two_finds_the_same() -> None:
    units = [message(b"a", b"b"), PING, message(b"c" * 4100), message(b"d")]
    wire = wire_of(*units)
    for cut in range(len(wire) + 1):
        _, receiver = ends()
        assert receiver.feed(wire[:cut]) + receiver.feed(wire[cut:]) == named(*units), f"cut at {cut}"


def test_a_byte_at_a_time_finds_the_same() -> None:
    wire, (_, receiver) = wire_of(*SMALL, message(b"z" * 5000)), ends()
    found = [item for place in range(len(wire)) for item in receiver.feed(wire[place : place + 1])]
    assert found == named(*SMALL, message(b"z" * 5000))


@pytest.mark.parametrize("size", [0, 10, 300, 5000, 200_000])
def test_a_changed_byte_anywhere_lets_nothing_of_its_message_through(size: int) -> None:
    before, wire = wire_of(message(b"before")), b""
    sender, _ = ends()
    for unit in (message(b"before"), message(os.urandom(size))):
        put(sender, unit)
    wire = drain(sender)
    assert wire[: len(before)] == before, "nonces begin alike"
    for place in {*range(len(before), len(before) + 50), *range(len(before), len(wire), 997), len(wire) - 1}:
        if place >= len(wire):
            continue
        changed = bytearray(wire)
        changed[place] ^= 0x40
        _, receiver = ends()
        found = receiver.feed(bytes(changed))
        assert found[:1] == named(message(b"before"))
        assert [what for what, _ in found[1:] if what in ("message", "command")] == [], f"byte {place}"


def test_a_repeated_or_an_older_box_ends_the_connection() -> None:
    first, second = wire_of(message(b"1")), wire_of(message(b"0"), message(b"2"))[len(wire_of(message(b"0"))) :]
    _, receiver = ends()
    assert receiver.feed(first + first) == [*named(message(b"1")), ("forged", b"")]
    _, receiver = ends()
    assert receiver.feed(second + first) == [*named(message(b"2")), ("forged", b"")]


@pytest.mark.parametrize(
    "bare", [message(b"plain"), message(b"a", b"b"), PING, frame(b"\x07MESSAGE" + bytes(20)), frame(bytes(33))]
)
def test_what_is_no_box_ends_the_connection(bare: bytes) -> None:
    _, receiver = ends()
    assert receiver.feed(bare) == [("forged", b"")]


def test_flags_that_are_told_outside_a_second_time_mean_nothing() -> None:
    wire = bytearray(wire_of(message(b"a", b"b")))
    wire[0] |= 1
    _, receiver = ends()
    assert receiver.feed(bytes(wire)) == named(message(b"a", b"b"))


def test_nonces_are_never_used_twice_not_even_the_last() -> None:
    sender, receiver = ends()
    sender.skip_nonces((1 << 64) - 2)
    sender.copy(message(b"the last"))
    assert receiver.feed(drain(sender)) == named(message(b"the last"))
    assert sender.nonce == (1 << 64) - 1
    sender.copy(message(b"one too many"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert sender.flush(ours.fileno()) == FAILED
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
    sender.clear()


def test_a_large_message_is_closed_in_turns() -> None:
    sender, receiver = ends()
    sender.link(message(bytes(5 * MIB)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert [sender.flush(ours.fileno()) for _ in range(4)] == [AGAIN] * 4
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
    assert receiver.feed(drain(sender)) == named(message(bytes(5 * MIB)))


def test_what_was_not_closed_goes_back_whole_and_the_rest_is_counted() -> None:
    units = [message(b"%d" % number, bytes(1000)) for number in range(200)]
    sender, _ = ends()
    for unit in units:
        sender.copy(unit)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert sender.flush(ours.fileno()) == BLOCKED
    back, torn = sender.reclaim()
    assert back == units[len(units) - len(back) :]
    assert 0 < torn <= 66, "one batch at most"
    assert len(back) + torn <= len(units)
    assert (sender.bytes_left, sender.live_blocks, sender.live_slices) == (0, 0, 0)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_message_that_was_closed_in_part_is_torn_and_the_next_goes_back(turns: int) -> None:
    sender, _ = ends()
    sender.link(message(b"head", bytes(3 * MIB), bytes(2 * MIB)))
    sender.copy(message(b"next"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for _ in range(turns):
            sender.flush(ours.fileno())
    back, torn = sender.reclaim()
    assert [unit for unit in back if unit == message(b"next")] == [message(b"next")]
    assert len(back) + torn == 2
    assert (sender.bytes_left, sender.live_blocks, sender.live_slices) == (0, 0, 0)


def test_what_has_left_is_not_torn_by_a_word_that_has_not() -> None:
    sender, _ = ends()
    sender.copy(message(b"left"))
    drain(sender)
    sender.wire(command(b"ERROR", b"\x04word"))
    assert sender.reclaim() == ([], 0)
    assert (sender.bytes_left, sender.live_blocks, sender.live_slices) == (0, 0, 0)
