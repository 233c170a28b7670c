"""`python -m bench`: zproxy and zmq.proxy in turn, a table of ratios, a JSON and a plot. See docs/benchmarks.md."""

from __future__ import annotations

import datetime
import shlex
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.plot import save_plot
from zproxy.loadgen import report
from zproxy.loadgen.cases import rows_named
from zproxy.loadgen.pairs import Book, Comparison, Plan
from zproxy.loadgen.programs import NEIGHBOURS

RESULTS = Path("build/bench")
TRANSPORTS = ("tcp", "ipc")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@click.option("--quick", is_flag=True, help="3 short pairs over TCP, nothing beside them: under a minute.")
@click.option("--pairs", type=click.IntRange(1), help="Pairs of each row and transport.  [default: 5]")
@click.option("--seconds", type=click.FloatRange(0.05), help="Length of a run.  [default: 1]")
@click.option("--transport", "transports", multiple=True, type=click.Choice(TRANSPORTS), help="[default: both]")
@click.option("--beside", type=click.IntRange(0), help="Measurements of direct, HAProxy, pyomq.  [default: 1]")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    rows: tuple[str, ...],
    quick: bool,
    pairs: int | None,
    seconds: float | None,
    transports: tuple[str, ...],
    beside: int | None,
    output: Path,
) -> None:
    """Measure ROWs (all by default) of zproxy and of zmq.proxy, in pairs, and print the ratios."""
    try:
        chosen = rows_named(rows)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    plan = Plan(
        chosen,
        transports=transports or (TRANSPORTS[:1] if quick else TRANSPORTS),
        pair_count=pairs or (3 if quick else 5),
        seconds=seconds or (0.3 if quick else 1.0),
        beside=NEIGHBOURS,
        beside_count=(0 if quick else 1) if beside is None else beside,
    )
    book = measure(plan)
    report.print_book(book, report.console())
    save(book, output)
    sys.exit(1 if book.failures else 0)


def measure(plan: Plan) -> Book:
    """The plan, with a bar on stderr where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=plan.run_count)

        def tell(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        return Comparison(plan, tell).run()


def save(book: Book, folder: Path) -> None:
    """figures.json and ratios.png."""
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    taken = {"command": command, "date": datetime.date.today().isoformat(), **report.plain(book)}
    (folder / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(taken)))
    click.echo(f"figures: {folder / 'figures.json'}")
    try:
        click.echo(f"plot: {save_plot(book, folder / 'ratios.png')}")
    except ImportError as error:
        click.echo(f"no plot: {error.name} is not installed (pip install 'zproxy[plot]')")


if __name__ == "__main__":
    main()
