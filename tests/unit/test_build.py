"""The extensions under test are of the build that was asked for: a stale one of another kind would prove nothing."""

from __future__ import annotations

import os
from pathlib import Path

import zproxy
from zproxy.relay import block

KIND = os.environ.get("ZPROXY_BUILD", "release")
EXTENSIONS = sorted(Path(zproxy.__file__).parent.rglob("*.so"))


def test_every_extension_has_the_sanitizers_in_it_or_none() -> None:
    assert len(EXTENSIONS) > 15
    for runtime in (b"__asan_report", b"__ubsan_handle"):
        instrumented = [path for path in EXTENSIONS if runtime in path.read_bytes()]
        assert instrumented == (EXTENSIONS if KIND == "sanitize" else []), f"no {KIND} build; set ZPROXY_BUILD"


def test_the_checks_are_on_in_debug_and_sanitize_builds() -> None:
    assert block.IS_CHECKED == (KIND != "release"), f"no {KIND} build; set ZPROXY_BUILD"
