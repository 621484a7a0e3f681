"""Expressions as linear forms, and the bounds of forms: what legality, guards and simplification are decided by.

Ranges of variables make the bounds of an atom, and those the bounds of a form. A loop whose extent is no number has a
range that ends `UpTo` a form of sizes; where plain bounds are infinite, `flashsched.te.limits` finds what cancels.
"""

from __future__ import annotations

from math import gcd, inf
from typing import Any

from flashsched.te import dtypes
from flashsched.te.expr import Binary, Cast, Const, Expr, Select, SizeVar, Var
from flashsched.te.linear import Linear, Ranges, atom_form, factors, index, product, structural_key
from flashsched.te.visit import free_vars

__all__ = [
    "NO_RANGES",
    "UpTo",
    "atom_bounds",
    "bounds",
    "form_bounds",
    "is_sized",
    "is_sized_form",
    "linear",
    "multiples",
    "rejoined",
    "within_loop",
]

NO_RANGES: Ranges = {}


class UpTo(tuple[float, float]):
    """The range of a loop whose extent is no number: 0 to infinity, as far as numbers go, and at most *last*."""

    last: Linear

    def __new__(cls, last: Linear) -> UpTo:
        made = super().__new__(cls, (0.0, inf))
        made.last = last
        return made


def within_loop(ranges: Ranges, var: Var, extent: Expr) -> dict[Var, tuple[float, float]]:
    """*ranges* inside a loop of *var* over ``range(extent)``; an extent that is no number is at least 1 there."""
    if isinstance(extent, Const):
        return {**ranges, var: (0.0, extent.value - 1.0)}
    form = linear(extent, ranges)
    return {**ranges, **_at_least(form, 1, ranges), var: UpTo(form + Linear({}, -1))}


def _at_least(form: Linear, least: int, ranges: Ranges) -> dict[Var, tuple[float, float]]:
    """What sizes must be where *form* is *least* or more, as far as that is plain."""
    if len(form.terms) != 1:
        return {}
    ((atom, factor),) = form.terms.values()
    if factor < 0:
        return {}
    needed = -((form.constant - least) // factor)  # of the atom
    if needed <= 0:
        return {}
    if isinstance(atom, SizeVar):
        low, high = ranges.get(atom, (0.0, inf))
        return {atom: (max(low, float(needed)), high)}
    if isinstance(atom, Binary) and atom.op == "//" and _divisor(atom):
        return _at_least(linear(atom.a, ranges), needed * _divisor(atom), ranges)
    found: dict[Var, tuple[float, float]] = {}
    parts = factors(atom)
    if len(parts) > 1 and all(isinstance(part, SizeVar) for part in parts):
        for part in parts:
            found |= _at_least(atom_form(part), 1, ranges)
    return found


def is_sized(expr: Expr) -> bool:
    """Whether *expr* is made of sizes (and numbers), and of one at least."""
    found = free_vars(expr)
    return bool(found) and all(isinstance(var, SizeVar) for var in found)


def is_sized_form(form: Linear) -> bool:
    """Whether all atoms of *form*, and there are some, are made of sizes."""
    return bool(form.terms) and all(is_sized(atom) for atom, _ in form.terms.values())


def linear(expr: Expr, ranges: Ranges = NO_RANGES) -> Linear:
    """*expr* (an index) as a linear form, quotients and remainders split as far as *ranges* allow."""
    if isinstance(expr, Const):
        return Linear({}, int(expr.value))
    if isinstance(expr, Binary):
        if expr.op in ("+", "-"):
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            return rejoined(a + b if expr.op == "+" else a - b, ranges)
        if expr.op == "*":
            a = linear(expr.a, ranges)
            if isinstance(expr.b, Const):
                return a.times(int(expr.b.value))
            b = linear(expr.b, ranges)
            if b.is_constant():
                return a.times(b.constant)
            if a.is_constant():
                return b.times(a.constant)
            if is_sized_form(a) or is_sized_form(b):
                return rejoined(a * b, ranges)
            return atom_form(Binary("*", a.expr(), b.expr()))
        if expr.op in ("//", "%"):
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            if b.is_constant() and b.constant > 0:
                return _quotient(a, b.constant, ranges) if expr.op == "//" else _remainder(a, b.constant, ranges)
            if is_sized_form(b):
                return _sized_quotient(expr.op, a, b, ranges)
            return atom_form(Binary(expr.op, a.expr(), b.expr()))
        if expr.op in ("min", "max"):
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            low, high = (a - b).bounds(ranges)
            if high <= 0:
                return a if expr.op == "min" else b
            if low >= 0:
                return b if expr.op == "min" else a
            return atom_form(Binary(expr.op, a.expr(), b.expr()))
        return atom_form(Binary(expr.op, linear(expr.a, ranges).expr(), linear(expr.b, ranges).expr()))
    if isinstance(expr, Var):
        known = ranges.get(expr)
        if known is not None and known[0] == known[1]:
            return Linear({}, int(known[0]))
        return atom_form(expr)
    from flashsched.te.simplify import simplify  # which is built on forms

    simple = simplify(expr, ranges) if expr.children else expr
    return (
        atom_form(simple) if type(simple) is type(expr) else linear(simple, ranges)
    )  # a select may have become its side


def _divisor(expr: Binary) -> int:
    """What a quotient or remainder divides by, where that is a positive constant; else 0."""
    return max(0, int(expr.b.value)) if isinstance(expr.b, Const) else 0


def _split(form: Linear, divisor: int) -> tuple[Linear, Linear]:
    """``form = divisor * quotient + rest``, each term going whole to one of them, and ``0 <= rest's constant < d``."""
    quotient: dict[tuple[Any, ...], tuple[Expr, int]] = {}
    rest: dict[tuple[Any, ...], tuple[Expr, int]] = {}
    for key, (atom, factor) in form.terms.items():
        if factor % divisor == 0:
            quotient[key] = (atom, factor // divisor)
        else:
            rest[key] = (atom, factor)
    whole, left = divmod(form.constant, divisor)
    return Linear(quotient, whole), Linear(rest, left)


def _common(form: Linear, divisor: int) -> tuple[int, Linear]:
    """What divides *divisor* and all factors of *form*, and the form divided by it, rounded down."""
    common = gcd(divisor, *(factor for _, factor in form.terms.values()))
    terms = {key: (atom, factor // common) for key, (atom, factor) in form.terms.items()}
    return common, Linear(terms, form.constant // common)


def _steps(form: Linear, divisor: int, ranges: Ranges) -> tuple[int, Linear, Linear] | None:
    """``form = step * coarse + fine`` with ``0 <= fine < step`` and a *step* above 1 that divides *divisor*."""
    for step in sorted({gcd(divisor, factor) for _, factor in form.terms.values()}, reverse=True):
        if step == 1:
            break
        coarse, fine = _split(form, step)
        low, high = fine.bounds(ranges)
        if low >= 0 and high < step:
            return step, coarse, fine
    return None


def _quotient(form: Linear, divisor: int, ranges: Ranges) -> Linear:
    if divisor == 1:
        return form
    whole, rest = _split(form, divisor)
    low, high = rest.bounds(ranges)
    if low > -inf and high < inf and low // divisor == high // divisor:
        return whole + Linear({}, int(low // divisor))
    common, part = _common(rest, divisor)
    if common > 1:  # (c * x + k) // (c * d) = (x + k // c) // d
        return whole + _quotient(part, divisor // common, ranges)
    if (found := _steps(rest, divisor, ranges)) is not None:  # (c * x + r) // (c * d) = x // d
        return whole + _quotient(found[1], divisor // found[0], ranges)
    if len(rest.terms) == 1 and rest.constant == 0:
        ((atom, factor),) = rest.terms.values()
        if factor == 1 and isinstance(atom, Binary) and atom.op == "//" and _divisor(atom) > 0:
            return whole + _quotient(linear(atom.a, ranges), divisor * _divisor(atom), ranges)
    return whole + atom_form(Binary("//", rest.expr(), index(divisor)))


def _remainder(form: Linear, divisor: int, ranges: Ranges) -> Linear:
    if divisor == 1:
        return Linear({}, 0)
    _, rest = _split(form, divisor)
    low, high = rest.bounds(ranges)
    if low > -inf and high < inf and low // divisor == high // divisor:
        return rest - Linear({}, int(low // divisor) * divisor)
    common, part = _common(rest, divisor)
    if common > 1:  # (c * x + k) % (c * d) = c * ((x + k // c) % d) + k % c
        return _remainder(part, divisor // common, ranges).times(common) + Linear({}, rest.constant % common)
    if (found := _steps(rest, divisor, ranges)) is not None:  # (c * x + r) % (c * d) = c * (x % d) + r
        return _remainder(found[1], divisor // found[0], ranges).times(found[0]) + found[2]
    if len(rest.terms) == 1 and rest.constant == 0:
        ((atom, factor),) = rest.terms.values()
        if factor == 1 and isinstance(atom, Binary) and atom.op == "%" and not (_divisor(atom) or 1) % divisor:
            return _remainder(linear(atom.a, ranges), divisor, ranges)
    return atom_form(Binary("%", rest.expr(), index(divisor)))


def _sized_quotient(op: str, form: Linear, divisor: Linear, ranges: Ranges) -> Linear:
    """``form // divisor`` or ``form % divisor`` by sizes: the multiples of the divisor go, if the rest is below it."""
    whole, rest = multiples(form, divisor)
    low, _ = form_bounds(rest, ranges)
    _, over = form_bounds(rest - divisor, ranges)
    if low >= 0 and over < 0:
        return whole if op == "//" else rest
    return atom_form(Binary(op, form.expr(), divisor.expr()))


def multiples(form: Linear, divisor: Linear) -> tuple[Linear, Linear]:
    """``form = divisor * whole + rest`` where *divisor* is a single product of sizes; whole is 0 for any other."""
    whole, rest = Linear({}, 0), Linear({}, form.constant)
    if len(divisor.terms) != 1 or divisor.constant:
        return whole, form
    ((atom, by),) = divisor.terms.values()
    wanted = [structural_key(part) for part in factors(atom)]
    for term, factor in form.terms.values():
        left = list(factors(term))
        keys = [structural_key(part) for part in left]
        for key in wanted:
            if key not in keys:
                break
            left.pop(keys.index(key))
            keys.remove(key)
        else:
            if factor % by == 0:
                whole = whole.plus(product(left), factor // by) if left else whole + Linear({}, factor // by)
                continue
        rest = rest.plus(term, factor)
    return whole, rest


def rejoined(form: Linear, ranges: Ranges = NO_RANGES) -> Linear:
    """*form* with ``c * (x // c) + x % c`` made ``x`` again, and ``c * (x // c % d) + x % c`` made ``x % (c * d)``.

    A quotient is known again in the form that *ranges* allow.
    """
    for atom, factor in form.terms.values():
        if not (isinstance(atom, Binary) and atom.op == "%"):
            continue
        if is_sized(atom.b):
            whole = linear(atom.b) * atom_form(Binary("//", atom.a, atom.b))
            ((key, (term, by)),) = whole.terms.items() if len(whole.terms) == 1 else [((), (atom, 0))]
            if by and not whole.constant and key in form.terms and form.terms[key][1] == factor * by:
                without = form - atom_form(atom).times(factor) - atom_form(term).times(factor * by)
                return rejoined(without + linear(atom.a).times(factor), ranges)
        if _divisor(atom) == 0:
            continue
        divisor = _divisor(atom)
        value = linear(atom.a)
        _, rest = _split(value, divisor)
        want = structural_key(Binary("//", rest.expr(), index(divisor)))
        found = form.terms.get(want)
        if found is None or found[1] != factor * divisor:
            found = _nested_quotient(form, atom.a, divisor, factor)
        found = found or _shorter_quotient(form, rest, divisor, factor, ranges)
        # `%` keeps only the rest of the value, so what is put back is the rest as well
        whole = rest
        if found is None:
            found = _remainder_of(form, want, divisor, factor)
            if found is None:
                continue
            assert isinstance(found[0], Binary)
            whole = _remainder(rest, divisor * _divisor(found[0]), ranges)
        without = form - atom_form(atom).times(factor) - atom_form(found[0]).times(found[1])
        return rejoined(without + whole.times(factor), ranges)
    return form


def _nested_quotient(form: Linear, value: Expr, divisor: int, factor: int) -> tuple[Expr, int] | None:
    """The term ``(y // (d * e)) * factor * d`` for ``value = y // e``: quotients of quotients are stored joined."""
    if isinstance(value, Binary) and value.op == "//" and _divisor(value) > 0:
        joined = Binary("//", value.a, index(divisor * _divisor(value)))
        found = form.terms.get(structural_key(joined))
        if found is not None and found[1] == factor * divisor:
            return found
    return None


def _shorter_quotient(
    form: Linear, value: Linear, divisor: int, factor: int, ranges: Ranges
) -> tuple[Expr, int] | None:
    """The term ``value // divisor * factor * divisor``, its quotient as short as *ranges* make it."""
    quotient = _quotient(value, divisor, ranges)
    if len(quotient.terms) != 1 or quotient.constant:
        return None
    ((key, (_, once)),) = quotient.terms.items()
    found = form.terms.get(key)
    return found if found is not None and once == 1 and found[1] == factor * divisor else None


def _remainder_of(form: Linear, quotient: tuple[Any, ...], divisor: int, factor: int) -> tuple[Expr, int] | None:
    """The term ``quotient % e * factor * divisor``, for any e."""
    for atom, by in form.terms.values():
        if by != factor * divisor or not isinstance(atom, Binary) or atom.op != "%" or not _divisor(atom):
            continue
        if structural_key(atom.a) == quotient:
            return atom, by
    return None


def form_bounds(form: Linear, ranges: Ranges) -> tuple[float, float]:
    """Inclusive bounds of a form's value, infinite where nothing is known."""
    low: float = form.constant
    high: float = form.constant
    for atom, factor in form.terms.values():
        lo, hi = atom_bounds(atom, ranges)
        low += factor * (lo if factor > 0 else hi)
        high += factor * (hi if factor > 0 else lo)
    if (high == inf or low == -inf) and len(form.terms) > 1 and _has_sizes(form, ranges):
        from flashsched.te.limits import highest  # which is built on this, and rarely needed

        high = highest(form, ranges) if high == inf else high
        low = -highest(form.times(-1), ranges) if low == -inf else low
    return low, high


def _has_sizes(form: Linear, ranges: Ranges) -> bool:
    found = (var for atom, _ in form.terms.values() for var in free_vars(atom))
    return any(isinstance(var, SizeVar) or isinstance(ranges.get(var), UpTo) for var in found)


def atom_bounds(atom: Expr, ranges: Ranges) -> tuple[float, float]:
    """Inclusive bounds of an atom, from numbers alone."""
    if isinstance(atom, Var):
        return ranges.get(atom, (0.0, inf) if isinstance(atom, SizeVar) else (-inf, inf))
    if isinstance(atom, Binary):
        a = bounds(atom.a, ranges)
        b = bounds(atom.b, ranges)
        if atom.op == "%" and b[0] > 0:
            if a[0] >= 0 and a[1] < b[0]:
                return a
            return 0, b[1] - 1
        if atom.op == "//" and b[0] == b[1] > 0:
            divisor = b[0]
            return (a[0] // divisor if a[0] > -inf else -inf), (a[1] // divisor if a[1] < inf else inf)
        if atom.op in ("//", "%") and a[0] >= 0 and is_sized(atom.b):  # by a size that is no 0, or it is never run
            return 0, a[1] if atom.op == "//" else min(a[1], b[1] - 1)
        if atom.op in ("min", "max"):
            return _extreme_bounds(atom, a, b, ranges)
        if atom.op == "*" and atom.dtype == dtypes.INDEX:  # a narrower product wraps around
            corners = [x * y if x and y else 0 for x in a for y in b]
            return min(corners), max(corners)
    if isinstance(atom, Select):
        a, b = bounds(atom.a, ranges), bounds(atom.b, ranges)
        return min(a[0], b[0]), max(a[1], b[1])
    if isinstance(atom, Cast) and dtypes.is_bool(atom.value.dtype):
        return 0, 1
    if dtypes.is_int(atom.dtype) and dtypes.bits(atom.dtype) < 64:
        return dtypes.min_value(atom.dtype), dtypes.max_value(atom.dtype)
    if isinstance(atom, Cast) and dtypes.is_int(atom.value.dtype) and dtypes.bits(atom.value.dtype) < 64:
        return bounds(atom.value, ranges)
    return -inf, inf


def _extreme_bounds(
    atom: Binary, a: tuple[float, float], b: tuple[float, float], ranges: Ranges
) -> tuple[float, float]:
    """Bounds of a minimum or maximum; both lie on their side of the mean, so ``min(x, 9 - x)`` is at most 4."""
    low, high = -inf, inf
    if atom.dtype == dtypes.INDEX:
        low, high = form_bounds(linear(atom.a, ranges) + linear(atom.b, ranges), ranges)
    if atom.op == "min":
        return min(a[0], b[0]), min(a[1], b[1], high // 2 if high < inf else inf)
    return max(a[0], b[0], -(-low // 2) if low > -inf else -inf), max(a[1], b[1])


def bounds(expr: Expr, ranges: Ranges) -> tuple[float, float]:
    """Inclusive bounds of an integer expression, infinite where nothing is known."""
    if expr.dtype != dtypes.INDEX:
        return (float(expr.value),) * 2 if isinstance(expr, Const) else atom_bounds(expr, ranges)
    return form_bounds(linear(expr, ranges), ranges)
