"""Writes tests/protocol/corpus anew: `python tests/protocol/make_corpus.py`.

frames/       what a peer may send after the handshake. The name says how it ends: `whole`, `cut` (in the middle of a
              message or command), `malformed`, `too-large` (for a limit of LIMIT bytes).
connections/  all that a peer says, greeting first. The name says how the greeting is judged: `ok` (then the socket
              type), `need`, `garbage`, `version`, `mechanism`. Those of libzmq and pyomq were recorded from them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zmq

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.zmtp_model import pattern
from support.zmtp_peer import command, frame, frame_header, greeting, message, ping, property_bytes, ready

CORPUS = Path(__file__).parent / "corpus"
LIMIT = 65536
RECORD_SECONDS = 0.5

PART = frame(b"part", more=True)
BULK = frame(pattern(5000), more=True)  # more than waits in the read buffer: an assembly has begun

FRAMES = {
    "whole-nothing": b"",
    "whole-empty-frames": message(b"") + message(b"", b"", b""),
    "whole-short-and-long": message(b"x", pattern(255), pattern(256), b"") + message(pattern(4096)),
    "whole-long-headers-of-short-bodies": frame(b"", long=True, more=True) + frame(b"short", long=True),
    "whole-commands-between-frames": PART + ping(b"context") + BULK + command(b"PONG") * 3 + frame(b"end"),
    "whole-the-largest-command": PART + frame(bytes(4000), command=True) + frame(b"end"),
    "whole-a-command-in-an-assembly": BULK + frame(bytes(4000), command=True) + BULK + ping() + frame(b""),
    "whole-many-frames": frame(b"", more=True) * 3000 + frame(b"end"),
    "whole-many-messages": b"".join(message(b"%d" % number) for number in range(600)),
    "whole-around-a-small-block": b"".join(message(pattern(size)) for size in (4084, 4085, 4087, 4088, 4093, 4094)),
    "whole-nameless-commands": frame(b"", command=True) + frame(b"\0", command=True) + frame(b"\xffabc", command=True),
    "cut-in-flags-and-size": message(b"x") + b"\x02\0\0\0",
    "cut-in-a-body": message(b"x") + frame(pattern(300))[:-1],
    "cut-between-frames": PART * 3,
    "cut-in-a-command": PART + ping(pattern(200))[:-1],
    "cut-in-an-assembly": BULK + frame_header(60_000) + pattern(8000),
    "cut-in-a-command-in-an-assembly": BULK + frame(bytes(4000), command=True)[:-1],
    "malformed-reserved-bit": message(b"x") + b"\x08\x00",
    "malformed-reserved-bit-in-a-message": PART + b"\x80",
    "malformed-reserved-bit-in-an-assembly": BULK + b"\x10\x00",
    "malformed-command-with-more": PART + b"\x05\x01x",
    "malformed-long-command-with-more": BULK + b"\x07" + bytes(8),
    "malformed-length-of-64-bits": b"\x02" + b"\xff" * 8,
    "malformed-length-of-64-bits-in-an-assembly": BULK + b"\x03\x80" + bytes(7),
    "malformed-a-greeting-again": message(b"x") + greeting(),
    "malformed-zmtp-2-frames-with-flag-8": b"\x09\x04node" + message(b"x"),
    "too-large-by-one": message(b"x") + frame_header(LIMIT + 1),
    "too-large-in-a-message": PART + frame_header(LIMIT + 1, more=True),
    "too-large-in-an-assembly": BULK + frame_header(LIMIT + 1),
    "too-large-command": PART + frame_header(4001, command=True),
    "too-large-command-of-63-bits": BULK + b"\x06" + struct.pack(">Q", (1 << 63) - 1),
    "too-large-of-63-bits": b"\x02" + struct.pack(">Q", (1 << 63) - 1),
    "too-large-of-63-bits-in-an-assembly": BULK + b"\x02" + struct.pack(">Q", (1 << 63) - 1),
}

ZMTP_2 = b"\xff" + bytes(7) + b"\x01\x7f\x01\x05" + b"\x00\x04node" + b"\x00\x05hello"
ZMTP_1 = b"\x05\x00node" + b"\x06\x00hello"
TLS_HELLO = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + pattern(32) + b"\x00\x00\x04\x13\x01\x13\x02\x01\x00"
CURVE_HELLO = frame(b"\x05HELLO" + b"\x01\x00" + bytes(72) + pattern(120), command=True)
PLAIN_HELLO = frame(b"\x05HELLO\x04user\x06secret", command=True)

CONNECTIONS = {
    "ok-DEALER-by-hand": greeting() + ready("DEALER", {"Identity": b"node"}) + message(b"", b"hello"),
    "ok-REQ-zmtp-3.0": greeting(minor=0) + ready("REQ", {"Identity": b""}) + message(b"", b"hello"),
    "ok-REP-unknown-properties": greeting() + ready("REP", {"X-zproxy": b"1", "Resource": b"/", "x": b""}),
    "ok-unknown-PUB": greeting() + ready("PUB"),
    "ok-no-type-at-all": greeting() + command(b"READY"),
    "ok-malformed-ready-overrun": greeting() + command(b"READY", b"\x08Identity\0\0\1\0abc"),
    "ok-malformed-ready-nameless": greeting() + command(b"READY", property_bytes("", b"x")),
    "ok-malformed-identity-of-256": greeting() + ready("DEALER", {"Identity": bytes(256)}),
    "ok-message-before-ready": greeting() + message(b"too early") + ready("DEALER"),
    "ok-error-instead": greeting() + command(b"ERROR", b"\x05sorry"),
    "need-half-a-greeting": greeting()[:33],
    "need-libzmq-first-ten": greeting()[:10],
    "garbage-http": b"GET / HTTP/1.1\r\nHost: localhost:5555\r\nAccept: */*\r\n\r\n",
    "garbage-tls": TLS_HELLO,
    "garbage-ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "garbage-redis": b"*1\r\n$4\r\nPING\r\n",
    "garbage-zeros": bytes(200),
    "garbage-pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94",
    "garbage-zmtp-1": ZMTP_1,
    "garbage-even-signature": b"\xff" + bytes(8) + b"\x7e" + greeting()[10:],
    "version-zmtp-2": ZMTP_2,
    "version-0": b"\xff" + bytes(8) + b"\x7f\x00" + bytes(60),
    "mechanism-curve": greeting(mechanism=b"CURVE") + CURVE_HELLO,
    "mechanism-plain": greeting(mechanism=b"PLAIN") + PLAIN_HELLO,
    "mechanism-null-and-more": greeting(mechanism=b"NULL\0X") + ready("DEALER"),
}


def record(peer: Callable[[str], Any], is_router: bool, count: int) -> bytes:
    """All that a real peer says to a ROUTER or DEALER that never answers, for a moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened = peer(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        connection, _ = listener.accept()
        connection.sendall(greeting() + ready("ROUTER" if is_router else "DEALER"))
        connection.settimeout(RECORD_SECONDS)
        said = b""
        with contextlib.suppress(TimeoutError):
            while len(said) < count and (part := connection.recv(count - len(said))):
                said += part
        connection.close()
        opened.close()
    return said


def libzmq(kind: int, messages: Iterable[list[bytes]], **options: Any) -> Callable[[str], Any]:
    def open_peer(endpoint: str) -> zmq.Socket[bytes]:
        peer: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        peer.linger = 0
        for name, value in options.items():
            setattr(peer, name, value)
        peer.connect(endpoint)
        for parts in messages:
            peer.send_multipart(parts)
        return peer

    return open_peer


def pyomq_dealer(endpoint: str) -> Any:
    import pyomq

    peer = pyomq.Context().socket(pyomq.DEALER)
    peer.connect(endpoint)
    peer.send_multipart([b"", b"hello from pyomq"])
    return peer


def recorded() -> dict[str, bytes]:
    mixed = [[b"", b"hello"], [b""], [pattern(255), pattern(256)], [pattern(9000)] * 2, [b"end"]]
    beating = {"heartbeat_ivl": 20, "heartbeat_ttl": 3000}
    return {
        "ok-DEALER-libzmq": record(libzmq(zmq.DEALER, mixed, routing_id=b"node-1"), True, 30_000),
        "ok-DEALER-libzmq-heartbeats": record(libzmq(zmq.DEALER, [[b"", b"hello"]], **beating), True, 200),
        "ok-REQ-libzmq": record(libzmq(zmq.REQ, [[b"hello"]]), True, 30_000),
        "ok-ROUTER-libzmq": record(libzmq(zmq.ROUTER, []), True, 30_000),
        "ok-REP-libzmq": record(libzmq(zmq.REP, []), False, 30_000),
        "ok-DEALER-libzmq-metadata": record(libzmq(zmq.DEALER, [], metadata=b"X-zproxy:1"), False, 30_000),
        "ok-DEALER-pyomq": record(pyomq_dealer, True, 30_000),
    }


def write(folder: str, streams: dict[str, bytes]) -> None:
    (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    for name, said in streams.items():
        (CORPUS / folder / f"{name}.bin").write_bytes(said)


if __name__ == "__main__":
    write("frames", FRAMES)
    write("connections", CONNECTIONS | recorded())
