"""The walls of the house, read from its files: who may cimport whom, which words stand where, and what the docs draw.

relay/ moves bytes and knows no worker's work; broker/ decides and knows no socket; only the fast path sees both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CYTHON = sorted([*ROOT.glob("zproxy/**/*.pyx"), *ROOT.glob("zproxy/**/*.pxd")])
CIMPORT = re.compile(r"^\s*from\s+(zproxy[\w.]*)\s+cimport\b|^\s*cimport\s+(zproxy[\w.]*)", re.MULTILINE)
POLICY = {"service", "lease", "credit", "retry"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def cimports() -> dict[str, set[str]]:
    """By module, those it cimports in its .pyx or .pxd."""
    found: dict[str, set[str]] = {}
    for path in CYTHON:
        names = {first or second for first, second in CIMPORT.findall(path.read_text())}
        found.setdefault(module_of(path), set()).update(names - {module_of(path)})
    return found


def broken(room: str, *forbidden: str) -> set[tuple[str, str]]:
    """Who within the room cimports something whose name begins with what is forbidden there."""
    return {
        (module, seen)
        for module, names in cimports().items()
        for seen in names
        if module.startswith(room) and seen.startswith(forbidden)
    }


def sees(module: str, room: str) -> bool:
    return any(seen.startswith(room) for seen in cimports()[module])


def test_the_files_are_read_at_all() -> None:
    known = cimports()
    assert "zproxy.relay.block" in known["zproxy.relay.inbox"]
    assert "zproxy.broker.balance" in known["zproxy._fastpath"]
    assert "zproxy.relay.zmtp" in known["zproxy.relay.handshake"]


def test_the_relay_sees_neither_the_broker_nor_the_turn() -> None:
    assert broken("zproxy.relay.", "zproxy.broker", "zproxy._") == set()


def test_the_broker_sees_neither_the_relay_nor_the_turn() -> None:
    assert broken("zproxy.broker.", "zproxy.relay", "zproxy._") == set()


def test_the_counters_see_nobody() -> None:
    assert cimports()["zproxy.counters"] == set()


def test_only_the_fast_path_sees_connections_and_picks() -> None:
    both = {module for module in cimports() if sees(module, "zproxy.broker.") and sees(module, "zproxy.relay.")}
    assert both == {"zproxy._fastpath"}
    assert {module for module in cimports() if sees(module, "zproxy.broker.balance")} == both


def test_the_parser_cimports_nothing_that_is_not_pure() -> None:
    """So that it builds into a fuzz target without the rest of the relay."""
    zmtp, sodium, box = "zproxy.relay.zmtp", "zproxy.relay.sodium", "zproxy.relay.box"
    pure = {
        zmtp: set(),
        sodium: set(),
        "zproxy.relay.handshake": {zmtp},
        box: {sodium, zmtp},
        "zproxy.relay.curve": {box, sodium, zmtp},
    }
    assert {module: cimports()[module] for module in pure} == pure


def test_nobody_cimports_in_a_circle() -> None:
    known = cimports()
    settled: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join((*way, module))}"
        if module not in settled:
            for seen in known.get(module, ()):
                visit(seen, (*way, module))
            settled.add(module)

    for module in known:
        visit(module, ())


# "release" is not "lease", "connector_retry" is "retry": words end where letters end.
@pytest.mark.parametrize("stem", ["_fastpath", "_engine", "_reading"])
@pytest.mark.parametrize("suffix", [".pyx", ".pxd"])
def test_the_turn_and_the_fast_path_do_not_speak_of_policy(stem: str, suffix: str) -> None:
    words = set(re.findall(r"[a-z]+", (ROOT / "zproxy" / f"{stem}{suffix}").read_text().lower()))
    assert words & POLICY == set()
    assert words & {"message", "connection"}


# ---- the docs draw what is there ----


def drawn_modules() -> set[str]:
    """The words that begin the drawing's entries, two a line in places."""
    drawing = ARCHITECTURE.read_text().split("## The house")[1].split("Each `.pxd`")[0]
    return set(re.findall(r"(?:^|\s{2,})(_?[a-z]+)(?:\.pyx|/)?(?=\s|$)", drawing, re.MULTILINE))


def test_the_drawing_of_the_house_has_every_compiled_module() -> None:
    assert {path.stem for path in CYTHON} - drawn_modules() == set()


def states(text: str) -> set[str]:
    return set(re.findall(r"\b[A-Z]{5,}\b", text))


def transitions_drawn() -> dict[str, set[str]]:
    table = ARCHITECTURE.read_text().split("<!-- transitions -->")[1].split("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if re.match(r"\| [A-Z]", line)]
    return {before.strip(): states(after) for before, after in rows}


def transitions_coded() -> Iterator[tuple[str, set[str]]]:
    table = (ROOT / "zproxy/relay/connection.pyx").read_text().split("TRANSITIONS = [")[1].split("\n]")[0]
    for line in table.strip().splitlines():
        steps, before = line.split("#")
        yield before.strip(), states(steps)


def test_the_table_of_states_is_the_one_that_runs() -> None:
    coded = dict(transitions_coded())
    assert coded.pop("CLOSED") == set()
    assert transitions_drawn() == coded
    assert len(coded) == 9
