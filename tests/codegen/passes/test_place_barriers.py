"""place_barriers: threads wait where one needs what another has written, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.gpu.build import lower_gpu
from flashsched.codegen.gpu.plan import plan_of
from flashsched.codegen.interpreter import interpret
from flashsched.errors import LoweringError
from flashsched.schedule.barrier import Barrier
from flashsched.schedule.ir import rewrite_stmt, seq, walk_stmt
from flashsched.schedule.program import Program
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_threads import ThreadError, run_on_threads


def barriers(program: Program) -> int:
    return sum(isinstance(node, Barrier) for node in walk_stmt(program.body))


def reversed_twice(n: int = 12) -> tuple[Schedule, list[Tensor]]:
    """Each thread reads what another one wrote to shared memory."""
    A = te.placeholder((4, n), name="A")
    B = te.compute((4, n), lambda i, j: A[i, j] + 1, name="B")
    C = te.compute((4, n), lambda i, j: B[i, n - 1 - j] * 2, name="C")
    s = te.create_schedule(C)
    s[B].set_scope("shared")
    s[C].bind("i", "blockIdx.x")
    s[B].compute_at(s[C], "i")
    s[C].bind("j", "threadIdx.x")
    s[B].bind("j", "threadIdx.x")
    return s, [A, C]


def test_a_barrier_stands_between_what_is_written_and_read_by_another() -> None:
    s, args = reversed_twice()
    program = lower_gpu(s, args)
    assert str(program) == (
        "def kernel(A: float32[4, 12], C: float32[4, 12]):\n"
        "  for i in range(4):  # blockIdx.x\n"
        "    B = alloc(float32[1, 12], 'shared')\n"
        "    for j in range(12):  # threadIdx.x\n"
        "      B[0, j] = A[i, j] + 1.0\n"
        "    barrier\n"
        "    for j in range(12):  # threadIdx.x\n"
        "      C[i, j] = B[0, 11 - j] * 2.0"
    )
    a = np.arange(48, dtype="float32").reshape(4, 12)
    wanted = (a[:, ::-1] + 1) * 2
    np.testing.assert_array_equal(interpret(program, [a])[0], wanted)
    np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a])[0], wanted)


def test_without_the_barrier_the_threads_race() -> None:
    s, args = reversed_twice()
    program = lower_gpu(s, args)
    bare = program.with_body(rewrite_stmt(program.body, lambda node: seq([]) if isinstance(node, Barrier) else None))
    with pytest.raises(ThreadError, match=r"B\[.*never written|since the last barrier"):
        run_on_threads(plan_of(bare, "k"), [np.zeros((4, 12), "float32")])


def test_what_stands_outside_of_all_threads_is_done_by_the_first() -> None:
    A = te.placeholder((8,), name="A")
    k = te.reduce_axis((0, 8), name="k")
    S = te.compute((), lambda: te.sum(A[k], axis=k), name="S")
    C = te.compute((8,), lambda i: A[i] - S[()], name="C")
    s = te.create_schedule(C)
    s[S].set_scope("shared")
    s[C].bind("i", "threadIdx.x")
    program = lower_gpu(s, [A, C])
    assert "if threadIdx.x == 0:\n" in str(program)
    assert barriers(program) == 1
    a = np.arange(8, dtype="float32")
    np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a])[0], a - a.sum())


def staged(doubled: bool) -> tuple[Schedule, list[Tensor]]:
    A = te.placeholder((6, 8), name="A")
    k = te.reduce_axis((0, 6), name="k")
    C = te.compute((8,), lambda j: te.sum(A[k, 7 - j], axis=k), name="C")
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copy = s.cache_read(A, "shared", [sums])
    s[C].bind("j", "threadIdx.x")
    s[sums].compute_at(s[C], "j")
    s[sums].reorder("k", "j.c" if "j.c" in str(s) else s[sums].op.axis[0])
    s[copy].compute_at(s[sums], "k")
    s[copy].bind(s[copy].op.axis[1], "threadIdx.x")
    if doubled:
        s[copy].double_buffer()
    return s, [A, C]


@pytest.mark.parametrize(("doubled", "inside"), [(False, 2), (True, 1)])
def test_a_doubled_buffer_saves_a_barrier_in_each_turn(doubled: bool, inside: int) -> None:
    s, args = staged(doubled)
    program = lower_gpu(s, args)
    text = str(program)
    loop = text[text.index("for k in range") :].split("\n    C", 1)[0]
    after = loop.split("\n      C.local", 1)[0] if doubled else loop
    assert after.count("barrier") == inside
    a = np.arange(48, dtype="float32").reshape(6, 8)
    for seed in range(3):
        np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a], seed)[0], a.sum(0)[::-1])


@pytest.mark.parametrize(
    "layout", ["i -> i", "i -> i // 8 % 2, i // 16, i % 8", "i -> i // 4 % 2, i % 4, i // 8 % 2, i // 16"]
)
def test_several_rounds_of_one_copy_need_no_barrier_between(layout: str) -> None:
    """Of the second layout no one index tells rounds apart, but two together do."""
    A = te.placeholder((32,), name="A")
    B = te.compute((32,), lambda i: A[i] + 1, name="B")
    C = te.compute((8,), lambda i: B[31 - i] + B[i * 4], name="C")
    s = te.create_schedule(C)
    s[B].set_scope("shared")
    s[B].transform_layout(layout)
    _, thread = s[B].split("i", factor=8)
    s[B].bind(thread, "threadIdx.x")
    s[C].bind("i", "threadIdx.x")
    program = lower_gpu(s, [A, C])
    assert barriers(program) == 1
    a = np.arange(32, dtype="float32")
    wanted = [a[31 - i] + 1 + a[i * 4] + 1 for i in range(8)]
    np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a])[0], wanted)


@pytest.mark.parametrize("columns", [16, 24])
def test_rounds_that_fill_a_tile_row_by_row_need_no_barrier_between(columns: int) -> None:
    """In a row lies ``round % 2 * 8 + thread``, no rest of a division: with the row it is whole again."""
    A = te.placeholder((4, columns), name="A")
    B = te.compute((4, columns), lambda i, j: A[i, j] + 1, name="B")
    C = te.compute((8,), lambda i: B[3 - i % 4, i] + B[i % 4, 15 - i], name="C")
    s = te.create_schedule(C)
    s[B].set_scope("shared")
    s[B].transform_layout("i, j -> j, i")
    whole = s[B].fuse("i", "j")
    _, thread = s[B].split(whole, factor=8)
    s[B].bind(thread, "threadIdx.x")
    s[C].bind("i", "threadIdx.x")
    program = lower_gpu(s, [A, C])
    assert barriers(program) == 1
    a = np.arange(4.0 * columns, dtype="float32").reshape(4, columns)
    wanted = [a[3 - i % 4, i] + a[i % 4, 15 - i] + 2 for i in range(8)]
    np.testing.assert_array_equal(run_on_threads(plan_of(program, "k"), [a])[0], wanted)


def test_blocks_do_not_wait_for_each_other() -> None:
    A = te.placeholder((4, 4), name="A")
    B = te.compute((4, 4), lambda i, j: A[i, j] + 1, name="B")
    C = te.compute((4, 4), lambda i, j: B[i, 3 - j], name="C")
    s = te.create_schedule(C)
    s[C].bind("i", "blockIdx.x")
    s[C].bind("j", "blockIdx.y")
    s[B].compute_at(s[C], "i")
    with pytest.raises(LoweringError, match="blocks do not wait for each other"):
        lower_gpu(s, [A, C])
