"""Proxies that run here: which of them an operator's command is about, and what it says of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from zproxy import control
from zproxy.errors import ControlError, ControlFailed
from zproxy.status import Status

LIST_S = 2.0  # for each of several proxies to name its endpoints

control_option = click.option(
    "--control",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The proxy's control socket.  [default: that of the only proxy of this user]",
)


def only_one() -> Path:
    """The control socket of the one proxy that runs here. Raises ControlError, or Exit after a list of several."""
    found = control.running()
    if not found:
        folder = control.runtime_folder()
        raise ControlError(
            f"no proxy of yours runs here, none is in {folder}: start one by `zproxy run`, or give --control PATH"
        )
    if len(found) > 1:
        speaker = click.get_current_context().command_path
        click.echo(f"{speaker}: {len(found)} proxies run here, pick one by --control PATH:", err=True)
        for path in found:
            click.echo(f"  --control {path}  {endpoints_at(path)}", err=True)
        raise click.exceptions.Exit(2)
    return found[0]


def endpoints_at(path: Path) -> str:
    """What a proxy serves, in words; or why it does not say."""
    try:
        of = parsed(control.ask(path, "status", timeout=LIST_S), path)
    except ControlError:
        return "(does not answer)"
    sides = {"frontend": of.frontend + of.frontend_connect, "backend": of.backend + of.backend_connect}
    return " ".join(f"{side}={','.join(endpoints)}" for side, endpoints in sides.items())


def parsed(answer: bytes, path: Path) -> Status:
    """Raises ControlFailed for what another version may have sent."""
    try:
        return msgspec.json.decode(answer, type=Status)
    except msgspec.MsgspecError as error:
        raise ControlFailed(f"the proxy at {path} is of another version: {error}: --json shows what it says") from error


@contextlib.contextmanager
def end_told(path: Path) -> Iterator[None]:
    """Around questions to a proxy that has answered before: where it has ended, it is said so."""
    try:
        yield
    except ControlError as error:
        if control.has_listener(path):
            raise
        raise ControlError(f"the proxy at {path} has ended") from error
