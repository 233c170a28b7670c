"""`zproxy keys` and `zproxy reload`, as an operator meets them."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq.auth
from support.registries import RegistryFolder

from zproxy.cli.keys import admit
from zproxy.errors import SettingError
from zproxy.security.keys import fingerprint, key_of, read_public, read_secret, text_of
from zproxy.security.registry import load

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `zproxy …` at home in the test's folder."""
    (tmp_path / "run").mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZPROXY_", "XDG_"))}
    environment = {**kept, "HOME": str(tmp_path), "ZPROXY_RUNTIME_DIR": str(tmp_path / "run")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "zproxy", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def succeed(run: Run, *words: str) -> str:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_init_makes_what_a_proxy_and_its_peers_need(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "node1", "--master", "m1")
    folder = tmp_path / ".config" / "zproxy"
    server = read_secret(folder / "server.key_secret")
    assert read_public(folder / "server.key") == server.public
    assert "*.key_secret" in (folder / ".gitignore").read_text()
    registry = load(folder)
    assert [(each.name, each.role, each.groups) for each in registry.identities.values()] == [
        ("node1", "node", ("nodes",)),
        ("m1", "master", ("masters",)),
    ]
    assert registry.find(read_secret(tmp_path / "node1.key_secret").public) == registry.identities["node1"]
    assert zmq.auth.load_certificate(tmp_path / "m1.key_secret")[1] is not None
    assert "has a registry already" in run("keys", "init").stderr


def test_a_key_is_rotated_and_the_old_one_ended(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "node1", "--registry", "reg")
    old = read_secret(tmp_path / "node1.key_secret").public
    said = succeed(run, "keys", "rotate", "node1", "--out", "fresh.key_secret", "--registry", "reg")
    assert f"zproxy keys revoke node1 {fingerprint(old)}" in said
    third = run("keys", "rotate", "node1", "--out", "third.key_secret", "--registry", "reg")
    assert (third.returncode, (tmp_path / "third.key_secret").exists()) == (2, False)
    succeed(run, "keys", "revoke", "node1", fingerprint(old), "--registry", "reg")
    assert load(tmp_path / "reg").identities["node1"].keys == (read_secret(tmp_path / "fresh.key_secret").public,)
    succeed(run, "keys", "revoke", "node1", "--registry", "reg")
    assert load(tmp_path / "reg").identities == {}


def test_a_public_key_is_added_as_text_or_by_its_file(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "--registry", "reg")
    public, _ = zmq.auth.create_certificates(tmp_path, "theirs")
    succeed(run, "keys", "add", "node1", public, "--registry", "reg")
    text, _ = zmq.curve_keypair()
    succeed(run, "keys", "add", "node1", text.decode(), "--registry", "reg")
    assert len(load(tmp_path / "reg").identities["node1"].keys) == 2
    assert "PUBLIC is no key" in run("keys", "add", "node2", "abc", "--registry", "reg").stderr


def test_a_key_may_begin_with_a_dash(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "--registry", "reg")
    key = next(text for text in (text_of(bytes([first]) + bytes(31)) for first in range(256)) if text[0] == "-")
    succeed(run, "keys", "add", "node1", key, "--registry", "reg")
    assert load(tmp_path / "reg").identities["node1"].keys == (key_of(key),)
    succeed(run, "keys", "revoke", "node1", key, "--registry", "reg")
    assert load(tmp_path / "reg").identities["node1"].keys == ()
    assert "No such option" in run("keys", "add", "node1", "-x", "--registry", "reg").stderr


def test_the_list_has_fingerprints_and_no_secret(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "node1", "--registry", "reg")
    listed = succeed(run, "keys", "list", "--registry", "reg")
    pair = read_secret(tmp_path / "node1.key_secret")
    assert fingerprint(pair.public) in listed
    secret = (tmp_path / "node1.key_secret").read_text().split('secret-key = "')[1].split('"')[0]
    assert secret not in listed + succeed(run, "keys", "check", "--registry", "reg")


def test_check_names_what_is_not_in_order(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "node1", "--registry", "reg")
    folder = tmp_path / "reg"
    (folder / "server.key_secret").chmod(0o640)
    zmq.auth.create_certificates(folder, "orphan")
    (folder / "orphan.key_secret").chmod(0o600)
    with open(folder / "registry.toml", "a") as file:
        file.write('[nodes.late]\nnot_after = 2020-01-01\nrole = "master"\n')
    checked = run("keys", "check", "--registry", "reg")
    assert checked.returncode == 1
    for finding in (
        "server.key_secret can be read by others",
        "orphan.key_secret is a secret within the registry",
        "orphan.key is a key of nobody",
        "late has not come in since 2020-01-02",
        "late has no key",
        "late may serve nothing",
    ):
        assert finding in checked.stdout


def test_check_finds_all_there_is_to_find(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "--registry", "reg")
    folder = tmp_path / "reg"
    (folder / "broken.key").write_text("no key")
    (folder / "registry.toml").chmod(0o666)
    checked = run("keys", "check", "--registry", "reg")
    assert (checked.returncode, checked.stderr) == (1, "")
    assert f"{folder / 'broken.key'} is no key file" in checked.stdout
    assert f"chmod 644 {folder / 'registry.toml'}" in checked.stdout
    (folder / "registry.toml").write_text("[nodes.a]\nrole = 1\n")
    checked = run("keys", "check", "--registry", "reg")
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "nodes.a.role: 1 is no role" in checked.stdout and "can be written by others" in checked.stdout


def test_init_makes_all_of_it_or_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m1.key_secret").touch()
    done = run("keys", "init", "node1", "--master", "m1", "--registry", "reg")
    assert (done.returncode, (tmp_path / "reg").exists()) == (2, False)
    assert "m1.key_secret is there already" in done.stderr


def test_init_keeps_what_git_ignores_already(run: Run, tmp_path: Path) -> None:
    (tmp_path / "reg").mkdir()
    (tmp_path / "reg" / ".gitignore").write_text("*.bak\naudit.log*")
    succeed(run, "keys", "init", "--registry", "reg")
    assert (tmp_path / "reg" / ".gitignore").read_text() == "*.bak\naudit.log*\n*.key_secret\n.stamp\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new", "node1"], "there is no registry in"),
        (["list"], "zproxy keys init makes a registry"),
        (["check"], "zproxy keys init makes one"),
        (["init", "--registry", "/proc/nowhere"], "choose another folder with --registry"),
        (["init", "bad name"], "'bad name' is no name"),
        (["rotate"], "Missing argument"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(run: Run, words: list[str], said: str) -> None:
    done = run("keys", *words)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_secret_never_lies_within_the_registry(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "--registry", "reg")
    done = run("keys", "new", "node1", "--out", "reg/node1.key_secret", "--registry", "reg")
    assert (done.returncode, (tmp_path / "reg" / "node1.key_secret").exists()) == (2, False)
    (tmp_path / "reg" / "nodes").mkdir()
    assert "is within the registry" in run("keys", "new", "node1", "--out", "reg/nodes/1", "--registry", "reg").stderr
    assert load(tmp_path / "reg").identities == {}


def test_where_the_registry_cannot_be_written_no_secret_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RegistryFolder(tmp_path / "reg")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    file = tmp_path / "node1.key_secret"
    with pytest.raises(SettingError, match="No space left"):
        admit(folder.path, "node1", "node", file)
    assert not file.exists()
    assert load(folder.path).identities == {}


def test_a_comment_is_shown_as_it_is_and_moves_nothing(run: Run, tmp_path: Path) -> None:
    folder = RegistryFolder(tmp_path / "reg")
    folder.enter("node1", "node", 'comment = "[/red] of rack 4"')
    folder.enter("node2", "node", 'comment = "\\u001b[2Jtwo\\nlines"')
    lines = succeed(run, "keys", "list", "--registry", "reg").splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("[/red] of rack 4")
    assert lines[2].endswith("'\\x1b[2Jtwo\\nlines'")


def test_an_edit_leaves_what_others_wrote_beside_it(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "--registry", "reg")
    one, other, third = (zmq.curve_keypair()[0].decode() for _ in range(3))
    file = tmp_path / "reg" / "registry.toml"
    head = file.read_text()
    rows = f'\n[nodes.a]  # ours\nkeys = [\n  "{one}",  # of May\n  "{other}",  # of June\n]\n\n[groups.x]\n\n'
    last = '[nodes.b]\ncomment = "last"\n'
    file.write_text(head + rows + last)
    succeed(run, "keys", "revoke", "a", other, "--registry", "reg")
    assert file.read_text() == head + rows.replace(f'  "{other}",  # of June\n', "") + last
    succeed(run, "keys", "add", "b", third, "--registry", "reg")
    succeed(run, "keys", "revoke", "b", third, "--registry", "reg")
    assert file.read_text().startswith(head + rows.replace(f'  "{other}",  # of June\n', "") + last)


def test_who_has_no_key_is_given_one_and_has_none_to_lose(run: Run, tmp_path: Path) -> None:
    RegistryFolder(tmp_path / "reg", "[nodes.a]\n")
    assert "a has no key SHA256:x" in run("keys", "revoke", "a", "SHA256:x", "--registry", "reg").stderr
    assert "revoke" not in succeed(run, "keys", "rotate", "a", "--registry", "reg")
    assert load(tmp_path / "reg").identities["a"].keys == (read_secret(tmp_path / "a.key_secret").public,)


def test_a_proxy_that_could_not_be_told_is_an_exit_code(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "node1", "--registry", "reg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run" / "1.sock"))
        listener.listen()
        with ThreadPoolExecutor() as threads:
            for _ in range(2):  # looked for, and asked: it hangs up both times
                threads.submit(lambda: listener.accept()[0].close())
            done = run("keys", "revoke", "node1", "--registry", "reg")
    assert done.returncode == 1
    assert "it is done, but not every proxy was told" in done.stderr and "zproxy reload --control" in done.stderr
    assert load(tmp_path / "reg").identities == {}


def test_a_revocation_that_no_proxy_heard_of_says_so(run: Run) -> None:
    succeed(run, "keys", "init", "node1", "--registry", "reg")
    assert "no proxy was told" in succeed(run, "keys", "revoke", "node1", "--registry", "reg")


def test_running_proxies_are_told_at_once(run: Run, tmp_path: Path) -> None:
    succeed(run, "keys", "init", "node1", "--registry", "reg")
    environment = {**os.environ, "ZPROXY_RUNTIME_DIR": str(tmp_path / "run")}
    proxy = subprocess.Popen(
        [sys.executable, "-m", "zproxy", "run", "--registry", "reg", "--frontend", "tcp://127.0.0.1:0",
         "--backend", "tcp://127.0.0.1:0"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    (tmp_path / "alias").symlink_to("reg")
    try:
        assert proxy.stdout is not None and proxy.stdout.readline().startswith("ready ")
        assert "holds generation 2" in succeed(run, "keys", "new", "node2", "--registry", "reg")
        (tmp_path / "reg" / "registry.toml").open("a").write("[groups.few]\n")
        said = succeed(run, "reload")
        assert "holds generation 3: 2 names, 3 groups" in said and "added: groups.few" in said
        assert "holds generation 4" in succeed(run, "keys", "revoke", "node1", "--registry", "alias")
        (tmp_path / "reg" / "registry.toml").write_text("[nodes.a]\nrole = 1\n")
        refused = run("reload")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "nodes.a.role: 1 is no role" in refused.stderr
        status = json.loads(succeed(run, "status", "--json"))
        assert (status["registry"], status["generation"]) == (str(tmp_path / "reg"), 4)
    finally:
        proxy.terminate()
        proxy.communicate()
