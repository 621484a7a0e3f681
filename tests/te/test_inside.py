"""A program that certainly reads outside a tensor is refused; one that may not is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ExpressionError, ShapeError
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor

A = te.placeholder((8, 4), name="A")
B = te.placeholder((8,), "int32", name="B")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: te.compute((8, 5), lambda i, j: A[i, j], "C"), r"A\[i, j\]: j runs from 0 to 4, .* has 4 elements"),
        (lambda: te.compute((8,), lambda i: A[i - 1, 0], "C"), "i - 1 runs from -1 to 6"),
        (lambda: te.compute((8,), lambda i: A[7 - 2 * i, 0], "C"), "runs from -7 to 7"),
        (lambda: te.compute((4, 5), lambda i, j: A[i + j, 3], "C"), None),
        (lambda: te.compute((5, 5), lambda i, j: A[i + j, 3], "C"), "i \\+ j runs from 0 to 8"),
    ],
)
def test_what_certainly_reads_outside(made: Callable[[], Tensor], says: str | None) -> None:
    if says is None:
        te.create_schedule(made())
        return
    with pytest.raises(ShapeError, match=says) as caught:
        te.create_schedule(made())
    assert "test_inside.py" in str(caught.value)


def test_a_reduction_over_too_many() -> None:
    k = te.reduce_axis((0, 9), name="k")
    with pytest.raises(ShapeError, match="k runs from 0 to 8"):
        te.create_schedule(te.compute((), lambda: te.sum(B[k], axis=k), "C"))


@pytest.mark.parametrize(
    "made",
    [
        lambda: te.compute((8,), lambda i: te.select(i > 0, B[i - 1], 0), "C"),
        lambda: te.compute((8,), lambda i: te.all(i > 0, B[i - 1] > 0), "C"),
        lambda: te.compute((8,), lambda i: B[te.minimum(i + 1, 7)], "C"),
        lambda: te.compute((8,), lambda i: B[B[i]], "C"),
        lambda: te.compute((0, 9), lambda i, j: B[j], "C"),
        lambda: te.compute((16,), lambda i: B[i // 2], "C"),
    ],
)
def test_what_may_be_right_is_left_alone(made: Callable[[], Tensor]) -> None:
    te.create_schedule(made())


@given(
    n=st.integers(0, 6), m=st.integers(0, 6), shift=st.integers(-3, 3), scale=st.integers(-2, 2), size=st.integers(0, 9)
)
def test_it_says_what_the_oracle_says(n: int, m: int, shift: int, scale: int, size: int) -> None:
    P = te.placeholder((size,), "int32", name="P")
    C: Any = te.compute((n, m), lambda i, j: P[i + scale * j + shift], "C")
    try:
        run_graph([C], {P: np.zeros(size, "int32")})
        inside = True
    except ExpressionError:
        inside = False
    try:
        te.create_schedule(C)
        accepted = True
    except ShapeError:
        accepted = False
    assert accepted == inside
