"""Where schedule languages go wrong, 1 to 8: each test is a fault that some real system shipped.

Numbers in parentheses are issues of apache/tvm and halide/Halide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower
from flashsched.errors import ExpressionError, ScheduleError
from flashsched.schedule.ir import For, If, LoopKind, blocks, walk_stmt
from flashsched.schedule.primitives.tails import TAILS
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import chain, matmul, pointwise


@pytest.mark.parametrize("n", [1, 7, 12, 13])
def test_1_a_guard_a_root_axis_and_all_of_nested_ones(n: int) -> None:
    _, C = pointwise(n)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", 4)
    s[C].split(inner, 3)
    s[C].split(outer, 2)
    (block,) = blocks(s.body)
    assert len(block.where) == (1 if n % 4 else 0) + 1 + (1 if -(-n // 4) % 2 else 0)
    check_meaning(s, compiled=True)


def test_2_a_cut_tail_leaves_full_vectors_without_conditions() -> None:
    """A guard inside a vectorized loop forced scalar code (1979)."""
    _, C = pointwise(100)
    s = te.create_schedule(C)
    _, inner = s[C].split("i", 16, tail="cut")
    s[C].vectorize(inner)
    vectors = [n for n in walk_stmt(lower(s).body) if isinstance(n, For) and n.kind is LoopKind.VECTORIZE]
    assert [isinstance(loop.body, If) for loop in vectors] == [False, True]
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("at", ["i.o", "i.i", "j.o", "j.i"])
def test_3_the_init_has_its_own_guards(at: str) -> None:
    """A non-dividing split with compute_at wrote out of bounds while initialising (9598)."""
    *_, P = matmul(7, 5, 3)
    C = te.compute((7, 5), lambda i, j: P[i, j] + 1, name="D")
    s = te.create_schedule(C)
    s[C].tile(*C.op.axis, 4, 3)
    s[P].compute_at(s[C], at)
    s[P].split("i", 2)
    s[P].split("k", 2)
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("order", ["kij", "ikj", "ijk", "kji", "jki"])
def test_4_the_init_comes_before_the_first_reduction_loop(order: str) -> None:
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    s[C].reorder(*order)
    check_meaning(s, compiled=True)


def test_4_a_split_reduction_with_both_parts_outside() -> None:
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    ko, ki = s[C].split("k", 2)
    s[C].reorder(ko, "i", ki, "j")
    check_meaning(s, compiled=True)


def test_5_an_output_loop_is_not_fused_with_a_reduction() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="one of 'j' and 'k' runs over the output and the other over a reduction"):
        s[C].fuse("j", "k")
    with pytest.raises(ScheduleError, match="only adjacent loops can be fused"):
        s[C].fuse("i", "k")


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 9, 20])
def test_5_a_region_through_a_fused_loop_covers_a_wrapped_row(factor: int) -> None:
    """The bounds of a fused loop took too little where a tile wraps from one row to the next (3073)."""
    _, P, C = chain(5, 4)
    s = te.create_schedule(C)
    outer, inner = s[C].split(s[C].fuse("i0", "i1"), factor)
    s[P].compute_at(s[C], outer)
    check_meaning(s, compiled=True)
    s[P].compute_at(s[C], inner)
    check_meaning(s)


@pytest.mark.parametrize("kind", ["parallel", "vectorize"])
def test_6_a_reduction_is_not_run_at_once(kind: str) -> None:
    """Accepted, and silently wrong: 7420, 670, 1795."""
    *_, C = matmul(4, 4, 8)
    for prepare in (
        lambda s: "k",
        lambda s: s[C].split("k", 4)[1],
        lambda s: s[C].split("k", 4)[0],
        lambda s: s[C].fuse(*s[C].split("k", 4)),
    ):
        s = te.create_schedule(C)
        loop = prepare(s)
        with pytest.raises(ScheduleError, match=r"(?s)runs over a reduction.*rfactor"):
            getattr(s[C], kind)(loop)


def test_6_a_block_axis_is_no_way_around_it_and_threads_combine() -> None:
    *_, C = matmul(4, 4, 8)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="runs over a reduction"):
        s[C].bind("k", "blockIdx.x")
    s[C].bind("k", "threadIdx.x")
    check_meaning(s, compiled=True)


def test_7_reductions_change_order_and_a_reducer_that_lies_is_told() -> None:
    A = te.placeholder((3, 4, 5), name="A")
    x, y = te.reduce_axis((0, 4), name="x"), te.reduce_axis((0, 5), name="y")
    C = te.compute((3,), lambda i: te.max(A[i, x, y], axis=[x, y]), name="C")
    s = te.create_schedule(C)
    s[C].reorder(y, "i", x)
    check_meaning(s, compiled=True)
    lying = te.comm_reducer(lambda a, b: a - b, lambda t: te.const(0, t), name="minus")  # (15196)
    with pytest.raises(ExpressionError, match="reducer 'minus' is not commutative"):
        te.compute((3,), lambda i: lying(A[i, x, 0], axis=x))


@pytest.mark.parametrize("factors", [(4, 3, 2), (5, 2, 3), (7, 6, 5), (3, 3, 3), (40, 7, 4)])
@pytest.mark.parametrize("tail", TAILS[:3])
def test_1_splits_of_splits_that_never_divide(factors: tuple[int, int, int], tail: str) -> None:
    _, P, C = chain(13, 11)
    s = te.create_schedule(C)
    for axis in ("i0", "i1"):
        loops = [axis]
        for factor in factors:
            outer, inner = s[P].split(loops.pop(), factor, tail=tail)
            loops += [inner.name, outer.name] if factor % 2 else [outer.name, inner.name]
    s[P].reorder(*reversed(s[P].loops))
    check_meaning(s, compiled=True)
    s[P].compute_at(s[C], "i0")
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("tail", TAILS)
def test_2_no_tail_makes_scalar_code_of_a_vector(tail: str) -> None:
    A, P, C = chain(100)
    s = te.create_schedule(C)
    _, inner = s[P].split("i", 16, tail=tail)
    s[P].vectorize(inner)
    (loop, *_) = [n for n in walk_stmt(lower(s).body) if isinstance(n, For) and n.kind is LoopKind.VECTORIZE]
    assert loop.turns == 16
    ir = build(s, [A, C]).llvm_ir()
    assert "x float>" in ir
    assert ("llvm.masked" in ir) is (tail in ("guard", "mask", "cut", "pad"))  # of a load beyond A, or of the last tile
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("tail", TAILS[:4])
@pytest.mark.parametrize("order", ["kij", "ikj", "kji"])
def test_3_the_init_is_guarded_where_both_parts_of_a_split_go_outside(order: str, tail: str) -> None:
    *_, P = matmul(7, 5, 3)
    C = te.compute((7, 5), lambda i, j: P[i, j] + 1, name="D")
    s = te.create_schedule(C)
    parts = {name: s[P].split(name, factor, tail=tail) for name, factor in zip("ijk", (4, 3, 2), strict=True)}
    s[P].reorder(*[parts[name][0] for name in order], *[parts[name][1] for name in order])
    if order[-1] != "k":
        s[P].vectorize(parts[order[-1]][1])
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("how", ["plain", "reordered", "vectorized", "padded", "rfactor"])
@pytest.mark.parametrize(("reducer", "numpy"), [(te.max, np.max), (te.min, np.min)])
def test_7_minimum_and_maximum_keep_a_nan_whatever_the_order(
    reducer: te.comm_reducer, numpy: Callable[..., np.ndarray], how: str
) -> None:
    values = np.array([[1, np.nan, 3, -2, 0, 7, 5], [4, 2, 6, 8, 1, 0, 3]], "float32")
    A, k = te.placeholder((2, 7), name="A"), te.reduce_axis((0, 7), name="k")
    C = te.compute((2,), lambda i: reducer(A[i, k], axis=k), name="C")
    s = te.create_schedule(C)
    if how in ("reordered", "vectorized"):
        s[C].reorder("k", "i")
    if how == "vectorized":
        s[C].vectorize("i")
    if how in ("padded", "rfactor"):
        _, inner = s[C].split("k", 4, tail="pad")
        if how == "rfactor":
            s.rfactor(C, inner)
    np.testing.assert_array_equal(build(s, [A, C])(values), numpy(values, axis=1))
    np.testing.assert_array_equal(interpret(lower(s), [values])[0], numpy(values, axis=1))


@pytest.mark.parametrize(
    ("reducer", "dtype", "identity"),
    [
        (te.max, "float32", -np.inf), (te.min, "float32", np.inf), (te.max, "int8", -128), (te.min, "int8", 127),
        (te.max, "uint8", 0), (te.min, "int32", 2**31 - 1), (te.max, "int64", -(2**63)), (te.sum, "float32", 0),
        (te.prod, "int32", 1),
    ],
)  # fmt: skip
def test_8_the_identity_of_each_reducer(reducer: te.comm_reducer, dtype: str, identity: float) -> None:
    A, k = te.placeholder((3, 0), dtype, name="A"), te.reduce_axis((0, 0), name="k")
    C = te.compute((3,), lambda i: reducer(A[i, k], axis=k), name="C")
    s = te.create_schedule(C)
    assert build(s, [A, C])(np.zeros((3, 0), dtype)).tolist() == [identity] * 3


@pytest.mark.parametrize("n", [1, 7, 8, 13])
@pytest.mark.parametrize("reducer", [te.sum, te.max, te.min, te.prod])
def test_8_the_tail_of_rfactor_contributes_the_identity(reducer: te.comm_reducer, n: int) -> None:
    A, k = te.placeholder((2, n), "int32", name="A"), te.reduce_axis((0, n), name="k")
    for which in (0, 1):
        C = te.compute((2,), lambda i: reducer(A[i, k] * 2 - 9, axis=k), name="C")  # 0 and -9 are no identity of max
        s = te.create_schedule(C)
        s.rfactor(C, s[C].split("k", 4)[which])
        check_meaning(s, compiled=True)
