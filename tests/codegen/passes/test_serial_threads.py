"""serial_threads: a GPU's nest as loops of a CPU, cut where threads wait for each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build, build_program
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import CPU_PASSES, lower
from flashsched.codegen.passes.serial_threads import serial_threads
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Buffer, For, If, LoopKind, Store, seq, walk_stmt
from flashsched.schedule.printer import program_text
from flashsched.schedule.program import Program
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import Var, const
from flashsched.testing.checks import check_meaning, garbage
from flashsched.testing.graphs import graphs
from flashsched.testing.schedules import GPU_PRIMITIVES, schedules


def staged(m: int, n: int, k: int, step: int = 2) -> Schedule:
    """A product for a GPU: A staged in shared memory, sums in registers, the copy shared out among the threads."""
    A, B = te.placeholder((m, k), name="A"), te.placeholder((k, n), name="B")
    axis = te.reduce_axis((0, k), name="k")
    C = te.compute((m, n), lambda i, j: te.sum(A[i, axis] * B[axis, j], axis=axis), name="C")
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copy = s.cache_read(A, "shared", [sums])
    bi, bj, ti, tj = s[C].tile(*s[C].op.axis, 4, 3)
    ti, ii = s[C].split(ti, 2)
    s[C].reorder(bi, bj, ti, tj, ii)
    for loop, place in ((bi, "blockIdx.y"), (bj, "blockIdx.x"), (ti, "threadIdx.y"), (tj, "threadIdx.x")):
        s[C].bind(loop, place)
    s[sums].compute_at(s[C], tj)
    ko, _ = s[sums].split(s[sums].op.reduce_axis[0], step)
    s[sums].reorder(ko, *s[sums].op.axis)
    s[copy].compute_at(s[sums], ko)
    s[copy].bind(s[copy].split(s[copy].op.axis[0], nparts=2)[0], "threadIdx.y")
    return s


def loops(s: Schedule, kind: LoopKind) -> list[For]:
    body = lower(s, passes=CPU_PASSES).body
    return [node for node in walk_stmt(body) if isinstance(node, For) and node.kind is kind]


@settings(max_examples=25, deadline=None)
@given(m=st.integers(0, 11), n=st.integers(0, 8), k=st.integers(0, 7), step=st.integers(1, 4))
def test_a_staged_product_of_any_size(m: int, n: int, k: int, step: int) -> None:
    check_meaning(staged(m, n, k, step), compiled=True)


def test_the_copy_is_made_once_and_the_sums_are_an_array() -> None:
    text = str(lower(staged(8, 3, 4), passes=CPU_PASSES))
    assert text.split("\n")[1:] == [
        "  for i.o in range(2):  # parallel",
        "    A.shared = alloc(float32[4, 2], 'shared')",
        "    C.local = alloc(float32[2, 3, 2, 1], 'local')",
        "    for i.i.o in range(2):",
        "      for j.i in range(3):",
        "        for i in range(2):",
        "          C.local[i.i.o, j.i, i, 0] = 0.0",
        "    for k.o in range(2):",
        "      for i0.o in range(2):",
        "        for i0.i in range(2):",
        "          for i1 in range(2):",
        "            A.shared[i0.o * 2 + i0.i, i1] = A[i.o * 4 + i0.o * 2 + i0.i, k.o * 2 + i1]",
        "      for i.i.o in range(2):",
        "        for j.i in range(3):",
        "          for i in range(2):",
        "            for k.i in range(2):",
        "              C.local[i.i.o, j.i, i, 0] = C.local[i.i.o, j.i, i, 0] + "
        "A.shared[i.i.o * 2 + i, k.i] * B[k.o * 2 + k.i, j.i]",
        "    for i.i.o in range(2):",
        "      for j.i in range(3):",
        "        for i.i.i in range(2):",
        "          C[i.o * 4 + i.i.o * 2 + i.i.i, j.i] = C.local[i.i.o, j.i, i.i.i, 0]",
    ]


def test_blocks_are_parallel_once() -> None:
    s = staged(8, 6, 4)
    assert [loop.var.name for loop in loops(s, LoopKind.PARALLEL)] == ["i.o"]
    bound = [kind for kind in LoopKind if kind.is_block or kind.is_thread]
    assert not any(loops(s, kind) for kind in bound)


def test_a_cpus_nest_is_left_alone() -> None:
    A = te.placeholder((4,), name="A")
    C = te.compute((4,), lambda i: A[i] + 1, name="C")
    s = te.create_schedule(C)
    s[C].parallel("i")
    assert serial_threads(s.body) is s.body


def test_threads_that_do_not_wait_keep_what_is_theirs_to_themselves() -> None:
    A = te.placeholder((4, 8), name="A")
    P = te.compute((4, 8), lambda i, j: A[i, j] + 1, name="P")
    C = te.compute((4, 8), lambda i, j: P[i, j] * 2, name="C")
    s = te.create_schedule(C)
    s[C].bind("i", "threadIdx.x")
    s[P].set_scope("local")
    s[P].compute_at(s[C], "i")
    held = [node.buffer.shape for node in walk_stmt(lower(s, passes=CPU_PASSES).body) if isinstance(node, Alloc)]
    assert held == [(1, 8)]
    check_meaning(s, compiled=True)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 3))
def test_any_schedule_for_a_gpu_runs_on_a_cpu(data: Any, seed: int) -> None:
    drawn = data.draw(graphs())
    schedule = data.draw(schedules(drawn.outputs, primitives=GPU_PRIMITIVES))
    program = lower(schedule, [*drawn.inputs, *drawn.outputs], passes=CPU_PASSES)
    note(f"{drawn!r}\n{schedule.to_python()}\n{program_text(program)}")
    feeds = drawn.feeds(seed)
    drawn.check(interpret(program, list(feeds.values())), feeds)
    outputs = [garbage(tensor) for tensor in drawn.outputs]
    build_program(program)(*feeds.values(), *outputs)
    drawn.check(outputs, feeds)


def test_a_private_buffer_with_gaps_keeps_them() -> None:
    s = staged(8, 6, 4)
    s["C.local"].storage_align(0, 8, 3)
    held = {n.buffer.name: n.buffer for n in walk_stmt(lower(s, passes=CPU_PASSES).body) if isinstance(n, Alloc)}
    assert held["C.local"].strides == (18, 6, 3, 1)
    check_meaning(s, compiled=True)


def waiting(make: Any) -> Program:
    """Threads ``t`` around what *make* makes of ``t`` and a cooperative loop."""
    shared, out = Buffer("S", (4,), "int32", "shared"), Buffer("C", (4,), "int32")
    t, u = Var("t"), Var("u")
    fill = For(u, const(4, "int64"), Store(shared, (u,), const(7, "int32")), LoopKind.THREAD_X)
    body = seq([make(t, fill), Store(out, (t,), const(1, "int32"))])
    return Program("kernel", (), (out,), Alloc(shared, For(t, const(4, "int64"), body, LoopKind.THREAD_X)))


def test_threads_that_would_not_all_come_are_seen() -> None:
    with pytest.raises(LoweringError, match=r"(?s)the condition t < 2 differs between.*threadIdx\.x loop 't'"):
        serial_threads(waiting(lambda t, fill: If(t < 2, fill)).body)
    with pytest.raises(LoweringError, match="loop 'n' differs between the turns"):
        serial_threads(waiting(lambda t, fill: For(Var("n"), t + 1, fill)).body)
    together = waiting(lambda t, fill: If(const(True, "bool"), fill))
    (found,) = interpret(together.with_body(serial_threads(together.body)), [])
    np.testing.assert_array_equal(found, [1, 1, 1, 1])


def test_the_front_door_builds_it() -> None:
    s = staged(9, 5, 6)
    rng = np.random.default_rng(0)
    a, b = rng.random((9, 6), dtype="float32"), rng.random((6, 5), dtype="float32")
    np.testing.assert_allclose(build(s, target="cpu")(a, b), a @ b, rtol=1e-5)
