"""Builds the Cython modules; metadata and tool settings live in pyproject.toml.

ZPROXY_BUILD picks the kind of build:
    release   (default) -O3
    debug     -O0 -g, and the relay checks at its end that no block and no connection is left
    sanitize  debug under AddressSanitizer and UndefinedBehaviorSanitizer

Each kind has a build directory of its own: an object file of one in the extension of another would go unnoticed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# CPython's -fwrapv makes signed overflow defined, and hides it from the sanitizer; not every build of it has the flag.
STRICT = ["-fno-wrapv"]
COMPILE_FLAGS = {
    "release": ["-O3", "-g0"],
    "debug": ["-O0", "-g", "-DZPROXY_DEBUG"],
    "sanitize": ["-O1", "-g", "-DZPROXY_DEBUG", *STRICT, *SANITIZERS],
}
LINK_FLAGS = {"release": [], "debug": [], "sanitize": SANITIZERS}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": True,
}


def extensions(kind: str) -> list[Extension]:
    """One extension for each `.pyx` below zproxy/, named by its path."""
    return [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            depends=["setup.py"],
            extra_compile_args=[*COMPILE_FLAGS[kind], "-fno-strict-aliasing", "-fvisibility=hidden"],
            extra_link_args=LINK_FLAGS[kind],
            libraries=["pthread", "dl"] if sys.platform == "linux" else [],
        )
        for path in sorted(Path("zproxy").rglob("*.pyx"))
    ]


def build() -> None:
    kind = os.environ.get("ZPROXY_BUILD", "release")
    if kind not in COMPILE_FLAGS:
        raise SystemExit(f"ZPROXY_BUILD={kind!r} is none of {', '.join(COMPILE_FLAGS)}")
    setup(
        ext_modules=cythonize(
            extensions(kind),
            compiler_directives=DIRECTIVES,
            build_dir=f"build/{kind}/cython",
            nthreads=os.cpu_count() or 1,
        ),
        options={"build": {"build_base": f"build/{kind}"}, "build_ext": {"parallel": os.cpu_count() or 1}},
    )


if __name__ == "__main__":
    build()
