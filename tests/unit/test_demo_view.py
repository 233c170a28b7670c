"""How a run is shown, and what its verdict is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from zproxy.demo import chart, command, view
from zproxy.demo.plan import Plan
from zproxy.demo.reports import Checking, Compared, Ready, Stepped, Traffic, Trained
from zproxy.demo.run import Run, verdict

GOOD = Compared(largest_difference=1e-7, tolerance=1e-5, loss_before=4.6, loss_after=2.5)
NAN = float("nan")


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def a_run(nodes: int = 2, compared: Compared = GOOD) -> Run:
    run = Run(Plan(nodes=nodes, steps=4))
    run.pids = {name: number for number, name in enumerate(["proxy", "master", *run.plan.names(), "reference"], 100)}
    run.take("proxy", Ready("tcp://127.0.0.1:40001", "tcp://127.0.0.1:40002"))
    for step, loss in enumerate([4.5, 3.5, 3.0, 2.5], 1):
        run.take("proxy", Traffic(at_s=float(step), messages=100 * step, wire_bytes=10**8 * step, dropped=0))
        run.take("master", Stepped(step, loss, {name: step / 4 for name in run.plan.names()}))
    for name in ("master", *run.plan.names()):
        run.take(name, Trained("c0ffee"))
    run.take("reference", Checking(4))
    run.take("reference", compared)
    return run


def test_a_curve_fills_its_frame_from_the_largest_to_the_smallest() -> None:
    lines = chart.curve([8, 1], 2, 2)
    assert lines == ["█ ", "█▁"]
    assert chart.curve(range(1000, 0, -1), 7, 3)[0][0] == "█"
    assert [len(line) for line in chart.curve([1.0] * 1000, 7, 3)] == [7, 7, 7]


@pytest.mark.parametrize("values", [[], [2.5], [2.5, 2.5, 2.5]])
def test_a_curve_of_little_is_flat(values: list[float]) -> None:
    assert set("".join(chart.curve(values, 10, 3))) <= set(" ▁")


def test_each_column_is_the_mean_of_its_values() -> None:
    assert chart.curve([9, 7, 1, 3, 2, 2], 3, 1) == chart.curve([8, 2, 2], 3, 1)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_of_the_picture_is_as_wide_as_the_terminal(width: int) -> None:
    on = console(width)
    on.print(view.picture(a_run(nodes=12), width, ascii_only=False))
    assert max(len(line.rstrip("\n")) for line in written(on).splitlines()) < width


def test_the_picture_tells_losses_rates_and_processes() -> None:
    on = console(100)
    on.print(view.picture(a_run(), 100, ascii_only=False))
    for text in ("2 nodes, 4 steps", "loss 2.500", "4.50", "100 messages/s, 100 MB/s", "step 4/4", "node2", "pid 103"):
        assert text in written(on)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    on = console(80)
    on.print(view.picture(a_run(), 80, ascii_only=True), soft_wrap=True)
    assert set("".join(chart.curve([4.5, 3.5, 2.5], 40, 6, chart.ASCII))) <= set(chart.ASCII)
    assert "█" not in written(on)


def test_plain_lines_come_once() -> None:
    on = Console(file=io.StringIO())
    plain = view.PlainView(on)
    for _ in range(3):
        plain.show(a_run())
    lines = written(on).splitlines()
    assert lines == [
        "proxy pid 100 frontend tcp://127.0.0.1:40001 backend tcp://127.0.0.1:40002",
        "master pid 101",
        "node1 pid 102",
        "node2 pid 103",
        "reference pid 104 takes the same steps alone, for comparison",
        "step 4/4 loss 2.500 100 messages/s, 100 MB/s through the proxy",
    ]


def test_a_good_run_ends_with_0_and_what_to_try_next() -> None:
    on = Console(file=io.StringIO())
    assert command.conclude(a_run(), on) == 0
    assert "400 messages, 400 MB" in written(on) and "Next:" in written(on)


@pytest.mark.parametrize(
    ("failing", "compared"),
    [
        (0, Compared(1.1e-5, 1e-5, 4.6, 2.5)),
        (0, Compared(NAN, 1e-5, 4.6, 2.5)),
        (2, Compared(1e-7, 1e-5, 4.6, 4.6)),
        (2, Compared(1e-7, 1e-5, 4.6, NAN)),
    ],
)
def test_a_check_that_does_not_hold_is_said_and_ends_with_1(failing: int, compared: Compared) -> None:
    run = a_run(compared=compared)
    assert [check.holds for check in verdict(run)] == [number != failing for number in range(3)]
    on = Console(file=io.StringIO())
    assert command.conclude(run, on) == 1
    assert written(on).count("FAILED") == 1 and "Next:" not in written(on)


def test_a_node_with_other_parameters_fails_the_run() -> None:
    run = a_run()
    run.take("node1", Trained("decaf"))
    assert [check.holds for check in verdict(run)] == [True, False, True]
