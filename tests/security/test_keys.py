"""Key files: plain pyzmq's, their owner's alone, and never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq.auth
from zmq.utils import z85

from zproxy.errors import SettingError
from zproxy.security.keys import (
    FILE_BYTES_MAX,
    fingerprint,
    key_of,
    new_pair,
    read_public,
    read_secret,
    text_of,
    write_public,
    write_secret,
)


def test_what_is_written_is_read_by_us_and_by_pyzmq(tmp_path: Path) -> None:
    pair = new_pair()
    secret, public = tmp_path / "a.key_secret", tmp_path / "a.key"
    write_secret(secret, pair)
    write_public(public, pair.public)
    assert read_secret(secret) == pair
    assert read_public(public) == read_public(secret) == pair.public
    assert zmq.auth.load_certificate(secret) == (z85.encode(pair.public), z85.encode(pair.secret))
    assert zmq.auth.load_certificate(public) == (z85.encode(pair.public), None)


def test_what_pyzmq_wrote_is_read(tmp_path: Path) -> None:
    public, secret = zmq.auth.create_certificates(tmp_path, "a")
    Path(secret).chmod(0o600)  # pyzmq leaves it to the umask
    pair = read_secret(Path(secret))
    assert (z85.encode(pair.public), z85.encode(pair.secret)) == zmq.auth.load_certificate(secret)
    assert read_public(Path(public)) == pair.public


def test_a_secret_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "a.key_secret", new_pair())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.key_secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.key_secret"
    write_secret(path, new_pair())
    path.chmod(mode)
    with pytest.raises(SettingError, match=f"chmod 600 {path}"):
        read_secret(path)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.key_secret"
    write_secret(path, new_pair())
    before = path.read_text()
    with pytest.raises(SettingError, match="is there already"):
        write_secret(path, new_pair())
    assert path.read_text() == before


def test_a_link_that_leads_elsewhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "a.key_secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError):
        write_secret(tmp_path / "a.key_secret", new_pair())
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"metadata\ncurve\n", b'    public-key = "short"\n', b"\n" * FILE_BYTES_MAX],
    ids=["nothing", "no-text", "no-keys", "short", "blank-lines"],
)
def test_what_is_no_key_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(content)
    with pytest.raises(SettingError, match="no key file"):
        read_public(path)


def test_keys_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.key_secret"
    write_secret(path, new_pair())
    other = text_of(new_pair().public)
    path.write_text(path.read_text().replace(text_of(read_public(path)), other))
    with pytest.raises(SettingError, match="do not belong together"):
        read_secret(path)


def test_a_public_file_is_no_secret_one(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    write_public(path, new_pair().public)
    path.chmod(0o600)
    with pytest.raises(SettingError, match="holds no secret key"):
        read_secret(path)


@pytest.mark.parametrize("text", ["", "x" * 39, "x" * 41, " " * 40, "é" * 40, "%" * 5 + "x" * 35, None, 77, b"x" * 40])
def test_what_is_no_key_is_not_shown_either(text: object) -> None:
    with pytest.raises(ValueError, match="40 characters of Z85") as caught:
        key_of(text)
    assert not text or str(text) not in str(caught.value)


def test_secrets_are_in_no_repr() -> None:
    pair = new_pair()
    shown = f"{pair} {pair!r}"
    assert text_of(pair.secret) not in shown
    assert repr(pair.secret) not in shown


def test_fingerprints_tell_keys_apart() -> None:
    prints = {fingerprint(new_pair().public) for _ in range(50)}
    assert len(prints) == 50
    assert all(each.startswith("SHA256:") and len(each) == 23 for each in prints)
