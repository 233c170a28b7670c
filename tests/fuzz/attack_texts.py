"""Attacks one target of texts.py as driver.c does its own: `attack_texts.py TARGET CORPUS SECONDS SEED CRASH`.

A program of its own: what is imported here is instrumented.

Inputs are made by atheris (libFuzzer), led by the branches of zproxy, tomllib and tomlkit that they take; those that
are C's are attacked by the other targets. 0 seconds: the corpus alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.remove(str(Path(__file__).parent))

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # not everywhere, and untyped

with atheris.instrument_imports(include=["zproxy", "tomllib", "tomlkit", "fuzz"]):
    from fuzz.texts import TEXTS

INPUT_MAX = 4096
IN_MEMORY = "/dev/shm"  # files of one target after another: several times as fast as on a disk


def main(target: str, corpus: str, seconds: str, seed: str, crash: str) -> None:
    read = TEXTS[target]
    length = "-runs=0" if float(seconds) == 0 else f"-max_total_time={max(1, round(float(seconds)))}"
    where = IN_MEMORY if Path(IN_MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="zproxy-fuzz-", dir=where) as folder:
        found, own = Path(folder, "found"), Path(folder, "own")
        for each in (found, own):
            each.mkdir()
        options = [length, f"-seed={seed}", f"-max_len={INPUT_MAX}", f"-exact_artifact_path={crash}", "-timeout=20"]
        inputs = [str(found), corpus] if Path(corpus).is_dir() else [corpus]
        atheris.Setup([target, *options, *inputs], lambda said: read(said, own) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
