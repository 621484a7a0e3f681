"""tensorize: an intrinsic takes the place of loops that compute what it computes, and of no others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import (
    MatchError,
    ScheduleError,
    TraceError,
)
from flashsched.schedule.trace import Trace
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.schedules import CPU_PRIMITIVES, take_step

from .small_intrinsics import (
    AXPY,
    AXPY_UPDATE,
    DOT,
    UNIT,
    axpy_tensor,
    matmul,
    tensorized,
)

fs.intrinsic("test.axpy4.update", axpy_tensor(), update=AXPY_UPDATE, strides=UNIT, replace=True)


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


@pytest.mark.parametrize("swapped", [False, True])
def test_factors_may_be_swapped(swapped: bool) -> None:
    """Of two factors that both could stand in either place, the one that moves with the vector is taken for it."""
    A, B = te.placeholder((3, 5), name="A"), te.placeholder((8, 5), name="B")
    k = te.reduce_axis((0, 5), name="k")

    def product(i: te.Expr, j: te.Expr) -> te.Expr:
        return B[j, k] * A[i, k] if swapped else A[i, k] * B[j, k]

    C = te.compute((3, 8), lambda i, j: te.sum(product(i, j), axis=k), name="C")
    s = te.create_schedule(C)
    s[s.cache_read(B, "global")].transform_layout("j, k -> k, j")
    _, inner = s[C].split("j", factor=4)
    one, unit = s[C].split("k", factor=1)
    s[C].reorder(one, inner, unit)
    s[C].tensorize(inner, "test.axpy4")
    check_meaning(s, compiled=True)


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
