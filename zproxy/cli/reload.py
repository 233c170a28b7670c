"""`zproxy reload`: a running proxy reads its registry anew."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from zproxy import control
from zproxy.cli.proxies import control_option, only_one
from zproxy.errors import ControlError, ControlFailed, ControlRefused

NAMES_SHOWN = 20

EPILOG = """\b
Any mistake in the registry, and the old rules stay; who has lost its key or its role is closed at once.
Exit code: 0 the new rules hold; 1 the proxy does not answer; 2 they are not right (it says why), or no proxy.
"""


@click.command("reload", epilog=EPILOG, short_help="Let a proxy read its registry anew.")
@control_option
def reload(path: Path | None) -> None:
    """Let the proxy that runs on this host read its registry anew, and hold everybody to it."""
    chosen = only_one() if path is None else path
    change = msgspec.json.decode(control.ask(chosen, "reload"))
    counts = f"generation {change['generation']}: {change['nodes']} names, {change['groups']} groups"
    click.echo(f"the proxy at {chosen} holds {counts}")
    for what in ("added", "removed", "changed", "revoked"):
        if change[what]:
            click.echo(f"  {what}: {few(change[what])}")


def few(names: list[str]) -> str:
    """Those that fit a line or two."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def tell_all(folder: Path) -> None:
    """Every proxy of this user that has this registry holds what `zproxy keys` has changed; says which.

    Those whose control socket lies elsewhere, or who have none, find the change by its stamp. Raises ControlFailed
    where one could not be told: it may hold to the old rules.
    """
    told, failed = [], []
    for path in control.running():
        try:
            change = msgspec.json.decode(control.ask(path, "reload", str(folder)))
        except (ControlFailed, ControlRefused) as error:
            failed.append(f"{error}: later, zproxy reload --control {path}")
        except ControlError:  # it has ended meanwhile
            continue
        else:
            told += [f"the proxy at {path} holds generation {change['generation']}"] if change is not None else []
    for line in told:
        click.echo(line)
    if failed:
        raise ControlFailed("it is done, but not every proxy was told: " + "; ".join(failed))
    others = "others of this registry" if told else "no proxy was told at a control socket: those of this registry"
    click.echo(f"{others} take it up within a second")
