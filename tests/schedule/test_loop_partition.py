"""loop_partition and peel: parts of a loop that compute together what it computes, the middle without conditions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, ScheduleError, StructureError
from flashsched.schedule.ir import For, If, LoopKind, Stmt, own_exprs, walk_stmt
from flashsched.schedule.primitives.tails import TAILS
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import Compare
from flashsched.te.visit import walk
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, matmul, pointwise


def conditions(stmt: Stmt) -> int:
    """How many comparisons stand in *stmt*."""
    return sum(isinstance(part, Compare) for node in walk_stmt(stmt) for e in own_exprs(node) for part in walk(e))


def top_loops(s: Schedule) -> list[For]:
    body = lower(s).body
    return [node for node in getattr(body, "stmts", (body,)) if isinstance(node, For)]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 40), factor=st.integers(1, 9), tail=st.sampled_from(TAILS[:3]), reach=st.integers(0, 3),
    outer=st.booleans(), kind=st.sampled_from(["serial", "unroll", "parallel", "vectorize"]), compiled=st.booleans(),
    ends=st.tuples(st.integers(0, 3), st.integers(0, 3)), inlined=st.booleans(),
)  # fmt: skip
def test_the_parts_compute_what_the_loop_computes(
    n: int, factor: int, tail: str, reach: int, outer: bool, kind: str, compiled: bool, ends: tuple[int, int],
    inlined: bool,
) -> None:  # fmt: skip
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    if inlined:
        s[P].compute_inline()
    loops = s[C].split("i", factor, tail=tail)
    if kind == "vectorize":
        s[C].vectorize(loops[1])
    elif kind != "serial":
        getattr(s[C], kind)(loops[0 if outer else 1])
    loop = loops[0 if outer or kind == "vectorize" else 1]
    if any(ends):
        s[C].peel(loop, *ends)
    else:
        s[C].loop_partition(loop)
    check_meaning(s, compiled=compiled)
    check_round_trip(s)


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 20), n=st.integers(1, 20), k=st.integers(0, 9), x=st.integers(1, 6), y=st.integers(1, 6),
    compiled=st.booleans(),
)  # fmt: skip
def test_two_loops_of_a_tile_and_one_of_a_reduction(m: int, n: int, k: int, x: int, y: int, compiled: bool) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    xo, yo, _, yi = s[C].tile("i", "j", x, y)
    ko, _ = s[C].split("k", 4)
    s[C].reorder(ko, *[loop for loop in s[C].loops if loop not in (ko, yi)], yi)
    for loop in (xo, yo, ko):
        s[C].loop_partition(loop)
    s[C].vectorize(yi)
    check_meaning(s, compiled=compiled)


def test_the_middle_of_a_stencil_has_no_conditions() -> None:
    _, P, C = blur(12, 2)
    s = te.create_schedule(C)
    s[P].compute_inline()
    s[C].loop_partition("i")
    before, middle, after = top_loops(s)
    assert [loop.turns for loop in (before, middle, after)] == [2, 8, 2]
    assert conditions(middle.body) == 0 < conditions(before.body)
    assert "partition" not in str(lower(s))
    check_meaning(s, compiled=True)


def test_full_tiles_and_the_ragged_one() -> None:
    _, C = pointwise(3, 10)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i1", 4)
    s[C].reorder(outer, "i0")
    s[C].loop_partition(outer)
    assert str(lower(s)).split("\n")[1:] == [
        "  for i1.o in range(2):",
        "    for i0 in range(3):",
        "      for i1.i in range(4):",
        "        C[i0, i1.o * 4 + i1.i] = A[i0, i1.o * 4 + i1.i] * 2.0 + 1.0",
        "  for i0 in range(3):",
        "    for i1.i in range(2):",
        "      C[i0, i1.i + 8] = A[i0, i1.i + 8] * 2.0 + 1.0",
    ]


def test_turns_that_run_at_once_stay_one_loop() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i", 4)
    s[C].parallel(outer)
    s[C].loop_partition(outer)
    (loop,) = top_loops(s)
    assert loop.kind is LoopKind.PARALLEL
    assert isinstance(loop.body, If)
    assert conditions(loop.body.then) == 0
    check_meaning(s, compiled=True)


def test_a_mask_is_not_cut() -> None:
    counts = {}
    for tail in ("guard", "mask"):
        _, C = pointwise(10)
        s = te.create_schedule(C)
        outer, inner = s[C].split("i", 4, tail=tail)
        s[C].vectorize(inner)
        s[C].loop_partition(outer)
        counts[tail] = sum(
            isinstance(node, For) and node.kind is LoopKind.VECTORIZE for node in walk_stmt(lower(s).body)
        )
        check_meaning(s, compiled=True)
    assert counts == {"guard": 2, "mask": 1}


def test_an_equality_is_a_part_of_one_turn() -> None:
    A = te.placeholder((9,), name="A")
    C = te.compute((9,), lambda i: te.select(te.any(i == 7, i < 1), A[i] * 2, A[i]), name="C")
    s = te.create_schedule(C)
    s[C].loop_partition("i")
    assert [loop.turns for loop in top_loops(s)] == [6, 2]  # C[0] is no loop any more
    assert conditions(top_loops(s)[0]) == 0
    check_meaning(s, compiled=True)


@pytest.mark.parametrize(("front", "back", "turns"), [(1, 0, [9]), (0, 3, [7, 3]), (2, 2, [2, 6, 2]), (12, 0, [10])])
def test_peeled_turns_have_loops_of_their_own(front: int, back: int, turns: list[int]) -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    s[C].peel("i", front=front, back=back)
    assert [loop.turns for loop in top_loops(s)] == turns
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_loop_stays_one_for_later_steps() -> None:
    _, P, C = blur(10)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i", 4)
    s[C].loop_partition(outer)
    s[P].compute_at(s[C], outer)
    s[C].parallel(outer)
    check_meaning(s, compiled=True)


def test_what_is_refused() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    with pytest.raises(ArgumentError, match="front=0 and back=0 peel no turns"):
        s[C].peel("i")
    with pytest.raises(ArgumentError, match="front=-1 and back=2 peel no turns"):
        s[C].peel("i", -1, 2)
    outer, inner = s[C].split("i", 4)
    s[C].vectorize(inner)
    for primitive in (s[C].loop_partition, lambda loop: s[C].peel(loop, 1)):
        with pytest.raises(StructureError, match=r"loop 'i\.i' is vectorized, and its turns are one instruction"):
            primitive(inner)
    s[C].loop_partition(outer)
    with pytest.raises(ScheduleError, match="is marked with loop_partition, and can't be split any more"):
        s[C].split(outer, 2)


def test_a_partitioned_loop_does_not_become_a_vector() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    s[C].peel("i", 1)
    with pytest.raises(StructureError, match="peel is at loop 'i', and a vectorized loop has no parts"):
        s[C].vectorize("i")
