"""A wall clock of the tests' own: processes that are started under it see it jump (support/clock_shim.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.processes import SUPPORT

COMPILER = shutil.which("cc")


class WallClock:
    """Every process that is started after it was made has it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert COMPILER is not None
        shim = folder / "clock_shim.so"
        source = str(SUPPORT / "clock_shim.c")
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(shim), source], check=True)
        self._offset = folder / "offset"
        self.jump(0)
        before = os.environ.get("LD_PRELOAD")  # a sanitizer's, which wants to be first
        monkeypatch.setenv("LD_PRELOAD", f"{before}:{shim}" if before else str(shim))
        monkeypatch.setenv("ZPROXY_TESTS_CLOCK", str(self._offset))

    def jump(self, seconds: int) -> None:
        """It is so far from the machine's clock now."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
