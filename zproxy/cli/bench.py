"""`zproxy bench`: how fast is it here? Against zmq.proxy, or through a proxy that runs already."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from zproxy.cli.options import CONNECTABLE, size_up_to, time_between
from zproxy.config import DEFAULT_BACKEND, DEFAULT_FRONTEND
from zproxy.errors import NoAnswer
from zproxy.loadgen import report
from zproxy.loadgen.cases import GIB, Case, custom_rows, rows_named
from zproxy.loadgen.clients import CLIENTS_MAX, WINDOW_MAX
from zproxy.loadgen.messages import Load
from zproxy.loadgen.pairs import Comparison, Plan
from zproxy.loadgen.session import Figures, Session
from zproxy.processes import interruptible, raise_descriptor_limit
from zproxy.procfs import available_memory_bytes
from zproxy.units import show_size

SHORT_ROWS = ("64B", "64B-cpu", "rtt", "1KiB")
SHORT_PAIRS = 3
ANSWER_SECONDS = 5.0
SIZE_MAX = 1024 * GIB
EPILOG = """\b
Examples: beside zmq.proxy; the same with messages of 1 MiB; through the proxy that `zproxy run` started
  zproxy bench
  zproxy bench --size 1MiB --window 4
  zproxy bench --frontend tcp://127.0.0.1:5555
"""


@click.command(epilog=EPILOG, short_help="Measure zproxy beside zmq.proxy, or a running proxy.")
@click.option(
    "--frontend",
    envvar="ZPROXY_FRONTEND",
    show_envvar=True,
    type=CONNECTABLE,
    metavar="ENDPOINT",
    help=f"A running proxy's, where clients connect; {DEFAULT_FRONTEND} when only --backend is given.",
)
@click.option(
    "--backend",
    envvar="ZPROXY_BACKEND",
    show_envvar=True,
    type=CONNECTABLE,
    metavar="ENDPOINT",
    help=f"A running proxy's, where the worker connects; {DEFAULT_BACKEND} when only --frontend is given.",
)
@click.option("--size", type=size_up_to(SIZE_MAX), metavar="SIZE", help="Of a message.  [default: 64]")
@click.option("--window", type=click.IntRange(1, WINDOW_MAX), help="Messages of each client under way.  [default: 100]")
@click.option("--clients", type=click.IntRange(1, CLIENTS_MAX), help="Each a socket of its own.  [default: 1]")
@click.option("--count", type=click.IntRange(1), help="Messages of a run, instead of --seconds.")
@click.option(
    "--seconds",
    type=time_between(0.001, 3600),
    default="500ms",
    show_default=True,
    metavar="TIME",
    help="How long each run sends.",
)
def bench(
    frontend: str | None,
    backend: str | None,
    size: int | None,
    window: int | None,
    clients: int | None,
    count: int | None,
    seconds: float,
) -> None:
    """Measure zproxy beside zmq.proxy, or a proxy that runs.

    Without endpoints it starts both by itself, measures them in turn and prints the ratios: of its usual rows, or of
    the one load that the options describe. With an endpoint it sends the load through the proxy there, to a worker of
    its own, and prints what came of it.
    """
    is_usual = (size, window, clients, count) == (None, None, None, None)
    case = Case("custom", 64 if size is None else size, window or 100, clients or 1, count=count or 0)
    check_memory(case)
    raise_descriptor_limit()  # a client takes three, a shell most often allows 1,024
    with interruptible():
        if frontend is not None or backend is not None:
            load_running(frontend or DEFAULT_FRONTEND, backend or DEFAULT_BACKEND, case, seconds)
        else:
            compare(None if is_usual else case, seconds)


def check_memory(case: Case) -> None:
    """Raises UsageError when the requests under way alone take more memory than there is."""
    needed, free = case.size * case.window * case.clients, available_memory_bytes()
    if needed > free:
        raise click.UsageError(
            f"{case.clients} x {case.window} messages of {show_size(case.size)} under way take {show_size(needed)} of "
            f"memory, {show_size(free)} are free: lower --size, --window or --clients",
            click.get_current_context(),
        )


def compare(case: Case | None, seconds: float) -> None:
    """zproxy and zmq.proxy in turn: the usual rows, or one case."""
    rows = rows_named(SHORT_ROWS) if case is None else custom_rows(case)
    plan = Plan(rows, transports=("tcp",), pair_count=SHORT_PAIRS, seconds=seconds)
    with Console(stderr=True).status("measuring") as status:
        book = Comparison(plan, status.update).run()
    report.print_book(book, report.console())
    sys.exit(1 if book.failures else 0)


def load_running(frontend: str, backend: str, case: Case, seconds: float) -> None:
    """The case through a proxy that runs already, then one message at a time. Raises LoadError."""
    one = Load(case.size, window=1, count=case.count, seconds=case.load(seconds).seconds)
    console = report.console()
    with Console(stderr=True).status(f"measuring {frontend}"):
        figures = run_through(frontend, backend, case.clients, case.load(seconds))
        report.print_figures(figures, case.clients, case.window, console)
        report.print_round_trips(run_through(frontend, backend, 1, one), console)


def run_through(frontend: str, backend: str, clients: int, load: Load) -> Figures:
    """One load, after a warm-up. Raises NoAnswer, which names both ends: either may be the wrong one."""
    try:
        with Session("running", endpoints=(frontend, backend), clients=clients, timeout_s=ANSWER_SECONDS) as session:
            session.warm_up(load)
            return session.run(load)
    except NoAnswer as error:
        raise NoAnswer(f"{error} (--frontend {frontend} --backend {backend})") from error
