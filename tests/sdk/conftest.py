"""What the SDK's tests share: a proxy's side by hand, and masters at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fake_backend import FakeBackend
from support.masters import Hosted


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with FakeBackend() as opened:
        yield opened


@pytest.fixture
def hosted_master(backend: FakeBackend) -> Iterator[Hosted]:
    masters = Hosted(backend)
    yield masters
    masters.close()
