"""What tensorize refuses, and what an intrinsic may not be."""

from __future__ import annotations

from typing import Any

import pytest

import flashsched as fs
from flashsched import te
from flashsched.errors import (
    ArgumentError,
    DependenceError,
    LoweringError,
    MatchError,
    StructureError,
    UnknownNameError,
)
from flashsched.testing.checks import check_meaning, check_round_trip

from .small_intrinsics import (
    AXPY,
    AXPY_RESET,
    AXPY_UPDATE,
    DOT,
    DOT_ONLY_BODY,
    UNIT,
    axpy_tensor,
    matmul,
    tensorized,
)


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
