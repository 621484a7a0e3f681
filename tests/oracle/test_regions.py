"""Regions against the exact image of an index map, conditions included: never too small, and how often too large."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.schedule.accesses import accesses
from flashsched.schedule.ir import Buffer, For, If, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.regions import Span, region
from flashsched.te import dtypes
from flashsched.te.evaluate import Array
from flashsched.te.expr import Expr, Var, const, logical_and
from flashsched.testing.grids import EXAMPLES, conditions, indices, points, values

o, p, i, j = Var("o"), Var("p"), Var("i"), Var("j")
SIZE = 10_000
B, OUT = Buffer("B", (SIZE,), "float32"), Buffer("OUT", (1,), "float32")
OUTER = {o: (0.0, 4.0), p: (0.0, 2.0)}


def measured(reads: list[Expr], turns: tuple[int, int]) -> tuple[bool, bool]:
    """Whether the region of *reads* holds what is read at each point of the outer loops, and no more at some."""
    zero = const(0, dtypes.INDEX)
    stores: list[Stmt] = [Store(OUT, (zero,), Load(B, (index,))) for index in reads]
    nest = For(i, const(turns[0], dtypes.INDEX), For(j, const(turns[1], dtypes.INDEX), Seq(tuple(stores))))
    (span,) = region(accesses(nest, B), (SIZE,), OUTER)
    at = points({**OUTER, i: (0.0, turns[0] - 1.0), j: (0.0, turns[1] - 1.0)})
    read = np.stack([values(index, at) for index in reads])
    first = values(span.first, at)
    if not span.exact:  # all of the buffer, since no bound was found
        inside = (read >= 0) & (read < SIZE)
        return bool(((read >= first) & (read < first + span.extent))[inside].all() if inside.any() else True), False
    holds = bool((read >= first).all() and (read < first + span.extent).all())
    key = at[o] * 10 + at[p]
    widths = [read[:, key == k].max() - read[:, key == k].min() + 1 for k in np.unique(key)]
    return holds, holds and span.extent == max(widths)


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(
    reads=st.lists(indices([o, p, i, j]), min_size=1, max_size=3),
    turns=st.tuples(st.integers(1, 5), st.integers(1, 4)),
)
def test_a_region_is_never_too_small(reads: list[Expr], turns: tuple[int, int]) -> None:
    assert measured(reads, turns)[0]


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(read=indices([o, p, i, j], affine=True), turns=st.tuples(st.integers(1, 5), st.integers(1, 4)))
def test_the_region_of_one_affine_read_is_exact(read: Expr, turns: tuple[int, int]) -> None:
    assert measured([read], turns) == (True, True)


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(
    reads=st.lists(indices([o, p, i, j]), min_size=1, max_size=2),
    tests=st.lists(conditions([o, p, i, j]), min_size=1, max_size=3),
    turns=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    lanes=st.booleans(),
)
def test_a_region_holds_what_is_read_where_conditions_hold(
    reads: list[Expr], tests: list[Expr], turns: tuple[int, int], lanes: bool
) -> None:
    (span,), at, read = under(reads, tests, turns, lanes)
    first = values(span.first, at)
    inside = (read >= 0) & (read < SIZE) & asked(tests, at, turns, lanes)
    assert ((read >= first) & (read < first + span.extent))[inside].all()


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(
    turns=st.tuples(st.integers(1, 9), st.integers(1, 9)), part=st.integers(1, 9), begin=st.integers(0, 40),
    length=st.integers(1, 60), shift=st.integers(-9, 9), backwards=st.booleans(),
)  # fmt: skip
@example(turns=(3, 4), part=2, begin=0, length=9, shift=0, backwards=True)
def test_the_region_of_rounds_that_do_not_divide_is_exact(
    turns: tuple[int, int], part: int, begin: int, length: int, shift: int, backwards: bool
) -> None:
    """A copy in rounds of so many threads, of which a stretch is to be done, cut in two digits."""
    place = i * turns[1] + j
    tests = [place >= begin, place < begin + length]
    index = place // part - shift if not backwards else shift - place // part
    (span,), at, read = under([o * 7 + index], tests, turns, False)
    inside = asked(tests, at, turns, False)
    if inside.any():
        offsets = (read[0] - at[o] * 7)[inside]
        assert (str(span.first), span.extent) == (
            f"o * 7 {'-' if offsets.min() < 0 else '+'} {abs(offsets.min())}".removesuffix(" + 0"),
            offsets.max() - offsets.min() + 1,
        )


def under(
    reads: list[Expr], tests: list[Expr], turns: tuple[int, int], lanes: bool
) -> tuple[list[Span], dict[Var, Array], np.ndarray]:
    """The region of *reads* where *tests* hold, all points, and what is read there."""
    stores: list[Stmt] = [Store(OUT, (const(0, dtypes.INDEX),), Load(B, (index,))) for index in reads]
    kind = LoopKind.VECTORIZE if lanes else LoopKind.SERIAL
    inner = For(j, const(turns[1], dtypes.INDEX), If(logical_and(*tests), Seq(tuple(stores))), kind)
    nest = For(i, const(turns[0], dtypes.INDEX), inner)
    at = points({**OUTER, i: (0.0, turns[0] - 1.0), j: (0.0, turns[1] - 1.0)})
    return region(accesses(nest, B), (SIZE,), OUTER), at, np.stack([values(index, at) for index in reads])


def asked(tests: list[Expr], at: dict[Var, Array], turns: tuple[int, int], lanes: bool) -> Array:
    """At which points *tests* hold, or hold for another lane of the vector over j."""
    holds = np.logical_and.reduce([values(test, at) for test in tests])
    return np.repeat(holds.reshape(-1, turns[1]).any(axis=1), turns[1]) if lanes else holds


def _usual(a: int, b: int, c: int, d: int, n: int) -> list[list[Expr]]:
    """The indices that schedules make: tiles, windows, quotients and remainders of fused loops."""
    return [
        [o * (n * a) + i * a + j],
        [o * n + i - b, o * n + i + b],
        [(o * n + i) // c],
        [(o * n * c + i * c + j) // c * d],
        [(o * n + i) % c],
        [(o * 20 + p * 5 + i) // 5 + j, (o * 20 + p * 5 + i) // 5],
        [(o * n + i) // c * c + (o * n + i) % c],
        [o * a + i * 2 - j * b],
    ]


def test_how_often_a_region_is_too_large() -> None:
    """A figure to watch: regions may only get better."""
    rng = random.Random(0)
    exact = 0
    for _ in range(EXAMPLES):
        a, b, c, d = (rng.randint(1, 6) for _ in range(4))
        n, m = rng.randint(1, 5), rng.randint(1, 4)
        read = rng.choice(_usual(a, b, c, d, n))
        holds, tight = measured(read, (n, m))
        assert holds
        exact += tight
    assert exact >= 0.75 * EXAMPLES, f"{exact} of {EXAMPLES} regions are exact"
