"""Every stream of the corpus, cut at every byte; its name says what it has to end in (see corpus/README.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.inboxes import feed_all
from support.zmtp_model import Item, parse
from support.zmtp_strategies import pieces

from zproxy.relay.handshake import HandshakeProbe
from zproxy.relay.inbox import InboxProbe

CORPUS = Path(__file__).parent / "corpus"
FRAMES = sorted((CORPUS / "frames").iterdir())
CONNECTIONS = sorted((CORPUS / "connections").iterdir())
LIMIT = 65536
GREETING_BYTES = 64
SPLITS_MAX = 700


def some_splits(count: int) -> list[int]:
    """Every byte of a short stream; of a long one its first and last bytes and every so many between."""
    if count <= SPLITS_MAX:
        return list(range(count + 1))
    return sorted({*range(200), *range(0, count, count // 300), *range(count - 40, count + 1)})


def test_the_corpus_is_there() -> None:
    assert len(FRAMES) > 30 and len(CONNECTIONS) > 30


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_frames_end_as_their_name_says_however_they_are_cut(path: Path) -> None:
    said = path.read_bytes()
    whole = feed_all([said], LIMIT)
    assert whole == parse(said, LIMIT)
    assert ending(said, whole) == path.stem.split("-")[0].replace("too", "too_large")
    for cut in some_splits(len(said)):
        assert feed_all(pieces(said, [cut]), LIMIT) == whole, f"cut at {cut}"


def ending(said: bytes, found: list[Item]) -> str:
    if found and found[-1][0] in ("malformed", "too_large"):
        return found[-1][0]
    inbox = InboxProbe(LIMIT)
    inbox.feed(said)
    return "cut" if inbox.pending_bytes else "whole"


@pytest.mark.parametrize("path", CONNECTIONS, ids=lambda path: path.stem)
def test_connections_are_judged_as_their_name_says_however_they_are_cut(path: Path) -> None:
    said = path.read_bytes()
    expected, *words = path.stem.split("-")
    assert HandshakeProbe(said[:GREETING_BYTES]).greeting() == expected
    if expected != "ok":
        return
    whole = [("greeting", said[:GREETING_BYTES]), *parse(said[GREETING_BYTES:])]
    for cut in some_splits(len(said)):
        inbox = InboxProbe(greeting_bytes=GREETING_BYTES)
        assert inbox.feed(said[:cut]) + inbox.feed(said[cut:]) == whole, f"cut at {cut}"
    if words[0].isupper():
        assert socket_type(whole) == words[0]
    elif words[0] in ("unknown", "no"):
        assert socket_type(whole) == ""
    else:
        assert socket_type(whole) is None


def socket_type(said: list[Item]) -> str | None:
    """Of the READY that has to come right behind the greeting, or None: there is none, or it is malformed."""
    kind, body = said[1]
    ready = HandshakeProbe(body).ready() if kind == "command" and isinstance(body, bytes) else None
    return None if ready is None else ready[0]
