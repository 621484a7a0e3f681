"""Any schedule that the primitives accept computes what NumPy computes: as a nest, lowered, and compiled."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build_program
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.schedule.printer import program_text
from flashsched.schedule.schedule import Schedule, create_schedule
from flashsched.schedule.trace import Trace
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.evaluate import Array
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.schedules import CPU_PRIMITIVES, GPU_PRIMITIVES, take_step


@st.composite
def cases(draw: st.DrawFn, primitives: tuple[str, ...]) -> tuple[Graph, Schedule]:
    drawn = draw(graphs())
    schedule = create_schedule(list(drawn.outputs))
    for _ in range(draw(st.integers(0, 14))):  # a list of steps would be short as a rule
        take_step(draw, schedule, draw(st.sampled_from(primitives)))
    return drawn, schedule


def garbage(drawn: Graph) -> list[Array]:
    """Outputs that hold nonsense, so that an element nobody writes is seen."""
    found = []
    for tensor in drawn.outputs:
        dtype = numpy_dtype(tensor.dtype)
        bits = np.full(int(np.prod(tensor.shape)) * dtype.itemsize, 1 if tensor.dtype == "bool" else 0xA7, "uint8")
        found.append(bits.view(dtype).reshape(tensor.shape))
    return found


def interpreted(drawn: Graph, schedule: Schedule, seed: int) -> None:
    """The nest as it is scheduled, and as it is after lowering, with every promise checked."""
    feeds = drawn.feeds(seed)
    args = [*drawn.inputs, *drawn.outputs]
    scheduled = program_of(schedule, args)
    note(f"{drawn!r}\n{schedule.to_python()}\n{program_text(scheduled)}")
    drawn.check(interpret(scheduled, list(feeds.values())), feeds)
    lowered = lower(schedule, args)
    note(program_text(lowered))
    drawn.check(interpret(lowered, list(feeds.values())), feeds)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(CPU_PRIMITIVES), st.integers(0, 3))
def test_a_cpu_schedule_compiled_computes_what_numpy_computes(case: tuple[Graph, Schedule], seed: int) -> None:
    drawn, schedule = case
    interpreted(drawn, schedule, seed)
    feeds, outputs = drawn.feeds(seed), garbage(drawn)
    kernel = build_program(lower(schedule, [*drawn.inputs, *drawn.outputs]))
    kernel(*feeds.values(), *outputs)
    drawn.check(outputs, feeds)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(GPU_PRIMITIVES), st.integers(0, 3))
def test_a_gpu_schedule_means_what_numpy_computes(case: tuple[Graph, Schedule], seed: int) -> None:
    interpreted(*case, seed)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(GPU_PRIMITIVES))
def test_a_trace_replays_to_the_same_nest(case: tuple[Graph, Schedule]) -> None:
    drawn, schedule = case
    again = create_schedule(list(drawn.outputs)).replay(Trace.from_json(schedule.trace.to_json()))
    assert str(again) == str(schedule)
    assert again.trace == schedule.trace
