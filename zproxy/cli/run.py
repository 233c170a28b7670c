"""`zproxy run`: a proxy as a process.

    options ─► bind ─► signals held ─► control socket ─► start ─► endpoints file, ready
                                                                            └► until a signal ─► drain ─► totals

Once the endpoints are bound, signals are blocked and taken one at a time, so they interrupt nothing: one that comes
before the proxy is ready ends it when it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from zproxy import __version__
from zproxy.cli.logs import FORMATS, LEVELS, STDOUT, hold_standard_streams, log_to_stderr, write_line
from zproxy.cli.options import GroupedHelp, settings_options
from zproxy.config import Settings
from zproxy.control import Control, default_path
from zproxy.entries import DESCRIPTORS, Entry, Field, entry_of_totals
from zproxy.errors import SettingError
from zproxy.processes import raise_descriptor_limit
from zproxy.proxy import Proxy
from zproxy.status import status_of
from zproxy.units import machine_memory_bytes, show_size

logger = logging.getLogger("zproxy")

ENDINGS = (signal.SIGINT, signal.SIGTERM)
ASKED = signal.SIGRTMIN  # our own, to the thread that waits for signals: `zproxy drain` was heard
NO_CONTROL = "off"
DESCRIPTORS_LOW = 4096  # fewer open files than one address may have connections

EPILOG = """\b
Times: 100us, 5ms, 2s or 2, 1m. Sizes: 4096, 64KiB, 64MiB, 1GiB.
stdout has one line:  ready frontend=ENDPOINT,... backend=ENDPOINT,...
SIGINT, SIGTERM: drain and end; again: end at once.
Exit code: 0 ended as asked; 2 a wrong option, or an endpoint that cannot be bound.

\b
Example: nodes come by TCP from this host, masters by a Unix socket
  zproxy run --frontend tcp://127.0.0.1:5555 --backend ipc:///run/zproxy/masters --heartbeat 2s
"""


@click.command(cls=GroupedHelp, epilog=EPILOG, short_help="Relay between nodes and masters.")
@settings_options
@click.option(
    "--endpoints-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="When ready, write the bound endpoints and the pid there, as JSON; removed at the end.",
)
@click.option(
    "--control",
    metavar=f"{NO_CONTROL}|PATH",
    shell_complete=lambda context, parameter, begun: [word for word in (NO_CONTROL,) if word.startswith(begun)],
    help="Answer status and drain at this socket.  [default: PID.sock in ZPROXY_RUNTIME_DIR, or a folder per user]",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, else JSON.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="warning: no connects and disconnects.",
)
def run(endpoints_file: Path | None, control: str | None, log_format: str, log_level: str, **options: Any) -> None:
    """Relay between nodes (frontend) and masters (backend) until SIGINT or SIGTERM.

    A side that is given no endpoint, neither to bind nor to connect to, binds its default.
    """
    hold_standard_streams()
    log_to_stderr(log_format, log_level)
    descriptors = raise_descriptor_limit()
    proxy = Proxy(**options)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDINGS, ASKED))
        with control_opened(control, proxy) as answering, endpoints_published(endpoints_file, proxy) as publish:
            log_start(proxy, descriptors, answering)
            proxy.start()
            if answering is not None:
                answering.start()
            publish()
            write_line(STDOUT, f"ready frontend={','.join(proxy.frontend)} backend={','.join(proxy.backend)}")
            serve(proxy)
    finally:
        proxy.stop(0)
    totals = entry_of_totals(proxy.stats())
    logger.log(totals.level, totals)


def serve(proxy: Proxy) -> None:
    """Until a signal: the first drains, the second ends at once, one more kills.

    To be asked is a signal, too, but never a second one: who asks again wants to see the end, not to hasten it.
    """
    number = signal.sigwait((*ENDINGS, ASKED))
    proxy.stop_soon()
    log_stop(number, proxy.settings.drain_ms)
    while not proxy.wait(0.1):
        again = signal.sigtimedwait(ENDINGS, 0)
        if again is not None:
            proxy.stop_soon(0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
            log_stop(again.si_signo, 0)


def control_opened(wanted: str | None, proxy: Proxy) -> contextlib.AbstractContextManager[Control | None]:
    """The control socket, bound but silent; nothing where none is wanted. Raises SettingError where it cannot be."""
    if wanted == NO_CONTROL:
        return contextlib.nullcontext()
    started_s = time.monotonic()
    path = default_path() if wanted is None else Path(wanted)
    waiting = threading.get_ident()
    return Control(
        path,
        {
            "status": lambda about: status_of(proxy, started_s),
            "drain": lambda about: signal.pthread_kill(waiting, ASKED),
            "drain_worker": lambda name: drain_worker(proxy, name),
            "reload": lambda folder: reload(proxy, folder),
        },
    )


def drain_worker(proxy: Proxy, name: str) -> None:
    """Raises UnknownWorker."""
    proxy.drain_worker(name)
    logger.info(Entry(logging.INFO, "draining", "it finishes what it has", {"worker": name}))


def reload(proxy: Proxy, folder: str) -> dict[str, Any] | None:
    """What has changed; with `folder`: what `zproxy keys` has changed there; None: it is not this proxy's registry.

    Raises SettingError.
    """
    ours = proxy.settings.registry
    if not folder:
        return proxy.reload()._asdict()
    if not ours or os.path.realpath(folder) != os.path.realpath(ours):
        return None
    return proxy.follow()._asdict()


@contextlib.contextmanager
def endpoints_published(path: Path | None, proxy: Proxy) -> Iterator[Callable[[], None]]:
    """Yields what shows the endpoints file, whole; it is gone afterwards. Raises SettingError where it cannot be."""
    if path is None:
        yield lambda: None
        return
    if path.is_dir():  # "" too: it would be refused only once the proxy runs
        raise SettingError(f"cannot write {path}: it is a directory: choose a file you may write to")
    text = json.dumps({"frontend": proxy.frontend, "backend": proxy.backend, "pid": os.getpid()})
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_or_refuse(path, lambda: draft.write_text(text))
        yield lambda: write_or_refuse(path, lambda: os.replace(draft, path))
    finally:
        for ours in (draft, path):
            with contextlib.suppress(OSError):
                if ours.read_text() == text:  # not that of a proxy which has come after us
                    ours.unlink()


def write_or_refuse(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}: choose a file you may write to") from error


def log_start(proxy: Proxy, descriptors: int, control: Control | None) -> None:
    """What runs, and what of it may come as a surprise."""
    settings = proxy.settings
    fields: dict[str, Field] = {
        "version": __version__,
        "pid": os.getpid(),
        "frontend": list(proxy.frontend + settings.frontend_connect),
        "backend": list(proxy.backend + settings.backend_connect),
        "max_message": settings.max_message_bytes,
        "memory": settings.memory_bytes,
        "open_files": descriptors,
        "registry": settings.registry or "none",
        "control": NO_CONTROL if control is None else str(control.path),
    }
    logger.info(Entry(logging.INFO, "starting", "", fields))
    for sentence in surprises(settings, descriptors):
        logger.warning(Entry(logging.WARNING, "settings", sentence))


def surprises(settings: Settings, descriptors: int) -> Iterator[str]:
    """Sentences on settings that are allowed and seldom meant."""
    memory, machine = settings.memory_bytes, machine_memory_bytes()
    if settings.insecure:
        yield "--insecure: whoever reaches the endpoints is trusted, unencrypted: zproxy keys init, then --registry DIR"
    if 0 <= descriptors < DESCRIPTORS_LOW:
        yield f"{descriptors} open files allow about as many connections: {DESCRIPTORS}"
    if memory > machine:
        yield f"--memory is {show_size(memory)}, and this machine or its cgroup has {show_size(machine)}: lower it"
    if memory < settings.max_message_bytes:
        yield (
            f"--memory is {show_size(memory)}, and one message may have {show_size(settings.max_message_bytes)}: "
            "raise it, or lower --max-message"
        )


def log_stop(number: int, drain_ms: int) -> None:
    by = "none" if number == ASKED else signal.Signals(number).name
    fields: dict[str, Field] = {"signal": by, "drain_seconds": drain_ms / 1000}
    hint = "a second signal ends it at once" if drain_ms else ""
    logger.info(Entry(logging.INFO, "stopping", hint, fields))
