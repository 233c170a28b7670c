"""Neighbours: who does harm at a proxy beside managed load, step by step, with keys or without."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from support.curve_peer import SealedPeer
from support.proxies import HostedProxy
from support.registries import RegistryFolder
from support.zmtp_peer import ZmtpPeer, frame, frame_header, message
from zproxy.envelope import Envelope, Kind
from zproxy.security.keys import KeyPair

Connect = Callable[..., ZmtpPeer]
Harm = Iterator[None]

MIB = 1 << 20
MAX_MESSAGE = MIB
STALLERS = 8
SLOW, SLOW_STEP = 1000, 20  # handshakes at once, and how many go on in a step
NAMES = 8  # of one that has keys: it comes again before its last end was seen


class Neighbour:
    """Somebody who does harm at a proxy, step by step."""

    def __init__(self, proxy: HostedProxy, raw_peer: Connect) -> None:
        self.proxy = proxy
        self.random = random.Random(13)
        self._connect = raw_peer

    @property
    def name(self) -> str:
        """Of the latest peer."""
        return f"neighbour{self.random.getrandbits(63)}"

    def peer(self, side: str = "frontend", is_managed: bool = True) -> ZmtpPeer:
        """Past its handshake, and introduced by nothing."""
        made = self._connect(getattr(self.proxy, side))
        made.handshake("DEALER", is_managed=is_managed)
        return made

    def node(self) -> tuple[ZmtpPeer, dict[str, Any]]:
        """One that was accepted, and what its envelopes need."""
        peer = self.peer()
        same = self.welcomed(peer)
        peer.send_message(Envelope(Kind.HELLO, name=self.name, **same).pack())
        peer.read_message()
        return peer, same

    def welcomed(self, peer: ZmtpPeer) -> dict[str, Any]:
        """What its envelopes need, by WELCOME."""
        conversation = Envelope.parse(peer.read_message()[0]).conversation
        return {"incarnation": self.random.getrandbits(63) | 1, "conversation": conversation}

    def stranger(self) -> ZmtpPeer:
        """Connected, without a word."""
        return self._connect(self.random.choice((self.proxy.frontend, self.proxy.backend)))


class KeyedNeighbour(Neighbour):
    """With keys: it comes in, and then does harm. To be made before the proxy, which has to know its keys."""

    def __init__(self, raw_peer: Connect, folder: RegistryFolder) -> None:
        self.random = random.Random(13)
        self.folder = folder
        self._connect = raw_peer
        self._keys = {
            side: [folder.enter(f"{role}-{number}", role) for number in range(NAMES)]
            for side, role in (("frontend", "node"), ("backend", "master"))
        }
        self._number = 0
        self._role = "node"

    @property
    def name(self) -> str:
        return f"{self._role}-{self._number}"

    def sealed(self, side: str, keys: KeyPair, server_key: bytes | None = None) -> SealedPeer:
        """Connected, without a word."""
        server_key = server_key or self.folder.server.public
        return SealedPeer(self._connect(getattr(self.proxy, side)), server_key, (keys.public, keys.secret))

    def own(self, side: str = "frontend") -> SealedPeer:
        """With the next of its keys, and without a word."""
        self._number = (self._number + 1) % NAMES
        self._role = "node" if side == "frontend" else "master"
        return self.sealed(side, self._keys[side][self._number])

    def peer(self, side: str = "frontend", is_managed: bool = True) -> ZmtpPeer:
        made = self.own(side)
        made.handshake("DEALER", is_managed=is_managed)
        return made


def oversize(neighbour: Neighbour) -> Harm:
    """Row 13: frames above the limit, told to their sender."""
    while True:
        peer = neighbour.peer(neighbour.random.choice(("frontend", "backend")))
        peer.send(peer.begun(neighbour.random.choice((MAX_MESSAGE + 1, 1 << 40, 1 << 62))))
        peer.read_error()
        peer.close()
        yield


def malformed(neighbour: Neighbour) -> Harm:
    """Row 14: envelopes with bytes changed, cut off or added, of every kind, from a node that was accepted."""
    source = neighbour.random
    while True:
        peer, same = neighbour.node()
        with suppress(ConnectionError):
            for kind in Kind:
                spoken = bytearray(Envelope(kind, service="nobody", sequence=source.getrandbits(20) + 1,
                                            remaining_ms=1000, **same).pack())  # fmt: skip
                for _ in range(source.randrange(1, 4)):
                    spoken[source.randrange(len(spoken))] = source.getrandbits(8)
                cut = source.choice((len(spoken), len(spoken), source.randrange(len(spoken))))
                peer.send_message(bytes(spoken[:cut]) + source.randbytes(source.choice((0, 0, 0, 7))), b"\x91\xc0")
        peer.close()
        yield


def endless(neighbour: Neighbour) -> Harm:
    """Row 15: messages whose frames never end; a step sends what the connection takes at once."""
    block = frame(bytes(64), more=True) * 500
    while True:
        peer, left = neighbour.peer(), b""
        with suppress(ConnectionError):
            while True:
                left = left or peer.wire(block)
                left = left[peer.send_what_fits(left) :]
                yield
        peer.close()


def truncated(neighbour: Neighbour) -> Harm:
    """Row 16: requests for the load's own service that are cut anywhere."""
    while True:
        peer, same = neighbour.node()
        spoken = peer.wire(message(Envelope(Kind.REQUEST, service="work", sequence=1, remaining_ms=9000, **same).pack(),
                                   b"\x91\xc0" + bytes(200)))  # fmt: skip
        peer.send(spoken[: neighbour.random.randrange(1, len(spoken))])
        neighbour.random.choice((peer.close, peer.reset))()
        yield


def garbage(neighbour: Neighbour) -> Harm:
    """Row 19: what no ZeroMQ peer says."""
    while True:
        peer = neighbour.stranger()
        spoken = neighbour.random.choice((neighbour.random.randbytes(300), b"GET / HTTP/1.1\r\n\r\n", b"\xff"))
        with suppress(ConnectionError):
            peer.send(spoken)
        peer.close()
        yield


HELLO_BEGUN = frame_header(200, command=True) + b"\x05HELLO\1\0" + bytes(190)
INITIATE_BEGUN = frame_header(300, command=True) + b"\x08INITIATE" + bytes(290)


def slow(neighbour: KeyedNeighbour) -> Harm:
    """Row 19: so many that greet, or say HELLO too, and then the next word, a byte now and then."""
    waiting: deque[tuple[ZmtpPeer, Iterator[int]]] = deque()

    def come(says_hello: bool) -> None:
        peer = neighbour.own()
        peer.curve.greet()
        if says_hello:
            peer.curve.hello()
        waiting.append((peer, iter(INITIATE_BEGUN if says_hello else HELLO_BEGUN)))

    while True:
        for number in range(min(SLOW_STEP, SLOW - len(waiting))):
            come(number % 2 == 0)
        for _ in range(SLOW_STEP):
            peer, rest = waiting.popleft()
            try:
                peer.send(bytes([next(rest)]))
                waiting.append((peer, rest))
            except ConnectionError:
                peer.close()
        yield


def stalled(neighbour: Neighbour) -> Harm:
    """Row 28: senders that stop half-way through messages, and are closed."""
    while True:
        peers = [neighbour.peer() for _ in range(STALLERS)]
        for peer in peers:
            peer.send(frame_header(MAX_MESSAGE) + bytes(MAX_MESSAGE // 2))
        closed = neighbour.proxy.stats()["closed_stalled"] + STALLERS
        while neighbour.proxy.stats()["closed_stalled"] < closed:
            yield
        for peer in peers:
            peer.close()
