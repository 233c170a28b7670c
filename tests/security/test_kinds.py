"""Kinds of messages: a key opens the door, and its role says which words may be said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.curve_peer import SealedPeer
from support.proxies import HostedProxy
from support.registries import RegistryFolder
from support.zmtp_peer import ZmtpPeer

from zproxy.envelope import Code, Envelope, Kind, offers_pack
from zproxy.security.keys import KeyPair

Connect = Callable[..., ZmtpPeer]

NAMING = (Kind.REQUEST, Kind.POST)
UNKNOWN_KINDS = (0, 7, 22, 34, 255)
NOT_OF_A_NODE = (*UNKNOWN_KINDS, Kind.WELCOME, Kind.READY, Kind.CREDIT, Kind.ACCEPTED, Kind.REPLY, Kind.PROGRESS)
NOT_OF_A_WORKER = (*UNKNOWN_KINDS, Kind.WELCOME, Kind.HELLO, Kind.ACCEPTED, Kind.REQUEST, Kind.POST, Kind.CANCEL)


def admitted(connected: ZmtpPeer, folder: RegistryFolder, pair: KeyPair) -> tuple[SealedPeer, dict[str, Any]]:
    """In, and not introduced; what its envelopes need."""
    peer = SealedPeer(connected, folder.server.public, (pair.public, pair.secret))
    peer.handshake("DEALER", is_managed=True)
    return peer, {"conversation": Envelope.parse(peer.read_message()[0]).conversation, "incarnation": 1}


def test_a_valid_key_says_what_its_role_may_not_and_nothing_of_it_is_done(
    hosted: Callable[..., HostedProxy], raw_peer: Connect, tmp_path: Path
) -> None:
    """A node and a worker; between them an open request, that both name as theirs."""
    folder = RegistryFolder(tmp_path / "registry")
    pairs = folder.enter("rank0"), folder.enter("m1", "master")
    proxy = hosted(registry=str(folder.path))
    node, of_node = admitted(raw_peer(proxy.frontend), folder, pairs[0])
    worker, of_worker = admitted(raw_peer(proxy.backend), folder, pairs[1])
    node.send_message(Envelope(Kind.HELLO, name="rank0", **of_node).pack())
    worker.send_message(Envelope(Kind.READY, name="m1", credit=9, **of_worker).pack(), offers_pack([("echo", 0, 0)]))
    assert [Envelope.parse(peer.read_message()[0]).kind for peer in (node, worker)] == [Kind.ACCEPTED] * 2
    asked: dict[str, Any] = {"service": "echo", "sequence": 1, "remaining_ms": 30_000}
    node.send_message(Envelope(Kind.REQUEST, **asked, **of_node).pack(), b"\x91\xc0")
    delivery = Envelope.parse(worker.read_message()[0])
    leased: dict[str, Any] = {"sequence": 1, "lease": delivery.lease, "stream": 1}
    for peer, same, kinds, name in (
        (node, of_node, NOT_OF_A_NODE, "rank0"),
        (worker, of_worker, NOT_OF_A_WORKER, "m1"),
    ):
        for kind in kinds:
            fields = {"name": name} if kind in (Kind.HELLO, Kind.READY) else asked if kind in NAMING else leased
            peer.send_message(Envelope(kind, **{**leased, **fields, **same}).pack(), b"\x91\xc0")
            answer = Envelope.parse(peer.read_message()[0])
            assert (answer.kind, answer.code) == (Kind.ERROR, Code.MALFORMED), kind
    stats = proxy.stats()
    assert stats["managed_refused_malformed"] == len(NOT_OF_A_NODE) + len(NOT_OF_A_WORKER)
    assert (stats["managed_accepted"], stats["managed_live"], stats["managed_deliveries"]) == (1, 1, 1)
    reply = Envelope(Kind.REPLY, **{**of_worker, **leased, "stream": 0, "incarnation": delivery.incarnation})
    worker.send_message(reply.pack(), b"\x91\xc0")
    assert Envelope.parse(node.read_message()[0]).kind == Kind.REPLY, "what was open is answered"
