"""combine_threads: threads that combine into one element do so through shared memory, as a tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.gpu.build import lower_gpu
from flashsched.codegen.gpu.plan import plan_of
from flashsched.codegen.interpreter import interpret
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_threads import run_on_threads


def row_sums(m: int, n: int, threads: int) -> tuple[Schedule, list[Tensor]]:
    A = te.placeholder((m, n), name="A")
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
