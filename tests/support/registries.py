"""A registry in a folder of the test's own, written as people would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from support.peers import Peers
from zproxy.security.keys import KeyPair, new_pair, text_of, write_secret
from zproxy.security.registry import FILE_NAME

GROUPS = """
[groups.nodes]
allow = ["*"]
[groups.masters]
serve = ["*"]
"""


class RegistryFolder:
    """`text` is registry.toml; `enter` adds one who may come in and returns its keys."""

    def __init__(self, path: Path, groups: str = GROUPS) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        self.path = path
        self.server = new_pair()
        self._groups = groups
        self._nodes: dict[str, str] = {}
        write_secret(path / "server.key_secret", self.server)
        self.write()

    def write(self) -> None:
        (self.path / FILE_NAME).write_text("\n".join([self._groups, *self._nodes.values()]))

    def enter(self, name: str, role: str = "node", more: str = "", *pairs: KeyPair) -> KeyPair:
        """With a new key, or these."""
        keys = pairs or (new_pair(),)
        texts = ", ".join(f'"{text_of(pair.public)}"' for pair in keys)
        groups = "" if "groups" in more else f'groups = ["{role}s"]'
        self._nodes[name] = f'[nodes."{name}"]\nkeys = [{texts}]\nrole = "{role}"\n{groups}\n{more}\n'
        self.write()
        return keys[0]

    def files(self, name: str, role: str = "node") -> dict[str, str]:
        """The same, as the arguments of a Node or Master in another process."""
        path = self.path.parent / f"{name}.key_secret"
        write_secret(path, self.enter(name, role))
        return {"key": str(path), "server_key": text_of(self.server.public)}

    def leave(self, name: str) -> None:
        del self._nodes[name]
        self.write()

    def regroup(self, groups: str) -> None:
        self._groups = groups
        self.write()

    def dial(self, peers: Peers, kind: int, endpoint: str, pair: KeyPair, **options: Any) -> zmq.Socket[bytes]:
        """A plain socket with these keys."""
        dialled: zmq.Socket[bytes] = peers.connect(
            kind,
            endpoint,
            curve_publickey=z85.encode(pair.public),
            curve_secretkey=z85.encode(pair.secret),
            **{"curve_serverkey": z85.encode(self.server.public), **options},
        )
        return dialled
