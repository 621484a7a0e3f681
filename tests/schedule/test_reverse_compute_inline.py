"""reverse_compute_inline: an element-wise consumer becomes part of what it reads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ArgumentError, DependenceError, OutputError, ScheduleError, StructureError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, diamond, matmul


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 6), m=st.integers(1, 9), factor=st.integers(1, 5), turned=st.booleans(), two=st.booleans())
def test_the_loops_of_the_producer_stay(n: int, m: int, factor: int, turned: bool, two: bool) -> None:
    A = te.placeholder((n, m), name="A")
    P = te.compute((n, m), lambda i, j: A[i, j] + 1, name="P")
    if turned:
        C = te.compute((m, n), lambda a, b: P[b, a] * 2 - A[b, a], name="C")
    else:
        C = te.compute((n, m), lambda a, b: P[a, b] * P[a, b], name="C")
    outputs = [C]
    if two:
        outputs = list(te.compute(C.shape, lambda a, b: (C[a, b] + 1, C[a, b].astype("int32")), name="T"))
    s = te.create_schedule(outputs)
    jo, ji = s[P].split("j", factor)
    s[P].vectorize(ji)
    s[P].parallel("i")
    s[C].reverse_compute_inline()
    if two:
        s[outputs[1]].reverse_compute_inline()
    assert [stage.name for stage in s.stages] == ["P"]
    s[P].unroll(jo)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_what_the_consumer_reads_is_computed_before() -> None:
    A, P, _ = chain(6)
    X = te.compute((6,), lambda i: A[i] * 3, name="X")
    C = te.compute((6,), lambda i: P[i] + X[5 - i], name="C")
    D = te.compute((6,), lambda i: C[i] - 1, name="D")
    s = te.create_schedule(D)
    s[D].split("i", 2)
    with pytest.raises(ArgumentError, match=r"'C' reads 2 stages \('P', 'X'\)"):
        s[C].reverse_compute_inline()
    s.cache_read(A, "local", [X])
    s[X].compute_inline()
    s.cache_read(A, "local", [P])
    with pytest.raises(ArgumentError, match="'C' reads 2 stages"):
        s[C].reverse_compute_inline()
    s[D].reverse_compute_inline()
    assert [stage.name for stage in s.stages] == ["A.local2", "P", "A.local", "C"]
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_producer_at_a_loop_and_one_with_an_inner_stage() -> None:
    _, P, C = chain(8, 6)
    D = te.compute((8, 6), lambda i, j: C[i, j] - 1, name="D")
    E = te.compute((8, 6), lambda i, j: D[i, j] * D[i, j], name="E")
    s = te.create_schedule(E)
    s[P].compute_at(s[C], "i0")
    s[D].reverse_compute_inline()
    s[C].compute_at(s[E], s[E].split("i", 4)[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)
    with pytest.raises(ScheduleError, match="stage 'D' became part of 'C', so it has no loops any more"):
        s[D].split("i", 2)


def test_what_became_part_of_a_stage_is_where_that_is() -> None:
    """The fuzzer found that it counted as computed at the root, and a copy read it before it was there."""
    A, P, C = chain(4, 6)
    out = te.compute((4, 6), lambda i, j: C[i, j] + A[i, j], name="out")
    s = te.create_schedule(out)
    s[C].reverse_compute_inline()
    t = s.copy()
    t[t.cache_read(C, "local")].compute_at(t[out], "i")
    check_meaning(t)
    s[P].compute_at(s[out], "i")
    for step in (lambda: s.cache_read(C, "local"), lambda: s.reindex(out, C)):
        with pytest.raises(DependenceError, match="'P' is computed at loop 'i' of 'out', and does not exist outside"):
            step()


def test_reverse_compute_inline_refuses() -> None:
    *_, C = matmul(4, 5, 6)
    R = te.compute((4, 5), lambda i, j: te.clip(C[i, j], 0.0, 3.0), name="R")
    s = te.create_schedule(R)
    with pytest.raises(DependenceError, match=r"(?s)would be applied at each of its steps.*reverse_compute_at"):
        s[R].reverse_compute_inline()
    with pytest.raises(StructureError, match="'C' is a reduction, and its producer has no loops for it"):
        s[C].reverse_compute_inline()
    s[C].compute_at(s[R], "i")
    with pytest.raises(StructureError, match="stage 'C' is computed at a loop of 'R'"):
        s[R].reverse_compute_inline()
    _, P, B = blur(6)
    with pytest.raises(DependenceError, match=r"(?s)'C' does not read 'P' element by element.*compute_inline"):
        te.create_schedule(B)[B].reverse_compute_inline()
    _, P, D = chain(6)
    with pytest.raises(OutputError, match="'P' is an output"):
        te.create_schedule([P, D])[D].reverse_compute_inline()
    with pytest.raises(ArgumentError, match=r"reads 0 stages \(none\)"):
        te.create_schedule(D)[P].reverse_compute_inline()
    _, P, L, _, _ = out = diamond(5)
    with pytest.raises(DependenceError, match="'R' also reads 'P', whose values would be gone"):
        te.create_schedule(out[-1])[L].reverse_compute_inline()
