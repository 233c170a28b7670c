"""`zproxy`, and `python -m zproxy`, which is the same."""

from __future__ import annotations

import signal


def main() -> None:
    """Until a command takes it, SIGINT ends the process as SIGTERM does, without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from zproxy import cli

    cli.main()


if __name__ == "__main__":
    main()
