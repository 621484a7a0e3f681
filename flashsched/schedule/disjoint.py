"""Whether the turns of loops touch parts of a tensor that do not meet: what init nests and followers stand on.

A part is a box, its first element an expression of the loops. It is told apart where, in some dimension, that
expression counts in steps as large as the box: like the digits of a number, each digit a loop or a quotient or a
remainder of one. What can't be read as digits tells nothing, so the answer may be no too often, never yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from flashsched.schedule.ir import For
from flashsched.schedule.regions import Span
from flashsched.te.expr import Binary, Const, Expr, Var, compare
from flashsched.te.simplify import Ranges, linear, prove
from flashsched.te.visit import free_vars

__all__ = ["digit", "disjoint", "turning"]


def disjoint(spans: Sequence[Span], loops: Mapping[Var, int | None], ranges: Ranges) -> bool:
    """Whether the boxes of any two turns of *loops* (with their turns) do not meet, all else being equal.

    >>> from flashsched.te.expr import Var
    >>> from flashsched.schedule.regions import Span
    >>> i, j = Var("i"), Var("j")
    >>> ranges = {i: (0, 2), j: (0, 3)}
    >>> disjoint([Span(i * 8 + j * 2, 2)], {i: 3, j: 4}, ranges)
    True
    >>> disjoint([Span(i * 8 + j * 2, 3)], {i: 3, j: 4}, ranges)
    False
    """
    if any(span.extent == 0 for span in spans) or 0 in loops.values():
        return True
    found: dict[Var, list[tuple[int, float]]] = {var: [] for var, turns in loops.items() if turns is None or turns > 1}
    for span in spans:
        for var, low, high in _told(span, found, ranges) or ():
            found[var].append((low, high))
    return all(_tell_apart(digits, loops[var]) for var, digits in found.items())


def _told(span: Span, loops: Mapping[Var, object], ranges: Ranges) -> list[tuple[Var, int, float]] | None:
    """The digits of *loops* that the first element of *span* tells; None where it can't be read."""
    steps: list[tuple[int, Var, int, float, float]] = []
    for atom, factor in linear(span.first, ranges).terms.values():
        if not free_vars(atom) & loops.keys():
            continue
        read = digit(atom)
        if read is None or read[0] not in loops:
            return None
        var, low, high = read
        last = min(high - 1, ranges[var][1])
        steps.append((abs(factor), var, low, high, last // low if last < inf else inf))
    if not isinstance(span.extent, int):
        return [] if not steps else None
    reach: float = span.extent
    for factor, _, _, _, last in sorted(steps, key=lambda step: step[0]):
        if factor < reach:
            return None
        reach += factor * last
    return [(var, low, high) for _, var, low, high, _ in steps]


def _tell_apart(digits: list[tuple[int, float]], turns: int | None) -> bool:
    reach: float = 1
    for low, high in sorted(digits):
        if low > reach:
            return False
        reach = max(reach, high)
    return reach >= (inf if turns is None else turns)


def turning(loops: Sequence[For], ranges: Ranges, facts: Sequence[Expr]) -> dict[Var, int | None]:
    """The turns of *loops*, those left out that do nothing but in their first turn, as *facts* say."""
    first = {loop.var: prove(compare("<", loop.var, 1), ranges, facts) for loop in loops}
    return {loop.var: loop.turns for loop in loops if not first[loop.var]}


def digit(expr: Expr) -> tuple[Var, int, float] | None:
    """``(v, a, b)`` where *expr* counts in steps of ``a`` what of ``v`` is below ``b``: ``v // a % (b // a)``."""
    if isinstance(expr, Var):
        return expr, 1, inf
    if isinstance(expr, Binary) and expr.op in ("//", "%") and isinstance(expr.b, Const) and expr.b.value > 0:
        inner = digit(expr.a)
        if inner is not None:
            var, low, high = inner
            step = int(expr.b.value)
            if expr.op == "%":
                return var, low, min(high, low * step)
            if high == inf or int(high) % (low * step) == 0:
                return var, low * step, high
    return None
