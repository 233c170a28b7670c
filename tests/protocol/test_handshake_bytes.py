"""The handshake's readers and writers alone: every prefix, garbage at every byte, hostile metadata."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.zmtp_model import parse
from support.zmtp_peer import command, frame, greeting, message, property_bytes, ready

from zproxy.relay.handshake import HandshakeProbe
from zproxy.relay.inbox import InboxProbe

GREETING_BYTES = 64
GOOD = [greeting(), greeting(minor=0), greeting(major=4, minor=7), greeting(as_server=True)]


def verdict(source: bytes) -> str:
    return HandshakeProbe(source).greeting()


@pytest.mark.parametrize("good", GOOD)
def test_a_greeting_is_right_at_every_byte_and_done_at_the_last(good: bytes) -> None:
    assert [verdict(good[:count]) for count in range(GREETING_BYTES)] == ["need"] * GREETING_BYTES
    assert verdict(good) == "ok"
    assert verdict(good + b"\x04\x1a\x05READY") == "ok"


def test_the_length_that_libzmq_puts_into_the_signature_is_ignored() -> None:
    assert verdict(b"\xff" + b"\x00" * 7 + b"\x01\x7f" + greeting()[10:]) == "ok"


# What each byte of a greeting may be besides the byte it is; everything else is refused, there or at the end.
@pytest.mark.parametrize("place", range(GREETING_BYTES))
def test_garbage_at_every_byte_of_a_greeting(place: int) -> None:
    for value in {0x00, 0x01, 0x02, 0x03, 0x41, 0x7E, 0x80, 0xFE, 0xFF}:
        broken = bytearray(greeting())
        broken[place] = value
        found = [verdict(bytes(broken[:count])) for count in range(GREETING_BYTES + 1)]
        refused_from, expected = expected_verdict(place, value)
        assert found == ["need"] * refused_from + [expected] * (GREETING_BYTES + 1 - refused_from)


def expected_verdict(place: int, value: int) -> tuple[int, str]:
    """(bytes that do not show it yet, the verdict from then on) of a greeting whose byte `place` is `value`."""
    if place == 0 and value != 0xFF:
        return 1, "garbage"
    if place == 9 and value % 2 == 0:
        return 10, "garbage"
    if place == 10 and value < 3:
        return 11, "version"
    if 12 <= place < 32 and value != greeting()[place]:
        return GREETING_BYTES, "mechanism"
    return GREETING_BYTES, "ok"


@pytest.mark.parametrize("mechanism", [b"PLAIN", b"CURVE", b"GSSAPI", b"null", b"NULLX", b"NUL", b"", b"N" * 20])
def test_another_mechanism_is_told_apart(mechanism: bytes) -> None:
    assert verdict(greeting(mechanism=mechanism)) == "mechanism"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "garbage"),
        (b"\x16\x03\x01", "garbage"),
        (b"\x01\x00", "garbage"),  # ZMTP 1: a frame with an empty routing id
        (b"\xff" + bytes(7) + b"\x01\x7f\x01\x05", "version"),  # ZMTP 2
        (b"\xff" + bytes(7) + b"\x01\x7f\x00", "version"),
    ],
)
def test_other_protocols_are_refused_as_soon_as_they_show(source: bytes, expected: str) -> None:
    assert verdict(source) == expected


@given(st.binary(max_size=80))
def test_a_verdict_never_changes_for_the_better(source: bytes) -> None:
    found = [verdict(source[:count]) for count in range(len(source) + 1)]
    final = found[-1]
    assert all(early in ("need", final) for early in found)
    assert final != "need" or len(source) < GREETING_BYTES


BEHIND = [b"", ready("DEALER"), ready("DEALER") + message(b"at", b"once"), message(b"m" * 9000)]


@pytest.mark.parametrize("behind", BEHIND)
def test_an_inbox_splits_a_greeting_from_what_follows_at_every_byte(behind: bytes) -> None:
    wire = greeting() + behind
    expected = [("greeting", greeting()), *parse(behind)]
    for cut in range(min(len(wire), 200) + 1):
        inbox = InboxProbe(greeting_bytes=GREETING_BYTES)
        assert inbox.feed(wire[:cut]) + inbox.feed(wire[cut:]) == expected
        assert inbox.live_blocks == 0
    inbox = InboxProbe(greeting_bytes=GREETING_BYTES)
    assert [item for at in range(len(wire)) for item in inbox.feed(wire[at : at + 1])] == expected


def test_a_begun_greeting_is_all_that_an_inbox_holds() -> None:
    inbox = InboxProbe(greeting_bytes=GREETING_BYTES)
    inbox.feed(greeting()[:10])
    assert (inbox.pending_bytes, inbox.live_blocks) == (10, 1)
    inbox.clear()
    assert inbox.live_blocks == 0


# ---- READY ----

SOCKET_TYPES = ["REQ", "REP", "DEALER", "ROUTER"]


def body_of(spoken: bytes) -> bytes:
    """The body of a command's frame."""
    [(kind, body)] = parse(spoken)
    assert kind == "command" and isinstance(body, bytes)
    return body


def read_ready(*properties: bytes) -> tuple[str, bytes] | None:
    return HandshakeProbe(b"\x05READY" + b"".join(properties)).ready()


@pytest.mark.parametrize("socket_type", SOCKET_TYPES)
@pytest.mark.parametrize("identity", [b"", b"n", b"node", b"\0\0\0\0\1", b"i" * 254, b"i" * 255])
def test_ready_tells_type_and_routing_id(socket_type: str, identity: bytes) -> None:
    body = body_of(ready(socket_type, {"Identity": identity}))
    assert HandshakeProbe(body).ready() == (socket_type, identity)


@pytest.mark.parametrize("name", ["X-zproxy", "x-ZPROXY"])
@pytest.mark.parametrize(("value", "is_managed"), [(b"1", True), (b"17", True), (b"", False), (b"0", False)])
def test_a_property_announces_a_managed_peer(name: str, value: bytes, is_managed: bool) -> None:
    assert HandshakeProbe(body_of(ready("DEALER", {name: value}))).is_managed() == is_managed


@pytest.mark.parametrize(
    ("identity", "is_managed"),
    [(b"\0ZPX\1", True), (b"\0ZPX\1n", True), (b"\0ZPX\2n", False), (b"\0ZPX", False), (b"ZPX\1", False), (b"", False)],
)
def test_a_routing_id_announces_a_managed_peer(identity: bytes, is_managed: bool) -> None:
    assert HandshakeProbe(body_of(ready("DEALER", {"Identity": identity}))).is_managed() == is_managed


@pytest.mark.parametrize("count", [256, 257, 512, 3000])
def test_a_routing_id_above_255_bytes_is_malformed(count: int) -> None:
    assert read_ready(property_bytes("Socket-Type", b"DEALER"), property_bytes("Identity", b"i" * count)) is None


@pytest.mark.parametrize("word", ["Socket-Type", "SOCKET-TYPE", "socket-type", "sOcKeT-tYpE"])
@pytest.mark.parametrize("other", ["Identity", "IDENTITY", "identity", "iDENTITY"])
def test_property_names_are_case_insensitive(word: str, other: str) -> None:
    assert read_ready(property_bytes(word, b"REQ"), property_bytes(other, b"me")) == ("REQ", b"me")


@pytest.mark.parametrize("value", [b"", b"req", b"REQ ", b"RE", b"PUB", b"DEALERS", b"REQ\0", b"\0" * 6, b"D" * 3000])
def test_another_socket_type_is_unknown(value: bytes) -> None:
    assert read_ready(property_bytes("Socket-Type", value)) == ("", b"")


def test_unknown_properties_pass() -> None:
    assert read_ready(
        property_bytes("X-zproxy", b"1"),
        property_bytes("Socket-Type", b"REP"),
        property_bytes("n" * 255, bytes(range(256))),
        property_bytes("Socket-Typ", b"REQ"),
        property_bytes("Socket-Type-", b"REQ"),
        property_bytes("Identity\0", b"no"),
        property_bytes("Resource", b""),
    ) == ("REP", b"")


def test_the_last_of_duplicates_holds() -> None:
    assert read_ready(
        property_bytes("Identity", b"first"),
        property_bytes("Socket-Type", b"PUB"),
        property_bytes("socket-type", b"DEALER"),
        property_bytes("IDENTITY", b"second"),
    ) == ("DEALER", b"second")


def test_ready_without_properties_has_no_type() -> None:
    assert read_ready() == ("", b"")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_property_without_a_name_is_malformed_wherever_it_stands(place: int) -> None:
    properties = [property_bytes("Socket-Type", b"DEALER"), property_bytes("Identity", b"me")]
    properties.insert(place, property_bytes("", b"value"))
    assert read_ready(*properties) is None


def test_a_ready_cut_anywhere_is_malformed() -> None:
    said = {"Socket-Type": b"DEALER", "Identity": b"me", "X": b"y"}
    properties = [property_bytes(name, value) for name, value in said.items()]
    whole = b"\x05READY" + b"".join(properties)
    ends = {6 + sum(map(len, properties[:count])) for count in range(len(properties) + 1)}
    for cut in range(len(whole) + 1):
        assert (HandshakeProbe(whole[:cut]).ready() is not None) == (cut in ends), f"cut at {cut}"


@pytest.mark.parametrize("declared", [4, 5, 255, 1 << 16, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("name", [b"Identity", b"Socket-Type", b"X"])
def test_a_value_longer_than_the_command_is_malformed(name: bytes, declared: int) -> None:
    overrun = bytes([len(name)]) + name + struct.pack(">I", declared) + b"abc"
    assert read_ready(overrun) is None
    assert read_ready(property_bytes("Socket-Type", b"REQ"), overrun) is None


@pytest.mark.parametrize("declared", [1, 4, 5, 100, 255])
def test_a_name_longer_than_the_command_is_malformed(declared: int) -> None:
    assert read_ready(bytes([declared])) is None
    assert read_ready(bytes([declared]) + b"abcd") is None


@pytest.mark.parametrize("name", [b"", b"\x04READ", b"\x06READYX", b"\x05ready", b"\x05ERROR", b"\x05READ", b"READY"])
def test_what_is_not_called_ready_is_not(name: bytes) -> None:
    assert HandshakeProbe(name).ready() is None
    assert name == b"" or HandshakeProbe(name + property_bytes("Socket-Type", b"REQ")).ready() is None


@given(st.binary(max_size=120))
def test_any_metadata_is_read_as_the_model_reads_it(metadata: bytes) -> None:
    assert read_ready(metadata) == model_ready(metadata)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=20)), max_size=6), st.integers(0, 8))
def test_any_properties_with_lies_about_a_length(properties: list[tuple[bytes, bytes]], lie: int) -> None:
    spoken = bytearray()
    for number, (name, value) in enumerate(properties):
        declared = len(value) + (lie if number == len(properties) - 1 else 0)
        spoken += bytes([len(name)]) + name + struct.pack(">I", declared) + value
    assert read_ready(bytes(spoken)) == model_ready(bytes(spoken))


def model_ready(metadata: bytes) -> tuple[str, bytes] | None:
    """READY's metadata as RFC 23 has it, with our limits."""
    found = {b"socket-type": b"", b"identity": b""}
    while metadata:
        name, metadata = metadata[1 : 1 + metadata[0]], metadata[1 + metadata[0] :]
        if not name or len(metadata) < 4:
            return None
        size, metadata = int.from_bytes(metadata[:4], "big"), metadata[4:]
        if size > len(metadata):
            return None
        found[name.lower()], metadata = metadata[:size], metadata[size:]
    if len(found[b"identity"]) > 255:
        return None
    socket_type = found[b"socket-type"].decode("latin-1")
    return socket_type if socket_type in SOCKET_TYPES else "", found[b"identity"]


# ---- the commands after it ----


@pytest.mark.parametrize("count", range(19))
def test_a_pong_echoes_at_most_sixteen_bytes_of_context(count: int) -> None:
    context = bytes(range(1, count + 1))
    assert HandshakeProbe(b"\x04PING\x12\x34" + context).pong() == command(b"PONG", context[:16])


def test_a_pong_of_the_largest_ping_fits() -> None:
    assert HandshakeProbe(b"\x04PING" + bytes(3995)).pong() == command(b"PONG", bytes(16))


@pytest.mark.parametrize("count", [0, 1])
def test_a_ping_without_its_time_to_live_is_malformed(count: int) -> None:
    assert HandshakeProbe(b"\x04PING" + bytes(count)).pong() is None


def test_what_we_say_is_what_a_peer_expects() -> None:
    assert HandshakeProbe.our_greeting() == greeting()
    assert verdict(HandshakeProbe.our_greeting()) == "ok"
    for is_router, socket_type in ((True, "ROUTER"), (False, "DEALER")):
        assert HandshakeProbe.our_ready(is_router) == ready(socket_type, {"Identity": b""})
        assert HandshakeProbe(body_of(HandshakeProbe.our_ready(is_router))).ready() == (socket_type, b"")
    assert HandshakeProbe.our_ping() == command(b"PING", b"\0\0")
    assert HandshakeProbe(body_of(HandshakeProbe.our_ping())).pong() == command(b"PONG")


@given(st.binary(max_size=119))
def test_an_error_carries_its_reason(reason: bytes) -> None:
    assert HandshakeProbe.our_error(reason) == command(b"ERROR", bytes([len(reason)]) + reason)


def test_a_frame_where_a_greeting_is_due_is_garbage() -> None:
    inbox = InboxProbe(greeting_bytes=GREETING_BYTES)
    found = inbox.feed(frame(b"x" * 300) + message(b"y"))
    assert found[0][0] == "greeting" and isinstance(found[0][1], bytes)
    assert verdict(found[0][1]) == "garbage"
