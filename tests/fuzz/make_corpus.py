"""Writes tests/fuzz/corpus anew: `python -m tests.fuzz.make_corpus`. A folder for each target; see targets.pyx.

What there is of hostile and of right bytes elsewhere: tests/vectors, tests/protocol/corpus. Files named `found-…` were
found by fuzzing, and stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent
INPUT_MAX = 1024  # small ones are faster, and grow by themselves
GREETING_BYTES = 64
Inputs = dict[str, bytes]


def vectors(name: str) -> Any:
    return json.loads((TESTS / "vectors" / f"{name}.json").read_text())


def of_vectors(rows: Iterable[dict[str, str]], prefix: str = "") -> Inputs:
    return {prefix + re.sub(r"\W+", "-", row["title"]).strip("-"): bytes.fromhex(row["hex"]) for row in rows}


def recorded(folder: str) -> Inputs:
    paths = sorted((TESTS / "protocol" / "corpus" / folder).glob("*.bin"))
    return {path.stem: path.read_bytes() for path in paths}


def commands(said: Inputs) -> Inputs:
    """The body of the command behind each greeting."""
    behind = {name: each[GREETING_BYTES:] for name, each in said.items()}
    return {name: each[2 : 2 + each[1]] for name, each in behind.items() if len(each) > 2 and each[0] == 4}


def inputs() -> dict[str, Inputs]:
    malformed = vectors("malformed")
    connections = recorded("connections")
    ready = commands(connections)
    return {
        "zmtp": recorded("frames") | {name: said[GREETING_BYTES:] for name, said in connections.items()},
        "greeting": {name: said[:GREETING_BYTES] for name, said in connections.items()},
        "ready": ready
        | {f"properties-of-{name}": body[6:] for name, body in ready.items() if body.startswith(b"\5READY")}
        | {"ping": b"\x04PING\0\x0acontext", "ping-short": b"\x04PING\0"},
        "envelope": of_vectors(vectors("envelopes")) | of_vectors(malformed["envelopes"], "malformed-"),
        "offers": of_vectors(vectors("offers")) | of_vectors(malformed["offers"], "malformed-"),
        "skim": of_vectors(vectors("contents")) | of_vectors(malformed["contents"], "malformed-"),
        "defect": {"nothing": b"abcdef"},
    }


def write(target: str, made: Inputs) -> None:
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.name.startswith("found-"):
            old.unlink()
    seen: set[bytes] = set()
    for name, bytes_ in made.items():
        if len(bytes_) <= INPUT_MAX and bytes_ not in seen:
            (folder / f"{name[:60]}.bin").write_bytes(bytes_)
            seen.add(bytes_)


if __name__ == "__main__":
    for target, made in inputs().items():
        write(target, made)
