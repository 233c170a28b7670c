"""Waiting for conditions under a deadline. Tests never sleep for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from zproxy import Draining, Node, RequestTimeout

T = TypeVar("T")

POLL_SECONDS = 0.005
DEADLINE_SECONDS = 10.0


def wait_until(condition: Callable[[], T], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """The first truthy value of `condition`; AssertionError naming `what` after the deadline."""
    end = time.monotonic() + deadline_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_seconds:g} s: {what} (last: {value!r})")
        time.sleep(POLL_SECONDS)


def wait_while_steady(read: Callable[[], T], steady_seconds: float = 0.25, deadline_seconds: float = 10.0) -> T:
    """The value of `read` once it has not changed for `steady_seconds`."""
    end = time.monotonic() + deadline_seconds
    value, since = read(), time.monotonic()
    while time.monotonic() - since < steady_seconds:
        if time.monotonic() > end:
            raise AssertionError(f"still changing after {deadline_seconds:g} s (last: {value!r})")
        time.sleep(POLL_SECONDS)
        newest = read()
        if newest != value:
            value, since = newest, time.monotonic()
    return value


def wait_until_draining(node: Node, service: str) -> Draining:
    """What the node refuses a new request with, once it has heard that the proxy drains and all workers are busy."""
    try:
        while True:
            with suppress(RequestTimeout):  # it went before the node heard
                node.request(service, timeout=0.2)
    except Draining as refusal:
        return refusal
