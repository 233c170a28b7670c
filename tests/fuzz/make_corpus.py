"""Writes tests/fuzz/corpus anew: `python -m tests.fuzz.make_corpus`. A folder for each target; see targets.pyx.

What there is of hostile and of right bytes elsewhere: tests/vectors, tests/protocol/corpus. Files named `found-…` were
found by fuzzing, and stay.
"""

from __future__ import annotations

import json
import re
import struct
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


def pattern(count: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(count))


def curve(raw: Inputs, changed: dict[str, tuple[int, int, int]], secrets: Inputs) -> Inputs:
    """For each Attack of targets_curve.pyx, in its order; `changed`: which command, place, change."""
    made = {f"raw-{name}": bytes([2 * step]) + body for step, (name, body) in enumerate(raw.items())}
    for step, name in enumerate(raw):
        made |= {f"genuine-{name}": bytes([2 * step + 1, 0]), f"shorter-{name}": bytes([2 * step + 1, 0xFF])}
    for name, (step, place, change) in changed.items():
        made[f"changed-{name}"] = struct.pack("<BBHB", 2 * step + 1, 0, place, change)
    properties = {name: body[6:] for name, body in commands(recorded("connections")).items() if body[1:6] == b"READY"}
    made |= {f"sealed-properties-of-{name}": b"\4" + said for name, said in properties.items()}
    return made | {f"sealed-secret-{name}": b"\5" + secret for name, secret in secrets.items()}


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
        "curve-server": curve(
            {"hello": b"\x05HELLO\1\0" + bytes(72) + pattern(120), "initiate": b"\x08INITIATE" + pattern(300)},
            changed={"highest-bit-of-the-key": (0, 111, 0x80), "cookie": (1, 9, 1), "vouch": (1, 180, 1)},
            secrets={"nobody": bytes(128), "short": bytes(127), "some": pattern(300)},
        ),
        "curve-client": curve(
            {"welcome": b"\x07WELCOME" + pattern(160), "ready": b"\x05READY" + pattern(60)},
            changed={"nonce": (0, 8, 1), "box": (0, 167, 1), "ready-nonce": (1, 13, 1), "ready-box": (1, 20, 0xFF)},
            secrets={
                "key-zero": b"",
                "key-one": b"\1",
                "key-minus-one": b"\xec" + b"\xff" * 30 + b"\x7f",
                "any": pattern(128),
            },
        ),
        "box": {
            "body": b"\0\x10\0\x07MESSAGE" + bytes(7) + b"\1" + pattern(40),
            "body-of-nonce-0": b"\0\x10\0\x07MESSAGE" + bytes(8) + pattern(17),
            "body-short": b"\0\x10\0\x07MESSAGE" + bytes(7) + b"\1" + pattern(16),
            "body-of-the-last-nonce": b"\0\x10\0\x07MESSAGE" + b"\xff" * 8 + pattern(100),
            "sealed-nothing": b"\3\x10\0",
            "sealed-with-nonce-0": b"\1\0\0text",
            "sealed-in-bytes": b"\3\0\0" + pattern(130),
            "sealed-over-blocks": b"\5\x1f\0" + pattern(300),
            "sealed-whole": b"\7\xff\x1f" + pattern(600),
        },
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
