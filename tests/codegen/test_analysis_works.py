"""What nests ask of a GPU and of a CPU, and what the models say of it."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis import nest_works, simulate
from flashsched.errors import Infeasible
from flashsched.hw import Prediction, Work, predict
from flashsched.hw.registry import devices
from flashsched.ops.matmul_gpu import matmul_gpu
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.programs import matmul
from flashsched.testing.schedules import GPU_PRIMITIVES, schedules
from flashsched.tune.search.knobs import FixedKnobs, RandomKnobs
from flashsched.tune.task import Task

A100, XEON = devices["a100-sim"], devices["cpu-xeon-sim"]

GOOD = {
    "block_m": 128, "thread_m": 8, "block_n": 128, "thread_n": 8, "step_k": 16, "swizzle": True, "unroll_k": 4,
    "stages": 1,
}  # fmt: skip


class Named(FixedKnobs):
    """Knobs answered by the options themselves."""

    def __init__(self, **chosen: object) -> None:
        super().__init__({})
        self.chosen = chosen

    def choice(self, name, options, default=None):  # type: ignore[no-untyped-def]
        assert self.chosen[name] in options, (name, options)
        return self.chosen[name]


def product(m: int, n: int, k: int, **chosen: object) -> Schedule:
    """A scheduled product of matrices."""
    *inputs, c = matmul(m, n, k)
    s = te.create_schedule(c)
    matmul_gpu(s, [*inputs, c], Named(**{**GOOD, **chosen}), A100)
    return s


def bound(c: Tensor, x: int, y: int) -> Schedule:
    """A product without tiles: a block of *y* rows by *x* columns, an element for each thread."""
    s = te.create_schedule(c)
    loops = s[c].tile(*s[c].op.axis, y, x)
    for loop, axis in zip(loops, ("blockIdx.y", "blockIdx.x", "threadIdx.y", "threadIdx.x"), strict=True):
        s[c].bind(loop, axis)
    return s


def test_a_staged_product_asks_for_what_one_counts_by_hand() -> None:
    (work,) = nest_works(product(4096, 4096, 4096), A100)
    blocks, steps = (4096 // 128) ** 2, 4096 // 16
    assert work.blocks == blocks
    assert work.threads_per_block == 256
    assert work.flops == work.useful_flops == {"float32": 2.0 * 4096**3}
    assert work.fma_share == 1
    assert work.shared_bytes_per_block == (132 + 128) * 16 * 4  # A's rows are four words apart
    assert work.l2_read_bytes == blocks * steps * 2 * 128 * 16 * 4
    assert work.l2_write_bytes == 4096**2 * 4
    assert work.shared_load_bytes == 256 * 4096 * (8 / 2 + 8) * 4  # lanes want A's rows by twos
    assert work.shared_store_bytes == steps * 2 * 128 * 16 * 4
    assert work.coalescing == 1
    assert work.steps == steps
    assert work.barriers == 2 * steps
    assert work.accumulators == 64
    assert 80 <= work.registers_per_thread <= 128  # cuBLAS takes 122 for such a tile
    assert work.bytes_in_flight == 2 * 8 * 4
    assert (work.dram_read_bytes, work.dram_write_bytes) == (2 * 4096**2 * 4, 4096**2 * 4)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_tiles_filled_ahead_are_counted(stages: int) -> None:
    one, more = (nest_works(product(4096, 4096, 4096, stages=n), A100)[0] for n in (1, stages))
    assert (one.stages, more.stages) == (1, stages)
    assert more.shared_bytes_per_block == stages * one.shared_bytes_per_block
    assert more.barriers == one.barriers / 2
    assert predict(A100, more).time_s < predict(A100, one).time_s


MMA = {
    "tensor_cores": True, "block_m": 128, "block_n": 128, "warp_m": 64, "warp_n": 32, "step_k": 32, "stages": 4,
}  # fmt: skip


def narrow_product(n: int, **chosen: object) -> Schedule:
    """A product of float16 matrices."""
    *inputs, c = Task("matmul", (n, n, n), dtype="float16").args()
    s = te.create_schedule(c)
    matmul_gpu(s, [*inputs, c], Named(**{**MMA, **chosen}), A100)
    return s


def test_a_product_on_tensor_cores_asks_for_what_one_counts_by_hand() -> None:
    n = 4096
    (work,) = nest_works(narrow_product(n), A100)
    assert work.flops == work.useful_flops == {"float16": 2.0 * n**3}
    assert (work.blocks, work.threads_per_block) == ((n // 128) ** 2, 256)
    assert work.shared_load_bytes == n * (4 * 128 + 2 * 128) * 2  # A by each column of warps, B by each row
    assert work.shared_bytes_per_block == 4 * (128 * 40 + 32 * 136) * 2
    assert (work.stages, work.steps, work.barriers) == (4, n // 32, n // 32)
    assert work.accumulators == 64 * 32 / 32  # of a lane
    assert 104 <= work.registers_per_thread <= 128  # ptxas says 124
    assert work.bank_conflict < 1.2
    assert work.coalescing == 1


def test_plain_cores_multiply_narrow_floats_as_float32() -> None:
    s = narrow_product(4096, **GOOD, tensor_cores=False)
    (work,) = nest_works(s, A100)
    assert work.flops == {"float32": 2.0 * 4096**3}
    assert simulate(s, A100).time_s > 5 * simulate(narrow_product(4096), A100).time_s


def test_a_doubled_buffer_is_two_stages() -> None:
    s = product(512, 512, 512)
    for name in ("A.shared", "B.shared"):
        s[name].double_buffer()
    (work,) = nest_works(s, A100)
    assert work.stages == 2
    s = product(512, 512, 512)
    s["A.shared"].double_buffer()
    assert nest_works(s, A100)[0].stages == 1  # B is waited for all the same


def test_a_swizzled_tile_has_fewer_bank_conflicts() -> None:
    plain, swizzled = (nest_works(product(1024, 1024, 1024, swizzle=on), A100)[0] for on in (False, True))
    assert swizzled.bank_conflict < 1.5 < plain.bank_conflict


def test_lanes_along_memory_are_coalesced_and_across_it_are_not() -> None:
    x = te.placeholder((1024, 1024), name="x")
    good = te.compute((1024, 1024), lambda i, j: x[i, j] + 1, name="good")
    bad = te.compute((1024, 1024), lambda i, j: x[j, i] + 1, name="bad")
    along, across = (nest_works(bound(out, 32, 8), A100)[0] for out in (good, bad))
    assert along.coalescing == 1
    assert across.coalescing == pytest.approx(2 / (1 + 8))  # 4 bytes used of each 32 read, all of those written
    assert along.l2_read_bytes == across.l2_read_bytes == 1024 * 1024 * 4


def test_lanes_that_read_one_address_share_it() -> None:
    (work,) = nest_works(bound(matmul(256, 256, 64)[2], 32, 8), A100)
    warps = 256 * 256 // 32
    assert work.l2_read_bytes == warps * 64 * (1 + 32) * 4  # A is broadcast
    assert work.global_lane_bytes == 256 * 256 * (64 * 2 + 1) * 4
    assert work.steps == 64


def test_a_nest_without_bound_loops_is_one_thread() -> None:
    s = te.create_schedule(matmul(512, 512, 512)[2])
    (work,) = nest_works(s, A100)
    assert (work.blocks, work.threads_per_block) == (1, 1)
    assert simulate(s, A100).time_s > 1000 * simulate(product(512, 512, 512), A100).time_s


def test_a_tile_beyond_the_registers_is_spilled() -> None:
    _, _, c = matmul(1024, 1024, 64)
    s = te.create_schedule(c)
    near = s.cache_write(c, "local")
    bi, bj, ti, tj = s[c].tile(*s[c].op.axis, 64, 64)
    yi, xi = s[c].split(ti, 32)
    yj, xj = s[c].split(tj, 16)
    s[c].reorder(bi, bj, yi, yj, xi, xj)
    for loop, axis in ((bi, "blockIdx.y"), (bj, "blockIdx.x"), (yi, "threadIdx.y"), (yj, "threadIdx.x")):
        s[c].bind(loop, axis)
    s[near].compute_at(s[c], yj)
    (k,) = s[near].op.reduce_axis
    s[near].reorder(k, *s[near].op.axis)
    for axis in s[near].op.axis:
        s[near].unroll(axis)
    s[c].unroll(xi)
    s[c].unroll(xj)
    (work,) = nest_works(s, A100)
    assert work.registers_per_thread == 255
    assert work.global_lane_bytes > 1024 * 1024 / 512 * 64 * 8 * 200
    simulate(s, A100)  # slow, and no refusal


def test_a_block_that_does_not_fit_is_infeasible() -> None:
    *_, c = matmul(4096, 4096, 64)
    with pytest.raises(Infeasible, match=r"2048 threads per block"):
        simulate(bound(c, 64, 32), A100)


def test_each_root_nest_is_a_kernel() -> None:
    x = te.placeholder((4096,), name="x")
    k = te.reduce_axis((0, 4096), name="k")
    total = te.compute((1,), lambda _: te.sum(x[k], axis=k), name="total")
    out = te.compute((4096,), lambda i: x[i] / total[0], name="out")
    s = te.create_schedule(out)
    works = nest_works(s, A100)
    assert len(works) == 2
    whole = simulate(s, A100)
    parts = [predict(A100, work).breakdown["launch"] for work in works]
    assert whole.breakdown["launch"] == pytest.approx(sum(parts))
    assert min(parts) >= A100.launch_s
    assert whole.roofline_s <= whole.time_s


def ratio(said: Prediction) -> float:
    return said.time_s / said.roofline_s


def test_the_best_of_random_tiles_is_near_the_roofline_and_bad_ones_are_not() -> None:
    rng = random.Random(0)
    found: list[tuple[float, Schedule]] = []
    for _ in range(120):
        *inputs, c = matmul(4096, 4096, 4096)
        s = te.create_schedule(c)
        try:
            matmul_gpu(s, [*inputs, c], RandomKnobs(rng), A100)
            found.append((ratio(simulate(s, A100)), s))
        except Infeasible:
            continue
    assert len(found) > 40
    best, schedule = min(found, key=lambda pair: pair[0])
    assert 1 <= best <= 1.35
    assert "A.shared" in str(schedule)
    assert nest_works(schedule, A100)[0].blocks >= A100.units
    assert max(pair[0] for pair in found) > 5 * best
    assert all(pair[0] >= 1 for pair in found)
    untiled = ratio(simulate(bound(matmul(4096, 4096, 4096)[2], 32, 32), A100))
    assert untiled > 5 * best


@pytest.mark.parametrize(
    ("worse", "by"),
    [
        ({"block_m": 8, "block_n": 8, "thread_m": 1, "thread_n": 1}, 4.0),
        ({"thread_m": 1, "thread_n": 1, "block_m": 32, "block_n": 32}, 3.0),
        ({"thread_m": 2, "thread_n": 2, "block_m": 64, "block_n": 64}, 1.5),
        ({"swizzle": False}, 1.02),
        ({"block_m": 256, "block_n": 256, "thread_m": 8, "thread_n": 8}, 1.3),  # one block of registers on a unit
    ],
)
def test_a_worse_tile_costs_more(worse: dict[str, object], by: float) -> None:
    chosen = {**GOOD, **worse}
    step = 4 if chosen["block_m"] == 8 else 16
    slow, good = product(4096, 4096, 4096, **{**chosen, "step_k": step * 2}), product(4096, 4096, 4096)
    assert simulate(slow, A100).time_s > by * simulate(good, A100).time_s


def cpu_product(n: int, rows: int, lanes: int, *, packed: bool = True, pinned: bool = True) -> Schedule:
    """A product with a register tile of *rows* by *lanes*."""
    _, b, c = matmul(n, n, n)
    s = te.create_schedule(c)
    if not pinned:
        return s
    near = s.cache_write(c, "local")
    copy = s[s.cache_read(b, "global", [near])] if packed else None
    i, j = s[c].op.axis
    io, ii = s[c].split(i, rows, tail="cut")
    jo, ji = s[c].split(j, lanes)
    s[c].reorder(io, jo, ii, ji)
    s[c].parallel(io)
    s[c].unroll(ii)
    s[c].vectorize(ji)
    s[near].compute_at(s[c], jo)
    (k,) = s[near].op.reduce_axis
    s[near].reorder(k, *s[near].op.axis)
    s[near].unroll(s[near].op.axis[0])
    s[near].vectorize(s[near].op.axis[1])
    if copy is not None:
        copy.transform_layout(f"k, j -> j // {lanes}, k, j % {lanes}")
        out, inside = copy.split(copy.op.axis[1], lanes)
        copy.reorder(out, copy.op.axis[0], inside)
        copy.vectorize(inside)
        copy.parallel(out)
    return s


def test_a_register_tile_asks_for_what_one_counts_by_hand() -> None:
    packing, work = nest_works(cpu_product(512, 8, 32), XEON)
    assert packing.flops == {}
    assert work.flops == work.useful_flops == {"float32": 2.0 * 512**3}
    assert work.vector_lanes == 16
    assert work.accumulators == 16
    assert work.registers_per_thread == 16 + 2
    assert work.parallel_items == 64
    assert work.threads == XEON.units
    tiles = 64 * 16
    assert work.level_bytes["l1"] == (tiles * 512 * (8 + 2) + tiles * 16) * 64  # broadcasts take a port as vectors do
    assert 0.6 < work.overhead_per_op < 0.9


@pytest.mark.parametrize(("rows", "vectors"), [(4, 1), (8, 2), (8, 4), (16, 4)])
def test_sums_in_memory_are_in_registers_while_the_innermost_loop_adds_to_them(rows: int, vectors: int) -> None:
    """As LLVM makes of them; a tile that the registers don't hold is stored and loaded in each turn."""
    *_, c = matmul(128, 128, 128)
    s = te.create_schedule(c)
    loops = s[c].tile(*s[c].op.axis, rows, 16 * vectors)
    s[c].reorder(*loops[:2], s[c].op.reduce_axis[0], *loops[2:])
    s[c].unroll(loops[2])
    s[c].vectorize(loops[3])
    (work,) = nest_works(s, XEON)
    tiles, held = 128 // rows * 8 // vectors, rows * vectors + 2
    assert work.registers_per_thread == held
    spilled = max(0, held - 32)
    accesses = tiles * (128 * (rows + vectors + 2 * spilled) + rows * vectors)
    assert work.level_bytes["l1"] == accesses * 64


def test_a_cpu_prefers_what_a_cpu_prefers() -> None:
    good = simulate(cpu_product(512, 12, 32), XEON)
    assert good.bound == "fma"
    assert 1 <= ratio(good) < 3
    for worse in (
        cpu_product(512, 2, 32),  # too few chains
        cpu_product(512, 12, 8),  # half-filled vectors
        cpu_product(512, 30, 32),  # spills
        cpu_product(512, 512, 32, pinned=False),  # scalars, one thread
    ):
        assert simulate(worse, XEON).time_s > 1.15 * good.time_s


def test_a_gather_costs_more_than_a_vector() -> None:
    x = te.placeholder((512, 512), name="x")

    def vectorized(index) -> Work:  # type: ignore[no-untyped-def]
        out = te.compute((512, 512), lambda i, j: x[index(i, j)] + 1, name="out")
        s = te.create_schedule(out)
        s[out].vectorize(s[out].split(s[out].op.axis[1], 16)[1])
        return nest_works(s, XEON)[0]

    along, across, same = (
        vectorized(index) for index in (lambda i, j: (i, j), lambda i, j: (j, i), lambda i, j: (i, 0 * j))
    )
    vectors = 512 * 512 / 16 * 64
    assert along.level_bytes["l1"] == 2 * vectors
    assert across.level_bytes["l1"] == 17 * vectors
    assert same.level_bytes["l1"] < 1.1 * vectors  # once a row


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_any_schedule_is_read_and_none_beats_the_roofline(data: st.DataObject) -> None:
    graph: Graph = data.draw(graphs())
    schedule: Schedule = data.draw(schedules(graph.outputs, primitives=GPU_PRIMITIVES))
    for spec in (A100, XEON):
        for work in nest_works(schedule, spec):
            for field in dataclasses.fields(Work):
                value = getattr(work, field.name)
                assert not isinstance(value, float) or math.isfinite(value)
        try:
            said = simulate(schedule, spec)
        except Infeasible:
            continue
        assert math.isfinite(said.time_s)
        assert said.time_s >= said.roofline_s >= 0
