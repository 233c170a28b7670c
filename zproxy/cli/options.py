"""Options: what commands take, checked while parsing; those of `zproxy run` from the table in config.py, by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from zproxy import endpoints
from zproxy.config import BYTES, OPTIONS, SECONDS, Kind, Option, bounded

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
OTHERS = "Output"
ENVIRONMENT = {"registry": "ZPROXY_REGISTRY"}


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A type of option: what `parse` makes of it, or the sentence of its ValueError."""

    def check(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return check


def time_between(least: float, most: float) -> Callable[[str], float]:
    """A type of option: seconds, from a TIME."""
    return checked(lambda text: bounded(text, SECONDS, least, most))


def size_up_to(most: int) -> Callable[[str], int]:
    """A type of option: bytes, from a SIZE."""
    return checked(lambda text: int(bounded(text, BYTES, 0, most)))


def connectable(text: str) -> str:
    """An endpoint one can connect to: libzmq would try an address that can be nobody's for ever."""
    endpoints.resolve(endpoints.parse(text.replace(endpoints.CURVE_PREFIX, "tcp://", 1)))
    return text


def all_connectable(text: str) -> str:
    """The same of several, with commas between."""
    for each in endpoints.connectable(text.replace(endpoints.CURVE_PREFIX, "tcp://")):
        connectable(each)
    return text


def key_options(command: F) -> F:
    """Adds --key and --server-key: files, for a secret is never on a command line."""
    for flag, name, variable, words in (
        ("--server-key", "server_key", "ZPROXY_SERVER_KEY", "The proxy's public key: its registry's server.key."),
        ("--key", "key", "ZPROXY_KEY", "This end's own: the NAME.key_secret that zproxy keys new made."),
    ):
        command = click.option(
            flag, name, type=click.Path(dir_okay=False), envvar=variable, show_envvar=True, metavar="FILE", help=words
        )(command)
    return command


CONNECTABLE = checked(connectable)
ALL_CONNECTABLE = checked(all_connectable)


class GroupedHelp(click.Command):
    """A command whose help lists the settings of a proxy by group, then its own options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {option.name: option.group for option in OPTIONS}
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(groups.get(param.name or "", OTHERS), []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def settings_options(command: F) -> F:
    """Adds every option of a proxy; its arguments come to the command as they were written."""
    for option in reversed(OPTIONS):
        command = _click_option(option)(command)
    return command


def _click_option(option: Option) -> Callable[[F], F]:
    kind = option.kind
    if kind.is_flag:
        return click.option(option.flag, option.name, is_flag=True, default=None, help=option.help)
    return click.option(
        option.flag,
        option.name,
        type=checked(_as_written(kind)),
        multiple=kind.is_list,
        envvar=ENVIRONMENT.get(option.name),
        show_envvar=option.name in ENVIRONMENT,
        metavar=kind.shape,
        shell_complete=_words_of(kind),
        help=f"{option.help}  [default: {option.default}]" if option.default else option.help,
    )


def _as_written(kind: Kind) -> Callable[[str], str]:
    def check(text: str) -> str:
        kind.parse(text)
        return text

    return check


def _words_of(kind: Kind) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda context, parameter, begun: [word for word in kind.words if word.startswith(begun)]
