"""Words: kinds, codes and flags of the envelope as plain integers: comparing with an enum's member costs more."""

from __future__ import annotations

from zproxy.envelope import Code, Flag, Kind

WELCOME, HELLO, READY, CREDIT = int(Kind.WELCOME), int(Kind.HELLO), int(Kind.READY), int(Kind.CREDIT)
GOODBYE, ACCEPTED, REQUEST, POST = int(Kind.GOODBYE), int(Kind.ACCEPTED), int(Kind.REQUEST), int(Kind.POST)
REPLY, ERROR, CANCEL, PROGRESS = int(Kind.REPLY), int(Kind.ERROR), int(Kind.CANCEL), int(Kind.PROGRESS)
NEED_HELLO, RESEND, NOT_SHARED = int(Code.NEED_HELLO), int(Code.RESEND), int(Code.NOT_SHARED)
NAME_IN_USE, FENCED, BUSY, DRAINING = int(Code.NAME_IN_USE), int(Code.FENCED), int(Code.BUSY), int(Code.DRAINING)
TIMEOUT, NO_WORKER, UNKNOWN = int(Code.TIMEOUT), int(Code.NO_WORKER), int(Code.UNKNOWN_SERVICE)
WORKER_LOST, CANCELLED = int(Code.WORKER_LOST), int(Code.CANCELLED)
RETRIES_EXHAUSTED, POISON = int(Code.RETRIES_EXHAUSTED), int(Code.POISON)
HANDLER_ERROR, CODE_YOURS = int(Code.HANDLER_ERROR), int(Code.CODE_YOURS)
ALREADY_DONE, OUTCOME_UNKNOWN = int(Code.ALREADY_DONE), int(Code.OUTCOME_UNKNOWN)
DENIED, TOO_LARGE = int(Code.DENIED), int(Code.TOO_LARGE)
RESENT, NOT_IDEMPOTENT, RETRY_ERRORS = int(Flag.RESENT), int(Flag.NOT_IDEMPOTENT), int(Flag.RETRY_ERRORS)
ORDERED, LAST = int(Flag.ORDERED), int(Flag.LAST)
CHUNK, WINDOW = int(Kind.CHUNK), int(Kind.WINDOW)
WANTS_PROGRESS, WANTS_ACCEPTED = int(Flag.WANTS_PROGRESS), int(Flag.WANTS_ACCEPTED)
WORKERS_CODES = {HANDLER_ERROR, int(Code.MALFORMED), int(Code.TOO_LARGE), BUSY, CANCELLED}
