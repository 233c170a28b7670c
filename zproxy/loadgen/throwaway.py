"""Throwaway: a registry for one session, and the key files of its two ends.

    folder    registry.toml, server.key_secret      for the proxy
              server.key, NAME.key_secret           for the ends: their paths are sent to them, and no key is

All sockets of an end have one key: what they cost does not depend on whose it is.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from zproxy.security.keys import (
    PUBLIC_SUFFIX,
    SECRET_SUFFIX,
    new_pair,
    read_public,
    read_secret,
    text_of,
    write_public,
    write_secret,
)
from zproxy.security.registry import FILE_NAME, NEW, SERVER_NAME

OPEN = NEW  # all services, no limits
# Everything there is to check, and nothing that a load would run into.
NARROW = """
[groups.nodes]
allow = ["progress", "gradients/*", "load"]
rate = 1_000_000_000
rate_bytes = "900GiB"
in_flight = 1_000_000
max_message = "1MiB"

[groups.masters]
serve = ["progress", "load"]
"""
ROLES = {"frontend": "node", "backend": "master"}


class KeyFiles(msgspec.Struct, frozen=True):
    """Of one end: the name it is registered by, its secret file, and the proxy's public one."""

    name: str
    secret: str
    server: str

    def read(self) -> bytes:
        """As Clients and Worker take them: public, secret, the proxy's public."""
        own = read_secret(Path(self.secret))
        return own.public + own.secret + read_public(Path(self.server))


def secret_of_server(folder: Path) -> Path:
    return folder / f"{SERVER_NAME}{SECRET_SUFFIX}"


def make_registry(folder: Path, groups: str) -> dict[str, KeyFiles]:
    """Writes it, and the keys of who comes to each side."""
    folder.mkdir(mode=0o700)
    server, server_file = new_pair(), folder / f"{SERVER_NAME}{PUBLIC_SUFFIX}"
    write_secret(secret_of_server(folder), server)
    write_public(server_file, server.public)
    rows, files = [groups], {}
    for side, role in ROLES.items():
        pair, name = new_pair(), f"load-{role}"
        secret_file = folder / f"{name}{SECRET_SUFFIX}"
        write_secret(secret_file, pair)
        rows.append(f'[nodes.{name}]\nkeys = ["{text_of(pair.public)}"]\nrole = "{role}"\ngroups = ["{role}s"]\n')
        files[side] = KeyFiles(name, str(secret_file), str(server_file))
    (folder / FILE_NAME).write_text("\n".join(rows))
    return files
