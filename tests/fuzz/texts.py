"""Texts: a target for each reader of what people write, and of contents, which are Python's.

Each takes one input and a folder of its own, reads it as the product would, and returns whether it was understood. The
law of all: an input is understood, or refused by the error that the reader names, in one printable line. Anything else
that is raised is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from zproxy import endpoints
from zproxy.broker.access import permits_pack
from zproxy.config import OPTIONS, Settings
from zproxy.content import pack, unpack
from zproxy.errors import EndpointError, MalformedContent, SettingError, Unsendable
from zproxy.security import registry
from zproxy.security.keys import read_public, read_secret

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
FRAMES_MAX = 3
OPTION_NAMES = {option.name for option in OPTIONS}


class Colour(Enum):
    RED = "red"


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """What a handler may ask for."""

    x: float
    colour: Colour = Colour.RED
    more: dict[str, int] | None = None


BODY_TYPES: tuple[Any, ...] = (Any, Point, list[Point], dict[str, Point])


class LawBroken(Exception):
    """What came out is not as the law has it."""


def hold(is_so: bool, what: object) -> None:
    if not is_so:
        raise LawBroken(what)


def is_refused(error: Exception) -> bool:
    """By a sentence that is one printable line: False, for the target to return."""
    hold(str(error).isprintable(), str(error))
    return False


# ---- files ----


def read_registry(said: bytes, folder: Path) -> bool:
    """What is in it can be asked, and fits the relay."""
    (folder / registry.FILE_NAME).write_bytes(said)
    try:
        known = registry.load(folder)
    except SettingError as error:
        return is_refused(error)
    permits_pack(identity.permit for identity in known.identities.values())
    hold(all(str(place).isprintable() for place in known.rows), known.rows)
    hold({known.find(key) is not None for key in known.over(NOW)} <= {True}, "who is over is not known")
    return True


def edit_registry(said: bytes, folder: Path) -> bool:
    """What is read can be edited, and is the same afterwards: two libraries read it."""
    if not read_registry(said, folder):
        return False
    before = registry.load(folder)
    try:
        with registry.editing(folder):
            pass
    except SettingError as error:
        return is_refused(error)
    hold(registry.load(folder) == before, "it was changed by an edit of nothing")
    return True


def read_keys(said: bytes, folder: Path) -> bool:
    """A secret file is a public one, too."""
    path = folder / "a.key_secret"
    path.write_bytes(said)
    path.chmod(0o600)
    try:
        public = read_public(path)
        pair = read_secret(path)
    except SettingError as error:
        return is_refused(error)
    hold(pair.public == public, "two public keys")
    return True


# ---- options ----


def read_option(said: bytes, _: Path) -> bool:
    """`NAME=` and text, or `NAME:` and a value of any type as MessagePack."""
    name, mark, rest = re.split("([=:])", _text_of(said), maxsplit=1) if re.search(b"[=:]", said) else ("", "", "")
    if name not in OPTION_NAMES:
        return False
    value = rest if mark == "=" else _value_of(_bytes_of(rest))
    try:
        Settings.of(**{name: value})
    except (SettingError, EndpointError) as error:
        return is_refused(error)
    return True


def _value_of(said: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(said, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return said


def _text_of(said: bytes) -> str:
    """As the operating system's arguments are."""
    return said.decode(errors="surrogateescape")


def _bytes_of(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def read_endpoint(said: bytes, _: Path) -> bool:
    """One to bind, one with a server's name, several to connect to."""
    text = _text_of(said)
    understood = 0
    for read in (endpoints.parse, endpoints.split_server, endpoints.connectable):
        try:
            read(text)
            understood += 1
        except EndpointError as error:
            is_refused(error)
    return understood > 1  # nearly every text has no server's name


# ---- contents ----


def read_content(said: bytes, _: Path) -> bool:
    """A byte says how many frames there are and of which type the body is to be, one each how long they are.

    What was understood can be sent again, unless it is what only others send.
    """
    if not said:
        return False
    count, body_type = said[0] % (FRAMES_MAX + 1), BODY_TYPES[said[0] // (FRAMES_MAX + 1) % len(BODY_TYPES)]
    at = 1 + count
    frames = []
    for size in said[1:at]:
        frames.append(said[at : at + size])
        at += size
    try:
        came = unpack(said[at:], frames, body_type)
    except MalformedContent as error:
        return is_refused(error)
    for array, frame in zip(came.tensors.values(), frames, strict=True):
        hold(array.nbytes == len(frame) == array.size * array.dtype.itemsize, array.shape)
        hold(not array.flags.writeable and array.flags.aligned, array.flags)
        array.tolist()
    try:
        pack(came.body, came.tensors)
    except Unsendable as error:
        is_refused(error)
    return True


TEXTS: dict[str, Callable[[bytes, Path], bool]] = {
    "registry": read_registry,
    "edit": edit_registry,
    "keys": read_keys,
    "option": read_option,
    "endpoint": read_endpoint,
    "content": read_content,
}
