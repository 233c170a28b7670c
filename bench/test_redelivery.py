"""Redelivery as a pytest-benchmark run: `pytest bench/test_redelivery.py`. A round is a worker's whole life.

What is timed is a round; the time from its end to the second delivery, which counts, is in extra_info.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.redelivery import Waits, measure, stage

ROUNDS = 50


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_closed_socket(benchmark: BenchmarkFixture, transport: str) -> None:
    """A worker takes a request and closes its socket; another has the request."""
    samples: list[float] = []
    with stage(transport) as set_up:
        benchmark.pedantic(  # type: ignore[no-untyped-call]  # pytest-benchmark annotates its call only
            lambda: samples.append(set_up.close_one()), rounds=ROUNDS
        )
    assert len(samples) == ROUNDS
    benchmark.extra_info["median_ms"] = Waits("socket closed", transport, samples).median_ms


def test_every_way_of_ending_is_measured() -> None:
    closed, killed, large = measure("tcp", closes=2, kills=1, ballast_mib=64)
    assert (len(closed.samples_ms), len(killed.samples_ms), len(large.samples_ms)) == (2, 1, 1)
    assert killed.resident_bytes and large.resident_bytes
    assert large.resident_bytes - killed.resident_bytes > 32 << 20
