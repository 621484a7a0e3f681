"""cache_write: a stage computes somewhere nearer, and is copied out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain, matmul, pointwise

TAIL = st.sampled_from(["guard", "cut"])


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(0, 9), n=st.integers(0, 20), k=st.integers(0, 5), x=st.integers(1, 5), y=st.integers(1, 8),
    tail=TAIL, at=st.integers(0, 3),
)  # fmt: skip
def test_a_tile_of_accumulators(m: int, n: int, k: int, x: int, y: int, tail: str, at: int) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    CL = s.cache_write(C, "local")
    places = s[C].tile(*s[C].op.axis, x, y, tail=tail)
    s[CL].compute_at(s[C], places[at])
    i, j = s[CL].op.axis
    s[CL].reorder(s[CL].op.reduce_axis[0], i, j)
    s[CL].unroll(i)
    s[CL].vectorize(j)
    s[C].unroll(places[2]) if at < 2 else None
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_reduction_moves_to_the_new_stage() -> None:
    *_, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    CL = s.cache_write(C, "local")
    assert str(s) == (
        "for i in range(2):\n"
        "  for j in range(3):\n"
        "    for k in range(4):\n"
        "      C.local(i=i, j=j, k=k):  # reduces k\n"
        "        init C.local[i, j] = 0.0\n"
        "        C.local[i, j] = C.local[i, j] + A[i, k] * B[k, j]\n"
        "for i in range(2):\n"
        "  for j in range(3):\n"
        "    C(i=i, j=j):\n"
        "      C[i, j] = C.local[i, j]"
    )
    (k,) = C.op.reduce_axis
    with pytest.raises(ScheduleError, match=r"loop 'k' of stage 'C' is no more: cache_write\('local'\) took it"):
        s[C].split(k, 2)
    with pytest.raises(ScheduleError, match=r"axis 'k' is not one of stage 'C.local'"):
        s[CL].split(k, 2)
    s[CL].split(s[CL].op.reduce_axis[0], 2)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_again_and_again(times: int) -> None:
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    for _ in range(times):
        inner = s.cache_write(C, "local")
        s[inner].split("i", 2)
    assert [stage.name for stage in s.stages] == [*["C.local", "C.local2", "C.local3"][:times], "C"]
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_several_outputs_go_together() -> None:
    _, at, value = argmax(3, 5)
    s = te.create_schedule([at, value])
    near_at, near_value = s.cache_write(at, "local")
    assert (near_at.name, near_value.name) == ("M.local.v0", "M.local.v1")
    s[near_at].compute_at(s[at], "i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_stage_that_is_read_and_one_of_another_layout() -> None:
    _, P, C = chain(5, 6)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i, j: (j, i))
    inner = s.cache_write(P, "local")
    s[inner].compute_at(s[P], "i0")
    s[P].compute_at(s[C], s[C].split("i0", 2)[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_cache_write_refuses() -> None:
    _, C = pointwise(4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="no memory scope 'registry'"):
        s.cache_write(C, "registry")
    with pytest.raises(ScheduleError, match="no stage named 'Q'"):
        s.cache_write("Q", "local")
    s[C].split("i", 2)
    says = (
        r"(?s)'C' was scheduled already \(split\('i', factor=2\)\), and cache_write would throw that away.*call cache_w"
    )
    with pytest.raises(ScheduleError, match=says):
        s.cache_write(C, "local")
    A, P, D = chain(4)
    t = te.create_schedule(D)
    t[P].compute_at(t[D], "i")
    for stage in (P, D):
        with pytest.raises(ScheduleError, match=r"was scheduled already \(compute_at\)"):
            t.cache_write(stage, "local")
    with pytest.raises(ScheduleError, match="A is an input: it is not computed here"):
        t.cache_write(A, "local")
