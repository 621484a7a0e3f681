"""prefetch: lines are asked for ahead of time, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.interpreter import InterpreterError, interpret_nest
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, LimitError, ScheduleError, StructureError, UnknownNameError
from flashsched.schedule.ir import Buffer, Prefetch, walk_stmt
from flashsched.te.expr import const
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul, pointwise


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(0, 9), n=st.integers(0, 40), k=st.integers(0, 7), offset=st.integers(1, 4),
    factor=st.integers(1, 5), loop=st.sampled_from(["i.o", "i.i", "k", "j"]), kind=st.sampled_from(["", "parallel"]),
)  # fmt: skip
def test_nothing_that_is_computed_changes(
    m: int, n: int, k: int, offset: int, factor: int, loop: str, kind: str
) -> None:
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    s[C].split("i", factor)
    s[C].reorder("i.o", "k", "i.i", "j")
    s[C].parallel("i.o") if kind else None
    s[C].prefetch(A, loop, offset)
    s[C].prefetch(B, loop, offset + 1)
    check_meaning(s, compiled=True)  # the interpreter looks at each address
    check_round_trip(s)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 40), factor=st.integers(1, 9), offset=st.integers(1, 3))
def test_a_stencil_asks_for_nothing_beyond_the_border(n: int, factor: int, offset: int) -> None:
    _, P, C = blur(n, 2)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i", factor)
    s[C].prefetch(P, outer, offset)
    check_meaning(s, compiled=True)


def test_each_line_is_asked_for_once() -> None:
    A, C = pointwise(6, 40)  # rows of 160 bytes: 16 elements a line
    s = te.create_schedule(C)
    s[C].prefetch(A, "i0", 2)
    assert str(s).split("\n")[0] == "for i0 in range(6):  # prefetch={'A': 2}"
    assert str(lower(s)).split("\n")[1:9] == [
        "  for i0 in range(6):  # prefetch={'A': 2}",
        "    if i0 < 4:",
        "      prefetch A[i0 + 2, 0]",
        "      prefetch A[i0 + 2, 16]",
        "      prefetch A[i0 + 2, 32]",
        "      prefetch A[i0 + 2, 39]",
        "    for i1 in range(40):",
        "      C[i0, i1] = A[i0, i1] * 2.0 + 1.0",
    ]


def test_many_lines_are_a_loop() -> None:
    A, C = pointwise(6, 4, 100)
    s = te.create_schedule(C)
    s[C].prefetch(A, "i0", 1)
    text = str(lower(s))
    assert text.count("prefetch A[") == 1
    assert "prefetch A[i0 + 1, line1, min(line2 * 16, 99)]" in text
    check_meaning(s, compiled=True)


def test_it_is_an_instruction() -> None:
    A, C = pointwise(64, 40)
    s = te.create_schedule(C)
    s[C].vectorize("i1")
    s[C].prefetch(A, "i0", 1)
    ir = build(s).llvm_ir()
    assert ir.count("call void @llvm.prefetch.p0(") == 4


def test_what_is_computed_in_the_loop_may_read_it() -> None:
    A, P, C = chain(8, 16)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i0")
    s[C].prefetch(A, "i0", 1)
    s[P].split("i1", 4)  # the loop that is marked stays
    assert "prefetch A[i0 + 1, 15]" in str(lower(s))
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_marked_stage_moves_with_its_mark() -> None:
    A, P, C = chain(8, 16)
    s = te.create_schedule(C)
    s[P].prefetch(A, "i0", 1)
    s[C].split("i0", 4)
    s[P].compute_at(s[C], "i0.o")
    assert [type(node) for node in walk_stmt(lower(s).body)].count(Prefetch) == 2
    assert "prefetch A[i0.o * 4 + i0 + 1, 0]" in str(lower(s))
    check_meaning(s, compiled=True)


def test_the_interpreter_sees_an_address_outside() -> None:
    a = Buffer("A", (4,), "float32")
    with pytest.raises(InterpreterError, match=r"prefetches A\[4\], outside its shape \[4\]"):
        interpret_nest(Prefetch(a, (const(4, "int64"),)), {}, [])


def test_prefetch_refuses() -> None:
    A, P, C = chain(8, 16)
    s = te.create_schedule(C)
    with pytest.raises(UnknownNameError, match="no tensor named 'Q'"):
        s[C].prefetch("Q", "i0", 1)
    with pytest.raises(ArgumentError, match="offset must be at least 1, got 0"):
        s[C].prefetch(P, "i0", 0)
    with pytest.raises(StructureError, match="loop 'i0' prefetches 'A', which is not read in it"):
        s[C].prefetch(A, "i0", 1)
    t = s.copy()
    t[P].compute_at(t[C], "i0")
    with pytest.raises(StructureError, match="loop 'i0' prefetches 'P', which is computed in it"):
        t[C].prefetch(P, "i0", 1)
    t = s.copy()
    t[C].vectorize("i1")
    with pytest.raises(StructureError, match=r"(?s)loop 'i1' is vectorized.*hint: prefetch at a serial"):
        t[C].prefetch(P, "i1", 1)
    t = s.copy()
    t[C].bind("i1", "threadIdx.x")
    with pytest.raises(StructureError, match=r"loop 'i1' is bound to threadIdx\.x"):
        t[C].prefetch(P, "i1", 1)
    X, Y = pointwise(2, 300, 16)
    u = te.create_schedule(Y)
    with pytest.raises(LimitError, match=r"(?s)reads 600 cache lines of 'A'.*256 at most.*hint: .*further in"):
        u[Y].prefetch(X, "i0", 1)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (lambda s, C: s[C].split("i0", 2), r"(?s)loop 'i0' is marked with prefetch, and can't be split.*call prefetch"),
        (lambda s, C: s[C].fuse("i0", "i1"), "loop 'i0' is marked with prefetch, and can't be fused"),
        (lambda s, C: s[C].bind("i0", "blockIdx.x"), "loop 'i0' is bound to blockIdx.x"),
        (lambda s, C: s.cache_read("A", "local"), r"(?s)loop 'i0' prefetches 'A', which is not read.*call it last"),
    ],
)
def test_later_steps_may_not_leave_the_mark_without_ground(step: object, says: str) -> None:
    A, C = pointwise(8, 16)
    s = te.create_schedule(C)
    s[C].prefetch(A, "i0", 1)
    before = s.state
    with pytest.raises(ScheduleError, match=says):
        step(s, C)  # type: ignore[operator]
    assert s.state is before
