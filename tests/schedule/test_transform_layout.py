"""transform_layout: the elements of an intermediate tensor lie in another order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 9), m=st.integers(0, 9), x=st.integers(1, 5), y=st.integers(1, 5),
    order=st.permutations(range(4)), at=st.sampled_from([None, "i0", "i1.o", "i1.i"]), vector=st.booleans(),
)  # fmt: skip
def test_any_digits_in_any_order(
    n: int, m: int, x: int, y: int, order: list[int], at: str | None, vector: bool
) -> None:
    _, P, C = chain(n, m)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i, j: [(i // x, i % x, j // y, j % y)[place] for place in order])
    s[C].split("i1", 4)
    if at is not None:
        s[P].compute_at(s[C], at)
    if vector:
        s[P].vectorize(s[P].op.axis[1])
        s[C].vectorize("i1.i") if at != "i1.i" else None
    check_meaning(s, compiled=n * m > 40)
    check_round_trip(s)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 13), factor=st.integers(1, 5), digit=st.integers(1, 4))
def test_a_stencil_over_a_layout_that_does_not_divide(n: int, factor: int, digit: int) -> None:
    _, P, C = blur(n, 2)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i: (i % digit, i // digit))
    s[P].compute_at(s[C], s[C].split("i", factor)[0])
    check_meaning(s)


def test_memory_is_rounded_up() -> None:
    _, P, C = chain(5, 10)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i, j: (j // 4, i, j % 4))
    assert "P[i0, i1] = A[i0, i1] + 1.0" in str(s)  # the nest goes on speaking of the tensor's own indices
    text = str(lower(s))
    assert "P = alloc(float32[3, 5, 4], 'global')" in text
    assert "P[i1 // 4, i0, i1 % 4] = A[i0, i1] + 1.0" in text


def test_constant_dimensions_and_texts() -> None:
    _, P, C = chain(4, 6)
    s = te.create_schedule(C)
    s[P].transform_layout("i, j -> j, 0, i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("i -> i", "the layout takes 1 indices, and 'P' has 2 dimensions"),
        ("i, j -> i", "does not give each element of 'P' a place of its own: j takes 6 values, and its parts tell 1"),
        ("i, j -> i, j // 4", "j takes 6 values, and its parts tell 1 apart"),
        ("i, j -> i, j // 4, j % 2", "j takes 6 values, and its parts tell 2 apart"),
        ("i, j -> i, j % 4", "j takes 6 values, and its parts tell 4 apart"),
        ("i, j -> i, j, j", "j takes 6 values"),
        ("i, j -> i + j, j", r"has i \+ j, and each of its indices must be a part of one index"),
        ("i, j -> i, j * 2", r"has j \* 2, and each of its indices"),
        ("i, j", "'i, j' is no layout"),
        ("i, j -> i, q", "is no layout: 'q'"),
        ("i, j -> i, f(j)", r"'f\(j\)' may not stand in a layout"),
        ("i, j -> i, j / 2", "may not stand in a layout"),
        ("i, j -> (", "is no layout"),
        (3, "layout must be a name, got 3|takes"),
    ],
)
def test_transform_layout_refuses(layout: str, says: str) -> None:
    _, _P, C = chain(4, 6)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=says):
        s.apply("transform_layout", "P", {"layout": layout})


def test_an_output_lies_as_the_caller_expects() -> None:
    _, P, C = chain(4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="'C' is an output, and the caller expects it in its own order"):
        s[C].transform_layout(lambda i: (i // 2, i % 2))
    with pytest.raises(ScheduleError, match="the layout takes 2 indices, and the tensor has 1 dimensions"):
        s[P].transform_layout(lambda i, j: (i, j))
