"""docs/promises.md names tests, laws and defects: each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROMISES = (ROOT / "docs" / "promises.md").read_text()
SIMULATION = "\n".join(path.read_text() for path in sorted((ROOT / "tests" / "simulation").glob("*.py")))
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))


def quoted(after: str) -> set[str]:
    """What stands in code quotes behind the word, in the enumeration that it begins."""
    found = re.findall(rf"\b{after}s? ((?:`[^`]+`(?:,\s+)?)+)", PROMISES)
    return {name for each in found for name in re.findall(r"`([^`]+)`", each)}


def test_every_test_that_a_promise_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PROMISES))
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in TESTS} == set()


def test_every_law_that_a_promise_names_is_the_oracles() -> None:
    laws = quoted("law")
    assert len(laws) > 15
    assert {law for law in laws if f'"{law}"' not in SIMULATION} == set()


def test_every_defect_that_a_promise_names_exists() -> None:
    defects = quoted("defect")
    assert len(defects) > 20
    assert {defect for defect in defects if f"class {defect}(Defect):" not in SIMULATION} == set()
