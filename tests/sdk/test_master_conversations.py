"""A master and its proxies: when it serves, what ends that, and what a cancelled or late request comes to."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import msgspec
import pytest
from support.fake_backend import FakeBackend
from support.masters import Hosted, InThread, echo
from support.waiting import wait_until

from zproxy import Denied, Fenced, Master, Request, RequestCancelled, RequestError
from zproxy.envelope import Code, Kind, offers_parse


def test_it_announces_itself_and_says_ready_with_its_offers_and_credit(
    backend: FakeBackend, hosted_master: Hosted
) -> None:
    master = hosted_master.master(concurrency=4, prefetch=2)
    master.service("once", idempotent=False)(echo)
    master.service("*")(echo)
    master.start()
    ready = backend.join()
    assert (ready.envelope.name, ready.envelope.credit) == ("m1", 6)
    assert offers_parse(ready.frames[0]) == [("echo", 0, 0), ("hold", 0, 0), ("once", 0, 1), ("*", 0, 0)]
    backend.request(71)
    assert backend.metadata() == "1"


def test_prefetch_is_the_concurrency_unless_said_otherwise(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.master(concurrency=3).start()
    assert backend.join().envelope.credit == 6


def test_what_is_cancelled_before_it_begins_is_not_run(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving()
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.request(72, service="hold")
    backend.cancel(72)
    backend.error(72, Code.CANCELLED)  # while the only handler is busy
    hosted_master.gate.open()
    backend.reply(71)
    assert hosted_master.gate.count == 1


def test_a_running_handler_learns_of_its_cancel_when_it_asks(backend: FakeBackend, hosted_master: Hosted) -> None:
    def wait(request: Request) -> str:
        request.send_progress(0)
        wait_until(lambda: request.is_cancelled, "cancelled")
        return "went on"

    hosted_master.serving({"wait": wait})
    backend.request(71, service="wait")
    backend.hear(Kind.PROGRESS)
    backend.cancel(71)
    assert backend.reply(71).body == "went on"


def test_a_handler_that_gives_up_is_answered_as_cancelled(backend: FakeBackend, hosted_master: Hosted) -> None:
    def wait(request: Request) -> None:
        request.send_progress(0)
        while True:
            request.raise_if_cancelled()

    master = hosted_master.serving({"wait": wait})
    backend.request(71, service="wait")
    backend.hear(Kind.PROGRESS)
    backend.cancel(71)
    backend.error(71, Code.CANCELLED)
    assert master.stats()["cancelled"] == 1


def test_a_cancelled_call_elsewhere_is_an_error_of_the_handler(backend: FakeBackend, hosted_master: Hosted) -> None:
    def fail(request: Request) -> None:
        raise RequestCancelled("another one", code=Code.CANCELLED)

    hosted_master.serving({"fail": fail})
    backend.request(71, service="fail")
    backend.error(71, Code.HANDLER_ERROR)


def test_what_waits_beyond_its_deadline_is_given_back_and_not_run(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving()
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.request(72, service="hold", remaining_ms=1)
    wait_until(lambda: hosted_master.stats("delivered") == 2, "the second here")
    over_at = time.monotonic() + 0.001
    wait_until(lambda: time.monotonic() > over_at, "its deadline over")
    hosted_master.gate.open()
    backend.reply(71)
    backend.error(72, Code.BUSY)
    assert hosted_master.gate.count == 1


def test_a_new_welcome_in_the_middle_discards_and_is_ready_again(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.serving()
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.request(72, service="hold")
    backend.join()  # READY comes while the only handler is busy
    assert hosted_master.gate.requests[0].is_cancelled
    hosted_master.gate.open()
    assert backend.call(71, "of the new conversation").body == "of the new conversation"
    backend.silence()
    assert hosted_master.gate.count == 1
    counts = master.stats()
    assert (counts["discarded"], counts["late"], counts["in_flight"]) == (1, 1, 0)


def test_it_comes_back_to_a_proxy_that_comes_back(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving()
    assert backend.call(71, 1).body == 1
    backend.close()
    with FakeBackend(backend.endpoint) as successor:
        successor.join()
        assert successor.call(72, 2).body == 2


def test_it_may_be_there_before_its_proxy(hosted_master: Hosted) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    master = Master(endpoint, "m1")
    master.service("echo")(echo)
    with master, FakeBackend(endpoint) as backend:
        backend.join()
        assert backend.call(71, 1).body == 1
        master.stop(0)


def test_it_connects_anew_where_libzmq_gave_up(hosted_master: Hosted) -> None:
    """After a ZMTP ERROR a socket of libzmq never connects again."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 1 + 31)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        master = Master(f"tcp://127.0.0.1:{port}", "m1")
        master.service("echo")(echo)
        master.start()
        connection, _ = listener.accept()
        with connection:
            connection.sendall(greeting)
            came = b""
            while b"READY" not in came:
                came += connection.recv(4096)
            connection.sendall(b"\x04\x09\x05ERROR\x02no")
            while connection.recv(4096):
                continue
    with FakeBackend(f"tcp://127.0.0.1:{port}") as backend:
        backend.join()
        assert backend.call(71, 1).body == 1
        master.stop(0)


def test_a_name_in_use_is_asked_for_again_and_said(
    backend: FakeBackend, hosted_master: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    hosted_master.master().start()
    with caplog.at_level(logging.WARNING, "zproxy.master"):
        backend.welcome()
        backend.hear(Kind.READY)
        backend.refuse(Code.NAME_IN_USE, "m1 lives", remaining_ms=20)
        backend.hear(Kind.READY)
    backend.say(Kind.ACCEPTED, [msgspec.msgpack.encode({})])
    assert backend.call(71, 1).body == 1
    assert "NAME_IN_USE" in caplog.text and "m1 lives" in caplog.text


@pytest.mark.parametrize(("code", "kind"), [(Code.FENCED, Fenced), (Code.DENIED, Denied)])
def test_a_refusal_for_good_is_raised_by_run(
    backend: FakeBackend, hosted_master: Hosted, code: int, kind: type[RequestError]
) -> None:
    running = InThread(hosted_master.master().run)
    backend.welcome()
    backend.hear(Kind.READY)
    backend.refuse(code, "no more of you")
    with pytest.raises(kind, match="no more of you"):
        running.join()


def test_a_refusal_of_a_master_that_was_started_is_logged_at_once_and_raised_by_stop(
    backend: FakeBackend, hosted_master: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    master = hosted_master.serving()
    backend.refuse(Code.FENCED, "m1 came again")
    wait_until(lambda: not master.is_running, "over")
    assert backend.endpoint in caplog.text and "m1 came again" in caplog.text
    with pytest.raises(Fenced):
        master.stop()


def test_a_proxy_that_drains_hears_goodbye_when_all_is_answered(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving()
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.say(Kind.GOODBYE)
    hosted_master.gate.open()
    backend.reply(71)
    backend.hear(Kind.GOODBYE)
    backend.join()
    assert backend.call(71, 1).body == 1


def test_every_proxy_is_served(backend: FakeBackend, hosted_master: Hosted) -> None:
    with FakeBackend(proxy=2) as other:
        master = Master([backend.endpoint, other.endpoint], "m1")
        master.service("echo")(echo)
        master.start()
        for each in (backend, other):
            each.join()
        for lease in (71, 72, 73):
            for each, number in ((backend, lease), (other, 10 * lease)):
                assert each.call(number, number).body == number
        assert master.stats()["replied"] == 6
        master.stop(0)


def test_of_two_endpoints_of_one_proxy_one_is_closed_until_it_is_needed(hosted_master: Hosted) -> None:
    with FakeBackend(proxy=5) as one, FakeBackend(proxy=5) as way_round:
        master = Master([one.endpoint, way_round.endpoint], "m1")
        master.service("echo")(echo)
        master.start()
        one.join()
        way_round.welcome()
        way_round.wait_gone()
        assert one.call(71, 1).body == 1
        way_round.silence()
        one.close()
        way_round.join()
        assert way_round.call(72, 2).body == 2
        master.stop(0)


def test_messages_that_are_none_harm_nobody(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.serving()
    backend.raw(b"no envelope")
    backend.raw(b"", b"")
    backend.say(Kind.WINDOW, incarnation=1, sequence=1, stream=1)
    backend.request(70, conversation=99)
    assert backend.call(71, 1).body == 1
    assert master.stats()["dropped"] == 3


def test_the_log_says_where_no_proxy_is(hosted_master: Hosted, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr("zproxy.client.crew.SILENCE_S", 0.0)
    with caplog.at_level(logging.WARNING, "zproxy.master"):
        hosted_master.master().start()
        wait_until(lambda: "no proxy has answered m1" in caplog.text, "said")
