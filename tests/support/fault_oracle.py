"""Oracle of the fault tests: from what nodes and workers noted, what became of every request. Pure.

As Jepsen's checker of queues does, it believes neither the proxy nor the SDK, but only the two ends (support/ledger).

    accepted          a node's SDK took it
    lost              accepted, and without any outcome
    unexpected        an outcome or execution of nothing that was asked, or of another payload; a reply nobody made;
                      "never begun" of what a worker began
    delivered twice   more than one outcome
    duplicates        executions beyond the first
    recovered         executed, though its node heard of no reply
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from support.ledger import Attempt, Execution, Outcome, Records

Id = tuple[str, int]


@dataclass
class Judgement:
    """What the oracle found."""

    accepted: int = 0
    replies: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    lost: list[Id] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    delivered_twice: list[Id] = field(default_factory=list)
    duplicates: int = 0
    recovered: int = 0

    def assert_promises_kept(self) -> None:
        """What every fault has to leave intact."""
        assert not self.lost, f"{len(self.lost)} accepted requests have no outcome: {self.lost[:5]}"
        assert not self.unexpected, f"{len(self.unexpected)} unexpected: {self.unexpected[:5]}"
        assert not self.delivered_twice, f"{len(self.delivered_twice)} have two outcomes: {self.delivered_twice[:5]}"


def judge(records: Records) -> Judgement:
    """What became of everything in the records."""
    found = Judgement()
    attempts = {(each.node, each.sequence): each for each in records.attempts}
    executions = Counter(_executed(records.executions, attempts, found))
    outcomes: dict[Id, Outcome] = {}
    for outcome in records.outcomes:
        key = outcome.node, outcome.sequence
        if key in outcomes:
            found.delivered_twice.append(key)
            continue
        outcomes[key] = outcome
        reason = _why_unexpected(outcome, attempts.get(key), executions[key])
        if reason:
            found.unexpected.append(f"{outcome}: {reason}")
    for key in attempts:
        _account(found, key, outcomes.get(key), executions[key])
    return found


def recovery_seconds(records: Records, faults: Iterable[float]) -> float:
    """The longest from a fault until all that was open at it had its outcome; 0 if nothing ever was."""
    ended = {(each.node, each.sequence): each.at for each in records.outcomes}
    spans = sorted((each.at, ended.get((each.node, each.sequence), 0.0)) for each in records.attempts)
    begins = [begin for begin, _ in spans]
    latest_ends = [0.0, *accumulate((end for _, end in spans), max)]
    return max([0.0, *(latest_ends[bisect_right(begins, at)] - at for at in faults)])


def _executed(executions: list[Execution], attempts: dict[Id, Attempt], found: Judgement) -> list[Id]:
    """The ids of what was executed; what nobody asked for is noted as unexpected."""
    ids = []
    for execution in executions:
        key = execution.node, execution.sequence
        attempt = attempts.get(key)
        if attempt is None:
            found.unexpected.append(f"{execution}: nobody asked for it")
        elif attempt.digest != execution.digest:
            found.unexpected.append(f"{execution}: another payload than {attempt.digest}")
        else:
            ids.append(key)
    return ids


def _why_unexpected(outcome: Outcome, attempt: Attempt | None, executions: int) -> str:
    if attempt is None:
        return "nobody asked for it"
    if outcome.is_reply and outcome.digest != attempt.digest:
        return f"another payload than {attempt.digest}"
    if outcome.is_reply and not executions:
        return "nobody executed it"
    if not outcome.is_reply and outcome.attempt == 0 and executions:
        return "never begun, it says, and was executed"
    return ""


def _account(found: Judgement, key: Id, outcome: Outcome | None, executions: int) -> None:
    found.accepted += 1
    found.duplicates += max(0, executions - 1)
    if outcome is None:
        found.lost.append(key)
    elif outcome.is_reply:
        found.replies += 1
    else:
        found.errors[outcome.result] += 1
    if executions and (outcome is None or not outcome.is_reply):
        found.recovered += 1
