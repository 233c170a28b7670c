"""Logs of a command: lines for people or JSON for machines, on stderr.

Each line is one write to the descriptor. So lines of several threads do not mix, and nothing is buffered that could
not be written at the end. A reader who has gone, or who does not read, costs lines and not the proxy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
from datetime import datetime, timezone

from zproxy.entries import Entry
from zproxy.errors import one_line

STDOUT, STDERR = 1, 2
FORMATS = ("auto", "text", "json")
LEVELS = ("info", "warning")
PATIENCE_MS = 1000


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00.123 warning refused side=frontend …: sentence`, local time."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).isoformat(sep=" ", timespec="milliseconds")
        return f"{time} {record.levelname.lower()} {one_line(record.getMessage())}"


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, event, the event's fields, sentence."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": time.replace("+00:00", "Z"), "level": record.levelname.lower()}
        entry = record.msg
        if not isinstance(entry, Entry):
            return json.dumps({**line, "event": "message", "sentence": record.getMessage()})
        sentence = {"sentence": entry.sentence} if entry.sentence else {}
        return json.dumps({**line, "event": entry.event, **entry.fields, **sentence})


class Lines(logging.Handler):
    """Writes each record as one line to a descriptor; waits PATIENCE_MS for a reader, once, then counts lost lines."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)  # a pipe is ready when it takes PIPE_BUF, which is a line
        self._missed = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not self._poll.poll(0 if self._missed else PATIENCE_MS):
            self._missed += 1
            return
        if self._missed:
            write_line(self._descriptor, self.format(_record_of_missed(self._missed)))
            self._missed = 0
        write_line(self._descriptor, self.format(record))


def _record_of_missed(count: int) -> logging.LogRecord:
    entry = Entry(logging.WARNING, "suppressed", "stderr was not read in time", {"of": "lines", "count": count})
    return logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": entry})


def write_line(descriptor: int, line: str) -> None:
    """Writes it at once; a line that cannot be written is lost, and nobody else with it."""
    with contextlib.suppress(OSError):
        os.write(descriptor, f"{line}\n".encode(errors="backslashreplace"))


def log_to_stderr(log_format: str, log_level: str) -> None:
    """Sends the logger "zproxy" to stderr; `auto` is text on a terminal, else JSON."""
    is_text = log_format == "text" or (log_format == "auto" and os.isatty(STDERR))
    handler = Lines(STDERR)
    handler.setFormatter(TextLines() if is_text else JsonLines())
    logger = logging.getLogger("zproxy")
    logger.addHandler(handler)
    logger.setLevel(log_level.upper())
    logger.propagate = False


def hold_standard_streams() -> None:
    """Opens what is closed of 0, 1 and 2: else a peer's connection would get the number, and our lines."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
