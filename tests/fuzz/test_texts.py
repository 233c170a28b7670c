"""Each reader of texts takes its corpus, and what a fixed seed makes of it; for more, `make fuzz`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import build
from .texts import TEXTS

CORPUS = build.HERE / "corpus"
INTERESTING = ["\n", "\r", "\0", "\x1b[2J", "\u202e", "\ud800", '"', "'''", "[", "]", "{", "=", "9" * 400, "-", "1e999"]
KNOWN = {target: sorted(path.read_bytes() for path in (CORPUS / target).iterdir()) for target in TEXTS}


def test_every_target_is_known_to_who_runs_them() -> None:
    assert tuple(TEXTS) == build.TEXTS


@cache
def pieces(target: str) -> st.SearchStrategy[bytes]:
    """Of inputs that there are, and what is seldom meant well."""
    parts = sorted({part for said in KNOWN[target] for part in (said, *said.splitlines(keepends=True))})
    hard = [text.encode(errors="surrogatepass") for text in INTERESTING]
    return st.one_of(st.sampled_from(parts), st.sampled_from(hard), st.binary(max_size=8))


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """An input that is known, with pieces of others in its places."""
    said = bytearray(draw(st.sampled_from(KNOWN[target])))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(said)))
        end = min(len(said), begin + draw(st.sampled_from([0, 0, 1, 2, 8, 64])))
        said[begin:end] = draw(pieces(target))
    return bytes(said)


@pytest.mark.parametrize("target", TEXTS)
def test_what_is_known_is_understood_or_refused(target: str, tmp_path: Path) -> None:
    understood = [TEXTS[target](said, tmp_path) for said in KNOWN[target]]
    assert 0 < sum(understood) < len(understood), "some of each"


@pytest.mark.parametrize("target", TEXTS)
def test_what_is_made_of_it_is_understood_or_refused(target: str, tmp_path: Path) -> None:
    @given(changed(target))
    def attacked(said: bytes) -> None:
        TEXTS[target](said, tmp_path)

    attacked()
