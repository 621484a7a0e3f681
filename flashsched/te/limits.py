"""The greatest value of a form over loops whose extents are sizes.

Apart from `flashsched.te.bounds`, which knows numbers: here the variable of a loop gives way to its own last value, and
a quotient to what it is a quotient of, until sizes are all that is left. What cancels then (``n - 1 - n``) is a bound.
"""

from __future__ import annotations

from math import gcd, inf

from flashsched.te.bounds import UpTo, atom_bounds, form_bounds, is_sized, is_sized_form, linear, multiples
from flashsched.te.expr import Binary, Const, Expr, SizeVar, Var
from flashsched.te.linear import Linear, Ranges, atom_form, factors, product
from flashsched.te.visit import free_vars

__all__ = ["greatest", "highest"]

_MOST_ROUNDS = 64
"""Atoms that give way to their limits in one bound."""


def greatest(form: Linear, ranges: Ranges) -> Linear | None:
    """An upper bound of *form* that speaks of sizes only; None where there is none."""
    for _ in range(_MOST_ROUNDS):
        step = _without_loop(form, ranges)
        if step is None:
            break
        form = step
    total = Linear({}, form.constant)
    for atom, factor in form.terms.values():
        limit = _limit(atom, factor > 0, ranges)
        if limit is None:
            return None
        total += limit.times(factor)
    return total


def _limit(atom: Expr, upper: bool, ranges: Ranges) -> Linear | None:
    """The greatest or the least of *atom*, in terms of sizes."""
    if is_sized(atom):
        return atom_form(atom)
    limit = atom_bounds(atom, ranges)[upper]
    if -inf < limit < inf:
        return Linear({}, int(limit))
    if isinstance(atom, Binary) and atom.op in ("//", "min", "max"):
        sides = [_side(side, upper, ranges) for side in (atom.a, atom.b)]
        if sides[0] is None or sides[1] is None or (atom.op == "//" and not isinstance(atom.b, Const)):
            return None
        if atom.op != "//" or _is_positive(atom.b):
            return linear(Binary(atom.op, sides[0].expr(), sides[1].expr()), ranges)
    return None


def _side(expr: Expr, upper: bool, ranges: Ranges) -> Linear | None:
    form = linear(expr, ranges)
    found = greatest(form if upper else form.times(-1), ranges)
    return found if upper or found is None else found.times(-1)


def _is_positive(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value > 0


def highest(form: Linear, ranges: Ranges, depth: int = 0) -> float:
    """An upper bound of *form*, where loops and quotients give way to their limits before numbers are put in."""
    scale = 1
    for _ in range(_MOST_ROUNDS):
        step = _without_loop(form, ranges)
        if step is None:
            found = _without_quotient(form, ranges)
            if found is None:
                break
            step, by = found
            scale *= by
        form = step
    if depth < 4:
        for atom, factor in form.terms.values():
            if isinstance(atom, Binary) and atom.op in ("min", "max"):
                rest = form - atom_form(atom).times(factor)
                sides = [rest + linear(side, ranges).times(factor) for side in (atom.a, atom.b)]
                each = [highest(side, ranges, depth + 1) / scale for side in sides]
                return min(each) if (atom.op == "min") == (factor > 0) else max(each)
    form = _from_least(form, ranges)
    ranges = {v: r for v, r in ranges.items() if not isinstance(v, SizeVar)}
    high: float = form.constant
    for atom, factor in form.terms.values():
        lo, hi = atom_bounds(atom, ranges)
        high += factor * (hi if factor > 0 else lo)
    return high / scale


def _without_loop(form: Linear, ranges: Ranges) -> Linear | None:
    """*form* where one loop's variable gave way to its last (or its first) value; None where there is no such loop."""
    for atom, _ in form.terms.values():
        for var in factors(atom):
            if not isinstance(var, Var) or isinstance(var, SizeVar):
                continue
            limits = ranges.get(var)
            if limits is None or (not isinstance(limits, UpTo) and (atom is var or limits[1] == inf)):
                continue
            last = limits.last if isinstance(limits, UpTo) else Linear({}, int(limits[1]))
            first = Linear({}, int(limits[0]))
            slope, rest = _slope(form, var)
            if slope is None:
                continue
            low, high = form_bounds(slope, ranges)
            if low >= 0:
                return rest + slope * last
            if high <= 0:
                return rest + slope * first
    return None


def _slope(form: Linear, var: Var) -> tuple[Linear | None, Linear]:
    """``form = slope * var + rest``; no slope where *var* is multiplied with itself."""
    slope, rest = Linear({}, 0), Linear({}, form.constant)
    for atom, factor in form.terms.values():
        parts = factors(atom)
        others = [part for part in parts if part is not var]
        if len(others) == len(parts):
            rest = rest.plus(atom, factor)
        elif len(others) < len(parts) - 1 or any(var in free_vars(part) for part in others):
            return None, form
        else:
            slope = slope.plus(product(others), factor) if others else slope + Linear({}, factor)
    return slope, rest


def _without_quotient(form: Linear, ranges: Ranges) -> tuple[Linear, int] | None:
    """*form* multiplied by a number, and at most that, where one quotient or remainder gave way to its limit."""
    for atom, factor in form.terms.values():
        parts = factors(atom)
        for number, part in enumerate(parts):
            if not (isinstance(part, Binary) and part.op in ("//", "%")):
                continue
            others = [*parts[:number], *parts[number + 1 :]]
            if any(atom_bounds(other, ranges)[0] < 0 for other in others):
                continue
            times = atom_form(product(others)) if others else Linear({}, 1)
            rest = form - atom_form(atom).times(factor)
            value, divisor = linear(part.a, ranges), linear(part.b, ranges)
            if part.op == "//" and divisor.is_constant() and divisor.constant > 0:
                by = divisor.constant // gcd(divisor.constant, factor)
                limit = value if factor > 0 else value - Linear({}, divisor.constant - 1)  # (x - d + 1) / d <= x // d
                return rest.times(by) + (limit * times).times(factor * by // divisor.constant), by
            limits = _quotient_limits(part.op, value, divisor, ranges)
            if limits is not None:
                return rest + (limits[factor > 0] * times).times(factor), 1
    return None


def _quotient_limits(op: str, value: Linear, divisor: Linear, ranges: Ranges) -> tuple[Linear, Linear] | None:
    """Least and greatest of ``value // divisor`` or ``value % divisor`` for a divisor of sizes, which is no 0."""
    if not is_sized_form(divisor):
        return None
    if op == "%":
        return Linear({}, 0), divisor + Linear({}, -1)
    upper = greatest(value, ranges)
    if upper is None or form_bounds(value, ranges)[0] < 0:
        return None
    whole, rest = multiples(upper + Linear({}, 1), divisor)
    if whole.terms and rest.is_constant() and rest.constant <= 0:
        return Linear({}, 0), whole + Linear({}, -1)
    return None


def _from_least(form: Linear, ranges: Ranges) -> Linear:
    """*form* where each size is counted from the least that it can be, so that all of them start at 0."""
    for var in {var for atom, _ in form.terms.values() for var in factors(atom) if isinstance(var, SizeVar)}:
        least = ranges.get(var, (0.0, inf))[0]
        if least > 0:
            slope, rest = _slope(form, var)
            if slope is not None:
                form = rest + slope * (atom_form(var) + Linear({}, int(least)))
    return form
