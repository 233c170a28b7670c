"""CURVE's handshake: both sides understand each other, and nothing that was changed on its way gets through."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.curve_peer import body_of, key_pair
from support.zmtp_peer import property_bytes

from zproxy.relay.curve import CurveProbe

SERVER, CLIENT = key_pair(), key_pair()
CLIENT_SAYS = property_bytes("Socket-Type", b"DEALER")
SERVER_SAYS = property_bytes("Socket-Type", b"ROUTER")
STEPS = ("HELLO", "WELCOME", "INITIATE", "READY")
LOW_ORDER = [bytes(32), b"\1" + bytes(31)]


def run(
    step: str = "",
    change: int = -1,
    cut: int = 0,
    server_keys: tuple[bytes, bytes] = SERVER,
    former: Sequence[bytes] = (),
) -> list[str]:
    """What each command was found to be, up to the first that is not ok; one bit of one, or its end, is changed."""
    server, client = CurveProbe(*server_keys, former=former), CurveProbe(*CLIENT, SERVER[0])
    command, found = client.begin(), []
    for index, name in enumerate(STEPS):
        body = bytearray(body_of(command))
        if name == step and change >= 0:
            body[change // 8] ^= 1 << change % 8
        if name == step and cut:
            body = body[:-cut] if cut > 0 else body + bytes(-cut)
        receiver, says = (client, CLIENT_SAYS) if index % 2 else (server, SERVER_SAYS)
        code, command, properties = receiver.take(bytes(body), says)
        found.append(code)
        if code != "ok":
            return found
        if name == "INITIATE":
            assert (properties, server.peer) == (CLIENT_SAYS, CLIENT[0])
        if name == "READY":
            assert properties == SERVER_SAYS
    assert client.is_done and server.is_done
    assert client.keys() == server.keys()[::-1]
    return found


def test_both_sides_understand_each_other() -> None:
    assert run() == ["ok"] * 4


def test_a_server_is_known_by_its_former_key_and_by_no_other() -> None:
    present, former = key_pair(), key_pair()
    assert run(server_keys=present, former=SERVER) == ["ok"] * 4
    assert run(former=former) == ["ok"] * 4
    assert run(server_keys=present, former=former) == ["forged"]


@pytest.mark.parametrize("former", [(), SERVER])
@pytest.mark.parametrize("step", STEPS)
def test_no_changed_byte_gets_through(step: str, former: Sequence[bytes]) -> None:
    server_keys = key_pair() if former else SERVER
    sizes = {"HELLO": 200, "WELCOME": 168, "INITIATE": 257 + len(CLIENT_SAYS), "READY": 30 + len(SERVER_SAYS)}
    for place in range(sizes[step]):
        found = run(step, change=8 * place + place % 8, server_keys=server_keys, former=former)
        assert found[-1] != "ok", f"byte {place}"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("cut", [1, 17, 100, 160, -1, -100])
def test_no_shorter_or_longer_command_gets_through(step: str, cut: int) -> None:
    assert run(step, cut=cut)[-1] != "ok"


@pytest.mark.parametrize("body", [b"", b"\x05HELLO", b"\x05HELLO" + bytes(194), b"\x05READY" + bytes(30), bytes(200)])
def test_what_is_no_command_is_malformed(body: bytes) -> None:
    assert CurveProbe(*SERVER).take(body, b"")[0] == "malformed"
    assert CurveProbe(*CLIENT, SERVER[0]).take(body, b"")[0] == "malformed"


def test_a_client_of_another_server_is_not_understood() -> None:
    client = CurveProbe(*CLIENT, key_pair()[0])
    assert CurveProbe(*SERVER).take(body_of(client.begin()), b"")[0] == "forged"


def test_a_client_that_has_not_the_key_it_shows_is_found_out() -> None:
    server, client = CurveProbe(*SERVER), CurveProbe(CLIENT[0], key_pair()[1], SERVER[0])
    _, welcome, _ = server.take(body_of(client.begin()), b"")
    _, initiate, _ = client.take(body_of(welcome), CLIENT_SAYS)
    assert server.take(body_of(initiate), b"")[0] == "forged"


@pytest.mark.parametrize("key", LOW_ORDER)
def test_keys_that_would_make_every_secret_guessable_are_refused(key: bytes) -> None:
    hello = bytearray(body_of(CurveProbe(*CLIENT, SERVER[0]).begin()))
    hello[80:112] = key
    assert CurveProbe(*SERVER).take(bytes(hello), b"")[0] == "forged"
    assert CurveProbe(*CLIENT, key).begin() == b""


def test_no_two_handshakes_have_a_key_in_common() -> None:
    seen: set[bytes] = set()
    for _ in range(20):
        server, client = CurveProbe(*SERVER), CurveProbe(*CLIENT, SERVER[0])
        _, welcome, _ = server.take(body_of(client.begin()), b"")
        _, initiate, _ = client.take(body_of(welcome), CLIENT_SAYS)
        server.take(body_of(initiate), SERVER_SAYS)
        seen.update(server.keys())
    assert len(seen) == 40
