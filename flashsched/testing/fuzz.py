"""The schedule fuzzer: ``python -m flashsched.testing.fuzz --schedules 10000 --seed 0``.

It draws te graphs and steps of every primitive, legal and illegal, and holds four things against each other: NumPy, the
interpreter on the nest as it is scheduled, the interpreter on the nest as it is lowered, and the compiled kernel, run
between guard pages. All of it happens in a forked child, so a crash or a hang is a finding like any other. What fails
is shrunk (by hypothesis) to a few lines of Python, and kept as a regression test.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisException

from flashsched.codegen.build import build_program
from flashsched.codegen.guard_pages import guarded
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import CPU_PASSES, lower, program_of, run_passes
from flashsched.schedule.schedule import Schedule, create_schedule
from flashsched.te import dtypes
from flashsched.te.nodes import SizeVar
from flashsched.te.scalars import scalar_tensor
from flashsched.te.sizes import size_value, sizes_in
from flashsched.testing.checks import check_round_trip
from flashsched.testing.graph_python import graph_python, identifier
from flashsched.testing.graphs import REDUCERS, Graph, graphs
from flashsched.testing.sandbox import TimedOut, run_apart
from flashsched.testing.schedules import GPU_PRIMITIVES, take_step
from flashsched.testing.steps import Draw

__all__ = ["Finding", "Patience", "Tally", "check_case", "check_kept", "find", "main", "regression_test"]

_FOLLOW = {
    "compute_at": ("rolling_buffer", "double_buffer", "rolling_buffer", "store_at", "software_pipeline", "set_scope"),
    "cache_read": ("compute_at", "transform_layout"),
    "cache_write": ("compute_at", "reverse_compute_at"),
    "rfactor": ("join_axes", "compute_at", "join_axes", "set_scope"),
    "split": ("reorder", "vectorize", "unroll_and_jam"),
}
"""What is often done next: steps that need the one before."""

_PLANS = ((), (), (), ("compute_at", "rolling_buffer"), ("compute_at", "rolling_buffer"), ("rfactor", "join_axes"),
          ("reverse_compute_inline",), ("bind", "set_store_predicate"), ("pad_einsum",),
          ("flatten_axes", "reindex"))  # fmt: skip
"""What a schedule begins with: some steps need loops that are still whole, and chance alone hardly leads to them."""

_CHUNK = 100  # schedules drawn from one seed, between two lines of progress


@dataclass
class Tally:
    """How often each primitive was accepted, and refused, over a run."""

    schedules: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """A line a primitive, and those of which nothing was tried as none of their steps was accepted."""
        names = sorted({*self.accepted, *self.refused})
        lines = [f"  {name:22} {self.accepted[name]:7} accepted {self.refused[name]:7} refused" for name in names]
        untried = ", ".join(sorted({*GPU_PRIMITIVES} - {name for name in names if self.accepted[name]}))
        return "\n".join(lines + [f"  never accepted, so not tested: {untried}"] * bool(untried))


@dataclass(frozen=True)
class Finding:
    """A schedule that computes something else than its graph, as small as it could be made.

    Attributes:
        program: the Python that declares the graph and makes the schedule.
        fault: what was seen.
        feed: the seed of the inputs that showed it.
        exact: whether the graph is compared bit by bit.
        inputs: the variables of the graph's inputs, in the order in which a kernel takes them.
    """

    program: str
    fault: str
    feed: int
    exact: bool
    inputs: tuple[str, ...] = ()


@st.composite
def _cases(
    draw: Draw, primitives: Sequence[str], most_steps: int, seconds: float, tally: Tally
) -> tuple[Graph, Schedule, int, str]:
    """A graph, a schedule, the seed of its inputs, and what went wrong while the schedule was made."""
    drawn: Graph = draw(graphs(most_stages=6, sized=True))
    schedule = create_schedule(list(drawn.outputs))
    plan = [name for name in draw(st.sampled_from(_PLANS)) if name in primitives]
    likely: tuple[str, ...] = ()
    for number in range(draw(st.integers(0, most_steps))):
        near = [name for name in likely if name in primitives]
        if number < len(plan):
            primitive = plan[number]
        else:
            primitive = draw(st.sampled_from(near if near and draw(st.booleans()) else primitives))
        try:
            with _alarm(seconds):
                kept = take_step(draw, schedule, primitive)
        except HypothesisException:
            raise
        except Exception as error:
            return drawn, schedule, 0, f"while {primitive} was applied: {type(error).__name__}: {error}"
        (tally.accepted if kept else tally.refused)[primitive] += 1
        likely = _FOLLOW.get(primitive, ()) if kept else ()
    return drawn, schedule, draw(st.integers(0, 3)), ""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise an error in what takes longer than *seconds*."""

    def ring(_signal: int, _frame: Any) -> None:
        raise TimedOut(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_case(drawn: Graph, schedule: Schedule, feed: int = 0) -> None:
    """Hold the interpreter, before and after lowering, and the kernel against NumPy; and the trace against its replay.

    Raises:
        AssertionError: two of them differ.
        FlashschedError: the nest breaks a promise, or can't be compiled.
    """
    check_round_trip(schedule)
    args = [*drawn.inputs, *drawn.outputs]
    scheduled, lowered = program_of(schedule, args), lower(schedule, args)
    kernel = build_program(run_passes(scheduled, CPU_PASSES))
    for sizes in _choices(drawn, feed):
        feeds = drawn.feeds(feed, sizes)
        arrays = list(feeds.values())
        drawn.check(interpret(scheduled, arrays), feeds)
        drawn.check(interpret(lowered, arrays), feeds)
        for side in ("after", "before"):
            inputs = [guarded(array.shape, array.dtype, array, side=side) for array in arrays]
            shapes = [tuple(size_value(size, sizes) for size in tensor.shape) for tensor in drawn.outputs]
            outputs = [
                guarded(shape, dtypes.numpy_dtype(tensor.dtype), side=side)
                for shape, tensor in zip(shapes, drawn.outputs, strict=True)
            ]
            kernel(*inputs, *outputs)
            drawn.check(outputs, feeds)
            for passed, kept in zip(inputs, arrays, strict=True):
                assert passed.tobytes() == kept.tobytes(), "the kernel wrote to an input"


def _choices(drawn: Graph, feed: int) -> list[dict[SizeVar, int]]:
    """Numbers for the sizes of *drawn*, 0 and 1 among them; one empty choice where it has none."""
    if not drawn.sizes:
        return [{}]
    rng = random.Random(feed)
    others = [{size: rng.choice((0, 1, 2, 3, 5, 7, 8, 11)) for size in drawn.sizes} for _ in range(2)]
    return [dict.fromkeys(drawn.sizes, 0), dict.fromkeys(drawn.sizes, 1), *others]


def check_kept(schedule: Schedule, inputs: Sequence[Any], feed: int, exact: bool) -> None:
    """What a regression test asks: `check_case` of a schedule whose graph was written down.

    Raises:
        AssertionError: it fails again.
    """
    tensors = tuple(scalar_tensor(item) for item in inputs)
    sizes = sizes_in([size for tensor in tensors for size in tensor.shape])
    drawn = Graph(tensors, schedule.outputs, exact, sizes)
    run_apart(lambda: check_case(drawn, schedule, feed))


class Patience:
    """Runs checks apart, each for *seconds*; once one has failed, for a few times what that took.

    So a failure that comes at once is not made smaller by waiting for what does not end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = self._limit = seconds

    def run(self, function: Callable[[], None]) -> None:
        """Call *function* in a forked child; what is slower than the first failure, and was to be smaller, passes.

        Raises:
            AssertionError: it failed, or did not end.
        """
        begin = time.monotonic()
        try:
            run_apart(function, self._limit)
        except TimedOut:
            if self._limit == self._seconds:
                run_apart(function, 2 * self._seconds)  # a machine that was busy with something else is no finding
        except AssertionError:
            self._limit = min(self._limit, 5 * (time.monotonic() - begin) + 2)
            raise


def find(
    schedules: int,
    start: int,
    *,
    primitives: Sequence[str] = GPU_PRIMITIVES,
    most_steps: int = 16,
    seconds: float = 60.0,
    tally: Tally | None = None,
    check: Callable[[Graph, Schedule, int], None] = check_case,
    shrink: bool = True,
) -> Finding | None:
    """Draw *schedules* schedules from the seed *start* and check each apart; the first that fails, shrunk.

    Args:
        schedules: how many to draw.
        start: the seed; the same seed draws the same schedules.
        primitives: what steps are drawn from.
        most_steps: the longest schedule.
        seconds: the time that one schedule may take to be made, and to be checked (see `Patience`).
        tally: counts what was drawn.
        check: what is asked of each schedule.
        shrink: whether a failure is made smaller before it is returned.
    """
    counts = tally or Tally()
    last: list[Finding] = []  # the failing case that hypothesis ran last is its smallest
    patience = Patience(seconds)

    @seed(start)
    @settings(
        max_examples=schedules,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(_cases(primitives, most_steps, seconds, counts))
    def run(case: tuple[Graph, Schedule, int, str]) -> None:
        drawn, schedule, feed, fault = case
        counts.schedules += 1
        try:
            if fault:
                raise AssertionError(fault)
            patience.run(lambda: check(drawn, schedule, feed))
        except AssertionError as error:
            inputs = tuple(identifier(tensor.name) for tensor in drawn.inputs)
            said = f"{type(error).__name__}: {error}"
            last.append(Finding(_program(drawn, schedule), said, feed, drawn.exact, inputs))
            raise

    try:
        run()
    except (AssertionError, Flaky):
        if not last:
            raise
        return last[-1]
    return None


def _program(drawn: Graph, schedule: Schedule) -> str:
    named = [name for name in REDUCERS if f"{name}(" in repr(drawn)]
    imports = [f"from flashsched.testing.graphs import {', '.join(named)}"] if named else []
    head = "\n".join(["from flashsched import te", *imports])
    declared = graph_python(drawn.outputs, {name: name for name in REDUCERS}, drawn.inputs)
    return f"{head}\n\n{declared}{schedule.to_python()}"


def regression_test(finding: Finding) -> tuple[str, str]:
    """The name and the text of a test file that runs *finding* again."""
    name = hashlib.sha256(finding.program.encode()).hexdigest()[:10]
    imports, _, body = finding.program.partition("\n\n")
    told = [line for line in finding.fault.splitlines() if re.match(r"[\w.]*(Error|Died|TimedOut)\b", line)]
    fault = (told or finding.fault.splitlines())[-1][:200].replace("\\", "/").replace('"', "'")
    lines = [
        f'"""Found by the fuzzer: {fault}"""',
        "",
        "from __future__ import annotations",
        "",
        imports,
        "from flashsched.testing.fuzz import check_kept",
        "",
        "",
        f"def test_{name}() -> None:",
        *(f"    {line}" if line else "" for line in body.rstrip().splitlines()),
        f"    check_kept(s, [{', '.join(finding.inputs)}], feed={finding.feed}, exact={finding.exact})",
        "",
    ]
    return f"test_{name}.py", "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer; returns the exit code: 0 nothing found, 1 something found."""
    parser = argparse.ArgumentParser(
        prog="python -m flashsched.testing.fuzz", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--schedules", type=int, default=1000, metavar="N", help="how many to draw (1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws the same schedules (0)")
    parser.add_argument("--steps", type=int, default=16, metavar="N", help="the longest schedule (16)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="T", help="time that one may take (60)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where to write a regression test for each finding")
    parser.add_argument("--stop", action="store_true", help="stop at the first finding")
    options = parser.parse_args(argv)
    if sys.platform == "win32":
        parser.error("the fuzzer forks a process for each schedule, which Windows can't")
    tally, findings, begin = Tally(), 0, time.monotonic()
    _warm()
    for number, at in enumerate(range(0, options.schedules, _CHUNK)):
        count = min(_CHUNK, options.schedules - at)
        found = find(
            count, options.seed * 1_000_003 + number, most_steps=options.steps, seconds=options.seconds, tally=tally
        )
        passed = time.monotonic() - begin
        print(
            f"{at + count} of {options.schedules} schedules, {findings + (found is not None)} findings, {passed:.0f} s",
            flush=True,
        )
        if found is None:
            continue
        findings += 1
        print(f"\n{found.program}\n{found.fault}\n", flush=True)
        if options.keep is not None:
            name, text = regression_test(found)
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / name).write_text(text, encoding="utf-8")
            print(f"kept as {options.keep / name}", flush=True)
        if options.stop:
            break
    print(
        f"{tally.schedules} schedules were checked (those of shrinking included), {findings} findings\n{tally.text()}"
    )
    return 1 if findings else 0


def _warm() -> None:
    """Compile something, so that the forked children need not start LLVM again."""
    from flashsched import te

    build_program(lower(create_schedule(te.compute((1,), lambda i: i.astype("float32"), "warm"))))


if __name__ == "__main__":
    sys.exit(main())
