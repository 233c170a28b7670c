"""Credentials: the keys by which an end proves to a proxy who it is, and knows the proxy (CURVE, RFC 26).

key          this end's own: a KeyPair, a file NAME.key_secret, or the secret key as text
server_key   the proxy's public one: a file server.key, or the key as text
curve+tcp:// asks for both where neither is given: ~/.config/zproxy/keys has NAME.key_secret and server.key
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from zproxy.endpoints import CURVE_PREFIX, connectable
from zproxy.errors import SettingError
from zproxy.naming import NAME_RULE, is_name
from zproxy.security.keys import PUBLIC_SUFFIX, SECRET_SUFFIX, KeyPair, key_of, pair_of, read_public, read_secret
from zproxy.security.registry import SERVER_NAME, default_folder

Key = KeyPair | str | os.PathLike[str]
ServerKey = bytes | str | os.PathLike[str]


@dataclass(frozen=True)
class Credentials:
    """What a socket is given before it connects."""

    pair: KeyPair
    server_key: bytes

    def give(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        """By TCP CURVE is spoken; a Unix socket knows its user."""
        if endpoint.startswith("tcp://"):
            socket.curve_publickey = z85.encode(self.pair.public)
            socket.curve_secretkey = z85.encode(self.pair.secret)
            socket.curve_serverkey = z85.encode(self.server_key)


def keys_folder() -> Path:
    """Where keys are found by name."""
    return default_folder() / "keys"


def introduce(
    name: str, endpoints: str | Sequence[str], key: Key | None, server_key: ServerKey | None
) -> tuple[tuple[str, ...], Credentials | None]:
    """(endpoints as libzmq reads them, the keys to be used there). Raises SettingError, EndpointError."""
    wants_curve = False
    if isinstance(endpoints, str):
        wants_curve = CURVE_PREFIX in endpoints
        endpoints = endpoints.replace(CURVE_PREFIX, "tcp://")
    elif isinstance(endpoints, Sequence) and all(isinstance(each, str) for each in endpoints):
        wants_curve = any(each.startswith(CURVE_PREFIX) for each in endpoints)
        endpoints = [each.replace(CURVE_PREFIX, "tcp://", 1) for each in endpoints]
    texts = connectable(endpoints)
    if key is None and server_key is None and not wants_curve:
        return texts, None
    return texts, Credentials(_pair(name, key), _server_key(server_key))


def _pair(name: str, key: Key | None) -> KeyPair:
    if isinstance(key, KeyPair):
        return key
    if key is None and not is_name(name):
        raise SettingError(f"bad name {name!r}: {NAME_RULE}")
    if key is None:
        return read_secret(keys_folder() / f"{name.replace('/', '_')}{SECRET_SUFFIX}")
    if isinstance(key, str):
        try:
            return pair_of(key_of(key))
        except ValueError:
            pass
    if not isinstance(key, (str, os.PathLike)):
        raise SettingError(f"key: {type(key).__name__} is no key: give a file that ends in {SECRET_SUFFIX}")
    return read_secret(Path(key).expanduser())


def _server_key(given: ServerKey | None) -> bytes:
    if isinstance(given, bytes) and len(given) == 32:
        return given
    if given is None:
        return read_public(keys_folder() / f"{SERVER_NAME}{PUBLIC_SUFFIX}")
    if isinstance(given, str):
        try:
            return key_of(given)
        except ValueError:
            pass
    if not isinstance(given, (str, os.PathLike)):
        raise SettingError("server_key: it is no key: give the proxy's server.key, or its 40 characters")
    return read_public(Path(given).expanduser())
