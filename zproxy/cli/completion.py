"""`zproxy completion`: the script that lets a shell complete the rest."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(
    short_help="Print the completion script of a shell.", epilog="Example:  zproxy completion bash >> ~/.bashrc"
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and their values."""
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows no {shell}"
    root = context.find_root()
    click.echo(kind(root.command, {}, "zproxy", "_ZPROXY_COMPLETE").source())
