"""Draws demo.svg, the picture in the README: a real `zproxy demo`, as its terminal shows it at the end.

    python docs/images/draw_demo.py docs/images/demo.svg
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from zproxy.demo import command, view
from zproxy.demo.plan import Plan
from zproxy.demo.supervisor import Supervisor

COLUMNS = 110


def main(target: str) -> None:
    screen = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    screen.print("$ zproxy demo", highlight=False)
    run = Supervisor(Plan(), view.choose(Console())).execute()
    screen.print(view.picture(run, COLUMNS, ascii_only=False))
    if command.conclude(run, screen) != 0:
        sys.exit("this run is not worth a picture")
    svg = screen.export_svg(title="zproxy demo")
    # Without the web fonts: a picture that loads something from elsewhere is shown nowhere as meant.
    Path(target).write_text(re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main(sys.argv[1])
