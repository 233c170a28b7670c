"""`python -m bench`: zproxy and its peers in turn, tables of ratios, a JSON and a plot. See docs/benchmarks.md."""

from __future__ import annotations

import datetime
import shlex
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import markdown, redelivery
from bench.plot import save_plot
from bench.redelivery import Waits
from zproxy.errors import LoadError
from zproxy.loadgen import report
from zproxy.loadgen.cases import Row, rows_against, rows_named
from zproxy.loadgen.pairs import Book, Comparison, Plan
from zproxy.loadgen.programs import NEIGHBOURS, RIVAL
from zproxy.processes import raise_descriptor_limit

RESULTS = Path("build/bench")
TRANSPORTS = ("tcp", "ipc")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@click.option("--quick", is_flag=True, help="3 short pairs over TCP, nothing beside them: two or three minutes.")
@click.option("--pairs", type=click.IntRange(1), help="Pairs of each row and transport.  [default: 5]")
@click.option("--seconds", type=click.FloatRange(0.05), help="Length of a run.  [default: 1]")
@click.option("--transport", "transports", multiple=True, type=click.Choice(TRANSPORTS), help="[default: both]")
@click.option("--beside", type=click.IntRange(0), help="Measurements of direct, HAProxy, pyomq.  [default: 1]")
@click.option("--against", metavar="PYTHON", help="Compare with that interpreter's zproxy instead, an older one.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the tables as docs/benchmarks.md has them, too.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    rows: tuple[str, ...],
    quick: bool,
    pairs: int | None,
    seconds: float | None,
    transports: tuple[str, ...],
    beside: int | None,
    against: str | None,
    as_markdown: bool,
    output: Path,
) -> None:
    """Measure ROWs (all by default) of zproxy and of its peers, in pairs, and print the ratios.

    `redelivery` is no ratio but a time: from a worker's end until another has what it had.
    """
    chosen = rows_chosen(rows)
    if against is not None:
        chosen = rows_against([row for row in chosen if row.case.programs[0] != RIVAL], against)
    raise_descriptor_limit()  # a client takes three, a shell most often allows 1,024
    plan = Plan(
        chosen,
        transports=transports or (TRANSPORTS[:1] if quick else TRANSPORTS),
        pair_count=pairs or (3 if quick else 5),
        seconds=seconds or (0.3 if quick else 1.0),
        beside=NEIGHBOURS,
        beside_count=(0 if quick else 1) if beside is None else beside,
    )
    book = measure(plan)
    waits = measure_redelivery(book, quick) if not rows or redelivery.ROW in rows else []
    show(book, waits, as_markdown)
    save(book, waits, output)
    sys.exit(1 if book.failures else 0)


def rows_chosen(names: tuple[str, ...]) -> list[Row]:
    """The rows that are pairs. Raises UsageError."""
    paired = [name for name in names if name != redelivery.ROW]
    try:
        return rows_named(paired) if paired or not names else []
    except ValueError as error:
        raise click.UsageError(f"{error}, {redelivery.ROW}") from error


def measure(plan: Plan) -> Book:
    """The plan, with a bar on stderr where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=plan.run_count)

        def tell(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        return Comparison(plan, tell).run()


def measure_redelivery(book: Book, quick: bool) -> list[Waits]:
    """Over the plan's transports; what fails is among the book's failures."""
    found: list[Waits] = []
    times = {"closes": 50, "kills": 3} if quick else {}
    for transport in book.plan.transports:
        try:
            found += redelivery.measure(transport, **times)
        except (LoadError, OSError) as error:
            book.failures.append(f"{redelivery.ROW} {transport}: {error}")
    return found


def show(book: Book, waits: list[Waits], as_markdown: bool) -> None:
    """All tables, on stdout."""
    console = report.console()
    report.print_book(book, console)
    if waits:
        console.print(redelivery.table(waits))
    if as_markdown:
        click.echo("\n".join([*markdown.ratio_lines(book), *markdown.waits_lines(waits)]))


def save(book: Book, waits: list[Waits], folder: Path) -> None:
    """figures.json, and ratios.png of what has ratios."""
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    taken = {"command": command, "date": datetime.date.today().isoformat(), **report.plain(book), "redelivery": waits}
    (folder / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(taken)))
    click.echo(f"figures: {folder / 'figures.json'}")
    if not book.pairs:
        return
    try:
        click.echo(f"plot: {save_plot(book, folder / 'ratios.png')}")
    except ImportError as error:
        click.echo(f"no plot: {error.name} is not installed (pip install 'zproxy[plot]')")


if __name__ == "__main__":
    main()
