"""Every delivery is answered by exactly one REPLY or ERROR, whatever its handler does."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from support.fake_backend import NODE, FakeBackend
from support.masters import Hosted
from support.waiting import wait_until

from zproxy import ApplicationError, Master, Request
from zproxy.client.services import TEXT_BYTES_MAX, parts_of
from zproxy.envelope import Code, Flag, Kind

FLOATS = np.arange(3, dtype=np.float64)
WANTS = [("w", "float64", [3])]


class Progress(msgspec.Struct):
    progress: float
    step: int | None = None


class Pair(NamedTuple):
    first: str
    second: dict[str, int]


def test_what_a_handler_returns_is_the_body_of_the_reply(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving({"add": lambda request: request.body["a"] + request.body["b"]})
    assert backend.call(71, {"a": 1, "b": 2}, service="add").content == [3]


def test_tensors_come_back_as_they_went(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving({"halve": lambda request: ({"ok": True}, {"w": request.tensors["w"] * 0.5})})
    backend.request(71, None, WANTS, frames=[FLOATS.tobytes()], service="halve")
    reply = backend.reply(71)
    assert reply.content == [{"ok": True}, [["w", "float64", [3]]]]
    assert np.frombuffer(reply.frames[1]).tolist() == [0.0, 0.5, 1.0]


def test_large_tensors_are_views_that_nobody_may_write_to(backend: FakeBackend, hosted_master: Hosted) -> None:
    seen: list[np.ndarray[Any, Any]] = []

    def keep(request: Request) -> tuple[None, dict[str, Any]]:
        seen.append(request.tensors["w"])
        return None, dict(request.tensors)

    hosted_master.serving({"keep": keep})
    weights = np.random.default_rng(1).random(1 << 17)
    backend.request(71, None, [("w", "float64", [1 << 17])], frames=[weights.tobytes()], service="keep")
    assert backend.reply(71).frames[1] == weights.tobytes()
    assert not seen[0].flags.writeable and not seen[0].flags.owndata
    assert (seen[0] == weights).all()


def test_a_handler_sees_what_came_with_the_request(backend: FakeBackend, hosted_master: Hosted) -> None:
    seen: list[Request] = []
    hosted_master.serving({"look": seen.append})
    backend.request(71, [1], service="look", attempt=3, remaining_ms=5000, step=9, flags=Flag.HAS_STEP)
    backend.reply(71)
    (request,) = seen
    assert (request.service, request.node, request.attempt, request.step) == ("look", "node1", 3, 9)
    assert (request.incarnation, request.sequence, request.body, request.progress) == (NODE, 1071, [1], None)
    assert 0 < request.remaining <= 5.0 and not request.is_post and not request.is_cancelled


@pytest.mark.parametrize(
    ("returned", "parts"),
    [
        (None, (None, None)),
        ({"a": 1}, ({"a": 1}, None)),
        ((1, {"w": FLOATS}), (1, {"w": FLOATS})),
        ((1, None), (1, None)),
        (((1, {}), None), ((1, {}), None)),
        ((1, 2), ((1, 2), None)),
        ((1, {}, 3), ((1, {}, 3), None)),
        ([1, {"a": 1}], ([1, {"a": 1}], None)),
        (Pair("a", {}), (Pair("a", {}), None)),
    ],
)
def test_a_tuple_of_two_whose_second_is_a_dict_or_none_is_body_and_tensors(returned: Any, parts: Any) -> None:
    assert parts_of(returned) == parts


def test_a_post_is_answered_too(backend: FakeBackend, hosted_master: Hosted) -> None:
    seen: list[Request] = []
    hosted_master.serving({"metrics": seen.append})
    backend.request(71, {"loss": 0.1}, kind=Kind.POST, service="metrics")
    backend.reply(71)
    assert seen[0].is_post and seen[0].body == {"loss": 0.1}


def test_an_exception_is_answered_with_its_type_and_text_and_logged_with_its_traceback(
    backend: FakeBackend, hosted_master: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request) -> None:
        raise msgspec.ValidationError("no such layer")

    hosted_master.serving({"fail": fail})
    with caplog.at_level(logging.ERROR, "zproxy.master"):
        backend.request(71, service="fail")
        error = backend.error(71, Code.HANDLER_ERROR)
    assert msgspec.msgpack.decode(error.frames[0]) == {"type": "msgspec.ValidationError", "text": "no such layer"}
    assert error.sentence == "msgspec.ValidationError: no such layer"
    assert "in fail" in caplog.text and 'node1' in caplog.text
    assert backend.call(72, 1).body == 1


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_would_end_a_process_ends_one_request(
    backend: FakeBackend, hosted_master: Hosted, ending: BaseException
) -> None:
    def end(request: Request) -> None:
        raise ending

    hosted_master.serving({"end": end})
    backend.request(71, service="end")
    error = backend.error(71, Code.HANDLER_ERROR)
    assert msgspec.msgpack.decode(error.frames[0])["type"] == type(ending).__name__
    assert backend.call(72, 1).body == 1


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("speechless")


def test_an_exception_without_a_text_is_answered(backend: FakeBackend, hosted_master: Hosted) -> None:
    def fail(request: Request) -> None:
        raise Mute

    hosted_master.serving({"fail": fail})
    backend.request(71, service="fail")
    detail = msgspec.msgpack.decode(backend.error(71, Code.HANDLER_ERROR).frames[0])
    assert detail == {"type": f"{__name__}.Mute", "text": "(its text cannot be had: RuntimeError)"}


def test_a_long_text_is_cut(backend: FakeBackend, hosted_master: Hosted) -> None:
    def fail(request: Request) -> None:
        raise ValueError("错" * 100_000)

    hosted_master.serving({"fail": fail})
    backend.request(71, service="fail")
    text = msgspec.msgpack.decode(backend.error(71, Code.HANDLER_ERROR).frames[0])["text"]
    assert text == "错" * (TEXT_BYTES_MAX // 3)


@pytest.mark.parametrize("returned", [{1, 2}, object(), {"a": {"b": [object()]}}, (None, {"w": [object()]}), 1 << 70])
def test_what_cannot_be_sent_is_answered_and_says_so(
    backend: FakeBackend, hosted_master: Hosted, returned: Any
) -> None:
    hosted_master.serving({"odd": lambda request: returned})
    backend.request(71, service="odd")
    error = backend.error(71, Code.HANDLER_ERROR)
    assert "cannot be sent" in error.sentence
    assert backend.call(72, 1).body == 1


def test_an_error_of_the_application_keeps_its_code(backend: FakeBackend, hosted_master: Hosted) -> None:
    def fail(request: Request) -> None:
        raise ApplicationError("the shard is sealed", code=0x8007)

    hosted_master.serving({"fail": fail})
    backend.request(71, service="fail")
    assert backend.error(71, 0x8007).sentence == "the shard is sealed"


@pytest.mark.parametrize("code", [0, 3, 0x7FFF, 0x10000, "0x8001", None, 32769.0])
def test_an_error_of_the_application_with_a_code_that_is_not_its_own_is_a_handler_error(
    backend: FakeBackend, hosted_master: Hosted, code: Any
) -> None:
    def fail(request: Request) -> None:
        raise ApplicationError("no", code=code)

    hosted_master.serving({"fail": fail})
    backend.request(71, service="fail")
    backend.error(71, Code.HANDLER_ERROR)
    assert backend.call(72, 1).body == 1


def test_a_log_that_fails_ends_no_master(
    backend: FakeBackend, hosted_master: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the log's disk is full")

    monkeypatch.setattr(logging.getLogger("zproxy.master"), "error", fail)
    hosted_master.serving({"fail": fail})
    backend.request(71, service="fail")
    assert "OSError" in backend.error(71, Code.HANDLER_ERROR).sentence
    assert backend.call(72, 1).body == 1


def test_a_body_is_made_the_type_of_its_service(backend: FakeBackend, hosted_master: Hosted) -> None:
    seen: list[Any] = []
    master = hosted_master.master()
    master.service("progress", body=Progress)(lambda request: seen.append(request.body))
    master.start()
    backend.join()
    backend.call(71, {"progress": 50.0}, service="progress")
    assert seen == [Progress(50.0)]


@pytest.mark.parametrize(
    ("body", "words"),
    [({"progress": "half"}, ["$.progress", "float"]), ({}, ["progress"]), ([1, "a", "b"], ["$"])],
)
def test_a_body_that_does_not_fit_is_malformed_and_its_handler_is_not_called(
    backend: FakeBackend, hosted_master: Hosted, body: Any, words: list[str]
) -> None:
    master = hosted_master.master()
    master.service("progress", body=Progress)(lambda request: pytest.fail("called"))
    master.start()
    backend.join()
    backend.request(71, body, service="progress")
    sentence = backend.error(71, Code.MALFORMED).sentence
    assert all(word in sentence for word in words), sentence
    assert master.stats()["malformed"] == 1


def test_a_content_that_is_none_is_malformed(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving()
    backend.request(71, None, WANTS, frames=[bytes(23)])
    assert "w" in backend.error(71, Code.MALFORMED).sentence
    backend.say(
        Kind.REQUEST, service="echo", name="node1", incarnation=NODE, sequence=1072, lease=72, remaining_ms=1000
    )
    backend.error(72, Code.MALFORMED)
    assert backend.call(73, 1).body == 1


def test_a_reply_over_the_proxys_limit_is_too_large_and_names_both_sizes(hosted_master: Hosted) -> None:
    with FakeBackend(max_message=100_000) as backend:
        master = Master(backend.endpoint, "m1")
        master.service("big")(lambda request: (None, {"w": np.zeros(100_000, np.uint8)}))
        master.start()
        backend.join()
        backend.request(71, service="big")
        sentence = backend.error(71, Code.TOO_LARGE).sentence
        master.stop(0)
    assert "limit 100000" in sentence and "1001" in sentence


def test_any_service_is_taken_by_the_handler_of_any(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving({"*": lambda request: f"any {request.service}"})
    assert backend.call(71, service="never.heard/of").body == "any never.heard/of"
    assert backend.call(72, "mine", service="echo").body == "mine"


def test_what_is_not_offered_is_answered(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving()
    backend.request(71, service="other")
    assert "other" in backend.error(71, Code.MALFORMED).sentence


def test_progress_goes_out_while_the_handler_runs(backend: FakeBackend, hosted_master: Hosted) -> None:
    def long(request: Request) -> str:
        request.send_progress(12.5)
        request.send_progress(50, step=7)
        return "done"

    hosted_master.serving({"long": long})
    backend.request(71, service="long")
    first, second = backend.hear(Kind.PROGRESS).envelope, backend.hear(Kind.PROGRESS).envelope
    assert (first.progress, first.lease, second.progress, second.step) == (12.5, 71, 50.0, 7)
    assert backend.reply(71).body == "done"


@pytest.mark.parametrize(
    ("percent", "step", "words"),
    [(float("nan"), None, "bad progress nan"), (101, None, "bad progress 101"), ("half", None, "bad progress"),
     (5, 1.5, "bad step 1.5")],
)  # fmt: skip
def test_progress_has_to_be_some(
    backend: FakeBackend, hosted_master: Hosted, percent: Any, step: Any, words: str
) -> None:
    hosted_master.serving({"long": lambda request: request.send_progress(percent, step)})
    backend.request(71, service="long")
    sentence = backend.error(71, Code.HANDLER_ERROR).sentence
    assert "SettingError" in sentence and words in sentence


def test_all_is_counted(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.serving({"fail": lambda request: 1 / 0})
    backend.call(71)
    backend.request(72, service="fail")
    backend.error(72, Code.HANDLER_ERROR)
    backend.request(73, service="hold")
    wait_until(lambda: master.stats()["in_flight"] == 1, "the third here")
    counts = master.stats()
    assert (counts["delivered"], counts["replied"], counts["failed"], counts["welcomes"]) == (3, 1, 1, 1)


