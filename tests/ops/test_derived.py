"""Derived spaces: whatever is drawn is accepted and computes the same, and most draws are different schedules."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import simulate
from flashsched.codegen.build import build, build_program
from flashsched.codegen.lower import lower
from flashsched.errors import Infeasible, ScheduleError
from flashsched.hw import DeviceSpec, devices
from flashsched.ops.derived import derived_cpu, derived_gpu
from flashsched.ops.operator import Template
from flashsched.schedule import Trace, create_schedule
from flashsched.schedule.ir import blocks
from flashsched.testing import programs
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.unseen import UNSEEN
from flashsched.tune.search.knobs import FirstKnobs, FixedKnobs, RandomKnobs
from flashsched.tune.task import Task

ONCE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
CPU = devices["cpu"]


def task_of(name: str, small: bool = True) -> Task:
    known = UNSEEN[name]
    return Task.from_te(known.define(*(known.small if small else known.sizes)), name=name)


class Answered(FirstKnobs):
    """The first answers, but for some that are named: each is asked, and is an option."""

    def __init__(self, answers: dict[str, object]) -> None:
        super().__init__()
        self.answers = dict(answers)

    def choice(self, name, options, default=None):
        if name not in self.answers:
            return super().choice(name, options, default)
        assert self.answers[name] in options
        return self.answers[name]


def text_of(args: list[te.Tensor]) -> str:
    """The nest that the first answers make of a graph."""
    schedule = create_schedule(args[-1])
    derived_cpu(schedule, args, FirstKnobs(), CPU)
    return str(schedule)


# -- meaning -----------------------------------------------------------------------------------------------------


def check_draw(template: Template, spec: DeviceSpec, drawn: Graph, seed: int) -> None:
    """What the *template* makes of random answers computes what NumPy computes."""
    schedule = create_schedule(list(drawn.outputs))
    args = [*drawn.inputs, *drawn.outputs]
    template(schedule, args, RandomKnobs(random.Random(seed)), spec)
    note(f"{drawn!r}\n{schedule}")
    feeds = drawn.feeds(seed)
    found = build_program(lower(schedule, args))(*feeds.values())
    drawn.check(found if isinstance(found, tuple) else [found], feeds)


@ONCE
@given(drawn=graphs(), seed=st.integers(0, 1 << 16))
def test_any_draw_for_any_graph_computes_what_numpy_computes(drawn: Graph, seed: int) -> None:
    check_draw(derived_cpu, CPU, drawn, seed)


@pytest.mark.parametrize("name", UNSEEN)
@pytest.mark.parametrize("seed", [None, 1])
def test_the_ten_computations(assert_right, name, seed):
    assert assert_right(task_of(name), seed)


@settings(max_examples=15, deadline=None)
@given(sizes=st.tuples(*[st.sampled_from((0, 1, 2, 7, 33))] * 3), seed=st.integers(0, 99))
def test_a_product_of_any_sizes(sizes, seed):
    args = programs.matmul(*sizes)
    schedule = create_schedule(args[-1])
    derived_cpu(schedule, list(args), RandomKnobs(random.Random(seed)), CPU)
    check_meaning(schedule, compiled=True)


def test_a_sum_of_everything_is_shared_out_among_threads():
    x, k = te.placeholder((1 << 17,), name="X"), te.reduce_axis((0, 1 << 17), name="k")
    args = [x, te.compute((), lambda: te.sum(x[k], axis=k), name="total")]
    schedule = create_schedule(args[-1])
    derived_cpu(schedule, args, FirstKnobs(), CPU.replace(units=2))
    assert "# parallel" in str(schedule)
    assert build(schedule, args)(np.ones(1 << 17, np.float32)) == 1 << 17


# -- what the rules see ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_few_sums_of_much_may_be_shared_out(parts):
    """8 rows of 70 sums are a tile or two; parts of the reduction are work for more threads, if the search says so."""
    args = programs.matmul(8, 70, 4100)
    schedule = create_schedule(args[-1])
    derived_cpu(schedule, args, Answered({"C: parts": parts}), replace(CPU, units=2))
    assert ("C.rf" in str(schedule)) == (parts > 1)
    a, b = (np.random.default_rng(0).random(size, dtype=np.float32) for size in ((8, 4100), (4100, 70)))
    c = np.empty((8, 70), dtype=np.float32)
    build(schedule, args)(a, b, c)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4)
    assert "C.rf" not in text_of(args)  # it is not the first answer


@pytest.mark.parametrize(("rows", "depth"), [(64, 4100), (8, 4000)])
def test_many_sums_or_short_ones_are_not_shared_out(rows, depth):
    """The registers of two cores hold 1,024 sums, and 4,096 turns are worth a second pass over them."""
    args = programs.matmul(rows, 70, depth)
    knobs = RandomKnobs(random.Random(0))
    derived_cpu(create_schedule(args[-1]), args, knobs, replace(CPU, units=2))
    assert "C: parts" not in knobs.decisions


def test_rows_of_a_softmax_share_a_block():
    nest = text_of(task_of("masked_softmax", small=False).args())
    assert nest.count("# parallel") == 1
    assert "S[" not in nest  # what costs less than its memory is computed where it is read
    assert "E[i, j] = exp(" in nest  # an exponential is not


@pytest.mark.parametrize("args", [Task("softmax", (1000, 333)).args(), programs.row_sum(1000, 0, 333)])
def test_only_the_last_turn_of_a_ragged_row_asks_what_there_is(args):
    schedule = create_schedule(args[-1])
    derived_cpu(schedule, args, FirstKnobs(), CPU)
    assert "< 333" in str(schedule)
    assert "< 333" not in str(lower(schedule, args))


def test_an_operand_that_lies_the_other_way_is_packed():
    nest = text_of(task_of("distances", small=False).args())
    assert "Y.local" in nest
    assert "Y.global" in nest


def test_a_tile_of_sums_stays_in_registers():
    nest = text_of(list(programs.matmul(512, 512, 512)))
    assert "init C.local[i, j] = 0.0" in nest
    assert "# vectorize" in nest
    assert "# parallel" in nest


def test_windows_that_overlap_are_computed_block_by_block():
    nest = text_of(task_of("top_hat", small=False).args())
    assert nest.count("# parallel") == 1


def test_rows_of_windows_are_combined_once():
    nest = text_of(task_of("top_hat", small=False).args())
    assert "E.rf[i + di, j]" in nest
    assert "D.rf[i + ei, j]" in nest
    x = te.placeholder((64, 20, 20), name="X")
    c, d, e = (te.reduce_axis((0, n), name=n_) for n, n_ in ((64, "c"), (3, "d"), (3, "e")))
    w = te.placeholder((64, 3, 3), name="W")
    weighed = te.compute((18, 18), lambda i, j: te.sum(x[c, i + d, j + e] * w[c, d, e], axis=[c, d, e]), name="C")
    assert ".rf[i + d" not in text_of([x, w, weighed])  # each row of a window has weights of its own


# -- the space ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNSEEN)
def test_nearly_every_draw_is_valid(name):
    task = task_of(name, small=False)
    refused = 0
    for seed in range(6):
        try:
            task.candidate(RandomKnobs(random.Random(seed)), CPU)
        except (Infeasible, ScheduleError):
            refused += 1
    assert refused == 0


@pytest.mark.parametrize("name", ["conv3d", "masked_softmax", "separable_conv"])
def test_decisions_make_the_same_schedule_again(name):
    task = task_of(name, small=False)
    drawn = task.candidate(RandomKnobs(random.Random(7)), CPU)
    again = task.candidate(FixedKnobs(drawn.decisions), CPU)
    assert again.trace == drawn.trace
    known = json.loads(json.dumps(drawn.trace.to_json()))
    assert str(task.replay(Trace.from_json(known)).schedule) == str(drawn.schedule)


@pytest.mark.parametrize("name", ["distances", "nearest_code"])
def test_traces_and_programs_make_it_again(name):
    check_round_trip(task_of(name).candidate(RandomKnobs(random.Random(3)), CPU).schedule)


def test_a_task_of_a_graph_is_tuned_in_its_derived_space(tmp_path):
    task = task_of("bias_gelu_residual")
    log = tmp_path / "log.jsonl"
    result = fs.tune(task, device="cpu", trials=3, log=log, seed=0)
    assert result.best.trace["decisions"]
    x, bias, r = inputs = task.inputs()
    y = x + bias
    wanted = y * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))) + r
    np.testing.assert_allclose(fs.load(log, task)(*inputs), wanted, rtol=1e-5, atol=1e-6)


# -- GPUs --------------------------------------------------------------------------------------------------------


A100 = devices["a100-sim"]


@pytest.mark.parametrize("name", UNSEEN)
def test_the_ten_computations_on_a_gpu(name):
    task = task_of(name)
    rng = np.random.default_rng(0)
    for seed in (None, 1):
        knobs = FirstKnobs() if seed is None else RandomKnobs(random.Random(seed))
        candidate = task.candidate(knobs, A100)
        inputs = [np.asarray(rng.integers(0, 2, t.known_shape)).astype(t.dtype) for t in candidate.args[:-1]]
        plain = build(create_schedule(candidate.args[-1]), candidate.args)(*inputs)
        np.testing.assert_allclose(build(candidate.schedule, candidate.args)(*inputs), plain, rtol=1e-5, atol=1e-6)


@settings(ONCE, max_examples=30)
@given(drawn=graphs(), seed=st.integers(0, 1 << 16))
def test_any_draw_for_any_graph_on_a_gpu(drawn: Graph, seed: int) -> None:
    check_draw(derived_gpu, A100, drawn, seed)


def test_a_product_on_a_gpu_shares_its_operands():
    task = Task.from_te(programs.matmul(2048, 2048, 2048), name="mine")
    candidate = task.candidate(FirstKnobs(), A100)
    names = {block.name for block in blocks(candidate.schedule.body)}
    assert {"A.shared", "B.shared", "C.local"} <= names
    assert simulate(candidate.schedule, A100).share_of_roofline > 0.3


def test_rows_on_a_gpu_are_combined_by_threads_together():
    nest = str(Task.from_te(programs.row_sum(64, 0, 4096)).candidate(FirstKnobs(), A100).schedule)
    assert "for k.i in range(128):  # threadIdx.x" in nest


def test_a_softmax_on_a_gpu_is_one_kernel():
    candidate = task_of("masked_softmax", small=False).candidate(FirstKnobs(), A100)
    nest = str(candidate.schedule)
    assert nest.count("# blockIdx.x") == 1
    assert nest.count("# threadIdx.x") >= 3  # the maximum, the sum and the result, each by all threads
    assert [b.scope for b in candidate.schedule.state.stages["M"].buffers] == ["shared"]


def test_a_reduction_of_few_elements_is_shared_out_on_a_gpu():
    nest = str(task_of("mttkrp", small=False).candidate(FirstKnobs(), A100).schedule)
    assert nest.count("# blockIdx.x") == 2


def test_what_lies_the_other_way_is_copied_without_bank_conflicts():
    candidate = task_of("distances", small=False).candidate(FirstKnobs(), A100)
    (shared,) = candidate.schedule.state.stages["Y.shared"].buffers
    assert shared.aligned == ((0, 2, 1),)
