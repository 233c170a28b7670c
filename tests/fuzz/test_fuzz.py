"""Each target takes its corpus, and two seconds of what a fixed seed makes of it; for more, `make fuzz`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .build import HERE, TARGETS, TEXTS, build, command, environment, has_sanitizers

SECONDS = 2.0
SEED = 1
CORPUS = HERE / "corpus"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    if not has_sanitizers(folder):
        pytest.skip("the C compiler here has no sanitizers, or no -fsanitize-coverage=trace-pc, which gcc has")
    return build(folder)


def attack(program: Path, target: str, seconds: float, corpus: Path | None = None) -> subprocess.CompletedProcess[str]:
    given = command(program, target, seconds, SEED, corpus)
    return subprocess.run(given, env=environment(), capture_output=True, text=True, errors="replace")


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(program: Path, target: str) -> None:
    inputs = list((CORPUS / target).iterdir())
    ended = attack(program, target, SECONDS)
    assert ended.returncode == 0, ended.stderr
    told = {name: int(count) for name, count in re.findall(r"([a-z]+) ([0-9]+)", ended.stdout)}
    assert told["corpus"] == len(inputs) > 1
    assert told["executions"] > len(inputs) and told["understood"] > 0 and told["edges"] > 10


def test_a_byte_read_behind_an_input_is_found_and_its_input_kept(program: Path) -> None:
    found = attack(program, "defect", 60)
    assert found.returncode != 0 and "AddressSanitizer" in found.stderr
    kept = program.with_name("crash-defect.bin")
    assert kept.read_bytes().startswith(b"ZPX!")
    assert "AddressSanitizer" in attack(program, "defect", 0, corpus=kept).stderr


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {*TARGETS, *TEXTS, "defect"}
