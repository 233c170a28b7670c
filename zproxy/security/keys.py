"""Keys: CURVE's key pairs, as text and in files that plain pyzmq reads too (zmq.auth.load_certificate).

    NAME.key          the public key, for anybody
    NAME.key_secret   both, for its owner alone: made with O_EXCL and 0600, and refused where others could read it

pyzmq is imported by what needs it: a proxy without a registry does not.

Rule 1. A secret is never shown: not in a repr, not in an error, not on a command line.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

from zproxy.errors import SettingError

KEY_BYTES = 32
TEXT_CHARACTERS = 40
PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"
FILE_BYTES_MAX = 64 << 10
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Within a line: a blank that could be a line's end, too, would make 64 KiB of them take minutes.
_LINE = re.compile(r'^[ \t]*(public|secret)-key[ \t]*=[ \t]*"([^"\s]{40})"[ \t\r]*$', re.MULTILINE)

HEAD = """\
#   ZeroMQ CURVE {kind} Certificate
#   {advice}

metadata
curve
    public-key = "{public}"
"""


@dataclass(frozen=True)
class KeyPair:
    """`public` and `secret`: 32 bytes each."""

    public: bytes
    secret: bytes = field(repr=False)


def new_pair() -> KeyPair:
    """Raises SettingError where this libzmq has no CURVE."""
    import zmq

    try:
        public, secret = zmq.curve_keypair()
    except zmq.ZMQError as error:
        raise SettingError("this pyzmq's libzmq was built without CURVE: install pyzmq's own wheel") from error
    return KeyPair(key_of(public.decode()), key_of(secret.decode()))


def pair_of(secret: bytes) -> KeyPair:
    """Of a secret key, 32 bytes. Raises CurveMissing, ValueError."""
    from zproxy.relay.sodium import public_of

    return KeyPair(public_of(secret), secret)


def text_of(key: bytes) -> str:
    """Z85 (RFC 32), 40 characters."""
    from zmq.utils import z85

    return z85.encode(key).decode()


def key_of(text: object) -> bytes:
    """The 32 bytes of a key as text. Raises ValueError, which does not show the text: it may be a secret."""
    from zmq.utils import z85

    if isinstance(text, str) and len(text) == TEXT_CHARACTERS:
        try:
            found: bytes = z85.decode(text.encode("ascii"))
            if text_of(found) == text:
                return found
        except (ValueError, KeyError, struct.error):
            pass
    raise ValueError("it is no key: a key has 40 characters of Z85")


def fingerprint(public: bytes) -> str:
    """What people compare: of SHA-256 of the 32 bytes, the first 96 bits."""
    return "SHA256:" + base64.urlsafe_b64encode(hashlib.sha256(public).digest()[:12]).decode()


# ---- files ----


def write_secret(path: Path, pair: KeyPair) -> None:
    """Makes the file. Raises SettingError where there is one."""
    text = HEAD.format(kind="**Secret**", advice="Keep it where nobody else can read it.", public=text_of(pair.public))
    _write_new(path, f'{text}    secret-key = "{text_of(pair.secret)}"\n', 0o600)


def write_public(path: Path, public: bytes) -> None:
    """Makes the file. Raises SettingError where there is one."""
    _write_new(path, HEAD.format(kind="Public", advice="Give it to whoever asks.", public=text_of(public)), 0o644)


def read_secret(path: Path) -> KeyPair:
    """Raises SettingError: it is not there, can be read by others, or holds no key pair."""
    found = _read(path, is_secret=True)
    if "secret" not in found:
        raise SettingError(f"{path} holds no secret key: name the file that ends in {SECRET_SUFFIX}")
    pair = pair_of(key_of(found["secret"]))
    if pair.public != key_of(found["public"]):
        raise SettingError(f"{path} holds two keys that do not belong together: make a new pair (zproxy keys rotate)")
    return pair


def read_public(path: Path) -> bytes:
    """Raises SettingError."""
    return key_of(_read(path, is_secret=False)["public"])


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except FileExistsError as error:
        raise SettingError(f"{path} is there already: move it away, or choose another file with --out") from error
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}: choose another place with --out") from error
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)


def _read(path: Path, *, is_secret: bool) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if is_secret and mode & OTHERS:
                raise SettingError(f"{path} can be read by others (mode {stat.S_IMODE(mode):o}): chmod 600 {path}")
            text = file.read(FILE_BYTES_MAX).decode()
    except OSError as error:
        raise SettingError(f"cannot read the key {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is no key file: it is not text") from error
    found = dict(_LINE.findall(text))
    try:
        for value in found.values():
            key_of(value)
    except ValueError:
        found.clear()
    if "public" not in found:
        raise SettingError(f"{path} is no key file: it has no line public-key with 40 characters of Z85")
    return found
