"""Options of `zproxy run`, made from the table in config.py: checked while parsing, shown by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from zproxy.config import OPTIONS, Kind, Option
from zproxy.errors import ZproxyError

F = TypeVar("F", bound=Callable[..., Any])
OTHERS = "Output"


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
        type=_checked(kind),
        multiple=kind.is_list,
        metavar="|".join((*kind.words, kind.metavar)),
        shell_complete=_words_of(kind),
        help=f"{option.help}  [default: {option.default}]" if option.default else option.help,
    )


def _checked(kind: Kind) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            kind.parse(text)
        except ZproxyError as error:
            raise click.BadParameter(str(error)) from error
        return text

    return check


def _words_of(kind: Kind) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda context, parameter, begun: [word for word in kind.words if word.startswith(begun)]
