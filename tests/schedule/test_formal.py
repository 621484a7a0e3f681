"""Intrinsics whose code is a statement: C functions called on the addresses of formal buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import ArgumentError, DtypeError, LoweringError, MatchError
from flashsched.schedule.formal import call_statement, formal
from flashsched.schedule.ir import Alloc, Buffer, For, Seq
from flashsched.schedule.printer import nest_text
from flashsched.testing.checks import check_meaning, check_round_trip

GEMV = """
define i32 @formal_update(ptr %cc, ptr %aa, ptr %bb, i32 %m, i32 %l, i32 %stride) {
entry:
  br label %rows
rows:
  %i = phi i32 [ 0, %entry ], [ %i1, %next ]
  %row = mul i32 %i, %stride
  %c = getelementptr float, ptr %cc, i32 %i
  br label %columns
columns:
  %j = phi i32 [ 0, %rows ], [ %j1, %columns ]
  %at = add i32 %row, %j
  %pa = getelementptr float, ptr %aa, i32 %j
  %pb = getelementptr float, ptr %bb, i32 %at
  %a = load float, ptr %pa, align 4
  %b = load float, ptr %pb, align 4
  %product = fmul float %a, %b
  %old = load float, ptr %c, align 4
  %new = fadd float %old, %product
  store float %new, ptr %c, align 4
  %j1 = add i32 %j, 1
  %more = icmp slt i32 %j1, %l
  br i1 %more, label %columns, label %next
next:
  %i1 = add i32 %i, 1
  %again = icmp slt i32 %i1, %m
  br i1 %again, label %rows, label %end
end:
  ret i32 0
}
define i32 @formal_reset(ptr %cc, i32 %m) {
entry:
  br label %rows
rows:
  %i = phi i32 [ 0, %entry ], [ %i1, %rows ]
  %c = getelementptr float, ptr %cc, i32 %i
  store float 0.0, ptr %c, align 4
  %i1 = add i32 %i, 1
  %again = icmp slt i32 %i1, %m
  br i1 %again, label %rows, label %end
end:
  ret i32 0
}
"""


def gemv(m: int, depth: int, *, stride: Any = None, body: bool = True) -> Any:
    """The matrix-vector product of TVM's tutorial, on tiles of *m* rows and *depth* columns."""
    a, b = te.placeholder((depth,), name="a"), te.placeholder((m, depth), name="b")
    k = te.reduce_axis((0, depth), name="k")
    c = te.compute((m,), lambda i: te.sum(a[k] * b[i, k], axis=k), name="c")
    s1 = te.Var("s1", "int32") if stride is None else stride
    aa, bb, cc = formal(a, [1], "A"), formal(b, [s1, 1], "B"), formal(c, [1], "C")

    def update() -> Any:
        pointers = cc.access_ptr("w"), aa.access_ptr("r"), bb.access_ptr("r")
        return call_statement("int32", "formal_update", *pointers, m, depth, bb.strides[0])

    reset = call_statement("int32", "formal_reset", cc.access_ptr("w"), m)
    return fs.intrinsic(
        "test.gemv",
        c,
        body=Seq((reset, update())) if body else None,
        reset=reset,
        update=update(),
        formals=[aa, bb, cc],
        replace=True,
    )


def product(m: int, n: int, depth: int) -> tuple[Any, Any]:
    a, b = te.placeholder((m, depth), name="A"), te.placeholder((n, depth), name="B")
    k = te.reduce_axis((0, depth), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, k] * b[j, k], axis=k), name="C")
    return te.create_schedule(c), c


def tensorized(m: int = 3, n: int = 8, depth: int = 6, rows: int = 4, columns: int | None = None) -> Any:
    s, c = product(m, n, depth)
    _, ji = s[c].split("j", factor=rows, tail="cut")
    if columns is not None:
        ko, ki = s[c].split("k", factor=columns)
        s[c].reorder("i", "j.o", ko, ji, ki)
    s[c].tensorize(ji, gemv(rows, columns or depth))
    s[c].pragma("i", "import_llvm", GEMV)
    return s


@settings(max_examples=15, deadline=None)
@given(m=st.sampled_from([1, 3]), n=st.sampled_from([4, 8, 11]), depth=st.sampled_from([2, 6]), split=st.booleans())
def test_it_computes_the_same(m: int, n: int, depth: int, split: bool) -> None:
    s = tensorized(m, n, depth, columns=2 if split else None)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_whole_reduction_is_the_body_and_a_part_is_reset_and_update() -> None:
    whole, part = str(fs.lower(tensorized())), str(fs.lower(tensorized(columns=2)))
    assert "part=body" in whole
    assert "part=update" not in whole
    assert "part=reset" in part
    assert "part=update" in part


def test_strides_are_those_of_the_buffer() -> None:
    s, c = product(2, 8, 6)
    packed = s.cache_read("B", "global")
    _, ji = s[c].split("j", factor=4)
    s[packed].compute_at(s[c], "j.o")
    s[packed].storage_align(0, 16, 3)
    s[c].tensorize(ji, gemv(4, 6))
    s[c].pragma("i", "import_llvm", GEMV)
    check_meaning(s, compiled=True)
    assert ", i32 4, i32 6, i32 19)" in fs.build(s, name="strides").llvm_ir()


def test_in_a_parallel_loop_and_inlined() -> None:
    s = tensorized()
    s["C"].parallel("i")
    check_meaning(s, compiled=True)
    assert "gemv" not in fs.build(s, name="inlined").asm()


def test_loops_stores_and_offsets_in_a_statement() -> None:
    a = te.placeholder((4,), name="a")
    c = te.compute((4,), lambda i: a[i] + 1, name="c")
    sa, sc = te.Var("sa", "int64"), te.Var("sc", "int64")
    aa, cc = formal(a, [sa]), formal(c, [sc])
    i = te.Var("i")
    loop = For(i, te.const(3, "int64"), cc.store(i, aa[i] + 1))
    last = call_statement("void", "plus_one", cc.access_ptr("w", 3 * sc), aa.access_ptr("r", 3 * sa))
    fs.intrinsic("test.plus", c, body=Seq((loop, last)), formals=[aa, cc], replace=True)
    x = te.placeholder((4, 6), name="X")
    y = te.compute((6, 4), lambda i, j: x[j, i] + 1, name="Y")
    s = te.create_schedule(y)
    s[y].tensorize("j", "test.plus")
    s[y].pragma(
        "i",
        "import_llvm",
        """
define void @plus_one(ptr %c, ptr %a) {
  %x = load float, ptr %a, align 4
  %y = fadd float %x, 1.0
  store float %y, ptr %c, align 4
  ret void
}""",
    )
    check_meaning(s, compiled=True)


def test_a_statement_prints_as_a_program() -> None:
    code = gemv(4, 6).how["update"]
    assert nest_text(code) == "formal_update(&C, &A, &B, 4, 6, s1)"


def test_it_refuses() -> None:
    a = te.placeholder((4,), name="a")
    c = te.compute((4,), lambda i: a[i] + 1, name="c")
    aa, cc = formal(a), formal(c)
    with pytest.raises(ArgumentError, match=r"a has 1 dimension, and 2 strides are given"):
        formal(a, [1, 1])
    with pytest.raises(ArgumentError, match=r"a: 'x' is no stride"):
        formal(a, ["x"])  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match=r"access_ptr\('x'\): the mode is 'r', 'w' or 'rw'"):
        aa.access_ptr("x")
    with pytest.raises(DtypeError, match=r"f\(\) with float16"):
        call_statement("int32", "f", te.const(1.0, "float16"))
    with pytest.raises(ArgumentError, match="c is no formal buffer of this intrinsic"):
        fs.intrinsic("test.no", c, body=call_statement("void", "f", cc.access_ptr()), formals=[aa])
    with pytest.raises(ArgumentError, match="variable 'n' has no value in the intrinsic's code"):
        fs.intrinsic("test.no", c, body=call_statement("void", "f", te.Var("n")), formals=[aa, cc])
    with pytest.raises(ArgumentError, match="holds calls, stores, loops and conditions, and no Alloc"):
        fs.intrinsic("test.no", c, body=Alloc(Buffer("t", (4,), "float32"), Seq(())), formals=[aa, cc])
    with pytest.raises(ArgumentError, match="stands for a tensor that c does not have"):
        fs.intrinsic("test.no", c, body=Seq(()), formals=[formal(te.placeholder((4,), name="z"))])


def test_strides_that_are_numbers_are_needed_and_one_variable_is_one_number() -> None:
    s, c = product(3, 8, 6)
    _, ji = s[c].split("j", factor=4)
    with pytest.raises(MatchError, match=r"the memory of 'B': expected elements of b that lie 8 apart in dimension 0"):
        s[c].tensorize(ji, gemv(4, 6, stride=8))
    a, b = te.placeholder((4,), name="a"), te.placeholder((4,), name="b")
    d = te.compute((4,), lambda i: a[i] + b[i], name="d")
    same = te.Var("s", "int32")
    formals = [formal(a, [same]), formal(b, [same]), formal(d)]
    fs.intrinsic("test.same", d, body=Seq(()), formals=formals, replace=True)
    x, y = te.placeholder((4,), name="X"), te.placeholder((4, 2), name="Y")
    z = te.compute((4,), lambda i: x[i] + y[i, 0], name="Z")
    s = te.create_schedule(z)
    with pytest.raises(MatchError, match=r"the memory of 'Y': expected elements s = 1 apart, as elsewhere, found 2"):
        s[z].tensorize("i", "test.same")


def test_functions_that_are_missing_or_called_in_two_ways() -> None:
    s, c = product(3, 8, 6)
    _, ji = s[c].split("j", factor=4)
    s[c].tensorize(ji, gemv(4, 6))
    with pytest.raises(
        LoweringError, match=r"the code calls formal_reset, formal_update, which this process does not have"
    ):
        fs.build(s)
    x = te.placeholder((4,), name="X")
    y = te.compute(
        (4,),
        lambda i: te.call_pure_extern("float32", "f", x[i]) + te.call_pure_extern("float32", "f", x[i], 1.0),
        name="Y",
    )
    with pytest.raises(
        LoweringError, match=r"f\(\) is called in two ways: float @f\(float\), and float @f\(float, float"
    ):
        fs.build(te.create_schedule(y))


def test_the_caller_may_pass_rows_with_gaps() -> None:
    f = fs.build(tensorized(), name="gaps")
    a, b = np.ones((3, 6), "float32"), np.arange(8 * 9, dtype="float32").reshape(8, 9)[:, :6]
    np.testing.assert_allclose(f(a, b), a @ b.T)
