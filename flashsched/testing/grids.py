"""The exact oracle: index expressions run on every point of a small domain, by NumPy, with nothing assumed.

`tests/oracle` compares bounds, proofs, regions and what loops visit with it. ``FLASHSCHED_ORACLE_EXAMPLES=5000 pytest
tests/oracle`` looks longer than a normal run does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from flashsched.te import dtypes
from flashsched.te.evaluate import Array, evaluate
from flashsched.te.expr import Binary, Compare, Expr, Var, compare, const
from flashsched.te.functions import select

__all__ = ["EXAMPLES", "conditions", "indices", "points", "values"]

EXAMPLES = int(os.environ.get("FLASHSCHED_ORACLE_EXAMPLES", "50"))
"""Examples of each property."""


def points(ranges: Mapping[Var, tuple[float, float]]) -> dict[Var, Array]:
    """Every point of a box of inclusive *ranges*: the value of each variable, as long lists."""
    axes = [np.arange(int(low), int(high) + 1, dtype="int64") for low, high in ranges.values()]
    grid = np.meshgrid(*axes, indexing="ij") if axes else []
    return {var: part.reshape(-1) for var, part in zip(ranges, grid, strict=True)}


def values(expr: Expr, at: Mapping[Var, Array]) -> Array:
    """What *expr* is at each point."""
    size = len(next(iter(at.values()))) if at else 1
    return np.broadcast_to(np.asarray(evaluate(expr, dict(at), _no_loads)), (size,))


def _no_loads(*_: object) -> Array:
    raise AssertionError("an index of the oracle reads no memory")


def _number(value: int) -> Expr:
    return const(value, dtypes.INDEX)


_STEPS: Sequence[Callable[[Expr, Expr, int], Expr]] = (
    lambda a, b, c: a + b,
    lambda a, b, c: a - b,
    lambda a, b, c: a * c,
    lambda a, b, c: a + c,
    lambda a, b, c: a // max(abs(c), 1),
    lambda a, b, c: a % max(abs(c), 1),
    lambda a, b, c: Binary("min", a, b),
    lambda a, b, c: Binary("max", a, b + c),
    lambda a, b, c: select(compare("<", a, _number(c)), a, b),
    lambda a, b, c: a // max(abs(c), 1) * max(abs(c), 1) + b % max(abs(c), 1),
)
_AFFINE = 4  # so many of them make affine expressions of affine ones


@st.composite
def indices(draw: st.DrawFn, of: Sequence[Var], *, affine: bool = False, most: int = 6) -> Expr:
    """An index expression of up to *most* steps in the variables *of*."""
    known: list[Expr] = [*of, _number(draw(st.integers(-6, 12)))]
    steps = _STEPS[:_AFFINE] if affine else _STEPS
    for _ in range(draw(st.integers(1, most))):
        make = draw(st.sampled_from(steps))
        known.append(make(draw(st.sampled_from(known)), draw(st.sampled_from(known)), draw(st.integers(-5, 9))))
    return known[-1]


@st.composite
def conditions(draw: st.DrawFn, of: Sequence[Var]) -> Compare:
    """A comparison of two index expressions."""
    op = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    made = compare(op, draw(indices(of, most=4)), draw(indices(of, most=3)))
    return made if isinstance(made, Compare) else Compare(op, draw(st.sampled_from(list(of))), _number(0))
