"""What the log says of each event: fields, a level, and a sentence with what to do."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zproxy._relay import BACKEND, EVENT_KINDS, FRONTEND, Event
from zproxy.counters import COUNTER_NAMES, GAUGE_NAMES
from zproxy.entries import (
    CLOSINGS,
    LOSSES,
    REFUSALS,
    TROUBLES,
    Entry,
    entry_of,
    entry_of_loss,
    entry_of_totals,
    printable,
)
from zproxy.relay.connection import REASONS

ENDPOINT = "tcp://127.0.0.1:5555"


def event(kind: str, reason: str = "", **fields: Any) -> Event:
    known: dict[str, Any] = {
        "side": FRONTEND,
        "endpoint": 0,
        "peer": "127.0.0.1:4711",
        "routing_id": b"rank7",
        "socket_type": "DEALER",
    }
    return Event(kind=kind, reason=reason, **{**known, "size": 0, "limit": 0, **fields})


def test_every_refusal_has_a_sentence_with_what_to_do() -> None:
    refusing = [name.removeprefix("refused_") for name in COUNTER_NAMES if name.startswith("refused_")]
    for reason in (*refusing, "too_large"):
        entry = entry_of(event("refused", reason, size=2 << 30, limit=1 << 30), ENDPOINT)
        assert entry.level == logging.WARNING
        assert ": " in entry.sentence and "{" not in entry.sentence
    assert set(refusing) <= set(REFUSALS) <= set(REASONS)


def test_every_closing_of_the_relays_own_is_a_warning() -> None:
    closing = {name.removeprefix("closed_") for name in COUNTER_NAMES if name.startswith("closed_")}
    assert closing == set(CLOSINGS)
    for reason in closing:
        assert entry_of(event("disconnected", reason), ENDPOINT).level == logging.WARNING


@pytest.mark.parametrize("kind", EVENT_KINDS)
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("side", [FRONTEND, BACKEND])
def test_no_event_is_beyond_words(kind: str, reason: str, side: int) -> None:
    assert str(entry_of(event(kind, reason, side=side, limit=24), ENDPOINT)).startswith(kind)


def test_an_everyday_disconnect_is_no_warning_unless_it_took_messages_along() -> None:
    assert entry_of(event("disconnected", "eof"), ENDPOINT).level == logging.INFO
    lossy = entry_of(event("disconnected", "eof", size=3), ENDPOINT)
    assert (lossy.level, lossy.fields["lost"]) == (logging.WARNING, 3)


def test_a_line_names_its_fields_and_quotes_what_would_break_it() -> None:
    entry = Entry(
        logging.INFO, "connected", "welcome", {"peer": "10.0.0.1:1", "routing_id": 'rank "7"', "ids": ["a", "b"]}
    )
    assert str(entry) == r'connected peer=10.0.0.1:1 routing_id="rank \"7\"" ids=a,b: welcome'


@given(st.binary(min_size=1, max_size=255), st.binary(min_size=1, max_size=255))
def test_routing_ids_are_printable_and_never_confused(one: bytes, other: bytes) -> None:
    assert printable(one).isprintable()
    assert (printable(one) == printable(other)) == (one == other)


@pytest.mark.parametrize(
    ("routing_id", "shown"),
    [
        (b"rank7", "rank7"),
        ("节点".encode(), "节点"),
        (b"\0\1", "0x0001"),
        (b"0x0001", "0x307830303031"),
        (b"a\nb", "0x610a62"),
    ],
)
def test_a_routing_id_is_shown_as_text_or_hex(routing_id: bytes, shown: str) -> None:
    assert printable(routing_id) == shown


def test_totals_have_every_counter_that_is_not_zero() -> None:
    stats = {name: number for number, name in enumerate((*COUNTER_NAMES, *GAUGE_NAMES), 1)}
    entry = entry_of_totals(stats)
    assert entry.fields == {name: stats[name] for name in COUNTER_NAMES if name not in ("turns", "wakeups", "spins")}
    assert entry.level == logging.WARNING


@pytest.mark.parametrize("counter", LOSSES)
def test_any_loss_makes_the_totals_a_warning(counter: str) -> None:
    stats = dict.fromkeys(COUNTER_NAMES, 0)
    assert entry_of_totals(stats).level == logging.INFO
    assert entry_of_totals({**stats, counter: 1}).level == logging.WARNING


@pytest.mark.parametrize("counter", TROUBLES)
def test_what_is_tried_again_is_told_and_is_no_loss(counter: str) -> None:
    assert str(entry_of_loss(counter, 2, 5)).startswith(f"retried counter={counter} count=2 total=5: ")
    stats = dict.fromkeys(COUNTER_NAMES, 0)
    assert entry_of_totals({**stats, counter: 1}).level == logging.INFO


def test_every_counter_of_loss_is_told() -> None:
    losing = {name for name in COUNTER_NAMES if name.startswith("dropped_") or name.endswith(("_lost", "_undelivered"))}
    assert losing <= set(LOSSES) <= set(COUNTER_NAMES)


@pytest.mark.parametrize("said", ["a\nb", "a\u202eb", "\x1b[2J", "\0", "\ud800", "\u2028"])
def test_whatever_others_chose_a_line_stays_a_line(said: str) -> None:
    line = str(Entry(logging.WARNING, "refused", f"{said} is wrong", {"name": said, "names": [said, said]}))
    assert line.isprintable() and said not in line
    assert repr(said)[1:-1] in line
