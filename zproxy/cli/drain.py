"""`zproxy drain`: a proxy, or one worker of it, finishes what it has and takes no more."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

import click

from zproxy import control
from zproxy.cli.options import time_between
from zproxy.cli.proxies import control_option, end_told, only_one, parsed
from zproxy.errors import ControlError, ControlFailed, SettingError
from zproxy.status import Worker
from zproxy.units import show_time

LOOK_S = 0.1
COMPLETE_S = 1.0

EPILOG = """\b
Without WORKER it is what SIGTERM does: see --drain of `zproxy run`.
Exit code: 0 nothing is held any more; 1 --timeout came first; 2 no such worker, or no proxy.

\b
Examples: before a master is ended; before the host is
  zproxy drain m1 && kill $(cat m1.pid)
  zproxy drain
"""


def worker_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """For a shell's TAB: the workers of the proxy that is meant."""
    path = context.params.get("path")
    try:
        found = control.running() if path is None else [path]
        if len(found) != 1:
            return []
        of = parsed(control.ask(found[0], "status", timeout=COMPLETE_S), found[0])
    except (ControlError, SettingError):
        return []
    return [worker.name for worker in of.workers if worker.name and worker.name.startswith(begun)]


@click.command("drain", epilog=EPILOG, short_help="Let a proxy, or one of its workers, finish and take no more.")
@click.argument("worker", required=False, shell_complete=worker_names)
@control_option
@click.option(
    "--timeout",
    type=time_between(0, 86400),
    default="1m",
    show_default=True,
    metavar="TIME",
    help="Wait this long at most.",
)
@click.option("--no-wait", is_flag=True, help="Ask, and do not wait.")
def drain(worker: str | None, path: Path | None, timeout: float, no_wait: bool) -> None:
    """Let a proxy that runs on this host finish what it has, and end; or let WORKER finish, and take no more.

    It waits until that is done. A drained worker takes requests again when it connects anew.
    """
    if worker == "":
        raise click.UsageError("WORKER is empty: give its name, or nothing at all to end the proxy")
    chosen = only_one() if path is None else path
    if worker is None:
        drain_proxy(chosen, None if no_wait else timeout)
    else:
        drain_worker(chosen, worker, None if no_wait else timeout)


# ---- the proxy ----


def drain_proxy(path: Path, timeout: float | None) -> None:
    """Waits for its end, `timeout` seconds; None: not at all. Raises ControlFailed when it has not ended in time."""
    if timeout is None:
        control.ask(path, "drain")
        click.echo(f"the proxy at {path} drains")
        return
    process = control.ask_to_end(path, "drain")
    try:
        has_ended = bool(select.select([process], [], [], timeout)[0])
    finally:
        os.close(process)
    if not has_ended:
        live = parsed(control.ask(path, "status"), path).gauges["managed_live"]
        raise ControlFailed(
            f"the proxy at {path} has not ended within {show_time(timeout)}, {live} managed requests are live: "
            "wait longer with --timeout, or end it by SIGTERM"
        )
    click.echo(f"the proxy at {path} has ended")


# ---- one worker ----


def drain_worker(path: Path, name: str, timeout: float | None) -> None:
    """Waits until it holds nothing, `timeout` seconds; None: not at all.

    Raises ControlRefused for a name that no worker has, ControlFailed when it still holds something.
    """
    control.ask(path, "drain_worker", name)
    if timeout is None:
        click.echo(f"{name} takes no more")
        return
    until = time.monotonic() + timeout
    with end_told(path):
        while (row := worker_of(path, name)) is not None and is_holding(row):
            if time.monotonic() >= until:
                raise ControlFailed(still_held(row, timeout))
            time.sleep(LOOK_S)
    click.echo(f"{name} has finished" if row else f"{name} has closed its connection")


def worker_of(path: Path, name: str) -> Worker | None:
    """Its row, or None: it is not there."""
    rows = parsed(control.ask(path, "status"), path).workers
    return next((row for row in rows if row.name == name), None)


def is_holding(row: Worker) -> bool:
    """Raises ControlFailed when it is not the one that was drained."""
    if row.state != "draining":
        raise ControlFailed(f"worker {row.name} came back on a new connection, and takes requests again: end it")
    return row.in_flight > 0


def still_held(row: Worker, timeout: float) -> str:
    plural = "request" if row.in_flight == 1 else "requests"
    oldest = "" if row.oldest_ms is None else f", the oldest for {show_time(row.oldest_ms // 1000)}"
    return (
        f"worker {row.name} still holds {row.in_flight} {plural} after {show_time(timeout)}{oldest}: "
        "wait longer with --timeout, or end it: what may be delivered again goes to another"
    )
