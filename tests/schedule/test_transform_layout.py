"""transform_layout: the elements of an intermediate tensor lie in another order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, DependenceError, ScheduleError, StructureError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul, running_sum


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
        ("i -> i", "the layout takes 1 index, and 'P' has rank 2"),
        (
            "i, j -> i",
            "does not give each element of 'P' a place of its own, or leaves places unused: j = 0 and j = 1 lie in one",
        ),
        ("i, j -> i, j // 4", "j = 0 and j = 1 lie in one"),
        ("i, j -> i, j // 4, j % 2", "j = 0 and j = 2 lie in one"),
        ("i, j -> i, j % 4", "j = 0 and j = 4 lie in one"),
        ("i, j -> i, j, j", "two of its indices tell the same part of j"),
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
    with pytest.raises(ScheduleError, match="the layout takes 2 indices, and the tensor has rank 1"):
        s[P].transform_layout(lambda i, j: (i, j))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 13), m=st.integers(1, 5), c=st.integers(1, 6), value=st.sampled_from([0.0, -2.0]),
    at=st.integers(-1, 1), tail=st.sampled_from(["guard", "cut"]),
)  # fmt: skip
def test_the_rest_of_the_memory_holds_what_is_stated(n: int, m: int, c: int, value: float, at: int, tail: str) -> None:
    _, P, C = chain(n, m)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i, j: (i // c, j, i % c), pad_value=value)
    s[P].split(P.op.axis[0], c)  # the axes of the program still name the loops
    s[P].vectorize(s[P].op.axis[1])
    if at >= 0:
        s[P].compute_at(s[C], s[C].split("i0", c, tail=tail)[at])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_every_place_is_stored_to() -> None:
    *_, P = matmul(5, 6, 7)
    C = te.compute((5, 6), lambda i, j: P[i, j] + 1, name="R")
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i, j: (i // 4, j // 4, i % 4, j % 4), pad_value=float("-inf"))
    assert s[P].op.output(0).shape == (8, 8)
    assert [axis.extent for axis in s[P].op.axis] == [8, 8]
    assert str(s).split("\n")[4:6] == [
        "        init C[i, j] = select(i < 5 and j < 6, 0.0, -inf)",
        "        C[i, j] = select(i < 5 and j < 6, C[i, j] + A[i, k] * B[k, j], C[i, j])",
    ]
    assert "C = alloc(float32[2, 2, 4, 4], 'global')" in str(lower(s))
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_an_input_is_laid_out_by_way_of_a_copy() -> None:
    A, B, C = matmul(5, 6, 7)
    s = te.create_schedule(C)
    packed = s.cache_read(B, "global")
    s[packed].transform_layout(lambda k, j: (j // 4, k, j % 4), pad_value=0)
    assert A.shape == (5, 7)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_padding_refuses() -> None:
    A = te.placeholder((5,), "int8", name="A")
    P = te.compute((5,), lambda i: A[i] + A[i], name="P")
    C = te.compute((5,), lambda i: P[i] * P[i], name="C")
    s = te.create_schedule(C)
    for value in (1000, 0.5):
        with pytest.raises(ArgumentError, match=f"{value} is no value of int8, and can't fill up 'P'"):
            s[P].transform_layout("i -> i // 2, i % 2", pad_value=value)
    with pytest.raises(ScheduleError, match="'C' is an output"):
        s[C].transform_layout("i -> i // 2, i % 2", pad_value=0)
    *_, D = matmul(2, 3, 4)
    t = te.create_schedule(te.compute((2, 3), lambda i, j: D[i, j] + 1, name="R"))
    t[D].decompose_reduction("i")
    with pytest.raises(StructureError, match="'C' was decomposed, and transform_layout"):
        t[D].transform_layout("i, j -> i, j // 2, j % 2", pad_value=0)


def test_padding_of_a_size_known_at_run_time() -> None:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    P = te.compute((n,), lambda i: A[i] + 1, name="P")
    s = te.create_schedule(te.compute((n,), lambda i: P[i] * 2, name="C"))
    s[P].transform_layout("i -> i // 4, i % 4", pad_value=3)
    assert "for i in range((n + 3) // 4 * 4)" in str(s)
    assert "select(i < n, A[i] + 1.0, 3.0)" in str(s)
    kernel = fs.build(s)
    for size in (0, 1, 4, 6):
        a = np.arange(size, dtype="float32")
        np.testing.assert_array_equal(kernel(a), 2 * (a + 1))
    check_round_trip(s)


def test_rows_that_depend_on_each_other_are_not_padded() -> None:
    _, S, C = running_sum()
    with pytest.raises(DependenceError, match=r"'S' writes a state of a scan.*can't be padded"):
        te.create_schedule(C)[S].transform_layout("t, i -> t // 4, i, t % 4", pad_value=0)


@pytest.mark.parametrize("loop", ["i", "j", "k"])
def test_an_init_of_its_own_states_the_value_too(loop: str) -> None:
    *_, P = matmul(5, 6, 7)
    s = te.create_schedule(te.compute((5, 6), lambda i, j: P[i, j] + 1, name="R"))
    s[P].transform_layout(lambda i, j: (i // 4, j, i % 4), pad_value=2)
    init = s[P].decompose_reduction(loop)
    assert "C[i, j] = select(i < 5, 0.0, 2.0)" in str(s)
    s[init].split(s[init].op.axis[1], 4)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_parts_of_a_padded_sum_would_add_up_the_padding() -> None:
    *_, P = matmul(5, 6, 7)
    s = te.create_schedule(te.compute((5, 6), lambda i, j: P[i, j] + 1, name="R"))
    s[P].transform_layout(lambda i, j: (i // 4, j, i % 4), pad_value=2)
    with pytest.raises(StructureError, match=r"(?s)'C' states what its padding holds.*rfactor before transform_layout"):
        s.rfactor(P, "k")
