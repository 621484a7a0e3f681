"""join_axes: two axes that count only by their sum become one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ArgumentError, DependenceError, LimitError, OutputError, StructureError
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip


def windows(rows: int, columns: int, size: int, stride: int = 1, dilation: int = 1) -> tuple[Tensor, Tensor]:
    """The greatest of each window of a matrix."""
    A = te.placeholder((stride * (rows - 1) + dilation * (size - 1) + 1, columns + size - 1), name="A")
    d, e = te.reduce_axis((0, size), name="d"), te.reduce_axis((0, size), name="e")
    return A, te.compute(
        (rows, columns), lambda i, j: te.max(A[i * stride + d * dilation, j + e], axis=[d, e]), name="C"
    )


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(1, 7), columns=st.integers(0, 5), size=st.integers(1, 4), stride=st.integers(1, 3),
    dilation=st.integers(1, 2), place=st.integers(0, 2), at=st.sampled_from(["i", "j", None]),
)  # fmt: skip
def test_windows_are_taken_apart(
    rows: int, columns: int, size: int, stride: int, dilation: int, place: int, at: str | None
) -> None:
    _, C = windows(rows, columns, size, stride, dilation)
    s = te.create_schedule(C)
    parts = s.rfactor(C, "d", place)
    try:
        s[parts].join_axes("i", "d")
    except DependenceError:  # there are gaps between the sums
        assert stride > size or dilation > rows or (stride > 1 and dilation > 1)
        return
    if at is not None:
        s[parts].compute_at(s[C], at)
    s[parts].reorder("e", "j")
    s[parts].vectorize("j")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_difference_and_other_users_of_the_axes() -> None:
    A = te.placeholder((9,), name="A")
    P = te.compute((5, 5), lambda i, d: A[i - d + 4] + te.select(i - d > 0, 1.0, 2.0), name="P")
    C = te.compute((5,), lambda i: P[i, 0] + P[4, i] + P[2, 2], name="C")
    s = te.create_schedule(C)
    s[P].join_axes("i", "d")
    assert "P[i.d] = A[i.d] + select(i.d - 4 > 0, 1.0, 2.0)" in str(s)
    s[P].split("i.d", 4)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_two_values_at_once_and_a_stage_of_no_points() -> None:
    A, d, e = te.placeholder((6, 4), name="A"), te.reduce_axis((0, 3), name="d"), te.reduce_axis((0, 2), name="e")
    place, _ = te.compute((4, 3), lambda i, j: te.argmax(A[i + d, j + e], axis=[d, e]), name="C")
    s = te.create_schedule(place)
    parts = s.rfactor(place, "e")
    if isinstance(parts, tuple):
        parts = parts[0]
    with pytest.raises(DependenceError, match="do not depend on a sum of 'j' and 'e' alone: they depend on them in"):
        s[parts].join_axes("j", "e")  # the place of the greatest speaks of e
    P = te.compute((0, 3), lambda i, d: A[i + d, 0], name="P")
    C = te.compute((0,), lambda i: P[i, 0] + P[i, 1], name="C")
    s = te.create_schedule(C)
    s[P].join_axes("i", "d")
    assert s.state.stages["P"].buffers[0].shape == (0,)
    check_meaning(s, compiled=True)


def test_the_readers_are_read_anew() -> None:
    _, C = windows(4, 5, 3)
    s = te.create_schedule(C)
    parts = s.rfactor(C, "d")
    s[C].unroll("d")
    s[parts].join_axes("i", "d")
    s[parts].compute_at(s[C], "i")
    s[parts].rolling_buffer()
    assert "C[i, j] = max(C[i, j], C.rf[i + d, j])" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_join_axes_refuses() -> None:
    _, C = windows(4, 5, 3)
    s = te.create_schedule(C)
    with pytest.raises(OutputError, match="'C' is an output"):
        s[C].join_axes("i", "j")
    parts = s.rfactor(C, "d")
    with pytest.raises(ArgumentError, match=r"(?s)'i' and 'e' are not two axes of the output .*name two of d, i, j"):
        s[parts].join_axes("i", "e")
    with pytest.raises(DependenceError, match="do not depend on a sum of 'i' and 'j' alone: no index is a sum of both"):
        s[parts].join_axes("i", "j")
    t = s.copy()
    t[parts].split("j", 2)
    with pytest.raises(StructureError, match=r"scheduled already \(split"):
        t[parts].join_axes("i", "d")
    t = s.copy()
    t[parts].transform_layout(lambda a, b, c: (b, a, c))
    with pytest.raises(StructureError, match="an order of its own"):
        t[parts].join_axes("i", "d")
    _, wide = windows(4, 5, 2, stride=3)
    t = te.create_schedule(wide)
    parts = t.rfactor(wide, "d")
    with pytest.raises(DependenceError, match=r"not every number from the least to the greatest of i \* 3 \+ d is one"):
        t[parts].join_axes("i", "d")


def test_sizes_known_at_run_time() -> None:
    n, d = te.var("n"), te.reduce_axis((0, 3), name="d")
    A = te.placeholder((n + 2,), name="A")
    C = te.compute((n,), lambda i: te.sum(A[i + d], axis=d), name="C")
    s = te.create_schedule(C)
    parts = s.rfactor(C, d)
    with pytest.raises(LimitError, match="sizes that are known at run time only"):
        s[parts].join_axes("i", "d")
