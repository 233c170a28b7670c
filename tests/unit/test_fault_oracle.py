"""The oracle of the fault tests finds what is planted, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.fault_oracle import judge, recovery_seconds
from support.ledger import Ledger, Records, digest_of, parse_lines, read_ledgers
from support.processes import SUPPORT

WELL = """\
A node1 1 aa 1.0
A node1 2 bb 1.1
E m1 node1 1 aa 1 1.2
E m2 node1 2 bb 1 1.3
O node1 1 REPLY aa 1 1.4
O node1 2 REPLY bb 1 1.5
"""


def records(text: str) -> Records:
    return parse_lines(text.splitlines())


def test_a_run_without_faults_is_clean() -> None:
    found = judge(records(WELL))
    found.assert_promises_kept()
    assert (found.accepted, found.replies, found.duplicates, found.recovered) == (2, 2, 0, 0)


def test_a_request_without_an_outcome_is_lost() -> None:
    found = judge(records(WELL + "A node1 3 cc 2.0\n"))
    assert found.lost == [("node1", 3)]
    with pytest.raises(AssertionError, match="no outcome"):
        found.assert_promises_kept()


def test_of_some_nodes_only_their_own_requests_are_judged() -> None:
    everything = records(WELL + "A node2 1 cc 2.0\nE m1 node3 1 cc 1 2.1\nO node4 1 REPLY cc 1 2.1\n")
    found = judge(everything.of({"node1"}))
    found.assert_promises_kept()
    assert found.accepted == 2
    assert judge(everything).lost == [("node2", 1)]


def test_a_second_outcome_is_found() -> None:
    found = judge(records(WELL + "O node1 2 REPLY bb 1 1.6\n"))
    assert found.delivered_twice == [("node1", 2)]
    with pytest.raises(AssertionError, match="two outcomes"):
        found.assert_promises_kept()


@pytest.mark.parametrize(
    ("planted", "reason"),
    [
        ("O node1 3 REPLY cc 1 2.0", "nobody asked"),
        ("O node2 1 REPLY aa 1 2.0", "nobody asked"),
        ("A node1 3 cc 2.0\nE m1 node1 3 cc 1 2.1\nO node1 3 REPLY aa 1 2.2", "another payload"),
        ("A node1 3 cc 2.0\nO node1 3 REPLY cc 1 2.2", "nobody executed"),
        ("A node1 3 cc 2.0\nE m1 node1 3 cc 1 2.1\nO node1 3 RequestTimeout - 0 2.2", "never begun"),
        ("E m1 node1 4 cc 1 2.0", "nobody asked"),
        ("E m1 node1 1 cc 2 2.0", "another payload"),
    ],
)
def test_what_belongs_to_no_request_is_unexpected(planted: str, reason: str) -> None:
    found = judge(records(WELL + planted))
    assert len(found.unexpected) == 1
    assert reason in found.unexpected[0]
    with pytest.raises(AssertionError, match="unexpected"):
        found.assert_promises_kept()


def test_executions_beyond_the_first_are_duplicates_and_no_fault() -> None:
    found = judge(records(WELL + "E m2 node1 1 aa 2 1.3\nE m1 node1 1 aa 3 1.3\n"))
    found.assert_promises_kept()
    assert found.duplicates == 2


def test_what_was_executed_though_its_node_heard_no_reply_is_recovered() -> None:
    found = judge(records(WELL + "A node1 3 cc 2.0\nE m1 node1 3 cc 1 2.1\nO node1 3 WorkerLost - 1 2.2\n"))
    found.assert_promises_kept()
    assert (found.recovered, found.errors) == (1, {"WorkerLost": 1})


def test_recovery_is_when_all_that_was_open_has_its_outcome() -> None:
    assert recovery_seconds(records(WELL), [1.05]) == pytest.approx(0.35)
    assert recovery_seconds(records(WELL), [1.15, 1.45]) == pytest.approx(0.35)
    assert recovery_seconds(records(WELL), [0.5, 1.6]) == 0
    begun_later = "A node1 3 cc 1.2\nO node1 3 NoWorker - 0 9.0"
    assert recovery_seconds(records(WELL + begun_later), [1.15]) == pytest.approx(0.35)


def test_a_ledger_holds_what_its_process_had_noted_when_it_was_killed(tmp_path: Path) -> None:
    """Line by line, without any buffer that would die with it."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(SUPPORT.parent)!r})
from support.ledger import Ledger
ledger = Ledger({str(tmp_path)!r}, "node1")
ledger.attempt("node1", 1, "aa")
ledger.outcome("node1", 1, "NoWorker", "", 0)
ledger.execution("m1", "node1", 1, "aa", 2)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    found = read_ledgers(tmp_path)
    assert [len(each) for each in found] == [1, 1, 1]
    assert found.outcomes[0].digest == ""
    assert found.executions[0].attempt == 2


def test_ledgers_of_several_processes_are_read_together(tmp_path: Path) -> None:
    for owner in ("node1", "node2"):
        Ledger(str(tmp_path), owner).attempt(owner, 1, digest_of(b"x"))
    assert {each.node for each in read_ledgers(tmp_path).attempts} == {"node1", "node2"}
    assert len(os.listdir(tmp_path)) == 2
