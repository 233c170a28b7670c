"""Entries: what the log says, as an event's name, its fields and a sentence with what to do.

    Event of the relay ─► entry_of ─► Entry ─► logger "zproxy" ─► str(entry), or its fields as JSON (cli/logs.py)

An Entry is a log record's message: any handler prints it as a line, one that knows it takes it apart.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from zproxy._relay import FRONTEND, Event
from zproxy.counters import COUNTER_NAMES
from zproxy.errors import one_line
from zproxy.security.keys import fingerprint
from zproxy.units import show_size

Field = str | int | float | list[str]

# Why a peer was refused, and what to do about it. Reasons: REASONS of relay/connection.pyx.
REFUSALS = {
    "socket_type": "{socket_type} does not fit the {side}, which serves {served}: was it meant for the other side?",
    "mechanism": "it asks for another security mechanism than is served there: CURVE by TCP where a registry is in use "
    "(give the peer its keys), else NULL (turn CURVE or PLAIN off at the peer)",
    "version": "it speaks ZMTP older than 3.0: give it libzmq 4.0 or newer",
    "malformed": "what it sent is not ZMTP: is it a ZeroMQ peer, without TLS?",
    "handshake_timeout": "its handshake was not complete in time: is it a ZeroMQ peer, and does it run?",
    "name_in_use": "its routing id belongs to a peer that lives: stop that one, or give each peer a name of its own",
    "routing_id": "its routing id begins with a zero byte, as only generated ones do: choose another",
    "limit": "its address has too many connections already: close some, or let the node share one",
    "forged": "its handshake is not closed for this proxy's key: give the peer the present server.key",
    "unknown_key": "the registry has no such key: register it (zproxy keys add), or stop the peer",
    "expired": "its key's time is over (not_after in the registry): give it a new one (zproxy keys rotate)",
    "wrong_role": "the registry gives it another role than the {side} serves: was it meant for the other side?",
    "wrong_user": "a process of another user: let it come by TCP with a key, or run it as the proxy's user",
    "denied": "无权访问, access denied: the registry does not let it use the service raw, which plain peers need",
    "too_large": "its message of {shown_size} is above the limit of {shown_limit}: raise --max-message, or send parts",
}

# Ends of connections that an operator wants to know of. All others are everyday.
CLOSINGS = {
    "stalled": "its unfinished message did not grow: is the peer stuck? raise --stall if its network is that slow",
    "heartbeat": "it gave no sign of life for three heartbeats",
    "unacknowledged": "its host acknowledged nothing for 30 s: it is gone, or the network is",
    "fenced": "it was silent when a newcomer asked for its name, which has it now",
    "peer_error": "it sent ERROR: it refuses this proxy, most often for its socket type or security mechanism",
    "no_memory": "the system had no memory for it: lower --memory, or give the proxy more",
    "revoked": "its key is not the registry's any more",
    "forged": "",
    "malformed": "",  # refused before, and told there
    "too_large": "",
}

FAILURES = {
    "connect_failed": "trying again, at most 5 s from now",
    "accept_failed": "trying again in 0.1 s",
}
STRANGER = "is it a ZeroMQ peer, and does it have the key that the registry says?"
DESCRIPTORS = "raise the limit of open files (ulimit -n, LimitNOFILE=)"
DENIED = "无权访问, access denied: it wanted what its key does not allow, and was told so: see the registry"
SERVED = {"frontend": "REQ, DEALER and ROUTER", "backend": "REP, DEALER and ROUTER"}

# What the relay had to drop: a warning when one of these grows, and part of the totals.
LOSSES = {
    "dropped_client_gone": "replies for clients that had gone",
    "dropped_slow_reader": "replies for clients that do not read: raise --connection-memory, or make them read",
    "dropped_unroutable": "replies without a routing id: does a worker drop the frames in front of a request?",
    "dropped_no_memory": "messages the system had no memory for: lower --memory, or give the proxy more",
    "requests_lost": "requests in the outbox of workers that closed, partly written",
    "replies_lost": "replies in the outbox of clients that closed, not wholly written",
    "requests_undelivered": "requests nobody had taken at the end",
    "truncated_messages": "messages cut off by the end of their connection; nothing of them was relayed",
    "managed_worker_lost": "managed requests whose worker went away with them: see its log",
    "managed_undelivered": "outcomes for nodes that do not read, or had gone",
    "events_lost": "log lines: more happened than could be logged",
}

# What goes on, and an operator wants to know of: a warning when one of these grows.
TROUBLES = {
    "managed_redelivered": "managed requests to be delivered again: see the logs of the workers that had them",
    "managed_leases_expired": "deliveries taken away from workers that gave no sign for the service's lease",
}

FLOWS = ("requests_in", "requests_out", "replies_in", "replies_out")
OF_THE_LOOP = ("turns", "wakeups", "spins")  # they say nothing about messages


@dataclass(frozen=True)
class Entry:
    """One line of the log. `fields` in the order they are shown."""

    level: int
    event: str
    sentence: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.event, *(f"{name}={_plain(value)}" for name, value in self.fields.items())]
        return one_line(" ".join(words) + (f": {self.sentence}" if self.sentence else ""))


def _plain(value: Field) -> str:
    text = ",".join(value) if isinstance(value, list) else str(value)
    is_plain = text.isprintable() and text and not any(letter in text for letter in ' "=')
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def printable(routing_id: bytes) -> str:
    """The routing id as it is where it is printable text, else 0x and hex digits."""
    try:
        text = routing_id.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text and not text.startswith("0x") else f"0x{routing_id.hex()}"


def entry_of(event: Event, endpoint: str) -> Entry:
    """What the log says of an event; `endpoint` is the one it came by."""
    side = "frontend" if event.side == FRONTEND else "backend"
    known: dict[str, Field] = {
        "side": side,
        "endpoint": endpoint,
        "peer": event.peer,
        "name": event.name,
        "server_key": "former" if event.is_former else "",
        "socket_type": event.socket_type,
        "routing_id": printable(event.routing_id) if event.routing_id else "",
        "reason": event.reason,
    }
    fields = {name: value for name, value in known.items() if value}
    if event.kind in FAILURES:
        return _failure(event, fields)
    if event.kind == "refused":
        return _refusal(event, fields)
    if event.kind == "denied":
        return Entry(logging.WARNING, "denied", DENIED, fields)
    if event.kind == "disconnected":
        return _disconnect(event, fields)
    return Entry(logging.INFO, event.kind, "", fields)


def _failure(event: Event, fields: dict[str, Field]) -> Entry:
    code = event.limit  # an errno; 0 where there was none
    fields["error"] = os.strerror(code) if code else "no answer"
    if code == errno.EPROTO:
        fields["error"] = "hung up in the handshake"
        return Entry(logging.WARNING, event.kind, f"{STRANGER}; {FAILURES[event.kind]}", fields)
    remedy = DESCRIPTORS if code in (errno.EMFILE, errno.ENFILE) else FAILURES[event.kind]
    return Entry(logging.WARNING, event.kind, remedy, fields)


def _refusal(event: Event, fields: dict[str, Field]) -> Entry:
    side = str(fields["side"])
    sentence = REFUSALS.get(event.reason, "").format(
        side=side,
        served=SERVED[side],
        socket_type=event.socket_type or "its socket type",
        shown_size=show_size(event.size),
        shown_limit=show_size(event.limit),
    )
    if event.key:
        fields["fingerprint"] = fingerprint(event.key)  # who it is where the registry has no name for it
    if event.reason == "too_large":
        fields |= {"size": event.size, "limit": event.limit}
    return Entry(logging.WARNING, "refused", sentence, fields)


def _disconnect(event: Event, fields: dict[str, Field]) -> Entry:
    if event.size:
        fields["lost"] = event.size  # messages it was owed
    is_remarkable = event.size or event.reason in CLOSINGS
    return Entry(
        logging.WARNING if is_remarkable else logging.INFO, "disconnected", CLOSINGS.get(event.reason, ""), fields
    )


def entry_of_loss(counter: str, count: int, total: int) -> Entry:
    """`count` more were lost, or are tried again, since the last such entry."""
    fields: dict[str, Field] = {"counter": counter, "count": count, "total": total}
    if counter in TROUBLES:
        return Entry(logging.WARNING, "retried", TROUBLES[counter], fields)
    return Entry(logging.WARNING, "lost", LOSSES[counter], fields)


def entry_of_totals(stats: Mapping[str, int]) -> Entry:
    """All that was relayed, and every other counter that is not zero: nothing is lost in silence."""
    others = {name: stats[name] for name in COUNTER_NAMES if stats[name] and name not in (*FLOWS, *OF_THE_LOOP)}
    has_loss = any(stats[name] for name in LOSSES)
    flows = {name: stats[name] for name in FLOWS}
    return Entry(logging.WARNING if has_loss else logging.INFO, "totals", "", {**flows, **others})
