"""A master's threads: handlers really run at once, and its end is bounded, whoever asks for it."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from typing import Any

import msgspec
import pytest
from support.fake_backend import FakeBackend
from support.masters import Hosted, InThread, echo
from support.waiting import DEADLINE_SECONDS, wait_until

import zproxy
from zproxy import EndpointError, Master, MasterStarted, Request, ServiceError, SettingError
from zproxy.client.delivery import Delivery
from zproxy.client.sockets import ManagedSocket
from zproxy.envelope import Code, Kind


def test_four_handlers_run_at_once_and_all_leases_are_answered(backend: FakeBackend, hosted_master: Hosted) -> None:
    meeting = threading.Barrier(4)
    hosted_master.serving({"meet": lambda request: meeting.wait(DEADLINE_SECONDS) >= 0}, concurrency=4)
    for _round in range(5):
        leases = {100 * _round + number for number in range(1, 5)}
        for lease in leases:
            backend.request(lease, service="meet")
        assert {backend.hear(Kind.REPLY).lease for _ in leases} == leases


def test_no_more_handlers_run_than_the_concurrency(backend: FakeBackend, hosted_master: Hosted) -> None:
    hosted_master.serving(concurrency=2)
    for lease in (71, 72, 73):
        backend.request(lease, service="hold")
    hosted_master.gate.wait_begun(2)
    wait_until(lambda: hosted_master.stats("delivered") == 3, "the third here")
    assert hosted_master.gate.count == 2
    hosted_master.gate.open()
    assert {backend.hear(Kind.REPLY).lease for _ in range(3)} == {71, 72, 73}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_flood_is_answered_whole(backend: FakeBackend, hosted_master: Hosted, concurrency: int) -> None:
    master = hosted_master.serving(concurrency=concurrency)
    leases = set(range(1, 501))
    for lease in leases:
        backend.request(lease, lease)
    assert {backend.hear(Kind.REPLY).lease for _ in leases} == leases
    assert master.stats()["in_flight"] == 0


def test_progress_may_be_told_from_a_thread_of_the_handlers_own(backend: FakeBackend, hosted_master: Hosted) -> None:
    def long(request: Request) -> str:
        InThread(request.send_progress, 50).join()
        return "done"

    hosted_master.serving({"long": long}, concurrency=2)
    backend.request(71, service="long")
    assert backend.hear(Kind.PROGRESS).envelope.progress == 50.0
    backend.reply(71)


def test_an_answer_does_not_eat_the_news_of_a_request(backend: FakeBackend, hosted_master: Hosted) -> None:
    """While one thread polls and another sends: the send takes the edge the poll would have seen."""
    hosted_master.serving(concurrency=2)
    for lease in range(1, 301):
        backend.request(lease * 2, lease)
        backend.request(lease * 2 + 1, lease)
        assert {backend.hear(Kind.REPLY).lease for _ in range(2)} == {lease * 2, lease * 2 + 1}


def test_requests_in_a_row_do_not_wake_the_watcher(
    backend: FakeBackend, hosted_master: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wake is two changes of thread: the watcher sleeps through traffic, and for good without."""
    wakes: list[None] = []
    monkeypatch.setattr("zproxy.client.crew.Stop.wake", lambda stop: wakes.append(None))
    monkeypatch.setattr("zproxy.client.crew.WATCH_S", 60.0)
    hosted_master.serving()
    for lease in range(1, 101):
        backend.call(lease)
    assert len(wakes) <= 1
    monkeypatch.undo()


def test_stop_waits_for_what_is_held_and_for_the_goodbye(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.serving()
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.request(72, service="hold")
    stopping = InThread(master.stop)
    backend.hear(Kind.GOODBYE)  # while the only handler is busy
    assert stopping.is_running
    hosted_master.gate.open()
    backend.reply(71)
    backend.reply(72)
    assert stopping.is_running
    backend.say(Kind.GOODBYE)
    stopping.join()
    assert master.stats()["replied"] == 2


def test_stopping_again_and_from_many_threads_ends_once(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.serving()
    stops = [InThread(master.stop) for _ in range(4)]
    backend.farewell()
    for stopping in stops:
        stopping.join()
    master.stop()
    assert not master.is_running


def test_stop_in_a_handler_asks_and_returns(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.master()
    master.service("end")(lambda request: master.stop())
    running = InThread(master.run)
    backend.join()
    backend.request(71, service="end")
    assert {backend.hear().kind for _ in range(2)} == {Kind.REPLY, Kind.GOODBYE}
    backend.say(Kind.GOODBYE)
    running.join()


def test_run_outside_the_main_thread_ends_by_stop(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.master()
    running = InThread(master.run)
    backend.join()
    stopping = InThread(master.stop)
    backend.farewell()
    stopping.join()
    running.join()


def test_a_handler_that_does_not_end_bounds_no_stop_beyond_its_drain(
    backend: FakeBackend, hosted_master: Hosted
) -> None:
    master = hosted_master.serving()
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    backend.request(72, service="hold")
    wait_until(lambda: master.stats()["delivered"] == 2, "both here")
    InThread(master.stop, 0.05).join()
    backend.hear(Kind.GOODBYE)
    backend.error(72, Code.BUSY)  # it goes to another worker
    hosted_master.gate.open()
    wait_until(lambda: master.stats()["late"] == 1, "the first counted")
    assert master.stats()["in_flight"] == 0


def test_a_proxy_that_says_no_goodbye_does_not_hold_the_end(
    backend: FakeBackend, hosted_master: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zproxy.client.crew.GOODBYE_S", 0.05)
    master = hosted_master.serving(drain="1h")
    InThread(master.stop).join()
    backend.hear(Kind.GOODBYE)


def test_a_master_without_a_proxy_ends_at_once(hosted_master: Hosted) -> None:
    master = hosted_master.master(drain="1h")
    master.start()
    InThread(master.stop).join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_its_sockets_are_made_ends_it_as_later(
    hosted_master: Hosted, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """An exception there would leave half a socket behind, for which libzmq waits for ever."""
    opening = ManagedSocket._open

    def interrupted(self: ManagedSocket) -> None:
        opening(self)
        signal.raise_signal(number)

    monkeypatch.setattr(ManagedSocket, "_open", interrupted)
    master = hosted_master.master()
    master.run()
    assert not master.is_running


def test_with_starts_and_stops(backend: FakeBackend, hosted_master: Hosted) -> None:
    with hosted_master.master(drain=0) as master:
        backend.join()
        assert backend.call(71, 1).body == 1
    assert not master.is_running


def test_a_master_runs_once(hosted_master: Hosted) -> None:
    master = hosted_master.master(drain=0)
    with master:
        for again in (master.start, master.run):
            with pytest.raises(MasterStarted, match="m1"):
                again()
    with pytest.raises(MasterStarted):
        master.start()


def test_services_are_settled_at_the_start(hosted_master: Hosted) -> None:
    master = hosted_master.master(drain=0)
    with pytest.raises(ServiceError, match="'echo' has a handler already"):
        master.service("echo")(echo)
    with master, pytest.raises(MasterStarted, match="'late'"):
        master.service("late")(echo)


def test_a_master_without_a_service_refuses_to_run() -> None:
    with pytest.raises(ServiceError, match=r"add one by @master\.service"):
        Master("tcp://127.0.0.1:1", "m1").run()


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "**"])
def test_names_of_services_are_checked(name: str) -> None:
    with pytest.raises(ServiceError, match="bad service"):
        Master("tcp://127.0.0.1:1", "m1").service(name)(echo)


def test_a_service_without_a_name_is_noticed_at_once() -> None:
    with pytest.raises(ServiceError, match=r"write @master\.service\('NAME'\)"):
        Master("tcp://127.0.0.1:1", "m1").service(echo)  # type: ignore[arg-type]


def test_a_coroutine_function_is_no_handler() -> None:
    async def handle(request: Request) -> None: ...

    with pytest.raises(ServiceError, match="coroutine"):
        Master("tcp://127.0.0.1:1", "m1").service("echo")(handle)


@pytest.mark.parametrize(
    ("name", "options", "handler", "words"),
    [
        (3, {}, echo, "bad service 3"),
        (None, {}, echo, "bad service None"),
        (b"echo", {}, echo, "bad service b'echo'"),
        (["echo"], {}, echo, "bad service"),
        ("echo", {"idempotent": "no"}, echo, "bad idempotent 'no' of service 'echo': True or False"),
        ("echo", {}, 3, "the handler of 'echo' is no function: 3"),
        ("echo", {}, lambda: None, "the handler of 'echo' does not take one Request: too many"),
        ("echo", {}, lambda request, more: None, "the handler of 'echo' does not take one Request: missing"),
    ],
)
def test_what_cannot_be_a_service_is_refused(name: Any, options: Any, handler: Any, words: str) -> None:
    with pytest.raises(ServiceError, match=words):
        Master("tcp://127.0.0.1:1", "m1").service(name, **options)(handler)


class Shape(msgspec.Struct):
    width: int


def test_a_type_that_no_body_can_have_is_refused_at_once() -> None:
    with pytest.raises(ServiceError, match="no body of 'echo'"):
        Master("tcp://127.0.0.1:1", "m1").service("echo", body=dict[str, int] | Shape)(echo)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": "a b"}, SettingError, "bad master name"),
        ({"name": 5}, SettingError, "bad master name 5"),
        ({"concurrency": 0}, SettingError, "concurrency 0"),
        ({"concurrency": 2.5}, SettingError, "concurrency 2.5"),
        ({"concurrency": "4", "prefetch": 1}, SettingError, "concurrency '4'"),
        ({"concurrency": 2, "prefetch": 3}, SettingError, "prefetch 3"),
        ({"concurrency": True}, SettingError, "concurrency True"),
        ({"drain": "soon"}, SettingError, "drain"),
        ({"drain": None}, SettingError, "drain: None is no time"),
        ({"drain": [1]}, SettingError, "drain: .* is no time"),
        ({"endpoints": []}, SettingError, "without an endpoint"),
        ({"endpoints": "5556"}, EndpointError, "bad endpoint"),
        ({"endpoints": 5556}, EndpointError, "bad endpoint 5556"),
        ({"endpoints": b"tcp://127.0.0.1:1"}, EndpointError, "bad endpoint b'tcp"),
        ({"endpoints": "tcp://*:5556"}, EndpointError, "name the host"),
        ({"endpoints": ["tcp://127.0.0.1:0"]}, EndpointError, "name the host"),
    ],
)
def test_what_a_master_is_told_is_checked(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Master(**{"endpoints": "tcp://127.0.0.1:1", **options})


def test_names_by_default_differ_and_are_valid() -> None:
    names = {Master("tcp://127.0.0.1:1").name for _ in range(3)}
    assert len(names) == 3


def test_a_master_that_is_dropped_ends_and_warns(backend: FakeBackend, hosted_master: Hosted) -> None:
    before = threading.active_count()

    def drop() -> None:
        master = Master(backend.endpoint, "m1")
        master.service("echo")(echo)
        master.start()
        backend.join()

    with pytest.warns(ResourceWarning, match="m1, a Master, was dropped"):
        drop()
        gc.collect()
    backend.hear(Kind.GOODBYE)
    wait_until(lambda: threading.active_count() == before, "its threads ended")


def test_nothing_is_left_of_a_master_that_ended(backend: FakeBackend, hosted_master: Hosted) -> None:
    before = threading.active_count()
    master = hosted_master.serving(concurrency=3)
    backend.call(71)
    stopping = InThread(master.stop)
    backend.farewell()
    stopping.join()
    wait_until(lambda: threading.active_count() == before, "its threads ended")


def test_the_master_is_found_in_the_package() -> None:
    assert zproxy.Master is Master
    assert {"Master", "Request", "ServiceError", "MasterStarted", "ForkedMaster"} <= set(dir(zproxy))


def test_a_master_that_waits_holds_nothing_of_the_last_request(backend: FakeBackend, hosted_master: Hosted) -> None:
    def deliveries() -> int:
        return sum(isinstance(each, Delivery) for each in gc.get_objects())

    hosted_master.serving()
    gc.collect()
    before = deliveries()
    assert backend.call(71, 1).body == 1
    wait_until(lambda: deliveries() == before, "the delivery is free")


def test_a_master_that_was_stopped_is_free_even_if_its_handler_knows_it(backend: FakeBackend) -> None:
    def serve() -> weakref.ref[Master]:
        master = Master(backend.endpoint, "m1")
        master.service("echo")(lambda request: master.name)
        master.start()
        backend.join()
        master.stop(0)
        return weakref.ref(master)

    ref = serve()
    wait_until(lambda: gc.collect() >= 0 and ref() is None, "the master is free")


def test_a_shorter_drain_hastens_an_end_that_has_begun(backend: FakeBackend, hosted_master: Hosted) -> None:
    master = hosted_master.serving(drain=600)
    backend.request(71, service="hold")
    hosted_master.gate.wait_begun()
    stopping = InThread(master.stop)
    backend.hear(Kind.GOODBYE)
    master.stop(0)
    assert not master.is_running
    stopping.join()
