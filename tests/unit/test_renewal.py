"""Which outcomes lead to another try by the node itself, and which are the caller's: row by row."""

from __future__ import annotations

from typing import Any

import pytest

from zproxy.client.pending import Pending, fields_of
from zproxy.client.renewal import BACKOFF_MAX_S, BACKOFF_S, SPREAD, Renewal, backoff_s, renewal_of
from zproxy.envelope import Code, Kind


def made(kind: int = Kind.REQUEST, copies: int = 1, **options: Any) -> Pending:
    request = Pending(1, kind, "gradients", (), 0.0, 10.0, fields_of(**options), False, True)
    request.copies = copies
    return request


def renewed(code: int, request: Pending | None = None, attempt: int = 0, retry_after_s: float = 0.0) -> Renewal | None:
    return renewal_of(request or made(), code, attempt, retry_after_s, 0.0)


@pytest.mark.parametrize("attempt", [0, 1])
def test_busy_is_asked_again_when_the_proxy_says_and_as_what_it_was(attempt: int) -> None:
    assert renewed(Code.BUSY, attempt=attempt, retry_after_s=0.7) == Renewal(0.7, attempt > 0)
    assert renewed(Code.BUSY, attempt=attempt) is None, "it does not say when"


def test_the_pauses_of_many_are_spread() -> None:
    soon, late = (renewal_of(made(), Code.BUSY, 0, 1.0, jitter) for jitter in (0.0, 1.0))
    assert soon is not None and late is not None
    assert (soon.pause_s, late.pause_s) == (1.0, 1.0 + SPREAD)


def test_what_a_stopping_proxy_refuses_goes_elsewhere() -> None:
    assert renewed(Code.DRAINING) == Renewal(BACKOFF_S, False)
    assert renewed(Code.DRAINING, attempt=1) == Renewal(BACKOFF_S, True)
    assert renewed(Code.DRAINING, made(copies=2)) == Renewal(BACKOFF_S, True)


def test_what_has_run_without_a_known_outcome_runs_again_if_it_may() -> None:
    assert renewed(Code.ALREADY_DONE) == renewed(Code.OUTCOME_UNKNOWN) == Renewal(BACKOFF_S, True)


def test_who_says_twice_that_nobody_knows_is_believed() -> None:
    request = made()
    request.is_in_doubt = True
    assert renewed(Code.OUTCOME_UNKNOWN, request) is None


@pytest.mark.parametrize("code", [Code.ALREADY_DONE, Code.OUTCOME_UNKNOWN])
def test_what_may_not_run_twice_is_not_made_again_once_it_may_have_run(code: Code) -> None:
    guarded = made(idempotent=False)
    assert renewed(code, guarded) is None
    assert renewed(Code.DRAINING, guarded, attempt=1) is None
    assert renewed(Code.BUSY, made(copies=2, idempotent=False), retry_after_s=1.0) is None
    assert renewed(Code.DRAINING, guarded) == Renewal(BACKOFF_S, False), "it was surely never begun"


@pytest.mark.parametrize("code", [Code.BUSY, Code.DRAINING, Code.ALREADY_DONE, Code.OUTCOME_UNKNOWN])
@pytest.mark.parametrize("request_", [made(retries=0), made(kind=Kind.POST)], ids=["no retries", "post"])
def test_who_wants_no_retries_has_the_outcome(code: Code, request_: Pending) -> None:
    assert renewed(code, request_, retry_after_s=1.0) is None


@pytest.mark.parametrize(
    "code", [c for c in Code if c not in (Code.BUSY, Code.DRAINING, Code.ALREADY_DONE, Code.OUTCOME_UNKNOWN)]
)
def test_every_other_outcome_is_the_callers(code: Code) -> None:
    assert renewed(code, retry_after_s=1.0) is None


def test_pauses_double_up_to_a_bound() -> None:
    pauses = [backoff_s(times, 0.0) for times in range(12)]
    assert pauses[:3] == [BACKOFF_S, 2 * BACKOFF_S, 4 * BACKOFF_S]
    assert pauses[-1] == backoff_s(10**9, 0.0) == BACKOFF_MAX_S
