"""`zproxy call`: one request, as a node of its own; for trying services, and for scripts.

    JSON, .npy files ─► Node.request ─► the reply's body as one line of JSON, a line for each tensor, .npy files

Whatever a master sends, nothing of it is ever executed, becomes a path outside of --output or a code of the terminal.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import click
import msgspec
import numpy as np

from zproxy.cli.options import ALL_CONNECTABLE, checked, key_options, time_between
from zproxy.client.node import Node
from zproxy.client.session import TIMEOUT_S
from zproxy.config import DEFAULT_FRONTEND
from zproxy.dtypes import name_of
from zproxy.envelope import Code
from zproxy.errors import APPLICATION_CODES_FROM, MalformedContent, RequestError, SettingError
from zproxy.processes import interruptible
from zproxy.units import show_time

if TYPE_CHECKING:
    import numpy.typing as npt

    from zproxy.client.reply import Reply

STDIN = "-"
DAY_S = 86400.0
# What reading a file raises that is no .npy file, or one cut short.
NO_ARRAY = (ValueError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError)

EPILOG = """\b
The first line of stdout is the reply's body as JSON; bytes in it are {"base64": "..."}, numbers that JSON does not have
{"float": "nan"}. A line for each tensor follows: name, dtype, shape and, with --output, its file.
Exit code: 0 a reply came; 1 it did not, or it cannot be written; 2 what was given cannot be sent.

\b
Examples: to the service that `zproxy echo --service echo` offers; a body by a pipe; tensors there and back
  zproxy call echo '{"step": 3}'
  echo '{"step": 3}' | zproxy call gradients - --timeout 5s
  zproxy call gradients --tensor w=weights.npy --output replies
"""


class Tensor(NamedTuple):
    """--tensor, as it was written."""

    name: str
    path: str


def tensor_of(text: str) -> Tensor:
    name, is_pair, path = text.partition("=")
    if not (name and is_pair and path):
        raise ValueError(f"{text!r} is no tensor: write NAME=FILE.npy")
    return Tensor(name, path)


@click.command(epilog=EPILOG, short_help="Send one request and print its reply.")
@click.argument("service")
@click.argument("body", metavar="[JSON]", default="null")
@click.option(
    "--tensor",
    "tensors",
    type=checked(tensor_of),
    multiple=True,
    metavar="NAME=FILE.npy",
    help="A tensor of the request. Repeatable.",
)
@click.option(
    "--timeout",
    type=time_between(0.001, DAY_S),
    default=show_time(TIMEOUT_S),
    show_default=True,
    metavar="TIME",
    help="How long the reply may take, a proxy or a worker that is not there yet included.",
)
@click.option("--node", metavar="NAME", help="The name to ask under.  [default: call-PID and a random number]")
@click.option(
    "--frontend",
    envvar="ZPROXY_FRONTEND",
    show_envvar=True,
    type=ALL_CONNECTABLE,
    default=DEFAULT_FRONTEND,
    show_default=True,
    metavar="ENDPOINT",
    help="The proxy's endpoint for nodes; of several proxies, with commas between.",
)
@key_options
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the reply's tensors there, as NAME.npy; made if it is missing.",
)
def call(
    service: str,
    body: str,
    tensors: Sequence[Tensor],
    timeout: float,
    node: str | None,
    frontend: str,
    key: str | None,
    server_key: str | None,
    output: Path | None,
) -> None:
    """Send one request to SERVICE and print its reply.

    JSON is the body, null if it is left out; - reads it from stdin.
    """
    content = body_of(body)
    arrays = arrays_of(tensors)
    if output is not None:
        folder_make(output)
    logging.getLogger("zproxy").addHandler(logging.NullHandler())  # the one line of an error says it, too
    name = f"call-{os.getpid()}-{secrets.token_hex(4)}" if node is None else node
    with interruptible(), Node(name, frontend, key=key, server_key=server_key) as asking:
        reply = reply_to(asking, service, content, arrays, timeout)
    click.echo(msgspec.json.encode(as_json(reply.body)))
    for tensor, array in reply.tensors.items():
        line = f"{shown(tensor)} {name_of(array.dtype)} {list(array.shape)}"
        click.echo(line if output is None else f"{line} {shown(str(written(output, tensor, array)))}")


def reply_to(node: Node, service: str, body: Any, tensors: dict[str, npt.NDArray[Any]], timeout: float) -> Reply:
    """Raises ClickException where no reply came, or one that cannot be read."""
    try:
        return node.request(service, body, tensors=tensors, timeout=timeout)
    except RequestError as error:
        # Its remedies are for programs, whose arguments are our options.
        said = str(error).replace("timeout=", "--timeout")
        raise click.ClickException(f"{code_name(error.code)}: {said}") from error
    except MalformedContent as error:
        raise click.ClickException(f"the reply of {service!r} cannot be read: {error}") from error


def code_name(code: int) -> str:
    """As docs/protocol.md names it; the number of one that is the application's own."""
    if code >= APPLICATION_CODES_FROM:
        return f"{code:#06x}"
    return next((known.name for known in Code if known == code), str(code))


# ---- what is sent ----


def body_of(text: str) -> Any:
    """The JSON's value. Raises SettingError."""
    try:
        return msgspec.json.decode(from_stdin() if text == STDIN else os.fsencode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        source = "stdin" if text == STDIN else repr(text if len(text) <= 40 else f"{text[:40]}…")
        raise SettingError(f"{source} is no JSON: {error}: text needs its quotes, '\"like this\"'") from error


def from_stdin() -> bytes:
    if sys.stdin is None:
        raise SettingError("stdin is closed: give the body as an argument")
    return sys.stdin.buffer.read()


def arrays_of(tensors: Sequence[Tensor]) -> dict[str, npt.NDArray[Any]]:
    """By name. Raises SettingError."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, path in tensors:
        if name in arrays:
            raise SettingError(f"two tensors are named {name!r}: give each a name of its own")
        arrays[name] = array_of(path)
    return arrays


def array_of(path: str) -> npt.NDArray[Any]:
    """The .npy file's array; one of objects is refused, for reading it would run what it says. Raises SettingError."""
    try:
        with open(path, "rb") as file:
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror or error}: give a .npy file") from error
    except NO_ARRAY as error:
        raise SettingError(f"{path} is no .npy file that can be sent: {error}: write one by numpy.save") from error
    return array


def folder_make(folder: Path) -> None:
    """Raises SettingError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"cannot make {folder}: {error.strerror}: choose a folder you may write in") from error


# ---- what is printed and written ----


def as_json(value: Any) -> Any:
    """What JSON has no word for, as a map with one."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {key_of(key): as_json(each) for key, each in value.items()}
    return value


def key_of(key: Any) -> str:
    """A map's, which other languages' masters may make of anything: text, else its JSON as text."""
    return key if isinstance(key, str) else msgspec.json.encode(as_json(key)).decode()


def shown(text: str) -> str:
    """As it is, or quoted where it would not be one word of the line."""
    is_word = text.isprintable() and not any(letter in text for letter in ' "')
    return text if is_word else json.dumps(text)


def written(folder: Path, name: str, array: npt.NDArray[Any]) -> Path:
    """The tensor's file in the folder, its name with nothing in it that leads elsewhere. Raises ClickException."""
    letters = (letter if letter.isprintable() and letter not in "/%" else quote(letter, safe="") for letter in name)
    path = folder / f"{''.join(letters)}.npy"
    try:
        np.save(path, array, allow_pickle=False)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror or error}: the reply came") from error
    return path
