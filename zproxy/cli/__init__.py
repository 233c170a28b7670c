"""The command line: one click group, one module a command, each imported when it is asked for.

What a user did wrong is one line on stderr and exit code 2; a traceback is a fault of zproxy's own.
"""

from __future__ import annotations

import difflib
import errno
import io
import sys
from importlib import import_module
from typing import NoReturn

import click

from zproxy.errors import ControlFailed, LibzmqMissing, LoadError, RelayStuck, RequestError, ZproxyError, one_line
from zproxy.processes import Interrupted

# Command → where it lives. `zproxy COMMAND` imports that module alone.
COMMANDS = {
    "run": "zproxy.cli.run:run",
    "status": "zproxy.cli.status:status",
    "drain": "zproxy.cli.drain:drain",
    "keys": "zproxy.cli.keys:keys",
    "reload": "zproxy.cli.reload:reload",
    "call": "zproxy.cli.call:call",
    "echo": "zproxy.cli.echo:echo",
    "demo": "zproxy.cli.demo:demo",
    "bench": "zproxy.cli.bench:bench",
    "completion": "zproxy.cli.completion:completion",
}
EXIT_FAULT, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class Commands(click.Group):
    """Loads commands late and suggests the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        advice = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(COMMANDS)}"
        raise click.UsageError(f"no such command {name!r}: {advice}", ctx)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zproxy", prog_name="zproxy", message="%(prog)s %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """The message proxy between training nodes and their masters."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """Runs the command that the arguments name, and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="replace")  # a terminal that has no µ shows ?, and the command goes on
    try:
        code = commands.main(prog_name="zproxy", standalone_mode=False)
    except click.UsageError as error:
        code = _complain(error.ctx.command_path if error.ctx else "zproxy", error.format_message(), error.exit_code)
    except click.ClickException as error:
        code = _complain("zproxy", error.format_message(), error.exit_code)
    except click.Abort:  # SIGINT that no command took, or the end of a prompt
        code = EXIT_INTERRUPTED
    except Interrupted as error:
        code = error.exit_code
    except (RelayStuck, LoadError, LibzmqMissing, ControlFailed, RequestError) as error:
        code = _complain("zproxy", str(error), EXIT_FAULT)
    except ZproxyError as error:
        code = _complain("zproxy", str(error), EXIT_USAGE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        code = _complain("zproxy", "cannot write all of the output: its disk is full", EXIT_FAULT)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(speaker: str, sentence: str, code: int) -> int:
    click.echo(one_line(f"{speaker}: {' '.join(sentence.split())}"), err=True)
    return code
