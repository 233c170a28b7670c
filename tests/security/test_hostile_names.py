"""Names that nobody should have, at a real `zproxy run`: its log, its audit and its errors keep to their lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import RunningProxy, ended, started_proxies
from support.curve_peer import SealedPeer
from support.registries import GROUPS, RegistryFolder
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer, greeting, ready

from zproxy.envelope import Envelope, Kind, offers_pack

Start = Callable[..., RunningProxy]
Connect = Callable[..., ZmtpPeer]

LONG = 10_000
NAMES = ["a\nb", "a\r\nb level=info", "a\0b", "\x1b[2Ja", "a\u202egnp", "a\u2028b", '"}\n{"event": "admitted"}']
IN_FILES = NAMES[3:5]  # each takes a command
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (info|warning) [a-z_]+(:? |$)")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("ZPROXY_RUNTIME_DIR", str(tmp_path / "run"))
    yield from started_proxies(tmp_path)


def spoken_as(name: bytes, kind: Kind, **fields: int) -> bytes:
    """An envelope whose name, or service where it asks, is so many bytes of anything: none that we would write."""
    of_service = {Kind.REQUEST: "service", Kind.READY: "name", Kind.HELLO: "name"}[kind]
    placeholder = "N" * min(len(name), 64)
    written: dict[str, str] = {of_service: placeholder}
    packed = Envelope(kind, **written, **fields).pack()  # type: ignore[arg-type]  # of both kinds of fields
    return packed.replace(placeholder.encode(), name)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_whatever_a_peer_or_the_registry_calls_itself_a_line_stays_a_line(
    start: Start, raw_peer: Connect, tmp_path: Path, log_format: str
) -> None:
    folder = RegistryFolder(tmp_path / "registry")
    pair, master = folder.enter("rank0"), folder.enter("m1", "master")
    keys = {"frontend": (pair.public, pair.secret), "backend": (master.public, master.secret)}
    proxy = start(
        *("--registry", str(folder.path), "--log-format", log_format, "--frontend", f"ipc://{tmp_path}/f"),
        *("--control", str(tmp_path / "control")),
    )
    sides = {"frontend": proxy.frontend, "backend": proxy.backend}
    neighbour = f"ipc://{tmp_path}/f"

    def sealed(side: str) -> SealedPeer:
        return SealedPeer(raw_peer(sides[side]), folder.server.public, keys[side])

    for text in NAMES:
        name = text.encode()
        for identity in (name, name + bytes(255 - len(name))):
            raw_peer(neighbour).handshake("DEALER", identity)
        sealed("frontend").knock(name)
        too_long = raw_peer(neighbour)
        too_long.send(greeting() + ready("DEALER", {"Identity": name * (LONG // len(name))}))
        too_long.read_error()
        for side, kind, frames in (("frontend", Kind.HELLO, []), ("backend", Kind.READY, [offers_pack([])])):
            for long in (1, LONG // len(name)):
                peer = sealed(side)
                peer.handshake("DEALER", is_managed=True)
                conversation = Envelope.parse(peer.read_message()[0]).conversation
                said = spoken_as(name * long, kind, conversation=conversation, incarnation=1)
                peer.send_message(said, *frames)
                answer, *rest = peer.read_message()
                assert Envelope.parse(answer).kind == Kind.ERROR
                assert b"\n" not in answer[128:] and name not in answer[128:]
    for text in IN_FILES:
        folder.regroup(GROUPS + f"[groups.{json.dumps(text)}]\n")
        done = ended("reload", "--control", str(tmp_path / "control"))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1 and done.stderr.strip().isprintable()
    wait_until(lambda: proxy.stderr.count("reload_refused") == len(IN_FILES), "all is told")
    assert proxy.stop() == 0
    lines = proxy.stderr.split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert line.isprintable()
        assert json.loads(line) if log_format == "json" else LINE.match(line), line
    audit = (folder.path / "audit.log").read_text().split("\n")
    assert audit.pop() == "" and len(audit) > len(NAMES)
    for line in audit:
        assert line.isprintable() and json.loads(line)["event"]
    assert {json.loads(line)["node"] for line in audit if '"admitted"' in line} <= {"rank0", "m1", "(names itself)"}
