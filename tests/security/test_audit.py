"""The audit log: whatever a peer calls itself, a line stays a line, and a flood stays a count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zproxy.security.audit import BURST, Audit

HOSTILE = ["a\nb", "a\r\n{}", 'quote"', "\u202erank7", "\u2028", "x" * 10_000, "\0", "100%s", "无权访问"]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.log").read_text().split("\n")[:-1]]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_never_breaks_its_line(tmp_path: Path, name: str) -> None:
    audit = Audit(tmp_path)
    audit.write("refused", node=name, reason="denied")
    audit.close()
    (line,) = lines(tmp_path)
    assert (line["event"], line["node"], line["reason"]) == ("refused", name, "denied")
    assert (tmp_path / "audit.log").read_bytes().isascii()


def test_a_flood_is_folded_into_a_count(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    for _ in range(BURST + 500):
        audit.write("refused", reason="unknown_key")
    audit.write("admitted", node="a")
    audit.close()
    found = lines(tmp_path)
    assert len(found) < BURST + 100
    assert found[-1]["event"] == "folded"
    assert found[-1]["count"] + len(found) - 2 == BURST + 500


def test_an_empty_log_is_no_file(tmp_path: Path) -> None:
    Audit(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_nothing_costs_lines_and_no_more(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "gone")
    audit.write("refused", reason="expired")
    audit.close()
