"""Plot: every row's median ratio with its spread and its target."""

from __future__ import annotations

from pathlib import Path

from zproxy.loadgen.pairs import Book, Outcome
from zproxy.loadgen.programs import RIVAL, ZPROXY

MET, MISSED = "tab:green", "tab:red"


def label(outcome: Outcome) -> str:
    own, rival = outcome.row.case.sides
    against = "" if (own, rival) == (ZPROXY, RIVAL) else f"{own} / {rival}: "
    return f"{against}{outcome.row.title} ({outcome.transport})"


def save_plot(book: Book, path: Path) -> Path:
    """Writes a PNG. Raises ImportError where matplotlib is not installed (extra `plot`)."""
    from matplotlib.figure import Figure

    outcomes = book.outcomes()[::-1]
    figure = Figure(figsize=(9, 1.5 + 0.35 * len(outcomes)), layout="constrained")
    axes = figure.add_subplot()
    for height, outcome in enumerate(outcomes):
        colour = MET if outcome.is_met else MISSED
        axes.plot([min(outcome.ratios), max(outcome.ratios)], [height, height], color=colour, linewidth=2)
        axes.plot(outcome.median, height, "o", color=colour)
        if outcome.row.target is not None:
            axes.plot(outcome.row.target, height, "|", color="black", markersize=14)
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(outcomes)), [label(outcome) for outcome in outcomes])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    compared = f"{ZPROXY} / {RIVAL} unless named; | is the target"
    axes.set_xlabel(f"{compared}\nmedian and spread of {book.plan.pair_count} pairs")
    figure.savefig(path, dpi=120)
    return path
