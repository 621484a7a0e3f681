"""cache_read: readers get a copy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import DependenceError, ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain, diamond, matmul

SCOPE = st.sampled_from(["global", "shared", "local"])


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(0, 7), n=st.integers(0, 7), k=st.integers(0, 5), scope=SCOPE, at=st.integers(0, 4),
    factor=st.integers(1, 4), late=st.booleans(),
)  # fmt: skip
def test_a_copy_at_any_loop(m: int, n: int, k: int, scope: str, at: int, factor: int, late: bool) -> None:
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    copies = [] if late else [s.cache_read(A, scope, [C]), s.cache_read(B, scope, [C])]
    s[C].split("i", factor)
    s[C].split("k", factor, tail="cut")
    s[C].reorder("k.o", "j")
    copies = copies or [s.cache_read(A, scope), s.cache_read(B, scope)]
    s[copies[0]].compute_at(s[C], s[C].loops[at])
    s[copies[0]].split("i1", 2)
    s[copies[1]].compute_at(s[C], "k.o")
    check_meaning(s, compiled=m == 7)
    check_round_trip(s)


def test_a_copy_stands_before_its_first_reader() -> None:
    A, P, C = chain(4)
    s = te.create_schedule(C)
    copy = s.cache_read(P, "local", [C])
    assert copy.name == "P.local"
    assert str(s).split("\n")[3:] == [
        "for i0 in range(4):",
        "  P.local(i0=i0):",
        "    P.local[i0] = P[i0]",
        "for i in range(4):",
        "  C(i=i):",
        "    C[i] = P.local[i] * 2.0",
    ]
    assert s.cache_read(A, "local").name == "A.local"
    assert s.cache_read(A, "local").name == "A.local2"
    assert s.cache_read(copy, "shared").name == "P.local.shared"
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_some_readers_read_the_copy() -> None:
    _, P, _L, R, C = diamond(5)
    s = te.create_schedule(C)
    copy = s.cache_read(P, "global", [R])
    s[copy].compute_at(s[R], "i")
    s[P].compute_root()
    assert "L[i] = P[i] * 2.0" in str(s)
    assert "R[i] = P.global[i + 3] - 1.0" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_copy_of_a_copied_stage_that_is_moved_and_inlined() -> None:
    _, P, C = chain(6)
    s = te.create_schedule(C)
    copy = s.cache_read(P, "global")
    s[copy].compute_inline()
    s[P].compute_at(s[C], s[C].split("i", 4)[0])
    check_meaning(s)
    check_round_trip(s)


def test_a_reduction_never_reads_its_own_copy() -> None:
    _, at, value = argmax(3, 4)
    C = te.compute((3,), lambda i: at[i] + value[i], name="C")
    s = te.create_schedule(C)
    assert [s.cache_read(at, "local").name, s.cache_read(value, "local").name] == ["M.v0.local", "M.v1.local"]
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_inputs_of_one_name_are_told_apart() -> None:
    A, B = te.placeholder((4,), name="A"), te.placeholder((4,), name="A")
    C = te.compute((4,), lambda i: A[i] - B[i], name="C")
    s = te.create_schedule(C)
    s.cache_read(B, "local")
    assert "A_1.local[i0] = A_1[i0]" in str(s)
    check_meaning(s, compiled=True)


def test_cache_read_refuses() -> None:
    A, P, C = chain(4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)no memory scope 'gobal'.*did you mean global"):
        s.cache_read(A, "gobal")
    with pytest.raises(ScheduleError, match="no tensor named 'Q'"):
        s.cache_read("Q", "local")
    with pytest.raises(ScheduleError, match=r"(?s)'C' does not read 'A'.*its readers: P"):
        s.cache_read(A, "local", [C])
    with pytest.raises(ScheduleError, match="nothing reads 'C', so a copy would be read by nobody"):
        s.cache_read(C, "local")
    with pytest.raises(ScheduleError, match="other is no stage of this schedule"):
        s.cache_read(te.placeholder((4,), name="other"), "local")
    s[P].compute_at(s[C], "i")
    with pytest.raises(
        ScheduleError, match=r"(?s)'P' is computed at loop 'i' of 'C', and does not exist outside.*before"
    ):
        s.cache_read(P, "local")
    s[P].compute_inline()
    with pytest.raises(ScheduleError, match=r"(?s)stage 'P' was inlined .* nothing left to copy.*call cache_read f"):
        s.cache_read("P", "local")
    with pytest.raises(ScheduleError, match=r"'P' does not read 'A'|was inlined"):
        s.cache_read(A, "local", [P])


@pytest.mark.parametrize("rows", [2, 5])
def test_a_state_is_not_copied_for_its_own_next_rows(rows: int) -> None:
    """Also where there is one next row, and splitting has left no loop that time runs over."""
    before = te.placeholder((rows,), name="before")
    first = te.compute((1,), lambda i: 1.0, name="first")
    later = te.compute((rows,), lambda i: before[i - 1] + 1, name="later")
    row = te.scan(first, later, before, name="row")
    out = te.compute((rows,), lambda i: row[i] * 2, name="out")
    s = te.create_schedule(out)
    s[row].split(row.op.axis[0], nparts=1)
    for readers in (None, [later]):
        with pytest.raises(DependenceError, match="reads rows of 'row' and is needed for the next ones"):
            s.cache_read(row, "global", readers)
    s.cache_read(row, "global", [out])
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize(("narrow", "wide"), [("float16", "float32"), ("int8", "int32"), ("bfloat16", "float32")])
def test_a_copy_is_converted_once(scope: str, narrow: str, wide: str) -> None:
    A, B = te.placeholder((5, 4), narrow, name="A"), te.placeholder((4, 7), narrow, name="B")
    k = te.reduce_axis((0, 4), name="k")
    C = te.compute((5, 7), lambda i, j: te.sum(A[i, k].astype(wide) * B[k, j].astype(wide), axis=k), name="C")
    s = te.create_schedule(C)
    left, right = (s.cache_read(operand, scope, [C], dtype=wide) for operand in (A, B))
    s[right].transform_layout(lambda k, j: (j // 3, k, j % 3))
    s[left].compute_at(s[C], "i")
    assert left.dtype == wide
    assert f"C[i, j] + A.{scope}[i, k] * B.{scope}[k, j]" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_conversion_is_refused_where_a_reader_sees_more() -> None:
    A = te.placeholder((5,), "float16", name="A")
    B = te.compute((5,), lambda i: A[i].astype("float32") + A[i] * 2, name="B")
    s = te.create_schedule(B)
    with pytest.raises(ScheduleError, match="'B' does not convert 'A' to float32 wherever it reads it"):
        s.cache_read(A, "local", dtype="float32")
    with pytest.raises(ScheduleError, match="'B' does not convert 'A' to float64"):
        s.cache_read(A, "local", [B], dtype="float64")
