"""Plot: the loss curve as a picture. Needs matplotlib (the extra `plot`), and says so before anything is started."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from zproxy.errors import ZproxyError

FORMATS = (".png", ".svg", ".pdf")
INCHES = (8.0, 4.5)


class PlotError(ZproxyError):
    """A plot that could not be drawn at the end."""


def require(path: Path) -> None:
    """Raises PlotError unless a plot can be written there."""
    if path.suffix.lower() not in FORMATS:
        raise PlotError(f"--plot {path}: the name has to end in {', '.join(FORMATS)}")
    if not os.access(path.parent, os.W_OK):
        raise PlotError(f"--plot {path}: the folder {path.parent} is not there or cannot be written to")
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError("--plot needs matplotlib: pip install 'zproxy[plot]'")


def draw(path: Path, losses: Sequence[float], title: str) -> None:
    """Writes the curve of the training loss by step; needs no display. Raises PlotError."""
    from matplotlib.figure import Figure  # only those who plot have it, and it takes half a second to import

    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="step", ylabel="loss, nats per character")
    axes.plot(range(len(losses)), losses, linewidth=1)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise PlotError(f"--plot {path}: {error.strerror}") from error
