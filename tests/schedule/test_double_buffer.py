"""double_buffer: one turn ahead, into the other one of two buffers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import CPU_PASSES, lower
from flashsched.errors import DependenceError, OutputError, ScheduleError, StructureError
from flashsched.hw.registry import devices
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul


def held(s: Schedule) -> dict[str, tuple[int, ...]]:
    return {node.buffer.name: node.buffer.shape for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)}


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 13), m=st.integers(0, 9), factor=st.integers(1, 5), loop=st.sampled_from(["i0.o", "i0.i", "i1"]),
    tail=st.sampled_from(["guard", "cut"]), own=st.integers(0, 4),
)  # fmt: skip
def test_any_number_of_turns(n: int, m: int, factor: int, loop: str, tail: str, own: int) -> None:
    _, P, C = chain(n, m)
    s = te.create_schedule(C)
    s[C].split("i0", factor, tail=tail)
    s[P].compute_at(s[C], loop)
    s[P].double_buffer()
    if own:
        s[P].split("i1", own, tail=tail)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(0, 23), reach=st.integers(1, 3), factor=st.integers(1, 7))
def test_a_stencil(n: int, reach: int, factor: int) -> None:
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor)
    s[P].compute_at(s[C], outer)
    s[P].double_buffer()
    s[C].vectorize(inner)
    check_meaning(s, compiled=True)


def product(m: int, n: int, k: int, step: int) -> Schedule:
    """Both operands in shared memory, copied by all threads and doubled, sums in registers."""
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(A, "shared", [sums]), s.cache_read(B, "shared", [sums])]
    bi, bj, ti, tj = s[C].tile(*s[C].op.axis, 4, 3)
    for loop, place in ((bi, "blockIdx.y"), (bj, "blockIdx.x"), (ti, "threadIdx.y"), (tj, "threadIdx.x")):
        s[C].bind(loop, place)
    s[sums].compute_at(s[C], tj)
    ko, _ = s[sums].split(s[sums].op.reduce_axis[0], step)
    s[sums].reorder(ko, *s[sums].op.axis)
    for copy, axis in zip(copies, (0, 1), strict=True):
        s[copy].compute_at(s[sums], ko)
        s[copy].bind(s[copy].op.axis[axis], "threadIdx.y" if axis == 0 else "threadIdx.x")
        s[copy].double_buffer()
    return s


@settings(max_examples=15, deadline=None)
@given(m=st.integers(4, 9), n=st.integers(3, 7), k=st.integers(0, 9), step=st.integers(1, 4))
def test_tiles_in_shared_memory(m: int, n: int, k: int, step: int) -> None:
    check_meaning(product(m, n, k, step), compiled=True)


def test_shared_memory_is_counted_twice() -> None:
    s = product(8, 6, 8, 2)
    assert held(s)["A.shared"] == (2, 4, 2)
    assert held(s)["B.shared"] == (2, 2, 3)
    text = str(lower(s, passes=CPU_PASSES))
    assert "A.shared[(k.o + 1) % 2, i0, i1] = A[i.o * 4 + i0, k.o * 2 + i1 + 2]" in text
    (work,) = nest_works(s, devices["a100-sim"])
    assert work.shared_bytes_per_block == 2 * (4 * 2 + 2 * 3) * 4


def test_what_it_needs_is_computed_ahead_too() -> None:
    A = te.placeholder((6, 4), name="A")
    Q = te.compute((6, 4), lambda i, j: A[i, j] + 1, name="Q")
    P = te.compute((6, 4), lambda i, j: Q[i, j] * 3, name="P")
    C = te.compute((6, 4), lambda i, j: P[i, j] + Q[i, j], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[Q].compute_at(s[C], "i")
    s[P].double_buffer()
    assert held(s) == {"P": (2, 1, 4), "Q": (2, 1, 4)}
    check_meaning(s, compiled=True)


def test_it_stays_with_the_stage() -> None:
    _, P, C = chain(6, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i0")
    s[P].double_buffer()
    s[P].compute_at(s[C], "i1")
    assert held(s) == {"P": (2, 1, 1)}
    check_meaning(s, compiled=True)
    s[P].compute_root()
    assert held(s) == {"P": (6, 4)}
    check_meaning(s, compiled=True)


def test_loops_that_are_ahead_in_loops_that_are_ahead() -> None:
    A = te.placeholder((5, 7), name="A")
    Q = te.compute((5, 7), lambda i, j: A[i, j] + 1, name="Q")
    P = te.compute((5, 7), lambda i, j: A[i, j] * 2, name="P")
    C = te.compute((5, 7), lambda i, j: P[i, j] + Q[i, j], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[Q].compute_at(s[C], "j")
    s[P].double_buffer()
    s[Q].double_buffer()
    assert held(s) == {"P": (2, 1, 7), "Q": (2, 1, 1)}
    check_meaning(s, compiled=True)


def test_double_buffer_refuses() -> None:
    _, P, C = chain(4, 8)
    s = te.create_schedule(C)
    with pytest.raises(OutputError, match=r"(?s)'C' is an output, and the caller gave one buffer.*cache_write"):
        s[C].double_buffer()
    with pytest.raises(StructureError, match=r"(?s)'P' is not computed at a loop.*hint: move it first"):
        s[P].double_buffer()
    s[P].compute_at(s[C], "i0")
    t = s.copy()
    t[C].parallel("i0")
    with pytest.raises(StructureError, match=r"(?s)loop 'i0' is marked parallel, and 'P' double-buffered"):
        t[P].double_buffer()
    s[P].double_buffer()
    for step in ("parallel", "unroll"):
        with pytest.raises(StructureError, match=f"loop 'i0' is marked {step}, and 'P' double-buffered"):
            getattr(s[C], step)("i0")
    with pytest.raises(StructureError, match="loop 'i0' is pipelined, and 'P', which is computed at it, is double-"):
        s[C].software_pipeline("i0", stages=[0, 1])


def test_an_error_tells_the_step() -> None:
    _, P, C = chain(4, 8)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i0")
    s[P].double_buffer()
    with pytest.raises(ScheduleError, match=r"(?s)^parallel\('i0'\): .*for i0 in range\(4\):  # parallel  <--"):
        s[C].parallel("i0")
    assert issubclass(DependenceError, ScheduleError)


def test_a_row_of_a_recurrence_is_not_computed_ahead() -> None:
    """Found by the fuzzer: it was accepted, and refused when it was lowered."""
    X, state = te.placeholder((5, 3), name="X"), te.placeholder((5, 3), name="state")
    first = te.compute((1, 3), lambda t, i: X[0, i], name="first")
    step = te.compute((5, 3), lambda t, i: state[t - 1, i] + X[t, i], name="step")
    s = te.create_schedule(te.scan(first, step, state, inputs=[X], name="sums"))
    with pytest.raises(DependenceError, match="is the time of a recurrence, whose turns need those before"):
        s[step].double_buffer()


def test_the_states_of_a_scan_outlive_its_one_turn() -> None:
    """Found by the fuzzer: a time of one step, which split makes a number, and a second state that is no output."""
    X = te.placeholder((2, 3), name="X")
    states = [te.placeholder((2, 3), name=name) for name in ("s0", "s1")]
    first = [te.compute((1, 3), lambda t, i: X[t, i], name=name) for name in ("f0", "f1")]
    both = te.compute((2, 3), lambda t, i: states[1][t - 1, i] + X[t, i], name="both")
    steps = [te.compute((2, 3), lambda t, i, k=k: both[t, i] * k, name=f"u{k}") for k in (2, 3)]
    sums, more = te.scan(first, steps, states, name="sums")
    s = te.create_schedule(te.compute((3,), lambda i: sums[1, i] + more[1, i], name="C"))
    s[sums].split("i", 2)
    with pytest.raises(DependenceError, match=r"'both' and 'sums.v1' share 'sums.v1', which outlives the turn"):
        s[both].double_buffer()
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("specialized", [False, True])
def test_two_buffers_of_a_size_that_comes_with_the_call(specialized: bool) -> None:
    """Found by the fuzzer: with gaps between rows, and where a size that is frequent has code of its own."""
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="A")
    P = te.compute((n, m), lambda i, j: A[i, j] + 1, name="P")
    C = te.compute((n, m), lambda i, j: P[i, j] * 2, name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[P].storage_align(axis=0, factor=4, offset=1)
    s[P].double_buffer()
    if specialized:
        s[P].specialize("n == 1")
    kernel = fs.build(s, [A, C])
    program = lower(s, [A, C])
    for shape in [(0, 3), (1, 1), (1, 5), (4, 0), (5, 7)]:
        a = np.arange(shape[0] * shape[1], dtype="float32").reshape(shape)
        np.testing.assert_array_equal(kernel(a), (a + 1) * 2)
        np.testing.assert_array_equal(interpret(program, [a])[0], (a + 1) * 2)
