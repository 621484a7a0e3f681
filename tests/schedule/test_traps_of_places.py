"""Where schedule languages go wrong, 9 to 16: places, memory, vectors and sizes. `test_traps` has the first eight.

Numbers in parentheses are issues of apache/tvm and halide/Halide.
"""

from __future__ import annotations

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import KernelError, OutputError, ScheduleError
from flashsched.schedule.ir import For, Load, blocks, walk_stmt
from flashsched.schedule.primitives.tails import TAILS
from flashsched.te.visit import walk
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import blur, chain, matmul, pointwise, row_sum


@pytest.mark.parametrize("factor", [1, 3, 4, 16])
def test_9_the_union_over_all_readers_clamped_to_what_there_is(factor: int) -> None:
    _, P, C = blur(13, 2)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor)
    for loop in (outer, inner):
        s[P].compute_at(s[C], loop)
        check_meaning(s, compiled=True)


def test_9_a_reader_outside_is_not_forgotten() -> None:
    _A, P, _ = chain(6)
    C = te.compute((6,), lambda i: P[i] * 2, name="C")
    D = te.compute((6,), lambda i: P[5 - i] + C[i], name="D")
    s = te.create_schedule(D)
    with pytest.raises(ScheduleError, match="'D' reads 'P' outside loop 'i' of 'C'"):
        s[P].compute_at(s[C], "i")
    s[C].compute_at(s[D], "i")
    s[P].compute_at(s[D], "i")
    check_meaning(s, compiled=True)


def test_9_nothing_moves_into_a_vector_instruction() -> None:
    """(15877)"""
    _, P, C = chain(8, 8)
    s = te.create_schedule(C)
    s[C].vectorize("i1")
    with pytest.raises(ScheduleError, match="is vectorized, and nothing can be computed inside"):
        s[P].compute_at(s[C], "i1")


def test_10_what_a_parallel_loop_computes_is_its_own() -> None:
    """Storage outside a parallel loop, overlapping computation inside it: a race (Halide 296)."""
    _, P, C = blur(16, 2)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i", 4)
    s[C].parallel(outer)
    s[P].compute_at(s[C], outer)
    check_meaning(s, compiled=True)  # the interpreter sees a race, if there is one
    text = str(lower(s))
    assert text.index("# parallel") < text.index("P = alloc")


def test_11_the_reduction_moves_with_cache_write_and_its_old_axis_says_so() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    (k,) = s[C].op.reduce_axis
    CL = s.cache_write(C, "local")
    with pytest.raises(ScheduleError, match=r"loop 'k' of stage 'C' is no more: cache_write\('local'\) took it"):
        s[C].split(k, 2)
    assert [loop.name for loop in s[CL].loops] == ["i", "j", "k"]
    check_meaning(s, compiled=True)


def test_12_reductions_and_outputs_are_not_inlined() -> None:
    _, S = row_sum(4, 0, 4)
    C = te.compute((4,), lambda i: S[i] + 1, name="D")
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="'C' is a reduction"):
        s[S].compute_inline()
    with pytest.raises(ScheduleError, match="'D' is an output"):
        s[C].compute_inline()


def test_13_vector_loops_are_innermost_and_do_not_nest() -> None:
    _, C = pointwise(4, 8)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="loop 'i0' is not innermost"):
        s[C].vectorize("i0")
    s[C].vectorize("i1")
    with pytest.raises(ScheduleError, match="loop 'i0' is not innermost"):
        s[C].vectorize("i0")


def test_13_a_broadcast_is_no_gather() -> None:
    A, B, C = matmul(4, 16, 4)
    s = te.create_schedule(C)
    s[C].reorder("i", "k", "j")
    s[C].vectorize("j")
    ir = build(s, [A, B, C]).llvm_ir()
    assert "gather" not in ir
    assert " x float>" in ir
    A2 = te.placeholder((16, 16), name="A")
    D = te.compute((16, 16), lambda i, j: A2[j, i], name="D")
    t = te.create_schedule(D)
    t[D].vectorize("j")
    check_meaning(t, compiled=True)  # a stride of 16: a gather, and right


def test_14_an_epilogue_is_applied_once_to_the_whole_sum() -> None:
    """A clip inside the reduction loop gave clip(clip(2 + 2) + …) = 3 in place of 4."""
    A = te.placeholder((1, 4), name="A")
    k = te.reduce_axis((0, 4), name="k")
    S = te.compute((1,), lambda i: te.sum(A[i, k], axis=k), name="S")
    C = te.compute((1,), lambda i: te.clip(S[i], 0, 3), name="C")
    values = np.array([[5, -4, 5, -4]], "float32")
    s = te.create_schedule(C)
    s[S].compute_at(s[C], "i")
    assert build(s, [A, C])(values).tolist() == [2.0]
    assert interpret(lower(s), [values])[0].tolist() == [2.0]
    with pytest.raises(ScheduleError, match="'S' is a reduction"):
        s[S].compute_inline()
    with pytest.raises(ScheduleError, match="'C' is an output"):
        s[C].compute_at(s[S], k.name)
    (block,) = [b for b in blocks(program_of(s).body) if b.name == "S"]
    assert not [n for store in block.stores for n in walk(store.value) if isinstance(n, Load) and n.buffer.name == "C"]


def test_15_a_layout_gives_each_element_a_place_of_its_own() -> None:
    _, P, C = chain(4, 6)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="does not give each element of 'P' a place of its own"):
        s[P].transform_layout(lambda i, j: (i, j // 2))
    s[P].transform_layout(lambda i, j: (j // 4, i, j % 4))  # rounds up; nobody reads the rest
    check_meaning(s, compiled=True)


def test_16_extents_beyond_int32() -> None:
    A = te.placeholder((1,), name="A")
    C = te.compute((70_000, 70_000), lambda i, j: A[0] + 1, name="C")
    s = te.create_schedule(C)
    fused = s[C].fuse("i", "j")
    assert str(s).split("\n")[0] == "for i.j in range(4900000000):"
    outer, inner = s[C].split(fused, 1 << 31)
    assert [str(loop.extent) for loop in walk_stmt(s.body) if isinstance(loop, For)] == ["3", "2147483648"]
    assert "2147483648" in build(s, [A, C]).llvm_ir()
    assert (outer.name, inner.name) == ("i.j.o", "i.j.i")


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 3), (3, 0), (1, 1), (1, 5), (5, 1), (0, 0), (2, 0, 2), ()])
def test_16_dimensions_of_nothing_and_of_one(shape: tuple[int, ...]) -> None:
    _, P, C = chain(*shape)
    for number in range(len(shape)):
        s = te.create_schedule(C)
        outer, inner = s[C].split(s[C].loops[number], 4, tail="cut")
        s[P].compute_at(s[C], outer)
        s[P].split(s[P].loops[number], nparts=2)
        s[C].unroll(inner)
        s[C].parallel(outer)
        check_meaning(s, compiled=True)
    check_meaning(te.create_schedule(C), compiled=True)


@pytest.mark.parametrize("k", [0, 1])
def test_16_a_sum_of_nothing_and_of_one(k: int) -> None:
    *_, C = matmul(3, 2, k)
    for order in ("ijk", "kij", "ikj"):
        s = te.create_schedule(C)
        s[C].reorder(*order)
        s[C].split("k", 3)
        check_meaning(s, compiled=True)


def test_16_strided_read_only_and_unaligned_arrays() -> None:
    A, C = pointwise(5, 33)
    s = te.create_schedule(C)
    s[C].vectorize("i1")
    kernel = build(s, [A, C])
    values = np.arange(5 * 33, dtype="float32").reshape(5, 33)
    wide = np.zeros((5, 99), "float32")
    wide[:, ::3] = values
    raw = np.zeros(5 * 33 * 4 + 1, "uint8")
    off = raw[1:].view("float32").reshape(5, 33)
    off[:] = values
    frozen = values.copy()
    frozen.flags.writeable = False
    for given in (wide[:, ::3], np.asfortranarray(values), values[::-1][::-1], frozen):
        np.testing.assert_array_equal(kernel(given), values * 2 + 1)
    with pytest.raises(KernelError, match=r"(?s)'A' is not aligned to its elements of 4 bytes.*pass A.copy\(\)"):
        kernel(off)
    out = np.zeros((33, 5), "float32").T
    kernel(values, out)
    np.testing.assert_array_equal(out, values * 2 + 1)


@pytest.mark.parametrize("at", ["C.i0", "C.i1"])
def test_10_a_stage_outside_a_parallel_loop_is_written_by_nobody_inside(at: str) -> None:
    _, P, C = chain(4, 6)
    s = te.create_schedule(C)
    s[C].parallel("i0")
    s[P].compute_at(s[C], at[2:])
    text = str(lower(s))
    assert text.index("# parallel") < text.index("P = alloc")
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("scope", ["global", "shared", "local"])
def test_12_an_output_keeps_its_memory(scope: str) -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    for change in (
        lambda: s[C].transform_layout(lambda i: (i // 4, i % 4)),
        lambda: s[C].split("i", 3, tail="pad"),
        lambda: s[C].set_scope(scope) if scope != "global" else s[C].compute_inline(),
    ):
        with pytest.raises(OutputError):
            change()
    assert len(s.trace) == 0


def test_13_a_vector_loop_of_one_turn_and_of_none() -> None:
    for n in (0, 1):
        _, C = pointwise(3, n)
        s = te.create_schedule(C)
        s[C].vectorize("i1")
        s[C].parallel("i0")
        check_meaning(s, compiled=True)


def test_16_a_loop_of_more_than_int32_turns_runs_its_last_turns() -> None:
    """The fused index is computed in 64 bits: in 32 the guard would let through what is not there."""
    A = te.placeholder((3,), "int32", name="A")
    k = te.reduce_axis((0, 3), name="k")
    C = te.compute((1,), lambda i: te.sum(A[k], axis=k), name="C")
    s = te.create_schedule(C)
    outer, inner = s[C].split("k", (1 << 31) + 1)
    outermost, _ = s[C].split(outer, (1 << 31) + 1)  # 2 ** 62 points, of which 3 are real
    ends = [loop.extent for loop in walk_stmt(lower(s).body) if isinstance(loop, For)]
    assert [str(extent) for extent in ends] == ["3"]
    check = build(s, [A, C])(np.array([5, 6, 7], "int32"))
    assert check.tolist() == [18]
    assert (outermost.name, inner.name) == ("k.o.o", "k.i")


@pytest.mark.parametrize("tail", TAILS)
def test_16_tails_of_strided_arrays(tail: str) -> None:
    A, P, C = chain(5, 33)
    s = te.create_schedule(C)
    _, inner = s[P].split("i1", 8, tail=tail)
    s[P].vectorize(inner)
    _, inner = s[C].split("i1", 16, tail=tail if tail != "pad" else "cut")
    s[C].vectorize(inner)
    kernel = build(s, [A, C])
    values = np.arange(5 * 33, dtype="float32").reshape(5, 33)
    wide = np.full((5, 99), np.nan, "float32")
    wide[:, ::3] = values
    into = np.full((5, 66), -1, "float32")
    kernel(wide[:, ::3], into[:, ::2])
    np.testing.assert_array_equal(into[:, ::2], (values + 1) * 2)
    assert (into[:, 1::2] == -1).all()  # nothing between the elements was touched
