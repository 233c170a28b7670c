"""`zproxy keys`: the registry of who may come in, and key files. Shows fingerprints, never a secret."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.text import Text

from zproxy.cli.reload import tell_all
from zproxy.cli.status import console, grid, put
from zproxy.control import OTHERS_WRITE
from zproxy.errors import SettingError
from zproxy.naming import NAME_RULE, is_name
from zproxy.security.keys import (
    OTHERS,
    PUBLIC_SUFFIX,
    SECRET_SUFFIX,
    KeyPair,
    fingerprint,
    key_of,
    new_pair,
    read_public,
    read_secret,
    text_of,
    write_public,
    write_secret,
)
from zproxy.security.registry import (
    FILE_NAME,
    FORMER_NAME,
    KEYS_MAX,
    NEW,
    ROLES,
    SERVER_NAME,
    STAMP_NAME,
    Identity,
    Registry,
    default_folder,
    editing,
    load,
)

F = TypeVar("F", bound=Callable[..., Any])
SOON = timedelta(days=14)
FORGET = "when no peer is logged with server_key=former any more, remove it, and restart the proxy"
IGNORED = (f"*{SECRET_SUFFIX}", "audit.log*", STAMP_NAME)


def registry_option(command: F) -> F:
    return click.option(
        "--registry",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="ZPROXY_REGISTRY",
        show_envvar=True,
        default=None,
        metavar="DIR",
        help="The registry's folder.  [default: ~/.config/zproxy]",
    )(command)


def chosen(folder: Path | None) -> Path:
    return Path(os.path.abspath((folder or default_folder()).expanduser()))


def checked_name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if not is_name(name):
        raise click.BadParameter(f"{name!r} is no name: write {NAME_RULE}")
    return name


EPILOG = """\b
Proxies that use the registry take a change up within a second, wherever they run.
Exit code of those that change it: 0 it is done; 1 it is done, and not every proxy could be told; 2 it is not.
"""


@click.group("keys", epilog=EPILOG, short_help="Who may come in: keys, names and rules.")
def keys() -> None:
    """The registry: who may come in, by which key, and what they may do."""


def checked_names(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(checked_name(context, parameter, name) for name in names)


@keys.command("init")
@click.argument("nodes", metavar="[NODE]...", nargs=-1, callback=checked_names)
@click.option("--master", "masters", metavar="NAME", multiple=True, callback=checked_names, help="Repeatable.")
@registry_option
def init(nodes: tuple[str, ...], masters: tuple[str, ...], folder: Path | None) -> None:
    """Make a registry, the proxy's own keys, and those of each NODE and master that is named.

    Then `zproxy run --registry DIR`; more nodes and masters come in by `zproxy keys new`.
    """
    path = chosen(folder)
    if (path / FILE_NAME).exists():
        raise SettingError(f"{path} has a registry already: zproxy keys list shows who is in it")
    for name in (*nodes, *masters):
        secret_file(name, None, path)  # all of it, or nothing
    with written(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        pair = new_pair()
        write_secret(path / f"{SERVER_NAME}{SECRET_SUFFIX}", pair)
        write_public(path / f"{SERVER_NAME}{PUBLIC_SUFFIX}", pair.public)
        ignore(path / ".gitignore")
        (path / FILE_NAME).write_text(NEW)
    click.echo(f"made the registry {path}; the proxy's key is {fingerprint(pair.public)}")
    click.echo(f"give nodes and masters {path / (SERVER_NAME + PUBLIC_SUFFIX)}")
    for name in nodes:
        admit(path, name, "node", None)
    for name in masters:
        admit(path, name, "master", None)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Around what makes the registry. Raises SettingError where it cannot be."""
    try:
        yield
    except OSError as error:
        raise SettingError(f"cannot make {path}: {error.strerror}: choose another folder with --registry") from error


def ignore(path: Path) -> None:
    """Adds what git is not to see to what it does not see already."""
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("\n".join([*lines, *(line for line in IGNORED if line not in lines), ""]))


node_argument = click.argument("node", callback=checked_name)
role_option = click.option("--role", type=click.Choice(ROLES), default="node", show_default=True)


def out_option(command: F) -> F:
    return click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Where the secret goes.  [default: ./NODE.key_secret]",
    )(command)


def secret_file(node: str, out: Path | None, folder: Path) -> Path:
    """Never within the registry, which may be in git. Raises SettingError."""
    path = out or Path(f"{node.replace('/', '_')}{SECRET_SUFFIX}")
    if path.resolve().is_relative_to(folder.resolve()):
        raise SettingError(f"{path} is within the registry {folder}: keep secrets with their node, by --out FILE")
    if path.exists():
        raise SettingError(f"{path} is there already: move it away, or choose another file with --out")
    return path


@keys.command("new")
@node_argument
@role_option
@out_option
@registry_option
def new(node: str, role: str, out: Path | None, folder: Path | None) -> None:
    """Make keys for NODE, and let it in."""
    path = chosen(folder)
    admit(path, node, role, out)
    tell_all(path)


def admit(path: Path, node: str, role: str, out: Path | None) -> None:
    """Its key is made, and registered; where the secret cannot be written, it is not."""
    file, pair = secret_file(node, out, path), new_pair()
    with editing_with(path, file, pair) as document:
        enter(document, node, role, pair.public)
    click.echo(f"{node} ({role}) has the key {fingerprint(pair.public)}; its secret is in {file}")


@contextlib.contextmanager
def editing_with(path: Path, file: Path, pair: KeyPair) -> Iterator[Any]:
    """`editing`; afterwards the secret is there, or, where the registry could not be written, it is not."""
    is_written = False
    try:
        with editing(path) as document:
            yield document
            write_secret(file, pair)
            is_written = True
    except BaseException:
        if is_written:
            file.unlink(missing_ok=True)
        raise


class TakesKey(click.Command):
    """One whose last argument may be a key: those that begin with a dash, one in 85, are no options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        dashed = [each for each in args if each.startswith("-") and is_key(each)]
        if dashed and "--" not in args:
            args = [*(each for each in args if each not in dashed), "--", *dashed]
        return super().parse_args(ctx, args)


def is_key(text: str) -> bool:
    try:
        key_of(text)
    except ValueError:
        return False
    return True


@keys.command("add", cls=TakesKey)
@node_argument
@click.argument("public")
@role_option
@registry_option
def add(node: str, public: str, role: str, folder: Path | None) -> None:
    """Let NODE in by the key PUBLIC: 40 characters, or a file that ends in .key."""
    path, key = chosen(folder), public_key(public)
    with editing(path) as document:
        if node in document.get("nodes", {}):
            append(document, node, key)
        else:
            enter(document, node, role, key)
    click.echo(f"{node} has the key {fingerprint(key)}")
    tell_all(path)


def public_key(public: str) -> bytes:
    if is_key(public):
        return key_of(public)
    if not public.endswith(PUBLIC_SUFFIX):
        raise SettingError("PUBLIC is no key: write 40 characters of Z85, or a file that ends in .key")
    return read_public(Path(public))


def enter(document: Any, node: str, role: str, public: bytes) -> None:
    """A new one, in the group of its role where there is one."""
    nodes = document.setdefault("nodes", {})
    if node in nodes:
        raise SettingError(f"{node} is in the registry already: zproxy keys rotate {node} gives it another key")
    group = f"{role}s"
    row = {"keys": [text_of(public)], "role": role}
    nodes[node] = row | ({"groups": [group]} if group in document.get("groups", {}) else {})


def append(document: Any, node: str, public: bytes) -> None:
    found = document["nodes"][node].setdefault("keys", [])
    if len(found) >= KEYS_MAX:
        prints = " and ".join(fingerprint(key_of(text)) for text in found)
        raise SettingError(f"{node} has {prints} already: end one by zproxy keys revoke {node} FINGERPRINT")
    found.append(text_of(public))


@keys.command("rotate")
@node_argument
@out_option
@registry_option
def rotate(node: str, out: Path | None, folder: Path | None) -> None:
    """Make a second key for NODE; both let it in until `revoke` ends the first."""
    path = chosen(folder)
    file, pair = secret_file(node, out, path), new_pair()
    with editing_with(path, file, pair) as document:
        known(document, node)
        append(document, node, pair.public)
        *older, _ = document["nodes"][node]["keys"]
    click.echo(f"{node} has the key {fingerprint(pair.public)}; its secret is in {file}")
    for text in older:
        click.echo(f"when it uses that: zproxy keys revoke {node} {fingerprint(key_of(text))}")
    tell_all(path)


@keys.command("revoke", cls=TakesKey)
@node_argument
@click.argument("key", required=False)
@registry_option
def revoke(node: str, key: str | None, folder: Path | None) -> None:
    """Let NODE in no more; or not by KEY, a fingerprint or public key. Its connections are closed at once."""
    path = chosen(folder)
    with editing(path) as document:
        known(document, node)
        if key is None:
            del document["nodes"][node]
        else:
            take_out(document["nodes"][node].get("keys", []), node, key)
    click.echo(f"{node} does not come in any more{f' by {key}' if key else ''}")
    tell_all(path)


@keys.command("renew")
@registry_option
def renew(folder: Path | None) -> None:
    """Make another key for the proxy itself. It is known by the former one, too, until that file is removed."""
    path = chosen(folder)
    secret, public = path / f"{SERVER_NAME}{SECRET_SUFFIX}", path / f"{SERVER_NAME}{PUBLIC_SUFFIX}"
    former = path / f"{FORMER_NAME}{SECRET_SUFFIX}"
    if former.exists():
        raise SettingError(f"{former} is still there: {FORGET}")
    before, pair = read_secret(secret), new_pair()
    drafts = {target: path / f"next.{target.name}" for target in (former, public, secret)}
    try:
        write_secret(drafts[former], before)
        write_public(drafts[public], pair.public)
        write_secret(drafts[secret], pair)
        for target, draft in drafts.items():
            os.replace(draft, target)
    except OSError as error:
        raise SettingError(f"cannot write {secret}: {error.strerror}") from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    click.echo(f"the proxy's key is {fingerprint(pair.public)} from its next start on; {public} has it")
    click.echo(f"the former, {fingerprint(before.public)}, is good, too, until {former} is removed")


def take_out(found: list[str], node: str, key: str) -> None:
    """One at a time: comments beside the others stay."""
    meant = [index for index, text in enumerate(found) if key in (text, fingerprint(key_of(text)))]
    if not meant:
        raise SettingError(f"{node} has no key {key}: zproxy keys list shows those it has")
    for index in reversed(meant):
        del found[index]


def known(document: Any, node: str) -> None:
    if node not in document.get("nodes", {}):
        raise SettingError(f"the registry has no {node}: zproxy keys list shows who is in it")


@keys.command("list")
@registry_option
def list_(folder: Path | None) -> None:
    """Who is in the registry."""
    registry = load(chosen(folder))
    titles = ("name", "role", "groups", "keys", "not after", "comment")
    table = grid(*titles, text=titles)
    for each in registry.identities.values():
        prints = " ".join(fingerprint(key) for key in each.keys)
        comment = each.comment if each.comment.isprintable() else ascii(each.comment)  # it may not move the cursor
        table.add_row(each.name, each.role, " ".join(each.groups), prints, until(each), Text(comment))
    put(table, console())


def until(identity: Identity) -> str:
    return identity.not_after.isoformat() if identity.not_after else ""


@keys.command("check")
@registry_option
@click.pass_context
def check(context: click.Context, folder: Path | None) -> None:
    """Read the registry over: mistakes, permissions, keys that end soon or belong to nobody. Exit code 1: findings."""
    path = chosen(folder)
    if not (path / FILE_NAME).exists():
        raise SettingError(f"there is no registry in {path}: zproxy keys init makes one")
    findings = [*of_files(path), *of_registry(path)]
    for finding in findings:
        click.echo(finding)
    if not findings:
        click.echo(f"{path} is in order")
    context.exit(1 if findings else 0)


def of_files(path: Path) -> Iterator[str]:
    for ours, mode in ((path, 700), (path / FILE_NAME, 644)):
        if ours.stat().st_mode & OTHERS_WRITE:
            yield f"{ours} can be written by others: chmod {mode} {ours}"
    for secret in sorted(path.glob(f"*{SECRET_SUFFIX}")):
        if secret.stat().st_mode & OTHERS:
            yield f"{secret} can be read by others: chmod 600 {secret}"
        elif secret.stem == FORMER_NAME:
            yield f"{secret} is good for the proxy still: {FORGET}"
        elif secret.stem != SERVER_NAME:
            yield f"{secret} is a secret within the registry: move it to its node"
    try:
        public = read_public(path / f"{SERVER_NAME}{PUBLIC_SUFFIX}")
        if read_secret(path / f"{SERVER_NAME}{SECRET_SUFFIX}").public != public:
            yield f"{path / (SERVER_NAME + PUBLIC_SUFFIX)} is not the key of the proxy's secret: write it anew"
    except SettingError as error:
        yield str(error)


def of_registry(path: Path) -> Iterator[str]:
    try:
        registry = load(path)
    except SettingError as error:
        yield str(error)
        return
    now = datetime.now(timezone.utc)
    for each in registry.identities.values():
        yield from of_identity(each, now)
    for public in sorted(path.glob(f"*{PUBLIC_SUFFIX}")):
        if public.stem != SERVER_NAME:
            yield from of_public_file(public, registry)


def of_identity(each: Identity, now: datetime) -> Iterator[str]:
    if each.has_expired(now):
        yield f"{each.name} has not come in since {until(each)}: renew not_after, or revoke it"
    elif each.not_after and each.not_after - now < SOON:
        yield f"{each.name} comes in until {until(each)} only: rotate it, and renew not_after"
    if not each.keys:
        yield f"{each.name} has no key: zproxy keys rotate {each.name}"
    if each.role == "node" and not each.permit.allow:
        yield f"{each.name} may use nothing: give it allow, or a group that has it"
    if each.role == "master" and not each.permit.serve:
        yield f"{each.name} may serve nothing: give it serve, or a group that has it"


def of_public_file(public: Path, registry: Registry) -> Iterator[str]:
    try:
        if registry.find(read_public(public)) is None:
            yield f"{public} is a key of nobody in the registry: zproxy keys add NODE {public}"
    except SettingError as error:
        yield str(error)
