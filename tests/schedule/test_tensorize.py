"""tensorize: an intrinsic takes the place of loops that compute what it computes, and of no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import (
    ArgumentError,
    DependenceError,
    LoweringError,
    MatchError,
    ScheduleError,
    StructureError,
    TraceError,
    UnknownNameError,
)
from flashsched.schedule.trace import Trace
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.schedules import CPU_PRIMITIVES, take_step

AXPY_UPDATE = """
define void @axpy(ptr %a, i64 %a0, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0) {
  %one = load float, ptr %a, align 4
  %first = insertelement <4 x float> poison, float %one, i64 0
  %x = shufflevector <4 x float> %first, <4 x float> poison, <4 x i32> zeroinitializer
  %y = load <4 x float>, ptr %b, align 4
  %old = load <4 x float>, ptr %c, align 4
  %product = fmul <4 x float> %x, %y
  %new = fadd <4 x float> %old, %product
  store <4 x float> %new, ptr %c, align 4
  ret void
}"""
AXPY_RESET = """
define void @zero(ptr %c, i64 %c0) {
  store <4 x float> zeroinitializer, ptr %c, align 4
  ret void
}"""
DOT_HEAD = """
define void @dot(ptr %a, i64 %a0, ptr %b, i64 %b0, ptr %c) {
  %b1 = getelementptr float, ptr %b, i64 %b0
  %a1 = getelementptr float, ptr %a, i64 %a0
  %p = load float, ptr %a, align 4
  %q = load float, ptr %b, align 4
  %r = load float, ptr %a1, align 4
  %s = load float, ptr %b1, align 4
  %t = fmul float %p, %q
  %u = fmul float %r, %s
  %v = fadd float %t, %u
"""
DOT_BODY = DOT_HEAD + "  store float %v, ptr %c, align 4\n  ret void\n}"
DOT_UPDATE = (
    DOT_HEAD + "  %old = load float, ptr %c, align 4\n  %new = fadd float %old, %v\n"
    "  store float %new, ptr %c, align 4\n  ret void\n}"
)


def axpy_tensor() -> Any:
    a, b = te.placeholder((1,), name="A"), te.placeholder((1, 4), name="B")
    k = te.reduce_axis((0, 1), name="k")
    return te.compute((4,), lambda j: te.sum(a[k] * b[k, j], axis=k), name="C")


def dot_tensor() -> Any:
    a, b = te.placeholder((2,), name="A"), te.placeholder((2,), name="B")
    k = te.reduce_axis((0, 2), name="k")
    return te.compute((), lambda: te.sum(a[k] * b[k], axis=k), name="C")


UNIT = {"B": [None, 1], "C": [1]}
AXPY = fs.intrinsic("test.axpy4", axpy_tensor(), update=AXPY_UPDATE, reset=AXPY_RESET, strides=UNIT, replace=True)
fs.intrinsic("test.axpy4.update", axpy_tensor(), update=AXPY_UPDATE, strides=UNIT, replace=True)
DOT = fs.intrinsic("test.dot2", dot_tensor(), body=DOT_BODY, update=DOT_UPDATE, replace=True)
DOT_ONLY_BODY = fs.intrinsic("test.dot2.body", dot_tensor(), body=DOT_BODY, replace=True)


def matmul(m: int = 3, n: int = 8, depth: int = 5) -> tuple[Any, Any]:
    a, b = te.placeholder((m, depth), name="A"), te.placeholder((depth, n), name="B")
    k = te.reduce_axis((0, depth), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return te.create_schedule(c), c


def tensorized(m: int = 3, n: int = 8, depth: int = 5, tail: str | None = None, name: str = "test.axpy4") -> Any:
    s, c = matmul(m, n, depth)
    jo, ji = s[c].split("j", factor=4, tail=tail)
    s[c].reorder(jo, "k", ji)
    s[c].tensorize(ji, name)
    return s


# -- meaning


@settings(max_examples=20, deadline=None)
@given(
    m=st.sampled_from([0, 1, 3]),
    n=st.sampled_from([4, 8, 12]),
    depth=st.sampled_from([0, 1, 5]),
    name=st.sampled_from(["test.axpy4", "test.axpy4.update"]),
)
def test_it_computes_the_same(m: int, n: int, depth: int, name: str) -> None:
    check_meaning(tensorized(m, n, depth, name=name), compiled=True)


@pytest.mark.parametrize("n", [5, 7, 11, 13])
def test_a_tail_that_is_cut_is_done_by_plain_loops(n: int) -> None:
    s = tensorized(n=n, tail="cut")
    check_meaning(s, compiled=True)
    text = str(fs.lower(s))
    assert "part=update" in text
    assert f"for j.i in range({n % 4})" in text or f"j.i < {n % 4}" in text


def test_where_no_tile_is_full_a_warning_says_so() -> None:
    s = tensorized(n=3, tail="cut")
    with pytest.warns(UserWarning, match=r"no tile of the tensorized loop 'j.i' is full, so plain loops do all"):
        check_meaning(s, compiled=True)


@pytest.mark.parametrize("name", ["test.dot2", "test.dot2.body"])
def test_a_whole_reduction_is_done_by_the_body(name: str) -> None:
    s, c = matmul(depth=2)
    s[c].tensorize("k", name)
    check_meaning(s, compiled=True)
    text = str(fs.lower(s))
    assert "part=body" in text
    assert "part=update" not in text


def test_a_part_of_a_reduction_is_done_by_the_update_and_any_strides_are_passed() -> None:
    s, c = matmul(depth=6)
    _, ki = s[c].split("k", factor=2)
    s[c].tensorize(ki, DOT)
    check_meaning(s, compiled=True)
    assert "part=update" in str(fs.lower(s))


def test_loops_inside_may_stand_in_any_order() -> None:
    a = te.placeholder((4, 6), name="A")
    t = te.compute((4, 6), lambda i, j: a[i, j] + a[i, j], name="T")
    text = """
define void @twice(ptr %a, i64 %a0, i64 %a1, ptr %t, i64 %t0, i64 %t1) {
entry:
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %next, %loop ]
  %i = udiv i64 %n, 6
  %j = urem i64 %n, 6
  %p = mul i64 %i, %a0
  %q = mul i64 %j, %a1
  %r = add i64 %p, %q
  %u = mul i64 %i, %t0
  %v = mul i64 %j, %t1
  %w = add i64 %u, %v
  %from = getelementptr float, ptr %a, i64 %r
  %to = getelementptr float, ptr %t, i64 %w
  %x = load float, ptr %from, align 4
  %y = fadd float %x, %x
  store float %y, ptr %to, align 4
  %next = add i64 %n, 1
  %more = icmp ult i64 %next, 24
  br i1 %more, label %loop, label %end
end:
  ret void
}"""
    fs.intrinsic("test.twice", t, body=text, replace=True)
    x = te.placeholder((12, 8), name="X")
    y = te.compute((8, 12), lambda i, j: x[j, i] + x[j, i], name="Y")  # strides of X the other way round
    s = te.create_schedule(y)
    _, _, ii, ji = s[y].tile("i", "j", 4, 6)
    s[y].reorder(ji, ii)
    s[y].tensorize(ji, "test.twice")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_small_local_buffer_has_other_strides() -> None:
    s, c = matmul(6, 8, 5)
    local = s.cache_write(c, "local")
    io, jo, _, ji = s[c].tile("i", "j", 2, 4)
    s[local].compute_at(s[c], jo)
    i, j, k = s[local].loops
    s[local].reorder(k, i, j)
    s[local].unroll(i)
    s[local].tensorize(j, AXPY)
    s[c].vectorize(ji)
    s[c].parallel(io)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    text = str(fs.lower(s))
    assert "C.local = alloc(float32[2, 4], 'local')" in text
    assert text.count("part=update") == 2
    assert text.count("part=reset") == 2


def test_packed_by_a_layout() -> None:
    a, b = te.placeholder((3, 5), name="A"), te.placeholder((5, 8), name="B")
    p = te.compute((5, 8), lambda k, j: b[k, j], name="P")
    k = te.reduce_axis((0, 5), name="k")
    c = te.compute((3, 8), lambda i, j: te.sum(a[i, k] * p[k, j], axis=k), name="C")
    s = te.create_schedule(c)
    s[p].transform_layout(lambda k, j: (j // 4, k, j % 4))
    jo, ji = s[c].split("j", factor=4)
    s[c].reorder(jo, "k", ji)
    s[c].tensorize(ji, AXPY)
    check_meaning(s, compiled=True)
    with pytest.raises(MatchError, match=r"the memory of 'P': expected elements of B that lie 1 apart.*found 5 apart"):
        s[p].transform_layout(lambda k, j: (j, k))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_is_done_afterwards_it_stays_what_it_means(data: st.DataObject) -> None:
    a, b = te.placeholder((3, 4), name="A"), te.placeholder((4, 8), name="B")
    q = te.compute((4, 8), lambda k, j: b[k, j] + 1, name="Q")
    k = te.reduce_axis((0, 4), name="k")
    c = te.compute((3, 8), lambda i, j: te.sum(a[i, k] * q[k, j], axis=k), name="C")
    d = te.compute((3, 8), lambda i, j: c[i, j] * 2, name="D")
    s = te.create_schedule(d)
    jo, ji = s[c].split("j", factor=4)
    s[c].reorder(jo, "k", ji)
    s[c].tensorize(ji, AXPY)
    for _ in range(data.draw(st.integers(0, 8))):
        take_step(data.draw, s, data.draw(st.sampled_from(CPU_PRIMITIVES)))
    check_meaning(s, compiled=True)
    check_round_trip(s)


# -- shape


def test_the_nest_stays_and_says_what_stands_for_it() -> None:
    s = tensorized(n=8, depth=5)
    assert str(s) == (
        "for i in range(3):\n"
        "  for j.o in range(2):\n"
        "    for k in range(5):\n"
        "      for j.i in range(4):  # tensorize, intrinsic=test.axpy4\n"
        "        C(i=i, j=j.o * 4 + j.i, k=k):  # reduces k\n"
        "          init C[i, j] = 0.0\n"
        "          C[i, j] = C[i, j] + A[i, k] * B[k, j]"
    )
    assert str(fs.lower(s)).split("\n", 1)[1] == (
        "  for i in range(3):\n"
        "    for j.o in range(2):\n"
        "      for reset in range(1):  # tensorize, intrinsic=test.axpy4, part=reset\n"
        "        for j.i in range(4):\n"
        "          C[i, j.o * 4 + j.i] = 0.0\n"
        "      for k in range(5):\n"
        "        for j.i in range(4):  # tensorize, intrinsic=test.axpy4, part=update\n"
        "          C[i, j.o * 4 + j.i] = C[i, j.o * 4 + j.i] + A[i, k] * B[k, j.o * 4 + j.i]"
    )


def test_the_code_is_called_and_inlined() -> None:
    f = fs.build(tensorized(), name="inlined")
    assert "call void @fs.intrinsic.test.axpy4.update(" in f.llvm_ir()
    assert "fs.intrinsic" not in f.asm()


# -- refusal


def refused(value: Any, dtype: str = "float32", intrinsic: Any = AXPY, b: tuple[int, int] = (5, 8)) -> str:
    a, other = te.placeholder((3, 5), dtype, name="A"), te.placeholder(b, dtype, name="B")
    k = te.reduce_axis((0, 5), name="k")
    c = te.compute((3, 8), lambda i, j: value(a, other, i, j, k), name="C")
    s = te.create_schedule(c)
    jo, ji = s[c].split("j", factor=4)
    if s[c].op.reduce_axis:
        s[c].reorder(jo, "k", ji)
    before = s.state, s.trace
    with pytest.raises(MatchError) as caught:
        s[c].tensorize(ji, intrinsic)
    assert (s.state, s.trace) == before
    text = str(caught.value)
    assert "# tensorize, intrinsic=test.axpy4  <--" in text
    assert "test.axpy4 computes" in text
    return text


def test_the_first_difference_is_shown() -> None:
    said = refused(lambda a, b, i, j, k: te.sum(a[i, k] + b[k, j], axis=k))
    assert "the value, right of '+': expected '*' of float32 (A[0] * B[0, j]), found '+' of float32" in said
    said = refused(lambda a, b, i, j, k: te.max(a[i, k] * b[k, j], axis=k))
    assert "the value: expected '+' of float32" in said
    assert "found 'max' of float32" in said
    said = refused(lambda a, b, i, j, k: te.sum(a[i, k] * b[k, j], axis=k), dtype="float64")
    assert "what is stored to: expected C of float32, found C of float64" in said
    said = refused(lambda a, b, i, j, k: te.sum(a[i, k] * b[k, 7 - j], axis=k))
    assert "the memory of 'B': expected elements of B that lie 1 apart in dimension 1, found -1 apart" in said
    said = refused(lambda a, b, i, j, k: te.sum(a[i, k] * b[k, j // 2], axis=k))
    assert "expected B at evenly spaced places, found B[" in said
    said = refused(lambda a, b, i, j, k: te.sum(a[i, k] * b[j, k], axis=k), b=(8, 5))
    assert "elements of B that lie 1 apart in dimension 1, found 5 apart" in said
    said = refused(lambda a, b, i, j, k: a[i, 0] * b[0, j])
    assert "the value: expected '+' of float32" in said


def test_a_scalar_of_the_intrinsic_does_not_move() -> None:
    said = refused(lambda a, b, i, j, k: te.sum(b[k, j] * b[k, j], axis=k))
    assert "A[0], which moves by 0" in said or "moves by 0 elements with j" in said


def test_loops_of_other_lengths() -> None:
    s, c = matmul(n=8)
    s[c].reorder("i", "k", "j")
    with pytest.raises(MatchError, match=r"loop 1 of 1: expected j in range\(4\), found j in range\(8\)"):
        s[c].tensorize("j", AXPY)
    s, c = matmul()
    with pytest.raises(MatchError, match=r"the loops of more than one turn: expected j in range\(4\), found"):
        s[c].tensorize("j", AXPY)


def test_an_output_that_stays_where_the_intrinsic_moves() -> None:
    a, b = te.placeholder((3,), name="A"), te.placeholder((4,), name="B")
    k = te.reduce_axis((0, 4), name="k")
    c = te.compute((3,), lambda i: te.sum(a[i] * b[k], axis=k), name="C")
    s = te.create_schedule(c)
    with pytest.raises(
        MatchError, match=r"what is stored to: expected C\[j\], which moves by 0.*found|what is stored to"
    ):
        s[c].tensorize("k", AXPY)


def test_a_condition_inside() -> None:
    with pytest.raises(DependenceError, match=r"computed only where j.o \* 4 \+ j.i < 7.*\n(.*\n)*.*tail='cut'"):
        tensorized(n=7)


def test_padding_inside() -> None:
    s = tensorized(m=3, depth=5)
    with pytest.raises(DependenceError, match=r"padding but where k.o \* 2 \+ k.i < 5.*\n(.*\n)*.*tail='cut'"):
        s["C"].split("k", factor=2, tail="pad")
    s["C"].split("k", factor=2, tail="cut")
    check_meaning(s, compiled=True)


def test_a_tail_is_cut_or_nothing() -> None:
    s, c = matmul()
    with pytest.raises(ArgumentError, match="no tail strategy 'guard' of a tensorized loop"):
        s[c].tensorize("j", AXPY, tail="guard")


def test_a_body_begins_from_nothing() -> None:
    s, c = matmul(depth=6)
    _, ki = s[c].split("k", factor=2)
    with pytest.raises(MatchError, match=r"loop 'k.o' around the tensorized loop 'k.i' runs over the reduction"):
        s[c].tensorize(ki, DOT_ONLY_BODY)


def test_an_init_of_its_own_leaves_the_update() -> None:
    s, c = matmul(depth=2)
    s[c].decompose_reduction("k")
    with pytest.raises(
        MatchError, match=r"the init of 'C' is a stage of its own, and 'test.dot2.body' has only a body"
    ):
        s[c].tensorize("k", DOT_ONLY_BODY)
    s[c].tensorize("k", DOT)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_structure_it_needs() -> None:
    s, c = matmul()
    jo, ji = s[c].split("j", factor=4)
    s[c].reorder(jo, "k", ji)
    s[c].vectorize(ji)
    with pytest.raises(StructureError, match=r"loop 'j.i' is vectorized, and only a serial loop can be tensorized"):
        s[c].tensorize(ji, AXPY)
    s = tensorized()
    with pytest.raises(StructureError, match=r"loop 'j.i' is tensorized, and only a serial loop can be split"):
        s["C"].split("j.i", factor=2)
    s, c = matmul(depth=2)
    s[c].reorder("k", "j")
    s[c].split("j", factor=1)
    s[c].unroll("j.i")
    with pytest.raises(StructureError, match=r"loop 'j.i' inside the tensorized loop 'k' is unroll"):
        s[c].tensorize("k", DOT)


def test_no_other_computation_comes_in() -> None:
    a, b = te.placeholder((5,), name="A"), te.placeholder((5, 8), name="B")
    p = te.compute((5, 8), lambda k, j: b[k, j] + 1, name="P")
    k = te.reduce_axis((0, 5), name="k")
    c = te.compute((8,), lambda j: te.sum(a[k] * p[k, j], axis=k), name="C")
    s = te.create_schedule(c)
    jo, ji = s[c].split("j", factor=4)
    s[c].reorder(jo, "k", ji)
    s[c].tensorize(ji, AXPY)
    with pytest.raises(StructureError, match=r"loop 'j.i' is tensorized, and holds more than one computation"):
        s[p].compute_at(s[c], ji)
    with pytest.raises(MatchError, match=r"compute_inline\(\): .*expected a load of float32"):
        s[p].compute_inline()


def test_no_mark_comes_in() -> None:
    s = tensorized()
    with pytest.raises(StructureError, match=r"prefetch is at loop 'j.i', which the tensorized loop 'j.i' is"):
        s["C"].prefetch("B", "j.i", 1)


def test_a_gpu_or_lanes_around() -> None:
    s = tensorized()
    with pytest.raises(StructureError, match=r"stands inside 'i', which is blockIdx.x"):
        s["C"].bind("i", "blockIdx.x")


def test_arrays_that_the_code_cannot_take_are_refused_when_they_come() -> None:
    import numpy as np

    f = fs.build(tensorized(), name="strided")
    a, b = np.ones((3, 5), "float32"), np.ones((8, 5), "float32").T
    with pytest.raises(LoweringError, match=r"can't take these arrays: the memory of 'B'.*\n(.*\n)*.*contiguous"):
        f(a, b)


def test_what_is_no_intrinsic() -> None:
    s, c = matmul()
    with pytest.raises(UnknownNameError, match=r"no intrinsic named 'test.axpi4'; did you mean test.axpy4"):
        s[c].tensorize("j", "test.axpi4")
    with pytest.raises(ArgumentError, match=r"there is an intrinsic 'test.axpy4' already"):
        fs.intrinsic("test.axpy4", axpy_tensor(), update=AXPY_UPDATE)
    with pytest.raises(ArgumentError, match="'4 x' is no name for an intrinsic"):
        fs.intrinsic("4 x", axpy_tensor(), update=AXPY_UPDATE)
    with pytest.raises(ArgumentError, match="needs the LLVM text of its body, its update, or both"):
        fs.intrinsic("test.none", axpy_tensor(), reset=AXPY_RESET)
    with pytest.raises(ArgumentError, match="strides of 'Z', which C has not"):
        fs.intrinsic("test.none", axpy_tensor(), update=AXPY_UPDATE, strides={"Z": [1]})
    with pytest.raises(ArgumentError, match="B has 2 dimensions, and 1 strides are given"):
        fs.intrinsic("test.none", axpy_tensor(), update=AXPY_UPDATE, strides={"B": [1]})
    with pytest.raises(ArgumentError, match="a portable 'body' of an intrinsic without one"):
        fs.intrinsic("test.none", axpy_tensor(), update=AXPY_UPDATE, portable={"body": ""})
    with pytest.raises(ArgumentError, match="inputs must name what C reads: A, B"):
        fs.intrinsic("test.none", axpy_tensor(), update=AXPY_UPDATE, inputs=[])
    x = te.placeholder((4,), name="X")
    y = te.compute((4,), lambda i: x[i] * 2, name="Y")
    with pytest.raises(ArgumentError, match="Y is no reduction, so the intrinsic has a body and nothing else"):
        fs.intrinsic("test.none", y, update=AXPY_UPDATE)
    z = te.compute((4,), lambda i: y[i] * 2, name="Z")
    with pytest.raises(ArgumentError, match=r"described by one te.compute of placeholders"):
        fs.intrinsic("test.none", z, body="")


def test_llvm_text_that_is_wrong_is_refused_when_it_is_built() -> None:
    fs.intrinsic("test.broken", axpy_tensor(), update="define void @f(", strides=UNIT, replace=True)
    with pytest.raises(LoweringError, match=r"LLVM refuses the text of intrinsic 'test.broken', update"):
        fs.build(tensorized(name="test.broken"), name="broken")
    fs.intrinsic("test.two", axpy_tensor(), update=AXPY_UPDATE + AXPY_RESET, strides=UNIT, replace=True)
    with pytest.raises(LoweringError, match="must define one function that is not internal, and defines axpy, zero"):
        fs.build(tensorized(name="test.two"), name="two")


def test_code_of_another_type_than_the_description_has() -> None:
    text = AXPY_UPDATE.replace(", ptr %c, i64 %c0", ", ptr %c")
    fs.intrinsic("test.other", axpy_tensor(), update=text, strides=UNIT, replace=True)
    with pytest.raises(
        LoweringError, match=r"defines a function of the type void \(ptr, i64, ptr, i64, i64, ptr\), and"
    ):
        fs.build(tensorized(name="test.other"), name="other")


def test_a_cpu_without_the_feature() -> None:
    text = {"update": AXPY_UPDATE, "strides": UNIT, "features": ["no-such-feature"], "replace": True}
    fs.intrinsic("test.lacking", axpy_tensor(), **text)
    with pytest.raises(LoweringError, match=r"'test.lacking' needs a CPU with no-such-feature, and \S+ has not"):
        fs.build(tensorized(name="test.lacking"), name="lacking")
    fs.intrinsic("test.portable", axpy_tensor(), **text, portable={"update": AXPY_UPDATE})
    with pytest.warns(UserWarning, match=r"lacks no-such-feature: the portable code of test.portable is used"):
        check_meaning(tensorized(name="test.portable"), compiled=True)


# -- round trip


def test_round_trip() -> None:
    for s in (tensorized(), tensorized(n=9, tail="cut")):
        check_round_trip(s)
    assert 's[C].tensorize(ji, "test.axpy4")' in tensorized().to_python()


def test_a_trace_names_the_intrinsic_and_holds_no_code() -> None:
    s = tensorized()
    text = json.dumps(s.trace.to_json())
    assert "test.axpy4" in text
    assert "define" not in text
    trace = Trace.from_json(json.loads(text.replace("test.axpy4", "test.axpy5")))
    with pytest.raises(TraceError, match=r"no intrinsic named 'test.axpy5'; did you mean test.axpy4"):
        matmul()[0].replay(trace)


def test_no_step_that_is_refused_leaves_a_mark() -> None:
    s = tensorized()
    before = s.state, s.trace
    with pytest.raises(ScheduleError):
        s["C"].tensorize("k", AXPY)
    assert (s.state, s.trace) == before
