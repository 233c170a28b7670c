"""zproxy reads and writes the bytes of tests/vectors, which are made from the protocol's document without zproxy."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zproxy.content import pack, unpack
from zproxy.dtypes import dtype_named
from zproxy.envelope import FAULTS, Envelope, Kind, key_hash, offers_pack, offers_parse, tlvs_pack, tlvs_parse
from zproxy.errors import MalformedContent, MalformedEnvelope

VECTORS = Path(__file__).parents[1] / "vectors"
MAKER = runpy.run_path(str(VECTORS / "make_vectors.py"))

Vector = dict[str, Any]

ENVELOPE_REASONS = {
    "length": "shorter than 128|longer or shorter",
    "magic": "5A 50 58 01",
    "kind": "kind is unknown",
    "priority": "priority",
    "flag": "flag",
    "character": "character",
    "field": "lacks a field",
}

CONTENT_REASONS = {
    "messagepack": "ends inside|behind|not an array|C1|utf-8",
    "extension": "extension type",
    "depth": "deeper",
    "frames": "frames came",
    "names": "one name|longer than 255",
    "entry": "Expected|Invalid enum",
    "size": "takes",
    "dtype": "no dtype",
}


def held(file_name: str) -> Any:
    return json.loads((VECTORS / file_name).read_text(encoding="utf-8"))


def by_title(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector["title"])


@pytest.mark.parametrize("file_name", ["envelopes.json", "keys.json", "offers.json", "contents.json", "malformed.json"])
def test_the_files_are_what_the_script_makes(file_name: str) -> None:
    assert (VECTORS / file_name).read_text(encoding="utf-8") == MAKER["as_text"](MAKER["vectors"]()[file_name])


def test_the_script_knows_nothing_of_zproxy() -> None:
    imports = re.findall(r"^\s*(?:from|import)\s+(\w+)", (VECTORS / "make_vectors.py").read_text(), re.MULTILINE)
    assert set(imports) == {"__future__", "json", "math", "struct", "collections", "pathlib", "typing"}


# ---- envelopes ----

ENVELOPES = held("envelopes.json")
WIDE = ("incarnation", "sequence", "lease", "key_hash", "stream", "offset", "step", "total")


def fields_of(vector: Vector) -> Vector:
    fields = dict(vector["fields"])
    fields |= {name: int(fields[name]) for name in WIDE}
    fields["trace"] = bytes.fromhex(fields["trace"])
    fields["tlvs"] = tlvs_pack({kind: bytes.fromhex(value) for kind, value in fields["tlvs"]})
    return fields


def test_every_kind_has_an_envelope() -> None:
    assert {vector["kind"] for vector in ENVELOPES} == {kind.name for kind in Kind}
    assert all(Kind[vector["kind"]] == vector["fields"]["kind"] for vector in ENVELOPES)


@by_title(ENVELOPES)
def test_an_envelope_is_read(vector: Vector) -> None:
    assert Envelope.parse(bytes.fromhex(vector["hex"])).fields() == fields_of(vector)


@by_title(ENVELOPES)
def test_an_envelope_is_written(vector: Vector) -> None:
    assert Envelope(**fields_of(vector)).pack().hex() == vector["hex"]


@by_title(ENVELOPES)
def test_tlvs_are_read(vector: Vector) -> None:
    found = tlvs_parse(Envelope.parse(bytes.fromhex(vector["hex"])).tlvs)
    assert [[kind, value.hex()] for kind, value in found.items()] == vector["fields"]["tlvs"]


@by_title(held("malformed.json")["envelopes"])
def test_a_malformed_envelope_is_refused_for_its_reason(vector: Vector) -> None:
    with pytest.raises(MalformedEnvelope, match=ENVELOPE_REASONS[vector["reason"]]):
        Envelope.parse(bytes.fromhex(vector["hex"]))


def test_every_fault_of_an_envelope_has_a_malformed_one() -> None:
    tried = {vector["reason"] for vector in held("malformed.json")["envelopes"]}
    assert tried == set(ENVELOPE_REASONS)
    assert all(any(re.search(words, fault) for words in ENVELOPE_REASONS.values()) for fault in FAULTS[1:])


@pytest.mark.parametrize("vector", held("keys.json"), ids=lambda vector: vector["key"])
def test_a_key_has_its_hash(vector: Vector) -> None:
    assert key_hash(bytes.fromhex(vector["key"])) == int(vector["key_hash"])


# ---- services of READY ----


@by_title(held("offers.json"))
def test_services_are_read_and_written(vector: Vector) -> None:
    listed = [(each["service"], each["lease_ms"], each["flags"]) for each in vector["offers"]]
    assert offers_parse(bytes.fromhex(vector["hex"])) == listed
    assert offers_pack(listed).hex() == vector["hex"]


@by_title(held("malformed.json")["offers"])
def test_malformed_services_are_refused(vector: Vector) -> None:
    assert offers_parse(bytes.fromhex(vector["hex"])) is None


# ---- contents ----

CONTENTS = held("contents.json")
UNWRAPPED: dict[str, Any] = {"$bytes": bytes.fromhex, "$float": float, "$int": int}


def body_of(shown: Any) -> Any:
    if isinstance(shown, list):
        return [body_of(item) for item in shown]
    if not isinstance(shown, dict):
        return shown
    for mark, made in UNWRAPPED.items():
        if mark in shown:
            return made(shown[mark])
    return {key: body_of(item) for key, item in shown.items()}


def frames_of(vector: Vector) -> list[bytes]:
    return [bytes.fromhex(tensor["hex"]) for tensor in vector["tensors"]]


def are_here(vector: Vector) -> bool:
    return all(dtype_named(tensor["dtype"]) is not None for tensor in vector["tensors"])


def values_of(array: np.ndarray[Any, Any]) -> list[Any]:
    """In C order, as the vectors have them."""
    flat = array.reshape(-1)
    if array.dtype.kind in "mM":
        return [None if np.isnat(each) else int(each.astype(np.int64)) for each in flat]
    if array.dtype.kind == "c":
        return [[float(each.real), float(each.imag)] for each in flat]
    if array.dtype.kind == "S":
        return [each.hex() for each in flat.tolist()]
    if array.dtype.kind == "U":
        return list(flat.tolist())
    return [bool(each) if array.dtype.kind == "b" else float(each) for each in flat]


@by_title(CONTENTS)
def test_a_content_is_read(vector: Vector) -> None:
    content, frames = bytes.fromhex(vector["hex"]), frames_of(vector)
    if not are_here(vector):
        with pytest.raises(MalformedContent, match="no dtype"):
            unpack(content, frames)
        return
    came = unpack(content, frames)
    assert repr(came.body) == repr(body_of(vector["body"]))  # 1.0 is not 1, -0.0 is not 0.0
    assert list(came.tensors) == [tensor["name"] for tensor in vector["tensors"]]
    for tensor in vector["tensors"]:
        array = came.tensors[tensor["name"]]
        assert (array.dtype, list(array.shape)) == (dtype_named(tensor["dtype"]), tensor["shape"])
        assert values_of(array) == tensor["values"]


@by_title([vector for vector in CONTENTS if vector["shortest"] and are_here(vector)])
def test_a_content_is_written(vector: Vector) -> None:
    body, frames = body_of(vector["body"]), frames_of(vector)
    content, *written = pack(body, unpack(bytes.fromhex(vector["hex"]), frames).tensors)
    assert bytes(content).hex() == vector["hex"]
    assert [bytes(frame) for frame in written] == frames


@by_title(held("malformed.json")["contents"])
def test_a_malformed_content_is_refused_for_its_reason(vector: Vector) -> None:
    with pytest.raises(MalformedContent) as caught:
        unpack(bytes.fromhex(vector["hex"]), [bytes.fromhex(frame) for frame in vector["frames"]])
    assert re.search(CONTENT_REASONS[vector["reason"]], caught.value.reason), caught.value
