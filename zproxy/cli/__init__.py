"""The command line: one click group, one module a command."""

from __future__ import annotations

import click

from zproxy.cli.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zproxy", prog_name="zproxy")
def main() -> None:
    """The message proxy between training nodes and their masters."""


main.add_command(run)
