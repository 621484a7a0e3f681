"""Any schedule that the primitives accept computes what NumPy computes: as a nest, lowered, and compiled."""

from __future__ import annotations

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build_program
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.schedule.printer import program_text
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import SizeVar
from flashsched.testing.checks import check_round_trip, garbage
from flashsched.testing.graphs import Graph, graphs, some_sizes
from flashsched.testing.schedules import CPU_PRIMITIVES, GPU_PRIMITIVES, schedules


@st.composite
def cases(draw: st.DrawFn, primitives: tuple[str, ...]) -> tuple[Graph, Schedule]:
    drawn = draw(graphs(sized=True))
    return drawn, draw(schedules(drawn.outputs, primitives=primitives))


def sizes_of(drawn: Graph, data: st.DataObject) -> list[dict[SizeVar, int]]:
    """A few choices of sizes, or none to choose."""
    return data.draw(st.lists(some_sizes(drawn), min_size=1, max_size=3)) if drawn.sizes else [{}]


def interpreted(drawn: Graph, schedule: Schedule, seed: int, choices: list[dict[SizeVar, int]]) -> None:
    """The nest as it is scheduled, and as it is after lowering, every promise checked, for each choice of sizes."""
    args = [*drawn.inputs, *drawn.outputs]
    scheduled = program_of(schedule, args)
    note(f"{drawn!r}\n{schedule.to_python()}\n{program_text(scheduled)}")
    lowered = lower(schedule, args)
    note(program_text(lowered))
    for sizes in choices:
        note(f"sizes {sizes}")
        feeds = drawn.feeds(seed, sizes)
        drawn.check(interpret(scheduled, list(feeds.values())), feeds)
        drawn.check(interpret(lowered, list(feeds.values())), feeds)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(CPU_PRIMITIVES), st.integers(0, 3), st.data())
def test_a_cpu_schedule_compiled_computes_what_numpy_computes(
    case: tuple[Graph, Schedule], seed: int, data: st.DataObject
) -> None:
    drawn, schedule = case
    choices = sizes_of(drawn, data)
    interpreted(drawn, schedule, seed, choices)
    kernel = build_program(lower(schedule, [*drawn.inputs, *drawn.outputs]))
    for sizes in choices:  # one kernel for all of them
        feeds, outputs = drawn.feeds(seed, sizes), [garbage(tensor, sizes) for tensor in drawn.outputs]
        kernel(*feeds.values(), *outputs)
        drawn.check(outputs, feeds)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(GPU_PRIMITIVES), st.integers(0, 3), st.data())
def test_a_gpu_schedule_means_what_numpy_computes(case: tuple[Graph, Schedule], seed: int, data: st.DataObject) -> None:
    interpreted(*case, seed, sizes_of(case[0], data))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(GPU_PRIMITIVES))
def test_a_trace_and_its_python_make_the_same_nest(case: tuple[Graph, Schedule]) -> None:
    drawn, schedule = case
    note(f"{drawn!r}\n{schedule.to_python()}")
    check_round_trip(schedule)
