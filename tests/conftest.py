"""Fixtures of the end-to-end and fault tests, time-outs, markers, and how hard properties are tried.

Put `peers` and raw peers after the proxy in a test's arguments: they close first, so a proxy is always seen
to end by itself.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from support.fake_backend import FakeBackend  # noqa: E402  (the path comes first)
from support.fault_report import FaultReport  # noqa: E402
from support.load import Load  # noqa: E402
from support.managed import ManagedPeer, managed_peers  # noqa: E402
from support.master_process import MasterProcess  # noqa: E402
from support.masters import Hosted  # noqa: E402
from support.peers import Peers  # noqa: E402
from support.proxies import HostedProxy, Lane, MortalProxy, ProxyProcess, Spares  # noqa: E402
from support.tcp_fault import FaultProxy  # noqa: E402
from support.zmtp_peer import ZmtpPeer  # noqa: E402

TEST_SECONDS = 30
SOAK_SECONDS = 600
WORKERS_MAX = 4  # each with its proxies and peers
WITH_PROCESSES = ("e2e", "faults", "cli", "sdk", "security")

# The suite tries the same examples every time; `make fuzz` looks for new ones, for minutes.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=200)
settings.register_profile("fuzz", deadline=None, max_examples=10_000)
settings.load_profile("suite")


FAULT_REPORT = pytest.StashKey[FaultReport]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-report", metavar="PATH", help="write the fault tests' table here, as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it puts into the background with SIGINT ignored, nohup ignores SIGHUP; children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "soak: full-size or long; run them with -m soak")
    config.stash[FAULT_REPORT] = FaultReport()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: one for each core; none for the soak and the table of faults, which have the machine to themselves."""
    is_alone = config.option.markexpr or config.option.fault_report
    return 0 if is_alone else min(len(os.sched_getaffinity(0)), WORKERS_MAX)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        is_ours = any(HERE / folder in item.path.parents for folder in WITH_PROCESSES)
        if is_ours and item.get_closest_marker("timeout") is None:
            seconds = SOAK_SECONDS if item.get_closest_marker("soak") else TEST_SECONDS
            item.add_marker(pytest.mark.timeout(seconds))
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report, path = config.stash[FAULT_REPORT], config.option.fault_report
    if path and report:
        Path(path).write_text(report.table() + "\n")
        terminalreporter.write_line(f"the faults' table is in {path}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long byte strings would make ids nobody can type; pytest numbers equal ids."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture(scope="session", autouse=True)
def temporary_files() -> Iterator[None]:
    """What tests make by `tempfile` is gone afterwards. Not pytest's tmp_path: too long for an ipc path."""
    with tempfile.TemporaryDirectory(prefix="zproxy-tests-") as folder:
        tempfile.tempdir = folder
        os.environ["ZPROXY_RUNTIME_DIR"] = f"{folder}/run"  # for the control sockets of proxies
        yield
        tempfile.tempdir = None


@pytest.fixture
def peers() -> Iterator[Peers]:
    """Opens pyzmq sockets, closed after the test."""
    opened = Peers()
    yield opened
    opened.close()


@pytest.fixture
def raw_peer() -> Iterator[Callable[..., ZmtpPeer]]:
    """Opens bare connections: `raw_peer(endpoint)`, closed after the test."""
    opened: list[ZmtpPeer] = []

    def connect(endpoint: str, receive_buffer_bytes: int | None = None) -> ZmtpPeer:
        opened.append(ZmtpPeer.connect(endpoint, receive_buffer_bytes))
        return opened[-1]

    yield connect
    for peer in opened:
        peer.close()


@pytest.fixture
def managed() -> Iterator[Callable[..., ManagedPeer]]:
    """Opens managed peers: `managed(endpoint, name)`, welcomed but not introduced, closed after the test."""
    with managed_peers() as make:
        yield make


@pytest.fixture(scope="session")
def spares() -> Iterator[Spares]:
    kept = Spares()
    yield kept
    kept.close()


@pytest.fixture(params=["zmq.proxy", "zproxy"])
def program(request: pytest.FixtureRequest) -> str:
    """Which proxy a case runs against."""
    return str(request.param)


@pytest.fixture(params=["tcp", "ipc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def proxy(spares: Spares, program: str, transport: str) -> Iterator[Lane]:
    """A fresh proxy of either kind; it has to outlive the test and then end well."""
    process = spares.take(program)
    yield Lane(process, process.endpoint("frontend", transport), process.endpoint("backend", transport))
    process.assert_ends_well()


@pytest.fixture
def start_proxy(program: str) -> Iterator[Callable[..., ProxyProcess]]:
    """Starts a proxy of either kind with options of the test's own."""
    started: list[ProxyProcess] = []

    def start(**options: Any) -> ProxyProcess:
        started.append(ProxyProcess(program, **options))
        return started[-1]

    yield start
    for process in started:
        process.assert_ends_well()


@pytest.fixture
def hosted() -> Iterator[Callable[..., HostedProxy]]:
    """Starts `zproxy.Proxy` in a process that shows its counters; it has to end well."""
    started: list[HostedProxy] = []

    def start(**options: Any) -> HostedProxy:
        started.append(HostedProxy(**options))
        return started[-1]

    yield start
    try:
        for proxy in started:
            proxy.assert_ends_well()
    finally:
        for proxy in started:
            proxy.close()


@pytest.fixture
def mortal_proxy() -> Iterator[MortalProxy]:
    """A proxy that the test may kill and bring back; the last of it has to end well."""
    mortal = MortalProxy()
    yield mortal
    try:
        mortal.proxy.assert_ends_well()
    finally:
        mortal.die()


@pytest.fixture
def master_process() -> Iterator[Callable[..., MasterProcess]]:
    """Starts masters in processes of their own: `master_process(backend, name, **options)`, killed after the test."""
    started: list[MasterProcess] = []

    def start(backend: str, name: str = "m1", **options: Any) -> MasterProcess:
        started.append(MasterProcess(backend, name, **options))
        return started[-1]

    yield start
    for master in started:
        master.kill()


@pytest.fixture
def load(request: pytest.FixtureRequest) -> Iterator[Load]:
    """Nodes and masters that note what they do, killed after the test."""
    patience_seconds = SOAK_SECONDS if request.node.get_closest_marker("soak") else TEST_SECONDS
    opened = Load(patience_seconds)
    yield opened
    opened.close()


@pytest.fixture
def fault_report(pytestconfig: pytest.Config) -> FaultReport:
    """Where a row of the fault matrix puts its figures."""
    return pytestconfig.stash[FAULT_REPORT]


@pytest.fixture
def faulty() -> Iterator[Callable[[str], FaultProxy]]:
    """Puts a TCP proxy that can slice, stall and reset before an endpoint."""
    started: list[FaultProxy] = []

    def start(target: str) -> FaultProxy:
        started.append(FaultProxy(target))
        return started[-1]

    yield start
    for fault in started:
        fault.close()


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    """A proxy's backend that a test plays by hand."""
    with FakeBackend() as opened:
        yield opened


@pytest.fixture
def hosted_master(backend: FakeBackend) -> Iterator[Hosted]:
    """Makes masters at that backend, ended with the test."""
    masters = Hosted(backend)
    yield masters
    masters.close()
