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


# The pairs of libzmq's own documentation: public, secret.
SERVER = ("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6")
CLIENT = ("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")
KEYS = [SERVER[0], CLIENT[0]]
PUBLIC = f'metadata\ncurve\n    public-key = "{SERVER[0]}"\n'
SECRET = f'    secret-key = "{SERVER[1]}"\n'
GROUPS = '[groups.nodes]\nallow = ["*"]\n[groups.masters]\nserve = ["*"]\n'
MARK = "\u202e"  # right to left from here

REGISTRIES = {
    "nothing": "",
    "groups": GROUPS,
    "all-of-a-node": f"""{GROUPS}[nodes."rack4/rank7"]  # ours\nkeys = ["{KEYS[0]}", "{KEYS[1]}"]\nrole = "master"
groups = ["nodes", "masters"]\nallow = ["own"]\nserve = ["a/*"]\nnot_after = 2027-01-31\ncomment = "rack 4"\n""",
    "all-of-a-group": """[groups.g]\nallow = ["progress", "gradients/*"]\nserve = []\nrate = 10.5\nrate_bytes = "2KiB"
in_flight = 4\nmax_message = 1048576\n[nodes.a]\ngroups = ["g"]\nnot_after = 2027-01-31T12:00:00.5+02:00\n""",
    "inline": 'groups.g.allow = ["*"]\nnodes = {a = {keys = [], groups = ["g"]}}\n',
    "one-key-twice": f'[nodes.a]\nkeys = ["{KEYS[0]}"]\n[nodes.b]\nkeys = ["{KEYS[0]}"]\n',
    "no-such-group": '[nodes.a]\ngroups = ["g"]\n',
    "no-such-role": '[nodes.a]\nrole = "king"\n',
    "no-such-field": "[nodes.a]\nkey = []\n",
    "name-of-two-lines": '[nodes."a\\nb"]\n',
    "field-of-two-lines": '[nodes.a]\n"a\\nb" = 1\n',
    "table-that-turns": f'["{MARK}a"]\n',
    "group-of-two-lines": '[nodes.a]\ngroups = ["a\\nb\\u202e"]\n',
    "first-moment": "[nodes.a]\nnot_after = 0001-01-01T00:00:00+23:59\n[nodes.b]\nnot_after = 2027-01-31\n",
    "last-moment": "[nodes.a]\nnot_after = 9999-12-31T23:59:59-23:59\n[nodes.b]\nnot_after = 2027-01-31\n",
    "time-of-day": "[nodes.a]\nnot_after = 12:00:00\n",
    "numbers": "[groups.g]\nrate = 0x7fffffffffffffff\nin_flight = 1e9\nrate_bytes = 1_000\nmax_message = 0o777\n",
    "infinite": "[groups.g]\nrate = -inf\n",
    "deep": "a = " + "[" * 200,
    "line-cut-off": "[nodes.a]\nkeys = [",
    "returns": "[nodes.a]\r\nkeys = []\r\n",
}  # fmt: skip


def texts() -> dict[str, Inputs]:
    """For the targets of texts.py."""
    registries = {name: text.encode() for name, text in REGISTRIES.items()} | {"no-text": b"\xff\xfe[nodes]"}
    by_text = {
        "frontend": ["tcp://127.0.0.1:5555", "ipc:///run/zproxy/f", ""],
        "backend_connect": ["tcp://h:6000?server=m1", "tcp://h:6000?server="],
        "registry": ["~/registry", "a\0b"],
        "memory": ["half", "1.5GiB", "1k", "9" * 99],
        "stall": ["100us", "2.5 s", "5m"],
        "heartbeat": ["off", "2s"],
        "balance": ["hash", "gradients/a=round_robin", "*=hash", f"{MARK}=hash"],
        "overload": ["busy", "slow"],
        "spin": ["auto", "off", "50us"],
        "max_message": ["64MiB"],
        "insecure": ["no"],
    }
    values = {
        "nil": b"\xc0",
        "yes": b"\xc3",
        "list": b"\x90",
        "map": b"\x80",
        "nan": b"\xcb\x7f\xf8" + bytes(6),
        "bytes": b"\xc4\1a",
        "texts": b"\x92\xa4hash\xa6a=hash",
        "number": b"\xce\x40\0\0\0",
        "most": b"\xcf" + b"\xff" * 8,
    }
    options = {f"{name}-{number}": f"{name}={text}".encode()
               for name, given in by_text.items() for number, text in enumerate(given)}  # fmt: skip
    for name in by_text:
        options |= {f"{name}-{kind}": f"{name}:".encode() + value for kind, value in values.items()}
    ends = [
        *("tcp://127.0.0.1:5555", "tcp://[::1]:5555", "tcp://host.name:1", "tcp://*:0", "tcp://127.0.0.1:1?server=m1"),
        *("ipc:///run/a", "ipc://@a", "ipc://*", "tcp://127.0.0.1:1, ipc:///b,tcp://[::1]:2", "tcp://:1"),
        *("tcp://a\nb:0", f"tcp://{MARK}:0", "ipc:///a\nb" + "c" * 108, "tcp://[fe80::1%1]:5", "tcp://a\0b:1"),
        *("ipc:///\ud800", "tcp://a:99999"),
    ]
    contents = of_vectors(vectors("contents")) | of_vectors(vectors("malformed")["contents"], "malformed-")
    tensor = b"\x92\xc0\x91\x93\xa1a\xa7float64\x91\x03"
    return {
        "registry": registries,
        "edit": registries,
        "keys": {
            "public": PUBLIC.encode(),
            "both": (PUBLIC + SECRET).encode(),
            "of-two": (PUBLIC + SECRET.replace(SERVER[1], CLIENT[1])).encode(),
            "two": (PUBLIC + PUBLIC.replace(KEYS[0], KEYS[1])).encode(),
            "short": b'public-key = "short"\n',
            "blank": b" \n" * 300,
            "no-text": b"\xff\xfe",
        },
        "option": options,
        "endpoint": {f"{number}": text.encode(errors="surrogatepass") for number, text in enumerate(ends)},
        "content": {name: b"\0" + said for name, said in contents.items()}
        | {
            "tensor": b"\1\x18" + bytes(24) + tensor,
            "tensor-of-other-size": b"\1\x10" + bytes(16) + tensor,
            "bool": b"\1\3\0\1\2\x92\xc0\x91\x93\xa1a\xa4bool\x91\3",
            "text": b"\1\4A\0\0\0\x92\xc0\x91\x94\xa1a\xa5text1\x90\xa1F",
            "point": b"\4\x91\x82\xa1x\xcb" + bytes(8) + b"\xa6colour\xa3red",
            "point-and-more": b"\4\x91\x82\xa1x\1\xa3a\nb\1",
            "points": b"\x0c\x91\x81\xa3a\nb\x81\xa1x\xa1b",
            "colour-of-two-lines": b"\4\x91\x82\xa1x\1\xa6colour\xa3r\nd",
        },
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
    for target, made in (inputs() | texts()).items():
        write(target, made)
