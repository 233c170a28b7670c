"""One table: options, Proxy's arguments and the settings are the same, and defaults are what they say."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from zproxy import EndpointError, Proxy, SettingError
from zproxy.config import DEFAULT_BACKEND, DEFAULT_FRONTEND, OPTIONS, Balance, Settings, Spin
from zproxy.units import machine_memory_bytes


def test_proxys_arguments_are_the_options_and_default_to_theirs() -> None:
    arguments = inspect.signature(Proxy).parameters
    assert list(arguments) == [option.name for option in OPTIONS]
    assert {argument.default for argument in arguments.values()} == {None}


def test_every_default_is_what_its_row_says() -> None:
    settings = Settings.of()
    assert (settings.frontend, settings.backend) == ((DEFAULT_FRONTEND,), (DEFAULT_BACKEND,))
    assert Settings.of(**{option.name: option.default for option in OPTIONS if option.default}) == settings
    assert (settings.max_message_bytes, settings.memory_bytes) == (1 << 30, machine_memory_bytes() // 2)
    assert (settings.heartbeat_ms, settings.stall_ms, settings.drain_ms) == (0, 30_000, 10_000)
    assert settings.spin == Spin(100, is_auto=True)


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_a_side_that_connects_does_not_bind_its_default(side: str) -> None:
    settings = Settings.of(**{f"{side}_connect": "tcp://127.0.0.1:1"})
    assert getattr(settings, side) == ()
    assert getattr(settings, f"{side}_connect") == ("tcp://127.0.0.1:1",)


def test_balance_is_a_default_and_what_services_have_instead() -> None:
    assert Settings.of(balance=[]).balance == Settings.of().balance == Balance("least_outstanding", ())
    assert Settings.of(balance="hash").balance == Balance("hash", ())
    rows = ["b/2=hash", "round_robin", "a.1=two_choices"]
    assert Settings.of(balance=rows).balance == Balance("round_robin", (("a.1", "two_choices"), ("b/2", "hash")))


def test_text_and_numbers_mean_the_same() -> None:
    in_words = Settings.of(max_message="64MiB", heartbeat="2s", drain="1.5", spin="50us", stall="1m")
    in_numbers = Settings.of(max_message=64 << 20, heartbeat=2, drain=1.5, spin=50e-6, stall=60)
    assert in_words == in_numbers
    assert in_words.spin == Spin(50, is_auto=False)
    assert Settings.of(spin="off").spin == Spin(0, is_auto=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_message": 0}, "max_message: 0 is out of range: write 1KiB to 1024TiB"),
        ({"heartbeat": 0.01}, "heartbeat: 0.01 is out of range: write off, or 100ms to 24h"),
        ({"spin": "fast"}, "spin: 'fast' is no time: write for example 100us, 2s or 1.5, or auto, or off"),
        ({"drain": -1}, "drain: -1 is no time"),
        ({"memory": "some"}, "memory: 'some' is no size"),
        ({"balance": "fastest"}, "balance: 'fastest' names no policy: write least_outstanding, least_bytes, "),
        ({"balance": "echo="}, "balance: 'echo=' names no policy"),
        ({"balance": "=hash"}, "balance: '=hash' names no service: write 1 to 64 of A-Z a-z 0-9 _ . / -"),
        ({"balance": "an echo=hash"}, "balance: 'an echo=hash' names no service"),
        ({"balance": "*=hash"}, r"balance: '\*=hash' is for all without a policy of their own: write 'hash'"),
        ({"balance": ["hash", "hash"]}, "balance: the default is given two policies, hash and hash: keep one"),
        ({"balance": ["a=hash", "a=two_choices"]}, "balance: service 'a' is given two policies, hash and two_choices"),
        ({"balance": [b"hash"]}, "balance: b'hash' is no policy: write it as text"),
        ({"insecure": "no"}, "insecure: 'no' is no flag: write True or False"),
        ({"registry": "a\0b"}, r"registry: 'a\\x00b' names no folder"),
        ({"stall": 10**300}, "stall: 10+ is out of range"),
        ({"stall": 10**400}, "stall: 10+ is no time"),
        ({"stall": float("inf")}, "stall: inf is no time"),
        *(({name: {}}, f"{name}: {{}} is no ") for name in ("memory", "stall", "heartbeat", "spin")),
        *(
            ({name: given}, f"{name}: {given} is neither text nor a list of texts")
            for name in ("frontend", "backend", "frontend_connect", "backend_connect", "balance")
            for given in (True, False, 5, 2.5)
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(options: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match="^" + said.replace(".", r"\.")):
        Settings.of(**options)


def test_an_endpoint_that_cannot_be_is_refused() -> None:
    with pytest.raises(EndpointError, match="bad endpoint 'nowhere'"):
        Settings.of(frontend=["tcp://127.0.0.1:0", "nowhere"])


@pytest.mark.parametrize("given", [b"tcp://127.0.0.1:0", [b"tcp://127.0.0.1:0"], [None]])
def test_an_endpoint_is_text(given: Any) -> None:
    with pytest.raises(EndpointError, match="write it as text, like 'tcp://127.0.0.1:5555'"):
        Settings.of(frontend=given)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="no such option: linger"):
        Settings.of(linger=1)
