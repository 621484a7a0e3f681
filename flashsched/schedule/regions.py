"""Which part of a buffer a piece of a nest touches: the question behind compute_at and behind the size of buffers.

Loops outside the piece are points, loops inside it are ranges. A bound is symbolic in the points; where an extent
comes out as no number, it is bounded, and where that fails, or a bound speaks of what only the piece has a name for,
the whole dimension is taken: a region may be too large, never too small.

A condition around an access (``if i * 16 + j < 24``) bounds what speaks of the same loops: ``(i * 16 + j) // 6`` is at
most 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import gcd, inf
from typing import TypeGuard

from flashsched.schedule.accesses import Access
from flashsched.schedule.ir import Load
from flashsched.te import dtypes
from flashsched.te.bounds import UpTo, is_sized
from flashsched.te.expr import Binary, Call, Const, Expr, Select, Var
from flashsched.te.extremes import most
from flashsched.te.limits import greatest
from flashsched.te.linear import atom_form, factors, product
from flashsched.te.quick import quickly_made
from flashsched.te.simplify import (
    Linear,
    Ranges,
    at_most_zero,
    bounds,
    linear,
    prove,
    simplify,
    within_loop,
)
from flashsched.te.sizes import Size, as_size, extent_expr
from flashsched.te.visit import loop_vars, uses, walk

__all__ = ["Span", "region"]


@dataclass(frozen=True, slots=True)
class Span:
    """``first <= index < first + extent`` in one dimension; *exact* where no bound had to be widened to all of it."""

    first: Expr
    extent: Size
    exact: bool = True


@quickly_made
@dataclass(frozen=True, slots=True)
class _Known:
    """What bounds the indices of an access.

    Attributes:
        inner: the ranges of the loops inside the piece.
        outer: those of the points.
        ranges: both.
        facts: forms of the loops inside that are at most 0 where the access happens.
    """

    inner: Ranges
    outer: Ranges
    ranges: Ranges
    facts: tuple[Linear, ...] = ()

    @staticmethod
    def of(access: Access, outer: Ranges) -> _Known:
        inner = _ranges(access.inner)
        ranges = {**outer, **inner}
        terms = [w for w in access.where if loop_vars(w) <= inner.keys() and not _may_divide_by_zero(w, outer)]
        forms = [at_most_zero(term, ranges) for term in terms]
        return _Known(inner, outer, ranges, tuple(_in_steps(form) for form in forms if form is not None and form.terms))

    def without_facts(self) -> _Known:
        return _Known(self.inner, self.outer, self.ranges)

    def moves(self, expr: Expr) -> bool:
        """Whether *expr* speaks of a loop inside the piece."""
        return any(uses(expr, var) for var in self.inner)


def _in_steps(form: Linear) -> Linear:
    """The form that is at most 0 exactly where *form* is, without what all its factors have in common."""
    common = gcd(*(factor for _, factor in form.terms.values()))
    terms = {key: (atom, factor // common) for key, (atom, factor) in form.terms.items()}
    return Linear(terms, -(-form.constant // common))


def _may_divide_by_zero(expr: Expr, outer: Ranges) -> bool:
    """Whether a size that may be 0 divides: the read may be guarded by a condition, and its region is not."""
    return any(
        isinstance(node, Binary) and node.op in ("//", "%") and is_sized(node.b) and bounds(node.b, outer)[0] < 1
        for node in walk(expr)
    )


def _interval(expr: Expr, known: _Known) -> tuple[Expr, Expr] | None:
    """Symbolic inclusive bounds of an index over the loops inside, or numbers; None where there are none."""
    found = None if _may_divide_by_zero(expr, known.outer) else _symbolic(expr, known)
    if found is not None:
        return found
    low, high = bounds(expr, known.ranges)  # what is read from memory may be clipped: min(max(B[i], 0), 9)
    if low == -inf or high == inf:
        return None
    return Const(int(low), dtypes.INDEX), Const(int(high), dtypes.INDEX)


def _symbolic(expr: Expr, known: _Known) -> tuple[Expr, Expr] | None:
    if not known.moves(expr):
        return None if any(isinstance(node, Load) for node in walk(expr)) else (expr, expr)
    if isinstance(expr, Var):
        limits = known.inner[expr]
        last = limits.last.expr() if isinstance(limits, UpTo) else Const(int(limits[1]), dtypes.INDEX)
        return _tightened(atom_form(expr), (Const(int(limits[0]), dtypes.INDEX), last), known)
    if isinstance(expr, Select):  # either side, whatever the condition is
        return _hull("min", "max", _interval(expr.a, known), _interval(expr.b, known))
    if isinstance(expr, Call) and expr.func == "abs":
        part = _interval(expr.args[0], known)
        return None if part is None else _magnitude(*part)
    if not isinstance(expr, Binary):
        return None
    if expr.op in ("+", "-", "*"):
        form = linear(expr, known.ranges)
        return _tightened(form, _linear_interval(form, known), known)
    a, b = _interval(expr.a, known), _interval(expr.b, known)
    if expr.op in ("min", "max"):
        return _hull(expr.op, expr.op, a, b)
    if a is not None and _is_positive(expr.b):
        if expr.op == "//":
            return Binary("//", a[0], expr.b), Binary("//", a[1], expr.b)
        if expr.op == "%":  # exact only if no multiple of the divisor lies between
            ranges = known.ranges
            size = most(a[1] - a[0], ranges)
            low = simplify(Binary("%", a[0], expr.b), ranges)
            if 0 <= size < inf and bounds(low, ranges)[1] + size < expr.b.value:
                return low, low + Const(int(size), dtypes.INDEX)
            return Const(0, dtypes.INDEX), Const(int(expr.b.value) - 1, dtypes.INDEX)
    return None


def _tightened(form: Linear, plain: tuple[Expr, Expr] | None, known: _Known) -> tuple[Expr, Expr] | None:
    """*plain*, the bounds of *form*, or better ones where facts give them."""
    if plain is None or not known.facts:
        return plain
    low, high = plain
    for first, last in _by_facts(form, known):
        low = first if first is not None and _is_less(low, first, known.outer) else low
        high = last if last is not None and _is_less(last, high, known.outer) else high
    return low, high


def _by_facts(form: Linear, known: _Known) -> Iterator[tuple[Expr | None, Expr | None]]:
    """Lower and upper bounds of *form* that facts give.

    Of a fact, which is at most 0, any multiple may be taken from *form*: what is left is no less, or no more if the
    multiple is negative. It is of use if an atom goes, as ``i * 16 + j`` does with ``i * 16 + j - 23``. So that it may
    go, what was taken out of a quotient is put back: ``i * 2 + j // 8`` is ``(i * 16 + j) // 8``.
    """
    for atom, factor in form.terms.values():
        if abs(factor) == 1 and isinstance(atom, Binary) and atom.op == "//" and _is_positive(atom.b):
            whole = (form.times(factor) - atom_form(atom)).times(int(atom.b.value)) + linear(atom.a)
            ends = _tightened(whole, _linear_interval(whole, known), known)
            if ends is not None:
                low, high = (Binary("//", end, atom.b) for end in ends)
                yield (low, high) if factor == 1 else (0 - high, 0 - low)
    for fact in known.facts:
        for scale, times in _multiples(form, fact):
            ends = _linear_interval(form.times(scale) - fact.times(times), known.without_facts())
            by = Const(scale, dtypes.INDEX)
            if ends is not None and times > 0:
                yield None, Binary("//", ends[1], by)
            elif ends is not None:
                yield Binary("//", ends[0] + (scale - 1), by), None


def _is_positive(expr: Expr) -> TypeGuard[Const]:
    return isinstance(expr, Const) and expr.value > 0


def _is_less(a: Expr, b: Expr, ranges: Ranges) -> bool:
    """Whether *a* is certainly at most *b*, and not certainly the same."""
    return most(a - b, ranges) <= 0 < most(b - a, ranges)


def _multiples(form: Linear, fact: Linear) -> set[tuple[int, int]]:
    """Pairs (scale, times), *scale* above 0, for which ``scale * form - times * fact`` lacks an atom that both have."""
    found: set[tuple[int, int]] = set()
    for key, (_, factor) in fact.terms.items():
        if key in form.terms:
            mine = form.terms[key][1]
            scale = abs(factor) // gcd(mine, factor)
            found.add((scale, scale * mine // factor))
    return found


def _hull(low: str, high: str, a: tuple[Expr, Expr] | None, b: tuple[Expr, Expr] | None) -> tuple[Expr, Expr] | None:
    return None if a is None or b is None else (Binary(low, a[0], b[0]), Binary(high, a[1], b[1]))


def _magnitude(low: Expr, high: Expr) -> tuple[Expr, Expr]:
    """Bounds of ``abs(x)`` for *low* <= x <= *high*; the least is 0 where they have two signs."""
    zero = Const(0, dtypes.INDEX)
    nearest = Binary("max", Binary("max", low, Binary("-", zero, high)), zero)
    return nearest, Binary("max", high, Binary("-", zero, low))


def _linear_interval(form: Linear, known: _Known) -> tuple[Expr, Expr] | None:
    low: Expr = Const(form.constant, dtypes.INDEX)
    high: Expr = low
    part: tuple[Expr, Expr] | None
    for atom, factor in form.terms.values():
        if isinstance(atom, Binary) and atom.op == "*":
            part = _product_interval(atom, known)
        elif isinstance(atom, Binary) and atom.op in ("+", "-"):
            part = None if known.moves(atom) else (atom, atom)
        else:
            part = _interval(atom, known)
        if part is None:
            return None
        scale = Const(factor, dtypes.INDEX)
        low = low + Binary("*", part[0] if factor > 0 else part[1], scale)
        high = high + Binary("*", part[1] if factor > 0 else part[0], scale)
    return low, high


def _product_interval(atom: Expr, known: _Known) -> tuple[Expr, Expr] | None:
    """Bounds of a product of which one factor moves, and the others are sizes."""
    if not known.moves(atom):
        return None if any(isinstance(node, Load) for node in walk(atom)) else (atom, atom)
    parts = factors(atom)
    moving = [part for part in parts if not is_sized(part)]
    part = _interval(moving[0], known) if len(moving) == 1 else None
    if part is None or len(parts) == 1 or any(bounds(p, known.outer)[0] < 0 for p in parts if is_sized(p)):
        return None
    scale = product([other for other in parts if is_sized(other)])
    return part[0] * scale, part[1] * scale


def region(found: Sequence[Access], shape: Sequence[Size], outer: Ranges) -> list[Span]:
    """What *found* accesses together touch in each dimension of a buffer of *shape*; *outer* bounds the points."""
    spans: list[Span] = []
    places = {(id(access.inner), id(access.where)): access for access in found}
    known = {place: _Known.of(access, outer) for place, access in places.items()}
    accessed = [(access, known[id(access.inner), id(access.where)]) for access in found]
    for dimension, size in enumerate(shape):
        whole = Span(Const(0, dtypes.INDEX), size, False)
        spans.append(_union(accessed, dimension, size, outer) or whole)
    return spans


def _outermost(op: str, a: Expr, b: Expr, outer: Ranges) -> Expr:
    """The minimum or maximum of two bounds, just one of them where it is certain which."""
    below, above = (a, b) if op == "min" else (b, a)
    if most(below - above, outer) <= 0:
        return a
    return b if most(above - below, outer) <= 0 else Binary(op, a, b)


def _union(found: Sequence[tuple[Access, _Known]], dimension: int, size: Size, outer: Ranges) -> Span | None:
    """What *found*, each with what bounds it, touch of a *dimension* of this *size*."""
    low: Expr | None = None
    high: Expr | None = None
    for access, known in found:
        part = _interval(simplify(access.indices[dimension], known.ranges), known)
        if part is None or any(uses(end, var) for end in part for var in access.named):
            return None
        low = part[0] if low is None else _outermost("min", low, part[0], outer)
        high = part[1] if high is None else _outermost("max", high, part[1], outer)
    if low is None or high is None:
        return Span(Const(0, dtypes.INDEX), 0)
    low, high = simplify(low, outer), simplify(high, outer)
    extent = max(most(high - low, outer), 0) + 1  # where conditions never hold, an element that nothing touches
    if extent == inf or not isinstance(size, int):
        return _sized_span(low, high, size, outer)
    if extent >= size:
        first, last = bounds(low, outer)[0], bounds(high, outer)[1]
        whole = first >= 0 and last < size
        return Span(Const(0, dtypes.INDEX), size) if whole else None
    return Span(low, int(extent))


def _sized_span(low: Expr, high: Expr, size: Size, outer: Ranges) -> Span | None:
    """The span from *low* to *high* where the dimension's *size*, or their distance, is no number; None for all."""
    number = max(most(high - low, outer), 0)
    last = Linear({}, int(number)) if number < inf else greatest(linear(high - low, outer), outer)
    if last is None:
        return None
    extent = as_size((last + Linear({}, 1)).expr())
    if isinstance(size, int) and not isinstance(extent, int):
        return None
    if prove(extent_expr(extent) >= extent_expr(size), outer):
        whole = prove(low >= 0, outer) and prove(high < extent_expr(size), outer)
        return Span(Const(0, dtypes.INDEX), size) if whole else None
    return Span(low, extent)


def _ranges(loops: Iterable[tuple[Var, Expr]]) -> dict[Var, tuple[float, float]]:
    """The ranges of *loops*; one that never runs counts as run once."""
    ranges: dict[Var, tuple[float, float]] = {}
    for var, extent in loops:
        if isinstance(extent, Const):
            ranges[var] = (0.0, max(extent.value - 1.0, 0.0))
        else:
            ranges[var] = within_loop(ranges, var, extent)[var]
    return ranges
