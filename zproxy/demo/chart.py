"""Chart: a curve in a few lines of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*%#"


def curve(values: Sequence[float], width: int, height: int, blocks: str = BLOCKS) -> list[str]:
    """Lines from top to bottom; the curve fills the width, its largest value the height, its smallest one step.

    Each column is the mean of the values that fall on it.
    """
    if not values or width < 1 or height < 1:
        return []
    columns = [_mean(values, column, width) for column in range(width)]
    low, high = min(columns), max(columns)
    steps = height * (len(blocks) - 1)
    scale = (steps - 1) / (high - low) if high > low else 0.0
    filled = [1 + round((value - low) * scale) for value in columns]
    return ["".join(_cell(level, row, blocks) for level in filled) for row in reversed(range(height))]


def _mean(values: Sequence[float], column: int, width: int) -> float:
    first = column * len(values) // width
    last = max(first + 1, (column + 1) * len(values) // width)
    return sum(values[first:last]) / (last - first)


def _cell(level: int, row: int, blocks: str) -> str:
    full = len(blocks) - 1
    return blocks[max(0, min(full, level - row * full))]
