"""combine_threads: threads that combine into one element do so by shuffles, or through shared memory, as a tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.gpu.build import build_gpu, lower_gpu
from flashsched.codegen.gpu.plan import plan_of
from flashsched.codegen.gpu.ptxas import find_ptxas
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.interpreter import interpret
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_threads import run_on_threads


def row_sums(m: int, n: int, threads: int, dtype: str = "float32") -> tuple[Schedule, list[Tensor]]:
    A = te.placeholder((m, n), dtype, name="A")
    k = te.reduce_axis((0, n), name="k")
    C = te.compute((m,), lambda i: te.sum(A[i, k], axis=k), name="C")
    s = te.create_schedule(C)
    _, thread = s[C].split("k", factor=threads)
    s[C].reorder("i", thread)
    s[C].bind("i", "blockIdx.x")
    s[C].bind(thread, "threadIdx.x")
    return s, [A, C]


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 3), n=st.integers(0, 40), threads=st.integers(1, 11), seed=st.integers(0, 3))
def test_any_number_of_threads_sums_a_row(m: int, n: int, threads: int, seed: int) -> None:
    s, args = row_sums(m, n, threads)
    a = np.random.default_rng(seed).integers(-3, 4, (m, n)).astype("float32")
    program = lower_gpu(s, args)
    np.testing.assert_array_equal(interpret(program, [a])[0], a.sum(1))
    np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a], seed)[0], a.sum(1))


def test_each_step_of_the_tree_halves_the_threads() -> None:
    s, args = row_sums(2, 32, 8)
    text = str(lower_gpu(s, args))
    for step in (4, 2, 1):
        assert f"C.part[k.i, 0] = C.part[k.i, 0] + C.part[k.i + {step}, 0]" in text
    assert "if threadIdx.x == 0:\n          C[i] = C[i] + C.part[0, 0]" in text


def test_two_axes_of_threads_and_a_serial_loop_over_the_output() -> None:
    A = te.placeholder((3, 4, 6), name="A")
    y, x = te.reduce_axis((0, 4), name="y"), te.reduce_axis((0, 6), name="x")
    C = te.compute((3,), lambda i: te.max(A[i, y, x], axis=[y, x]), name="C")
    s = te.create_schedule(C)
    s[C].reorder("y", "x", "i")
    s[C].bind("y", "threadIdx.y")
    s[C].bind("x", "threadIdx.x")
    a = np.random.default_rng(0).integers(-9, 9, (3, 4, 6)).astype("float32")
    plan = plan_of(lower_gpu(s, [A, C]), "k")
    assert plan.launches[0].block == (6, 4, 1)
    np.testing.assert_array_equal(run_on_threads(plan, [a])[0], a.max((1, 2)))


def test_pairs_are_combined_together() -> None:
    A, k = te.placeholder((20,), name="A"), te.reduce_axis((0, 20), name="k")
    at, largest = te.compute((1,), lambda i: te.argmax(A[k], axis=k), name="M")
    s = te.create_schedule([at, largest])
    s[at].bind(s[at].split("k", factor=5)[1], "threadIdx.x")
    a = np.random.default_rng(1).permutation(20).astype("float32")
    found = run_on_threads(plan_of(lower_gpu(s, [A, at, largest]), "k"), [a])
    assert (int(found[0][0]), float(found[1][0])) == (int(a.argmax()), 19.0)


def test_no_threads_combine_nothing() -> None:
    A, k = te.placeholder((3, 0), name="A"), te.reduce_axis((0, 0), name="k")
    C = te.compute((3,), lambda i: te.sum(A[i, k], axis=k), name="C")
    s = te.create_schedule(C)
    s[C].bind("k", "threadIdx.x")
    found = run_on_threads(plan_of(lower_gpu(s, [A, C]), "k"), [np.zeros((3, 0), "float32")])
    np.testing.assert_array_equal(found[0], np.zeros(3))


@pytest.mark.parametrize("decomposed", [False, True])
def test_an_init_of_its_own_stays_where_it_is(decomposed: bool) -> None:
    s, (A, C) = row_sums(2, 16, 4)
    s = te.create_schedule(C)
    if decomposed:
        s[C].decompose_reduction("k")
    s[C].bind(s[C].split("k", factor=4)[1], "threadIdx.x")
    a = np.arange(32, dtype="float32").reshape(2, 16)
    np.testing.assert_array_equal(run_on_threads(plan_of(lower_gpu(s, [A, C]), "k"), [a])[0], a.sum(1))


@pytest.mark.parametrize("threads", [32, 64, 96, 256])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16"])
def test_whole_warps_combine_by_shuffles(threads: int, dtype: str) -> None:
    s, args = row_sums(1, threads + 7, threads, dtype)
    a = np.random.default_rng(0).integers(-3, 4, (1, threads + 7)).astype(dtype)
    program = lower_gpu(s, args)
    np.testing.assert_array_equal(interpret(program, [a])[0], a.sum(1))
    if dtype == "float32" and threads < 256:
        np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a], 1)[0], a.sum(1))
    kernel = build_gpu(s, args, GpuArch("sm_80"))
    warps = threads // 32
    words = 2 if dtype in ("float64", "int64") else 1
    assert kernel.ptx().count("shfl.sync.idx") == words * (5 + (warps - 1).bit_length())
    assert kernel.ptx().count("bar.sync") == (0 if warps == 1 else 2)
    assert "shared" not in kernel.ptx() or warps > 1
    if find_ptxas():
        kernel.resources()


def test_the_lanes_of_a_warp_take_turns_round() -> None:
    s, args = row_sums(2, 64, 64)
    text = str(lower_gpu(s, args))
    for step in (16, 8, 4, 2, 1):
        assert f"C.part{step} = alloc(float32[64, 1], 'shared')  # held by lanes" in text
        assert f"[k.i // 32 * 32 + (k.i + {step}) % 32, 0]" in text
    assert "if k.i % 32 == 0:\n        C.warps[k.i // 32, 0] = C.part1[k.i, 0]" in text
    assert "C[i] = C[i] + C.all1[0, 0]" in text
    assert "held" not in str(lower_gpu(s, args, shuffles=False))
    assert "ds_write" in build_gpu(s, args, GpuArch("gfx90a")).asm()  # an AMD GPU goes through shared memory


def test_threads_that_are_no_whole_warps_go_through_shared_memory() -> None:
    for threads in (16, 48):
        s, args = row_sums(2, 64, threads)
        assert "held" not in str(lower_gpu(s, args))


def test_lanes_combine_several_elements() -> None:
    m, n = 3, 70
    A = te.placeholder((m, n), name="A")
    k = te.reduce_axis((0, n), name="k")
    C = te.compute((m,), lambda i: te.max(A[i, k], axis=k), name="C")
    s = te.create_schedule(C)
    _, thread = s[C].split("k", factor=32)
    s[C].reorder(thread, "i")
    s[C].bind(thread, "threadIdx.x")
    a = np.random.default_rng(0).integers(-9, 9, (m, n)).astype("float32")
    plan = plan_of(lower_gpu(s, [A, C]), "k")
    assert "held by lanes" in str(plan.program)
    np.testing.assert_array_equal(run_on_threads(plan, [a])[0], a.max(1))
