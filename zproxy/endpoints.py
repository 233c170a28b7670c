"""Endpoints: text → bound, listening sockets, or addresses to connect to. The relay gets descriptors and numbers."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from zproxy.errors import EndpointError, EndpointInUse, InsecureBind

BACKLOG = 1024


@dataclass(frozen=True)
class Endpoint:
    """`tcp://HOST:PORT` or `ipc://PATH`, parsed."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""


@dataclass
class Bound:
    """A listening socket; for ipc also the lock that keeps a second proxy away."""

    text: str
    listener: socket.socket
    path: str = ""
    lock: int = field(default=-1)

    def close(self) -> None:
        """Removes what an ipc endpoint leaves in the file system."""
        self.listener.close()
        if self.lock >= 0:
            Path(self.path).unlink(missing_ok=True)
            os.close(self.lock)
            self.lock = -1


def parse(text: str) -> Endpoint:
    """Raises EndpointError for anything but tcp://HOST:PORT and ipc://PATH."""
    if text.startswith("ipc://") and len(text) > len("ipc://"):
        return Endpoint(text, path=text[len("ipc://") :])
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    if not text.startswith("tcp://") or not colon or not host or not port.isdigit() or int(port) > 65535:
        raise EndpointError(f"bad endpoint {text!r}: write tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH")
    return Endpoint(text, host=host.removeprefix("[").removesuffix("]"), port=int(port))


def resolve(endpoint: Endpoint) -> str | tuple[str, int]:
    """Where to connect: an ipc path, or a numeric ip and port. Raises EndpointError."""
    if endpoint.path:
        return endpoint.path
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EndpointError(f"cannot resolve {endpoint.host!r} of {endpoint.text}: {error.strerror}") from error
    return str(found[0][4][0]), endpoint.port


def bind(text: str, *, insecure: bool) -> Bound:
    """A listening socket there. Raises EndpointError, EndpointInUse, InsecureBind."""
    endpoint = parse(text)
    try:
        return _bind_ipc(endpoint) if endpoint.path else _bind_tcp(endpoint, insecure)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EndpointInUse(f"{text} is in use: stop the other process or choose another endpoint") from error
        raise EndpointError(f"cannot bind {text}: {error.strerror or error}") from error


def _bind_tcp(endpoint: Endpoint, insecure: bool) -> Bound:
    host = "0.0.0.0" if endpoint.host == "*" else str(resolve(endpoint)[0])
    address = ipaddress.ip_address(host)
    if not address.is_loopback and not insecure:
        raise InsecureBind(f"{endpoint.text} is open to the network, unauthenticated: pass --insecure to allow it")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.create_server((host, endpoint.port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    return Bound(f"tcp://[{host}]:{port}" if address.version == 6 else f"tcp://{host}:{port}", listener)


def _bind_ipc(endpoint: Endpoint) -> Bound:
    path = endpoint.path
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    listener = socket.socket(socket.AF_UNIX)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(path).unlink(missing_ok=True)
        listener.bind(path)
        listener.listen(BACKLOG)
    except BlockingIOError as error:
        os.close(lock)
        listener.close()
        raise EndpointInUse(f"{endpoint.text} belongs to a running proxy (it holds {path}.lock)") from error
    except OSError:
        os.close(lock)
        listener.close()
        raise
    listener.setblocking(False)
    return Bound(endpoint.text, listener, path, lock)
