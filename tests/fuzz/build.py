"""Builds driver.c and the targets into one program, under AddressSanitizer and UndefinedBehaviorSanitizer.

Cython's C is compiled against Python's headers, but no interpreter is linked: the targets are `nogil` and call none of
it, the modules' own initialization never runs, and what it would have called stays unresolved.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
WITHOUT_WRAPV = "-fno-wrapv"  # it would make signed overflow defined
COMPILE = ["-std=gnu11", "-O1", "-g", "-fno-strict-aliasing", WITHOUT_WRAPV, "-w", *SANITIZERS]
LINK = ["-no-pie", "-Wl,--unresolved-symbols=ignore-all", "-lm", "-ldl"]
TARGETS = ("zmtp", "greeting", "ready", "envelope", "offers", "skim", "curve-server", "curve-client", "box")
TEXTS = ("registry", "edit", "keys", "option", "endpoint", "content")  # Python's: texts.py
DIRECTIVES = ("boundscheck=False", "wraparound=False", "cdivision=True", "initializedcheck=False")


def compiler() -> str:
    return os.environ.get("CC", "gcc")


def has_sanitizers(folder: Path) -> bool:
    """Can this compiler do what the build needs?"""
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    command = [compiler(), *SANITIZERS, "-fsanitize-coverage=trace-pc", str(probe), "-c", "-o", str(folder / "probe.o")]
    linked = [compiler(), *SANITIZERS, str(probe), "-o", str(folder / "probe")]
    try:
        return all(subprocess.run(each, capture_output=True).returncode == 0 for each in (command, linked))
    except FileNotFoundError:
        return False


def build(folder: Path) -> Path:
    """The program, made in `folder`. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = [f"-I{folder}", f"-I{sysconfig.get_path('include')}"]
    objects = []
    for module in ("targets", "targets_curve"):
        options = [part for directive in DIRECTIVES for part in ("-X", directive)]
        cython = [sys.executable, "-m", "cython", "-3", *options, "-I", str(ROOT), "-I", str(HERE)]
        _run([*cython, str(HERE / f"{module}.pyx"), "-o", str(folder / f"{module}.c")])
        objects.append(folder / f"{module}.o")
        compiled = [*COMPILE, *headers, "-fsanitize-coverage=trace-pc"]
        _run([compiler(), *compiled, "-c", str(folder / f"{module}.c"), "-o", str(objects[-1])])
    objects.append(folder / "driver.o")
    _run([compiler(), *COMPILE, *headers, "-c", str(HERE / "driver.c"), "-o", str(objects[-1])])
    program = folder / "fuzz"
    _run([compiler(), *SANITIZERS, *map(str, objects), *LINK, "-o", str(program)])
    return program


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env=environment())


def environment() -> dict[str, str]:
    """For compilers and for the program: this process may itself run under a preloaded sanitizer."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "ASAN_OPTIONS")}
    sodium = libsodium()
    return kept | ({"ZPROXY_LIBSODIUM": str(sodium)} if sodium else {})


def libsodium() -> Path | None:
    """The one in pyzmq's wheel."""
    import zmq

    return next(iter(sorted(Path(zmq.__file__).parents[1].glob("pyzmq.libs/libsodium*"))), None)


def command(program: Path, target: str, seconds: float, seed: int, corpus: Path | None = None) -> list[str]:
    """Attacks `target`; the input of a crash is left beside the program."""
    inputs = corpus or HERE / "corpus" / target
    runner = [sys.executable, str(HERE / "attack_texts.py")] if target in TEXTS else [str(program)]
    return [*runner, target, str(inputs), str(seconds), str(seed), str(program.with_name(f"crash-{target}.bin"))]


def has_atheris() -> bool:
    """Can texts be attacked here?"""
    return importlib.util.find_spec("atheris") is not None
