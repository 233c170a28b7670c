"""`zproxy.Proxy` inside a program: its life, its errors, what it leaves behind; and connecting by name."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from support.managed import ManagedPeer
from support.peers import EchoWorkers, Peers
from support.waiting import wait_until
from support.zmtp_peer import ZmtpPeer

from zproxy import AlreadyStarted, EndpointInUse, NotStarted, Proxy, SettingError, UnknownWorker
from zproxy.envelope import Kind
from zproxy.processes import spawn
from zproxy.procfs import descriptor_count

Managed = Callable[..., ManagedPeer]

LOCAL = "tcp://127.0.0.1:0"
MIB = 1 << 20


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("zproxy-"))


def assert_serves(proxy: Proxy, peers: Peers) -> None:
    with EchoWorkers(proxy.backend[0]):
        client = peers.connect(zmq.REQ, proxy.frontend[0])
        client.send(b"hello")
        assert client.recv() == b"hello"


def is_listening(endpoint: str) -> bool:
    try:
        ZmtpPeer.connect(endpoint).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    gc.collect()
    before = descriptor_count(os.getpid())
    yield
    gc.collect()
    wait_until(lambda: descriptor_count(os.getpid()) == before, "as many open files as before")


def test_a_with_block_relays_and_leaves_nothing(peers: Peers, tmp_path: Path) -> None:
    with Proxy(frontend=[LOCAL, f"ipc://{tmp_path}/frontend"], backend=LOCAL) as proxy:
        assert [endpoint.rpartition(":")[0] for endpoint in proxy.frontend] == ["tcp://127.0.0.1", "ipc"]
        assert_serves(proxy, peers)
        assert proxy.stats()["replies_out"] == 1
        assert threads() == ["zproxy-observer"]
    stats = proxy.stats()
    assert (stats["requests_in"], stats["frontend_connections"]) == (1, 0)
    assert threads() == []
    assert list(tmp_path.iterdir()) == []


def test_two_proxies_in_one_process_do_not_meet(peers: Peers) -> None:
    with Proxy(LOCAL, LOCAL) as one, Proxy(LOCAL, LOCAL) as other:
        assert_serves(one, peers)
        assert_serves(other, peers)
        one.stop()
        assert_serves(other, peers)
        assert (one.stats()["requests_in"], other.stats()["requests_in"]) == (1, 2)


def test_an_exception_in_the_with_block_stops_the_proxy_and_goes_on() -> None:
    with pytest.raises(ZeroDivisionError), Proxy(LOCAL, LOCAL) as proxy:
        raise ZeroDivisionError
    assert proxy.wait(0)
    assert threads() == []


def test_each_proxy_runs_once() -> None:
    proxy = Proxy(LOCAL, LOCAL)
    proxy.start()
    with pytest.raises(AlreadyStarted, match="make a new one"):
        proxy.start()
    proxy.stop()
    proxy.stop()
    with pytest.raises(AlreadyStarted, match="make a new one"):
        proxy.start()


def test_a_proxy_that_never_started_says_so_and_stops_anyway(tmp_path: Path) -> None:
    proxy = Proxy(f"ipc://{tmp_path}/frontend", LOCAL)
    with pytest.raises(NotStarted, match="call start"):
        proxy.wait(0)
    assert not any(proxy.stats().values())
    proxy.stop()
    assert list(tmp_path.iterdir()) == []
    Proxy(f"ipc://{tmp_path}/frontend", proxy.backend).stop()
    with pytest.raises(AlreadyStarted):
        proxy.start()


def test_a_proxy_that_cannot_bind_gives_back_what_it_had(tmp_path: Path) -> None:
    with no_descriptor_left(), socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(EndpointInUse) as caught:
            Proxy([LOCAL, f"ipc://{tmp_path}/frontend"], taken)
        assert list(tmp_path.iterdir()) == []
        del caught


def test_a_setting_that_cannot_be_is_refused_before_anything_is_bound(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="max_message"):
        Proxy(f"ipc://{tmp_path}/frontend", LOCAL, max_message=0)
    assert list(tmp_path.iterdir()) == []


def test_proxies_nobody_started_leave_nothing_when_collected(tmp_path: Path) -> None:
    with no_descriptor_left():
        for number in range(20):
            Proxy([LOCAL, f"ipc://{tmp_path}/{number}"], LOCAL)
    assert list(tmp_path.iterdir()) == []


def test_a_running_proxy_that_nobody_holds_ends_and_says_so(tmp_path: Path) -> None:
    with no_descriptor_left():
        proxy = Proxy([LOCAL, f"ipc://{tmp_path}/frontend"], LOCAL)
        proxy.start()
        gone = weakref.ref(proxy)
        with pytest.warns(ResourceWarning, match="dropped while it ran"):
            del proxy
            gc.collect()
        assert gone() is None
        wait_until(lambda: threads() == [], "its threads have ended")
    assert list(tmp_path.iterdir()) == []


def test_stop_may_be_called_by_many_threads_at_once(tmp_path: Path) -> None:
    with no_descriptor_left():
        proxy = Proxy(f"ipc://{tmp_path}/frontend", LOCAL)
        proxy.start()
        stopping = [threading.Thread(target=proxy.stop) for _ in range(4)]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        assert proxy.wait(0)
        assert proxy.stats()["frontend_connections"] == 0
        del proxy
    assert list(tmp_path.iterdir()) == []


def test_stats_may_be_read_by_many_threads_while_it_runs_and_stops() -> None:
    proxy = Proxy(LOCAL, LOCAL)
    proxy.start()
    seen: list[int] = []

    def read() -> None:
        turns = [proxy.stats()["turns"] for _ in range(200)]
        assert turns == sorted(turns)
        seen.append(turns[-1])

    reading = [threading.Thread(target=read) for _ in range(3)]
    for thread in reading:
        thread.start()
    proxy.stop()
    for thread in reading:
        thread.join()
    assert len(seen) == 3


FORK = """
import os, sys
from zproxy import ForkedProxy, Proxy
with Proxy("ipc://" + sys.argv[1], "tcp://127.0.0.1:0") as proxy:
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (proxy.stats, proxy.stop, proxy.stop_soon, proxy.wait, proxy.start):
            try:
                call()
            except ForkedProxy as error:
                assert "make a new one" in str(error)
                refused += 1
        del proxy, call
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert os.path.exists(sys.argv[1])
    proxy.stats()
"""

INTERRUPT = """
import threading
from zproxy import Proxy
try:
    with Proxy("tcp://127.0.0.1:0", "tcp://127.0.0.1:0") as proxy:
        print("ready", flush=True)
        threading.Event().wait()
except KeyboardInterrupt:
    print("interrupted", proxy.wait(0), flush=True)
"""

INTERRUPT_TWICE = """
import sys
from zproxy import Proxy
with Proxy("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", drain="1h") as proxy:
    print(proxy.frontend[0], proxy.backend[0], flush=True)
    sys.stdin.readline()
    try:
        proxy.stop()
    except KeyboardInterrupt:
        print("interrupted", proxy.wait(0), flush=True)
"""


def test_after_a_fork_the_proxy_is_the_parents(tmp_path: Path) -> None:
    path = f"{tmp_path}/frontend"
    # From 3.12 on CPython warns of any fork beside a thread, as the relay's is.
    quiet = ["-W", "ignore::DeprecationWarning"]
    done = subprocess.run([sys.executable, *quiet, "-c", FORK, path], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_reaches_python_while_the_relay_runs() -> None:
    process = spawn([sys.executable, "-c", INTERRUPT], stdout=subprocess.PIPE, cwd="/")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted True\n"
    assert process.returncode == 0


def test_an_interrupt_while_it_stops_ends_it_at_once(peers: Peers) -> None:
    process = spawn([sys.executable, "-c", INTERRUPT_TWICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
    assert process.stdout is not None and process.stdin is not None
    frontend, backend = process.stdout.readline().split()
    stuck = ZmtpPeer.connect(backend, receive_buffer_bytes=4096)
    stuck.handshake("DEALER")
    client = peers.connect(zmq.DEALER, frontend)
    client.send(bytes(64 * MIB))
    stuck.read_bytes(100)  # it is accepted, and more than any socket's buffer takes
    process.stdin.write("stop\n")
    process.stdin.flush()
    wait_until(lambda: not is_listening(frontend), "it stops")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted True\n"
    assert process.returncode == 0
    stuck.close()


class Names:
    """A name server of the test's own: the answers it gives, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: str, port: int, **kinds: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        ips = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ips]


def bound_worker(peers: Peers) -> tuple[zmq.Socket[bytes], int]:
    worker = peers.bind(zmq.REP, "tcp://127.0.0.1:*")
    return worker, int(worker.last_endpoint.decode().rpartition(":")[2])


def assert_reached(worker: zmq.Socket[bytes], proxy: Proxy, peers: Peers) -> None:
    client = peers.connect(zmq.REQ, proxy.frontend[0])
    client.send(b"hello")
    assert worker.recv() == b"hello"


def test_a_name_with_a_dead_address_first_reaches_the_next(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, port = bound_worker(peers)
    names = Names(monkeypatch, ["::1", "127.0.0.2", "127.0.0.1"])
    with Proxy(LOCAL, backend_connect=f"tcp://worker.example:{port}") as proxy:
        assert_reached(worker, proxy, peers)
    assert names.asked == 1


def test_a_name_that_moves_is_followed(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, port = bound_worker(peers)
    names = Names(monkeypatch, ["127.0.0.2"], ["127.0.0.3", "127.0.0.4"], ["127.0.0.1"])
    with Proxy(LOCAL, backend_connect=f"tcp://worker.example:{port}") as proxy:
        assert_reached(worker, proxy, peers)
        assert threads() == ["zproxy-observer", "zproxy-resolver"]
    assert names.asked >= 3
    wait_until(lambda: threads() == [], "the resolver has ended")


def test_an_address_is_not_resolved_again(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, ["127.0.0.1"])
    with Proxy(LOCAL, backend_connect="tcp://127.0.0.1:1") as proxy:
        wait_until(lambda: proxy.stats()["connect_failures"] >= 2, "two failures")
    assert names.asked == 0


def test_reports_asked_for_at_once_are_whole_and_the_last_one_stays() -> None:
    proxy = Proxy(LOCAL, LOCAL, balance="gradients=hash")

    def names() -> list[str]:
        return [row.name for row in proxy.report()[1]]

    assert names() == []
    with proxy, ThreadPoolExecutor(8) as pool:
        assert set(map(tuple, pool.map(lambda _: names(), range(200)))) == {("gradients",)}
    assert names() == names() == ["gradients"]


def test_a_worker_that_is_drained_takes_no_more_and_others_do(managed: Managed) -> None:
    with Proxy(LOCAL, LOCAL) as proxy:
        with pytest.raises(UnknownWorker, match="no worker 'm1': no worker is there"):
            proxy.drain_worker("m1")
        workers = {name: managed(proxy.backend[0], name) for name in ("m1", "m2")}
        for worker in workers.values():
            worker.ready("sum", credit=9)
        node = managed(proxy.frontend[0], "rank0")
        node.hello()
        proxy.drain_worker("m1")
        states = {row.name: row.is_leaving for row in proxy.report()[2] if row.is_worker}
        assert states == {"m1": True, "m2": False}
        for _ in range(3):
            node.request("sum", b"\x92\xc0\x90")
            workers["m2"].read(Kind.REQUEST)
        assert workers["m1"].read()[0].kind == Kind.GOODBYE and workers["m1"].hears_nothing()
        with pytest.raises(UnknownWorker, match="no worker 'rank0': there are m1, m2"):
            proxy.drain_worker("rank0")
        proxy.stop(0)
    with pytest.raises(UnknownWorker):
        proxy.drain_worker("m1")


@pytest.mark.parametrize("name", ["", "m" * 65, "nobody", "ümlaut", "m1\0"])
def test_a_name_that_nobody_can_have_is_refused_too(name: str) -> None:
    with Proxy(LOCAL, LOCAL) as proxy, pytest.raises(UnknownWorker):
        proxy.drain_worker(name)
