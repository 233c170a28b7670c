"""Endpoints: text → bound, listening sockets, or addresses to connect to. The relay gets descriptors and numbers.

    tcp://127.0.0.1:5555    tcp://[::1]:5555    tcp://host.name:5555    ipc:///run/zproxy/frontend
    tcp://*:5555 (every IPv4 address of this host)    tcp://[::]:5555 (every IPv6 address)

Port 0 binds a free port. A name that has both kinds of address is bound at its IPv4 address, where libzmq's sockets
look by default, and connected to at each of its addresses in turn.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from zproxy.errors import EndpointError, EndpointInUse, InsecureBind
from zproxy.naming import NAME_RULE, is_name

BACKLOG = 1024
PATH_BYTES_MAX = 107  # sockaddr_un, less its final zero

Address = str | tuple[str, int]
"""Where to connect: a Unix socket's path, or a numeric ip and a port."""

REMEDIES = {
    errno.EACCES: "choose a port of 1024 or above, or a directory you may write to",
    errno.EPERM: "choose a directory you may write to",
    errno.EADDRNOTAVAIL: "give an address of this host; `ip address` lists them",
    errno.EROFS: "choose a directory you may write to",
    errno.ENOENT: "choose a directory that can be made",
    errno.ENOTDIR: "a file is where a directory has to be; choose another path",
}


@dataclass(frozen=True)
class Endpoint:
    """`tcp://HOST:PORT` or `ipc://PATH`, parsed. `host` is "*" for every IPv4 address."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_name(self) -> bool:
        """Is it to be resolved, now and then anew?"""
        if not self.host:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


@dataclass
class Bound:
    """What a bound endpoint holds. The listener's descriptor is the relay's once it took it."""

    text: str
    listener: socket.socket
    path: str = ""
    lock: int = -1

    def close(self) -> None:
        """Closes the listener if it is still ours, and removes what ipc has in the file system."""
        self.listener.close()
        if self.lock >= 0:
            Path(self.path).unlink(missing_ok=True)
            lock_release(self.path, self.lock)
            self.lock = -1


def parse(text: str) -> Endpoint:
    """Raises EndpointError for anything but tcp://HOST:PORT and ipc://PATH, such as the bytes that pyzmq takes too."""
    if not isinstance(text, str):
        raise EndpointError(f"bad endpoint {text!r}: write it as text, like 'tcp://127.0.0.1:5555'")
    if not text.isprintable():  # it goes into logs and errors, each a line
        raise EndpointError(f"bad endpoint {text!r}: write printable characters alone")
    if text.startswith("ipc://"):
        return Endpoint(text, path=_path_of(text))
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    is_port = re.fullmatch("[0-9]{1,5}", port) is not None and int(port) <= 65535
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not text.startswith("tcp://") or not is_port or not host.strip("[]") or (":" in host and not is_bracketed):
        raise EndpointError(f"bad endpoint {text!r}: write tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH")
    return Endpoint(text, host=host[1:-1] if is_bracketed else host, port=int(port))


SERVER = "?server="
CURVE_PREFIX = "curve+tcp://"  # of an endpoint at which an end of the SDK looks for its keys by its name


def split_server(text: str) -> tuple[str, str]:
    """(endpoint, name) of EP?server=NAME: whose keys the CURVE server there has. The name is "" where none is said.

    Raises EndpointError for a name that nobody can have.
    """
    endpoint, mark, name = text.partition(SERVER)
    if mark and not is_name(name):
        raise EndpointError(f"bad endpoint {text!r}: behind {SERVER} write a name of the registry, {NAME_RULE}")
    return endpoint, name


# A path may have commas, too. Not from amid blanks: each of them would be begun at, and a long run take minutes.
_BETWEEN = re.compile(r"(?<!\s)\s*,\s*(?=\w+://)")


def connectable(given: object) -> tuple[str, ...]:
    """What a peer connects to, each once: one endpoint as text, several with commas between, or a list; asks no name
    server.

    Raises EndpointError.
    """
    if given is None:
        return ()
    if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
        raise EndpointError(f"bad endpoint {given!r}: write it as text, like 'tcp://127.0.0.1:5555', or a list of such")
    texts = tuple(_BETWEEN.split(given.strip())) if isinstance(given, str) else tuple(given)
    for text in texts:
        parsed = parse(text)
        if not parsed.is_name or parsed.host == "*" or parsed.port == 0:
            resolve(parsed)
    return tuple(dict.fromkeys(texts))


def _path_of(text: str) -> str:
    path = text[len("ipc://") :]
    try:
        count = len(os.fsencode(path))
    except UnicodeEncodeError:
        count = 0
    if count == 0 or path == "*" or path.startswith("@") or "\0" in path:
        raise EndpointError(f"bad endpoint {text!r}: write ipc:// and a path, no wildcard or abstract name")
    if count > PATH_BYTES_MAX:
        raise EndpointError(f"{text} has a path of {count} bytes, limit {PATH_BYTES_MAX}: choose a shorter one")
    return path


def resolve(endpoint: Endpoint) -> list[Address]:
    """Where to connect, the preferred address first. May wait for a name server. Raises EndpointError."""
    if endpoint.path:
        return [endpoint.path]
    if endpoint.host == "*" or endpoint.port == 0:
        raise EndpointError(f"cannot connect to {endpoint.text}: name the host and the port it listens on")
    return [(ip, endpoint.port) for ip in _addresses(endpoint)]


def _addresses(endpoint: Endpoint) -> list[str]:
    ips = _lookup(endpoint) if endpoint.is_name else [endpoint.host]
    if any("%" in ip for ip in ips):
        raise EndpointError(f"{endpoint.text} is link-local: give an address without a scope")
    return ips


def _lookup(endpoint: Endpoint) -> list[str]:
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EndpointError(
            f"cannot resolve {endpoint.host!r} of {endpoint.text}: {reason}; give an address or a name this host knows"
        ) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def bind(text: str, *, insecure: bool) -> Bound:
    """A listening socket there. Raises EndpointError, EndpointInUse, InsecureBind."""
    endpoint = parse(text)
    try:
        return _bind_ipc(endpoint) if endpoint.path else _bind_tcp(endpoint, insecure)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EndpointInUse(f"{text} is in use: stop the other process or choose another endpoint") from error
        remedy = REMEDIES.get(error.errno or 0, "")
        said = f"cannot bind {text}: {os.strerror(error.errno) if error.errno else error}"
        raise EndpointError(f"{said}: {remedy}" if remedy else said) from error


def _bind_tcp(endpoint: Endpoint, insecure: bool) -> Bound:
    ips = ["0.0.0.0"] if endpoint.host == "*" else _addresses(endpoint)
    address = min((ipaddress.ip_address(ip) for ip in ips), key=lambda candidate: candidate.version)
    if not address.is_loopback and not insecure:
        raise InsecureBind(
            f"{endpoint.text} is open to the network, and every peer would be trusted: let in those with keys alone "
            "(zproxy keys init, then --registry DIR), bind a loopback address, or allow it with --insecure "
            "(insecure=True)"
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.create_server((str(address), endpoint.port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    return Bound(f"tcp://[{address}]:{port}" if address.version == 6 else f"tcp://{address}:{port}", listener)


def _bind_ipc(endpoint: Endpoint) -> Bound:
    path = Path(endpoint.path)
    for missing in reversed([parent for parent in path.parents if not parent.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as undo:
        lock = lock_take(endpoint)
        undo.callback(lock_release, endpoint.path, lock)
        _stale_remove(endpoint)
        listener = undo.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(endpoint.path)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        undo.pop_all()
    return Bound(endpoint.text, listener, endpoint.path, lock)


def lock_take(endpoint: Endpoint) -> int:
    """The descriptor of PATH.lock, locked: no other zproxy listens there. Raises EndpointInUse."""
    name = f"{endpoint.path}.lock"
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _has_name(lock, name):
                return lock
        except BlockingIOError as error:
            os.close(lock)
            raise EndpointInUse(
                f"{endpoint.text} belongs to a running proxy, which holds {name}: stop it or choose another path"
            ) from error
        os.close(lock)  # its last holder removed the file meanwhile: what we locked has no name any more


def _has_name(descriptor: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name))
    except FileNotFoundError:
        return False


def lock_release(path: str, lock: int) -> None:
    """Removes the lock's file while it is still ours, then lets go, also of what a forked child inherited."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _stale_remove(endpoint: Endpoint) -> None:
    """Removes a socket that nobody listens on any more, and nothing else."""
    try:
        mode = os.stat(endpoint.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EndpointError(f"cannot bind {endpoint.text}: something that is no socket is there; choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(endpoint.path) != errno.ECONNREFUSED:
            raise EndpointInUse(f"{endpoint.text} is in use: stop the other process or choose another path")
    Path(endpoint.path).unlink()
