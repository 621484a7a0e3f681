"""The fuzzer: it passes what is right, finds bugs that are planted, and keeps what it finds as a test that fails."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from flashsched.schedule.primitives import PRIMITIVES
from flashsched.schedule.schedule import Schedule
from flashsched.testing.fuzz import Patience, Tally, find, main, regression_test
from flashsched.testing.graphs import Graph
from flashsched.testing.schedules import CPU_PRIMITIVES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each schedule is checked in a fork")


def functions_of(names: Mapping[str, Any], module: str) -> list[FunctionType]:
    """The functions and methods that *module* defines, in the order of its text."""
    own = [value for value in names.values() if getattr(value, "__module__", None) == module]
    classes = [value for value in own if inspect.isclass(value)]
    methods = [item for value in classes for item in vars(value).values() if inspect.isfunction(item)]
    return [value for value in own if inspect.isfunction(value)] + methods


@contextmanager
def planted(module: str, right: str, wrong: str) -> Iterator[None]:
    """Within it, the functions of *module* run as if *right* read *wrong* in its source."""
    known = importlib.import_module(module)
    source = inspect.getsource(known)
    assert source.count(right) == 1, f"{right!r} is in {module} {source.count(right)} times; name another line"
    primitives = dict(PRIMITIVES)
    twin: dict[str, Any] = {"__name__": module}
    exec(compile(source.replace(right, wrong), f"{module} with a bug", "exec"), twin)
    PRIMITIVES.update(primitives)  # the twin registered its own
    own, wrongs = functions_of(vars(known), module), functions_of(twin, module)
    codes = [function.__code__ for function in own]
    try:
        for function, bad in zip(own, wrongs, strict=True):
            function.__code__ = bad.__code__
        yield
    finally:
        for function, code in zip(own, codes, strict=True):
            function.__code__ = code


@dataclass(frozen=True)
class Bug:
    """A line of a primitive or a pass, a wrong one in its place, steps that come near it, and a seed that shows it."""

    module: str
    right: str
    wrong: str
    steps: tuple[str, ...] = CPU_PRIMITIVES
    seed: int = 2

    def __str__(self) -> str:
        return self.module.rpartition(".")[2]


BUGS = (
    Bug(
        "flashsched.schedule.primitives.split",
        "if ragged:",
        "if ragged and (factor or nparts or 1) > 4:",
        ("split", "reorder"),
    ),
    Bug(
        "flashsched.schedule.primitives.fuse",
        "{outer.var: var // m, inner.var: var % m}",
        "{outer.var: var % outer.extent, inner.var: var % m}",
        ("fuse", "split"),
    ),
    Bug(
        "flashsched.schedule.primitives.loops",
        "if AxisKind.REDUCE in iterates(",
        "if False and AxisKind.REDUCE in iterates(",
        ("split", "fuse", "parallel"),
    ),
    Bug(
        "flashsched.schedule.primitives.compute_inline",
        "dict(zip(axes, load.indices, strict=True))",
        "dict(zip(axes, load.indices[::-1], strict=True))",
        ("compute_inline", "cache_read", "cache_write"),
    ),
    Bug(
        "flashsched.schedule.derive",
        "guards[axis] = limits",
        "guards[axis] = []",
        ("compute_at", "split"),
        seed=4,
    ),
    Bug(
        "flashsched.schedule.primitives.split",
        "rolled_anew(state, stage, names[1]), names",
        "state, names",
        ("compute_at", "rolling_buffer", "split"),
    ),
    Bug(
        "flashsched.codegen.passes.place_init",
        "if place is None:",
        "if place is not None:",
        ("split", "reorder", "tile"),
    ),
    Bug(
        "flashsched.codegen.passes.cut_tails",
        "Linear({}, int(test.high))",
        "Linear({}, int(test.low))",
        ("split", "tile"),
        seed=3,
    ),
    Bug(
        "flashsched.codegen.passes.guards",
        "outside = [t for t in lasting(terms) if not uses(t, node.var)]",
        "outside = terms[:1]",
        ("split", "tile"),
    ),
    Bug(
        "flashsched.codegen.passes.allocate",
        "if is_const(span.first, 0)",
        "if is_const(span.first)",
        ("compute_at", "cache_read", "cache_write", "split"),
        seed=1,
    ),
    Bug(
        "flashsched.codegen.emit",
        'literal(turns - left, "i64"), left, (turns - left, turns - 1)',
        'literal(turns - left, "i64"), 1, (turns - left, turns - 1)',
        ("vectorize", "vectorize", "split"),
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    with planted(bug.module, bug.right, bug.wrong):
        found = find(300, bug.seed, primitives=bug.steps, shrink=False)
    assert found is not None, "300 schedules did not show the bug"


def test_nothing_is_found_in_what_is_right() -> None:
    tally = Tally()
    assert find(30, 7, tally=tally) is None
    assert tally.schedules == 30
    assert tally.accepted["split"] > 0
    assert "split" in tally.text()


def test_a_crash_and_a_hang_are_findings() -> None:
    def crashes(drawn: Graph, schedule: Schedule, feed: int) -> None:
        if len(schedule.trace) > 1:
            os.kill(os.getpid(), signal.SIGSEGV)

    def hangs(drawn: Graph, schedule: Schedule, feed: int) -> None:
        if len(schedule.trace):
            time.sleep(60)

    died = find(40, 3, check=crashes, most_steps=6)
    assert died is not None
    assert "SIGSEGV" in died.fault
    lines = died.program.splitlines()
    assert len(lines) - lines.index(next(line for line in lines if "create_schedule" in line)) <= 4, died.program
    slow = find(40, 3, check=hangs, seconds=0.3, shrink=False)
    assert slow is not None
    assert "not done after 0.6 s" in slow.fault  # it was tried twice, the second time for twice as long


def test_a_failure_is_not_kept_waiting_by_what_is_slower() -> None:
    def fails() -> None:
        raise AssertionError("at once")

    patience = Patience(600)
    patience.run(lambda: time.sleep(0.1))
    for function in (fails, lambda: time.sleep(600), fails):
        with pytest.raises(AssertionError, match="at once") if function is fails else nullcontext():
            patience.run(function)


def test_what_was_found_is_kept_as_a_test_that_fails_until_it_is_mended(tmp_path: Path) -> None:
    bug = BUGS[0]
    with planted(bug.module, bug.right, bug.wrong):
        found = find(500, 5, primitives=bug.steps)
        assert found is not None
        name, text = regression_test(found)
        (tmp_path / name).write_text(text, encoding="utf-8")
        names: dict[str, Any] = {}
        exec(compile(text, name, "exec"), names)
        test = names[name.removesuffix(".py")]
        with pytest.raises(AssertionError):
            test()
    test()  # mended
    assert len(found.program.splitlines()) < 16, found.program
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", str(tmp_path / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_command_says_what_it_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashsched.testing.fuzz.find", partial(find, shrink=False))  # which has its test above
    assert main(["--schedules", "8", "--seed", "2", "--keep", str(tmp_path)]) == 0
    assert "8 of 8 schedules, 0 findings" in capsys.readouterr().out
    bug = next(bug for bug in BUGS if str(bug) == "place_init")
    with planted(bug.module, bug.right, bug.wrong):
        assert main(["--schedules", "200", "--seed", "2", "--keep", str(tmp_path), "--stop"]) == 1
    (kept,) = tmp_path.iterdir()
    assert str(kept) in capsys.readouterr().out
