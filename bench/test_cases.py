"""The cases as pytest-benchmark runs: `pytest bench --benchmark-only`. A group a case and transport, a run a program.

What is timed is a fixed number of messages through processes that are up and warm, seen from the session: a line to
the clients, the load, a line back. The table of ratios comes from `python -m bench`.
"""

from __future__ import annotations

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from zproxy.loadgen.cases import HUGE, KIB, LARGE, MANY, ONE, ONE_SPINNING, SMALL, Case
from zproxy.loadgen.programs import NEIGHBOURS, RIVAL, ZPROXY, missing
from zproxy.loadgen.session import Session

ROUNDS = 5

# Messages a round: some tenths of a second each.
COUNTED = [
    msgspec.structs.replace(case, count=count)
    for case, count in (
        (SMALL, 200_000),
        (ONE, 2_000),
        (ONE_SPINNING, 2_000),
        (KIB, 50_000),
        (LARGE, 8),
        (HUGE, 1),
        (MANY, 40_000),
    )
]


@pytest.mark.parametrize("program", [ZPROXY, RIVAL, *NEIGHBOURS])
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("case", COUNTED, ids=lambda case: case.name)
def test_messages(benchmark: BenchmarkFixture, case: Case, transport: str, program: str) -> None:
    """So many messages of this case, there and back, each checked by the clients."""
    reason = missing(program)
    if reason is not None:
        pytest.skip(reason)
    benchmark.group = f"{case.name} over {transport}, {case.count} messages"
    load = case.load(seconds=0)
    with Session(
        program, transport=transport, clients=case.clients, workers=case.workers, options=case.options
    ) as session:
        session.warm_up(load)
        figures = benchmark.pedantic(  # type: ignore[no-untyped-call]  # pytest-benchmark annotates its call only
            session.run, args=(load,), rounds=ROUNDS
        )
    assert figures.messages == case.count
    benchmark.extra_info.update(
        messages_per_s=figures.messages_per_s,
        rtt_p50_us=figures.rtt_p50_us,
        cpu_us_per_message=figures.cpu_us_per_message,
        proxy_peak_bytes=figures.proxy_peak_bytes,
    )
