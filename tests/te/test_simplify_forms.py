"""What simplify makes of the forms that schedules leave, and what it proves."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flashsched import te
from flashsched.te import simplify as simplifying
from flashsched.te.expr import Expr, Select, Var, compare, const
from flashsched.te.simplify import Ranges, bounds, linear, prove, simplify, structural_key
from flashsched.te.tensor import Read
from flashsched.te.visit import walk

from .index_exprs import I, J, K, N, index, sizes, value_of

# The patterns that schedules leave must come back exact

F = Var("f")
RANGES = {I: (0, 9), J: (0, 13), K: (0, 3), F: (0, 199), N: (0, 99)}


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((I * 14 + J) // 14, "i"),
        ((I * 14 + J) % 14, "j"),
        ((F // 20) * 20 + F % 20, "f"),
        (F % 20 + (F // 20) * 20, "f"),
        ((F // 20 * 4 + K) // 4, "f // 20"),
        (F // 4 // 5, "f // 20"),
        (F // 4 // 5 // 3, "f // 60"),
        ((F // 20) * 20 + (F // 4 % 5) * 4 + F % 4, "f"),  # fused, then split twice
        (F // 4 % 5 * 4 + F % 4, "f % 20"),
        (((F * 8 + K) // 4 % 10) * 4 + (F * 8 + K) % 4, "f % 5 * 8 + k"),
        ((F + K) // 60 * 60 + ((F + K) // 5 % 12) * 5 + (F + K) % 5, "f + k"),  # of three fused, moved
        # a tile of 64 pixels, of which the thread k is row by row: image, row and column of it, put together
        ((F * 2) // 49 * 784 + ((F * 8 + K) // 7 % 28) * 28 + (F * 8 + K) % 7 * 4 + K, "f * 32 + k * 5"),
        ((F * 8 + K) // 49 * 196 + ((F * 8 + K) // 7 % 7) * 28 + (F * 8 + K) % 7 * 4 + N, "f * 32 + k * 4 + n"),
        (F // 4 % 5 * 4 + F % 2, "f // 4 % 5 * 4 + f % 2"),
        (F // 4 % 5 * 5 + F % 4, "f // 4 % 5 * 5 + f % 4"),
        ((I * 14 + J) * 4 + K - (I * 56 + K), "j * 4"),
        (((I * 14 + J) * 4 + K) // 4 // 14, "i"),
        (((I * 14 + J) * 4 + K) // 4 % 14, "j"),
        (((I * 14 + J) * 4 + K) % 56 // 4, "j"),
        (F % 20 % 4, "f % 4"),
        (F % 20 % 5 * 2 + F * 0, "f % 5 * 2"),
        (F * 4 // 6, "f * 2 // 3"),
        (F * 4 % 6, "f * 2 % 3 * 2"),
        ((F * 4 // 6) * 6 + F * 4 % 6, "f * 4"),
        ((F * 20 + N) // 10 - F * 2, "n // 10"),
        ((I + 30) // 10, "3"),
        ((I + 30) % 10, "i"),
        (I - 10 - (I - J), "j - 10"),
        (I - I, "0"),
        (te.minimum(I * 14 + J, index(139)), "i * 14 + j"),
        (te.minimum(I * 14 + 13, index(130)), "min(i * 14 + 13, 130)"),
        (te.maximum(I - 10, index(0)), "0"),
        (te.minimum(F + 8, index(200)) - F, "min(f + 8, 200) - f"),
        (Select(I < 10, J, K), "j"),
        (Select(I >= 10, J, I * 14 + J) - J, "i * 14"),
        (F // 1 + F % 1, "f"),
        (0 - I * 3 + 2, "2 - i * 3"),
        (J - I * 3, "j - i * 3"),
        (I * 2 - I * 5 - 1, "i * -3 - 1"),
    ],
)
def test_what_split_and_fuse_leave_comes_back_exact(expr: Expr, text: str) -> None:
    assert str(simplify(expr, RANGES)) == text


@given(st.lists(sizes, min_size=1, max_size=4), sizes)
def test_fuse_then_split_any_way_gives_the_fused_loop_back(extents: list[int], factor: int) -> None:
    total = 1
    for extent in extents:
        total *= extent
    fused = Var("fused")
    ranges = {fused: (0, total - 1)}
    rest, indices = total, []
    for extent in extents:  # row-major: what each axis is of the fused loop
        rest //= extent
        indices.append((fused // rest) % extent)
    back: Expr = index(0)
    for extent, at in zip(extents, indices, strict=True):
        back = back * extent + at
    for point in range(0, total, max(1, total // 7)):
        assert value_of(simplify(back, ranges), {fused: point}) == point
    outer, inner = Var("o"), Var("n")
    split = {outer: (0, -(-total // factor) - 1), inner: (0, factor - 1)}
    assert str(simplify((outer * factor + inner) // factor, split)) == str(simplify(outer, split))
    assert str(simplify((outer * factor + inner) % factor, split)) == str(simplify(inner, split))


@given(st.lists(sizes, min_size=1, max_size=3))
def test_axes_of_a_fused_loop_written_by_hand_are_recovered(extents: list[int]) -> None:
    axes = [Var(f"a{n}") for n in range(len(extents))]
    ranges = {axis: (0, extent - 1) for axis, extent in zip(axes, extents, strict=True)}
    flat: Expr = index(0)
    for axis, extent in zip(axes, extents, strict=True):
        flat = flat * extent + axis
    rest = 1
    for axis, extent in reversed(list(zip(axes, extents, strict=True))):
        assert str(simplify(flat // rest % extent, ranges)) == str(simplify(axis, ranges))
        rest *= extent


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        (I * 14 + J < 140, True),
        (I * 14 + J < 139, None),
        (I * 14 + J >= 140, False),
        (I * 14 + J >= 0, True),
        (compare("==", I * 14 + J, J + I * 14), True),
        (compare("!=", I, I + 1), True),
        (compare("==", I, I + 1), False),
        (compare("==", I, J), None),
        (te.all(I < 10, J < 14), True),
        (te.all(I < 10, J < 13), None),
        (te.any(I < 5, J < 14), True),
        (te.all(I < 5, J > 14), False),
        (~(I < 10), False),
        (~(I < 9), None),
        (const(True), True),
        ((F // 20) * 20 + F % 20 < 200, True),
        (te.minimum(F, index(7)) <= 7, True),
        (F % N < 200, None),
    ],
)
def test_prove(condition: Expr, verdict: bool | None) -> None:
    assert prove(condition, RANGES) is verdict


def test_prove_from_facts() -> None:
    assert prove(N < 120, {}, [N + I < 120, I >= 0]) is None  # one fact at a time
    assert prove(N < 120, {I: (0, 5)}, [N + I < 120]) is True
    assert prove(N > 130, {I: (0, 5)}, [N + I < 120]) is False
    assert str(simplify(Select(N < 120, N, index(0)), {}, [N < 100])) == "n"


def test_an_unknown_variable_may_be_anything() -> None:
    assert bounds(N, {}) == (float("-inf"), float("inf"))
    assert bounds(N % 7, {}) == (0, 6)
    assert bounds(N - N + I, {I: (2, 3)}) == (2, 3)
    assert prove(N >= 0, {}) is None
    assert bounds(N * 0, {}) == (0, 0)
    assert bounds(N * J, {J: (0, 0)}) == (0, 0)


def test_coefficients_are_read_off_a_linear_form() -> None:
    form = linear(I * 14 + J - 3 + 2 * I)
    assert [form.coefficient(var) for var in (I, J, K)] == [16, 1, 0]
    assert form.constant == -3
    assert not form.is_constant()
    assert (form - form).is_constant()
    assert linear(I * 0 + 5).constant == 5


def test_a_load_is_an_atom_and_its_index_is_simplified() -> None:
    table = te.placeholder((200,), "int64", "T")
    expr = table[(I * 14 + J) // 14] + table[I] + 1
    assert str(simplify(expr, RANGES)) == "T[i] * 2 + 1"
    assert bounds(expr, RANGES) == (float("-inf"), float("inf"))
    narrow = te.placeholder((200,), "int8", "S")[I].astype("int64")
    assert bounds(narrow * 2, RANGES) == (-256, 254)


def test_an_index_in_a_value_is_taken_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for each of its parts: what a long index costs grows with its length."""
    a = te.placeholder((200,), "float32", "A")
    asked: list[Expr] = []

    def counted(expr: Expr, ranges: Ranges) -> Any:
        asked.append(expr)
        return linear(expr, ranges)

    monkeypatch.setattr(simplifying, "linear", counted)
    assert str(simplify(a[(I * 4 + J) + (I * 2 + 3)] * 2.0)) == "A[i * 6 + j + 3] * 2.0"
    assert len(asked) == 1


def test_values_that_are_no_indices_keep_their_order() -> None:
    a = te.placeholder((200,), "float32", "A")
    expr = (a[I * 14 + J - J] + 1.0) + a[(F // 20) * 20 + F % 20] - 1.0
    assert str(simplify(expr, RANGES)) == "A[i * 14] + 1.0 + A[f] - 1.0"
    guarded = te.select(te.all(I >= 0, J < 20, N < 3), a[N], 0.0)
    assert str(simplify(guarded, RANGES)) == "select(n < 3, A[n], 0.0)"
    assert str(simplify(te.select(I < 0, a[N], 0.0), RANGES)) == "0.0"
    assert {type(node) for node in walk(simplify(guarded, RANGES))} >= {Read, Select}


def test_a_loop_without_turns_proves_anything_and_breaks_nothing() -> None:
    empty = {I: (0, -1), J: (0, 13)}
    assert prove(I > 100, empty) in (True, False)
    assert isinstance(simplify((I * 14 + J) // 14 % 3, empty), Expr)


def test_structural_key_tells_alike_from_different() -> None:
    assert structural_key(I + 1) == structural_key(I + 1)
    different: list[Expr] = [
        I + 1,
        I - 1,
        J + 1,
        I + 2,
        I,
        index(1),
        const(1),
        const(1.0),
        const(-0.0),
        const(0.0),
        I < 1,
    ]
    for a, b in itertools.combinations(different, 2):
        assert structural_key(a) != structural_key(b)


@given(
    factors=st.lists(st.integers(-8, 8), min_size=1, max_size=3),
    constant=st.integers(-20, 20),
    divisor=st.integers(1, 24),
    extents=st.lists(st.integers(1, 6), min_size=3, max_size=3),
)
@example(factors=[2, 1], constant=0, divisor=16, extents=[6, 2, 1])
@example(factors=[-4, 1], constant=5, divisor=8, extents=[6, 2, 1])
def test_quotients_and_remainders_of_steps(factors: list[int], constant: int, divisor: int, extents: list[int]) -> None:
    """A digit below a common step goes out of a quotient, and stays as it is in a remainder."""
    variables = [Var(f"v{n}") for n in range(len(factors))]
    ranges = {var: (0.0, float(extent - 1)) for var, extent in zip(variables, extents, strict=False)}
    value: Expr = const(constant, "int64")
    for var, factor in zip(variables, factors, strict=True):
        value = value + var * factor
    quotient, remainder = simplify(value // divisor, ranges), simplify(value % divisor, ranges)
    for point in itertools.product(*(range(extent) for extent in extents[: len(factors)])):
        env = dict(zip(variables, point, strict=True))
        exact = constant + sum(f * x for f, x in zip(factors, point, strict=True))
        assert (value_of(quotient, env), value_of(remainder, env)) == (exact // divisor, exact % divisor)
