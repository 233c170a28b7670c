"""`zproxy reload`: a running proxy reads its registry anew."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from zproxy import control
from zproxy.cli.proxies import control_option, only_one
from zproxy.errors import ControlError

EPILOG = """\b
Any mistake in the registry, and the old rules stay; who has lost its key or its role is closed at once.
Exit code: 0 the new rules hold; 2 they are not right (it says why), or no proxy.
"""


@click.command("reload", epilog=EPILOG, short_help="Let a proxy read its registry anew.")
@control_option
def reload(path: Path | None) -> None:
    """Let the proxy that runs on this host read its registry anew, and hold everybody to it."""
    chosen = only_one() if path is None else path
    change = msgspec.json.decode(control.ask(chosen, "reload"))
    revoked = f", revoked {', '.join(change['revoked'])}" if change["revoked"] else ""
    click.echo(f"the proxy at {chosen} holds generation {change['generation']}: {change['nodes']} names{revoked}")


def tell_all(folder: Path) -> bool:
    """Every proxy of this user that has this registry; says which. Was there one?

    One that refuses it does not end the command.
    """
    is_told = False
    for path in control.running():
        try:
            change = msgspec.json.decode(control.ask(path, "reload", str(folder)))
        except ControlError as error:
            click.echo(f"the proxy at {path} was not told: {error}", err=True)
            continue
        if change is not None:
            click.echo(f"the proxy at {path} holds generation {change['generation']}")
            is_told = True
    return is_told
