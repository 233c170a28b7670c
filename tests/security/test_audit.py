"""The audit log: whatever a peer calls itself, a line stays a line, and a flood stays a count."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
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


def test_two_proxies_of_one_registry_go_on_in_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zproxy.security.audit.FILE_BYTES", 400)
    one, other = Audit(tmp_path), Audit(tmp_path)
    for number in range(10):
        for audit in (one, other):
            audit.write("refused", node=f"rank{number}")
    one.close()
    other.close()
    files = sorted(tmp_path.iterdir())
    assert all(300 < path.stat().st_size <= 400 for path in files if path.name != "audit.log")
    said = [json.loads(line)["node"] for path in files for line in path.read_text().splitlines()]
    assert sorted(said) == sorted(2 * [f"rank{number}" for number in range(10)])


def test_lines_of_several_threads_stay_whole_and_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zproxy.security.audit.FILE_BYTES", 10_000)
    monkeypatch.setattr("zproxy.security.audit.FILES_KEPT", 100)
    audit = Audit(tmp_path)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda number: audit.write("refused", node=str(number)), range(BURST)))
    audit.close()
    said = [json.loads(line)["node"] for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sorted(said, key=int) == [str(number) for number in range(BURST)]


def test_a_log_that_cannot_be_written_is_told_once_and_again_after_it_could(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audit = Audit(tmp_path)
    (tmp_path / "audit.log").mkdir()
    for _ in range(3):
        audit.write("refused")
    assert [record.getMessage().count("cannot write") for record in caplog.records] == [1]
    (tmp_path / "audit.log").rmdir()
    audit.write("refused", node="rank7")
    audit.close()
    (line,) = lines(tmp_path)
    assert line["node"] == "rank7"
