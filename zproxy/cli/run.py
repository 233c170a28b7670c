"""`zproxy run`: a proxy as a process."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import click

from zproxy.errors import ZproxyError
from zproxy.proxy import Proxy

FRONTEND = "tcp://127.0.0.1:5555"
BACKEND = "tcp://127.0.0.1:5556"
TOTALS = (
    "requests_in",
    "requests_out",
    "replies_in",
    "replies_out",
    "requests_lost",
    "replies_lost",
    "requests_undelivered",
)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        return json.dumps({"time": record.created, "level": record.levelname.lower(), "message": record.getMessage()})


@click.command()
@click.option("--frontend", multiple=True, help=f"Bind for nodes.  [default: {FRONTEND}]")
@click.option("--backend", multiple=True, help=f"Bind for masters.  [default: {BACKEND}]")
@click.option("--frontend-connect", multiple=True, help="Connect out to nodes that bind.")
@click.option("--backend-connect", multiple=True, help="Connect out to masters that bind.")
@click.option("--heartbeat", type=float, help="Send PING every so many seconds to plain peers.")
@click.option("--spin", default="auto", show_default=True, help="TIME, off or auto: poll before blocking.")
@click.option("--max-message", default="1GiB", show_default=True, help="Largest message.")
@click.option("--memory", help="Memory for messages in all; default half of the machine's.")
@click.option("--connection-memory", default="64MiB", show_default=True, help="Memory for one connection's messages.")
@click.option("--stall", type=float, default=30.0, show_default=True, help="Seconds a message may stand still.")
@click.option("--drain", type=float, default=10.0, show_default=True, help="Seconds to write the rest at the end.")
@click.option("--insecure", is_flag=True, help="Allow a bind that is not loopback.")
@click.option("--endpoints-file", type=click.Path(path_type=Path), help="Write the bound endpoints there when ready.")
@click.option("--log-format", type=click.Choice(["auto", "text", "json"]), default="auto", show_default=True)
def run(endpoints_file: Path | None, log_format: str, **settings: Any) -> None:
    """Relay between nodes (frontend) and masters (backend) until SIGINT or SIGTERM."""
    _log_to_stderr(log_format)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for side, default in (("frontend", FRONTEND), ("backend", BACKEND)):
        if not settings[side] and not settings[f"{side}_connect"]:
            settings[side] = default
    try:
        proxy = Proxy(**settings)
    except (ZproxyError, ValueError) as error:
        click.echo(f"zproxy: {error}", err=True)
        sys.exit(2)
    asked = []

    def end(number: int, frame: Any) -> None:
        asked.append(number)
        proxy.stop_soon(settings["drain"] if len(asked) == 1 else 0)

    proxy.start()
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if endpoints_file is not None:
        _write_endpoints(endpoints_file, proxy)
    click.echo(f"ready frontend={','.join(proxy.frontend)} backend={','.join(proxy.backend)}")
    proxy.wait()
    proxy.stop(0)
    stats = proxy.stats()
    click.echo("totals " + " ".join(f"{name}={stats[name]}" for name in TOTALS), err=True)


def _log_to_stderr(log_format: str) -> None:
    handler = logging.StreamHandler()
    if log_format == "json" or (log_format == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("zproxy")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _write_endpoints(path: Path, proxy: Proxy) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps({"frontend": proxy.frontend, "backend": proxy.backend, "pid": os.getpid()}))
    draft.replace(path)
