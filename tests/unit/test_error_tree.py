"""Every code of the protocol becomes an exception that says who, what, and what to do."""

from __future__ import annotations

import copy
import pickle

import pytest

import zproxy
from zproxy import errors
from zproxy.envelope import Code
from zproxy.errors import OUTCOMES, RequestError, error_of

CODES = sorted(int(code) for code in Code)


def test_every_code_has_a_row_and_every_row_a_code() -> None:
    assert set(OUTCOMES) == {code.name for code in Code}
    assert errors.APPLICATION_CODES_FROM == next(code for code in Code if code.name == "CODE_YOURS")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("said", ["", "said so"])
def test_a_message_names_service_node_and_remedy(code: int, said: str) -> None:
    error = error_of(code, service="gradients", node="rank7", worker="master-1", attempt=2, sentence=said)
    outcome = OUTCOMES[Code(code).name]
    assert type(error) is outcome.kind and error.code == code
    happened = said or outcome.sentence
    for words in ('"gradients"', '"rank7"', '"master-1"', "attempt 2", happened, outcome.remedy):
        assert words in str(error)
    assert (error.service, error.node, error.worker, error.attempt) == ("gradients", "rank7", "master-1", 2)


@pytest.mark.parametrize("code", CODES)
def test_what_the_other_side_said_is_not_said_a_second_time(code: int) -> None:
    outcome = OUTCOMES[Code(code).name]
    error = error_of(code, service="gradients", node="rank7", sentence="said so")
    assert (outcome.sentence in str(error)) == outcome.leads


def test_a_sentence_that_names_the_worker_names_it_alone() -> None:
    said = 'worker "m1" is gone, which had it'
    error = error_of(Code["WORKER_LOST"], service="hold", node="rank7", worker="m1", attempt=1, sentence=said)
    assert str(error).startswith(f'request of "rank7" to "hold": {said}; attempt 1 (')


def test_the_words_users_look_for_stay_whatever_was_said() -> None:
    for name, words in (("DENIED", "无权访问"), ("RETRIES_EXHAUSTED", "消息发送失败")):
        assert f"{words} " in str(error_of(Code[name], service="gradients", node="rank7", sentence="said so"))


@pytest.mark.parametrize("code", [*CODES, 77, 0x8001])
def test_errors_can_be_copied_and_sent_to_another_process(code: int) -> None:
    error = error_of(code, service="gradients", node="rank7", retry_after_ms=1500, detail={"type": "ValueError"})
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
    content = errors.MalformedContent("$.a", "not an int")
    assert str(pickle.loads(pickle.dumps(content))) == str(content) == "$.a: not an int"


def test_what_callers_catch() -> None:
    def made(code: int) -> RequestError:
        return error_of(code, service="gradients", node="rank7")

    assert isinstance(made(Code["TIMEOUT"]), TimeoutError)
    assert isinstance(made(Code["UNKNOWN_SERVICE"]), zproxy.NoWorker)
    assert not isinstance(made(Code["NO_WORKER"]), zproxy.UnknownService)
    assert "无权访问" in str(made(Code["DENIED"]))
    assert "消息发送失败" in str(made(Code["RETRIES_EXHAUSTED"]))
    assert isinstance(made(0x8000), zproxy.ApplicationError)
    assert isinstance(made(0xFFFF), zproxy.ApplicationError)
    assert all(isinstance(made(code), zproxy.ZproxyError) for code in [*CODES, 0, 77])


# As zproxy and masters say them, and the advice in each.
ADVISING = (
    ("UNKNOWN_SERVICE", 'no worker has ever offered service "sum"; the request has waited 500 ms', "start a worker"),
    ("TIMEOUT", 'worker "m1" had it, for service "sum", and did not answer within 299 ms', "give it more time"),
    ("NAME_IN_USE", 'the name "rank7" belongs to another living node; choose another name, or end that one', ""),
    ("DRAINING", "zproxy has stopped before there was an answer; connect elsewhere, or later", ""),
    ("BUSY", "zproxy has no memory for another request; try again later", ""),
    ("TOO_LARGE", "the reply of sum has 99 bytes, limit 9 (9B)", "raise the proxy's --max-message"),
    ("DENIED", '无权访问: access denied: node "rank7" may not use service "sum"', "ask the operator to allow it"),
    ("DENIED", '无权访问: access denied: worker "m1" may not serve "sum"', "ask the operator to allow it"),
    ("DENIED", '无权访问: access denied: the key belongs to node "a", not to "b"', "give it the name of its key"),
    ("TOO_LARGE", 'node "rank7" may send messages of 9 bytes, and this one has 10', "send less at once"),
    ("MALFORMED", "its kind is not a worker's to say", "nodes connect to a frontend, workers to a backend"),
)


@pytest.mark.parametrize(("name", "said", "advice"), ADVISING)
def test_what_to_do_is_said_once(name: str, said: str, advice: str) -> None:
    sentence = f"{said}: {advice}" if advice else said
    error = error_of(Code[name], service="sum", node="rank7", sentence=sentence)
    assert str(error) == f'request of "rank7" to "sum": {sentence}'


@pytest.mark.parametrize("said", ["", "the budgets are full; try again later", "full; end one and try again", "full"])
def test_when_to_try_again_is_said_once(said: str) -> None:
    text = str(error_of(Code["BUSY"], service="sum", node="rank7", sentence=said, retry_after_ms=250))
    assert text.count("try again") == 1 and "try again after 0.25 s" in text and "later" not in text


@pytest.mark.parametrize("name", ["HANDLER_ERROR", "CODE_YOURS"])
def test_what_a_handler_says_is_left_as_it_is(name: str) -> None:
    said = "ValueError: no such step; try again"
    error = error_of(Code[name], service="sum", node="rank7", sentence=said, retry_after_ms=250)
    assert said in str(error) and OUTCOMES[name].remedy in str(error)


def test_busy_says_when_to_try_again() -> None:
    error = error_of(Code["BUSY"], service="gradients", node="rank7", retry_after_ms=250)
    assert error.retry_after == 0.25 and "0.25 s" in str(error)


@pytest.mark.parametrize("detail", [None, {}, {"type": "KeyError"}, {"type": 3, "text": None}])
def test_a_handler_error_has_type_and_text_whatever_came(detail: dict[str, object] | None) -> None:
    error = error_of(Code["HANDLER_ERROR"], service="gradients", node="rank7", detail=detail)
    assert isinstance(error, zproxy.HandlerError)
    assert isinstance(error.type, str) and isinstance(error.text, str)


def test_a_handler_error_tells_the_remote_exception() -> None:
    detail = {"type": "ValueError", "text": "no such step"}
    error = error_of(Code["HANDLER_ERROR"], service="gradients", node="rank7", worker="master-1", detail=detail)
    assert isinstance(error, zproxy.HandlerError)
    assert (error.type, error.text) == ("ValueError", "no such step")
    assert "ValueError: no such step" in str(error)


def test_an_unknown_code_is_told_as_a_number() -> None:
    assert "0x004d" in str(error_of(77, service="gradients", node="rank7"))
    assert "0x8001" in str(error_of(0x8001, service="gradients", node="rank7"))


def test_an_error_about_a_peer_has_no_service() -> None:
    assert str(error_of(Code["NAME_IN_USE"], service="", node="rank7")).startswith('peer "rank7": ')
