"""Audit: one line of JSON for each who was let in, refused, revoked or taken over, and each change of rules.

    {"time": "2026-01-31T12:00:00.123Z", "event": "refused", "node": "rank7", "fingerprint": "SHA256:…",
     "address": "10.0.0.7:51000", "side": "frontend", "reason": "expired"}

In DIR/audit.log, for its owner alone, rotated; several proxies of one registry may share it. What comes too fast is
folded into a line with `count`: a broken peer that tries again for ever fills no disk. JSON escapes what a peer may
have put into a name: a line stays a line.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path

from zproxy.entries import Entry
from zproxy.throttle import Throttle

FILE_NAME = "audit.log"
FILE_BYTES = 16 << 20
FILES_KEPT = 5
BURST, PER_SECOND = 1000, 10.0  # lines of one event and reason: a cluster that starts is written whole
FOLD_S = 60.0

logger = logging.getLogger("zproxy")


class Audit:
    """One log, for any thread. A disk that takes nothing costs lines, and nobody his connection: the proxy's own log
    says so once.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._throttle: Throttle[tuple[str, str]] = Throttle()
        self._folded_at = time.monotonic()
        self._has_failed = False
        self._path = folder / FILE_NAME
        self._handler: RotatingFileHandler | None = None

    def write(self, event: str, reason: str = "", **fields: str | int) -> None:
        """One line, of the fields that say something. `reason`: one of few; each fills the log only so fast."""
        now = time.monotonic()
        with self._lock:
            if self._throttle.admits((event, reason), BURST, PER_SECOND, now):
                self._put(event, {name: value for name, value in {**fields, "reason": reason}.items() if value})
            if now - self._folded_at > FOLD_S:
                self._fold()

    def close(self) -> None:
        with self._lock:
            self._fold()
            if self._handler is not None:
                self._handler.close()

    def _fold(self) -> None:
        self._folded_at = time.monotonic()
        for (event, reason), count in self._throttle.take_suppressed().items():
            self._put("folded", {"of": event, "reason": reason, "count": count})

    def _put(self, event: str, fields: Mapping[str, object]) -> None:
        moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": moment, "event": event, **fields})
        try:
            self._opened().emit(logging.makeLogRecord({"msg": line}))
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                said = f"cannot write {self._path}: {error.strerror}: nothing more is audited until it can be"
                logger.warning(Entry(logging.WARNING, "audit", said))
            self._has_failed = True

    def _opened(self) -> RotatingFileHandler:
        if self._handler is None:
            self._handler = _OwnersFile(self._path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT)
        return self._handler


class _OwnersFile(RotatingFileHandler):
    """Each new file is its owner's alone; what goes wrong is raised."""

    def _open(self):  # type: ignore[no-untyped-def]  # typeshed and CPython name different text wrappers here
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def shouldRollover(self, record: logging.LogRecord) -> int:
        """Where another proxy has moved the file on, its successor is written to."""
        if self.stream is not None and not _is_at(self.stream.fileno(), self.baseFilename):
            self.stream.close()
            self.stream = None
        return super().shouldRollover(record)

    def handleError(self, record: logging.LogRecord) -> None:
        raise


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
