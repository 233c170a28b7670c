"""`zproxy`, and `python -m zproxy`, which is the same."""

from __future__ import annotations

import signal


def main() -> None:
    """While the rest is imported, SIGINT ends the process without a traceback; then it is Python's again."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from zproxy import cli

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
