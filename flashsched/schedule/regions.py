"""Which part of a buffer a piece of a nest touches: the question behind compute_at and behind the size of buffers.

Loops outside the piece are points, loops inside it are ranges. A bound is symbolic in the points; where an extent
comes out as no number, it is bounded, and where that fails, or a bound speaks of what only the piece has a name for,
the whole dimension is taken: a region may be too large, never too small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from flashsched.schedule.facts import buffers_in
from flashsched.schedule.ir import Alloc, Block, Buffer, Extern, For, If, Let, Load, Seq, Stmt, Store
from flashsched.te import dtypes
from flashsched.te.bounds import UpTo, is_sized
from flashsched.te.expr import Binary, Call, Const, Expr, Select, Var
from flashsched.te.extremes import most
from flashsched.te.limits import greatest
from flashsched.te.linear import factors, product
from flashsched.te.simplify import Linear, Ranges, bounds, linear, prove, simplify, within_loop
from flashsched.te.sizes import Size, as_size, extent_expr
from flashsched.te.visit import substitute, uses, walk

__all__ = ["Access", "Span", "accesses", "region"]


@dataclass(frozen=True, slots=True)
class Access:
    """One place where a buffer is read or written.

    Attributes:
        indices: where, in loop variables and sizes.
        inner: the loops inside the piece.
        named: what only the piece has a name for: ``n.4 = n // 4``, in code of its own for some sizes.
    """

    indices: tuple[Expr, ...]
    inner: tuple[tuple[Var, Expr], ...]
    named: tuple[Var, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """``first <= index < first + extent`` in one dimension; *exact* where no bound had to be widened to all of it."""

    first: Expr
    extent: Size
    exact: bool = True


def accesses(stmt: Stmt, buffer: Buffer, *, writes: bool = True, skip: str | None = None) -> list[Access]:
    """All accesses to *buffer* in *stmt*, leaving out the block of the stage *skip*."""
    found: list[Access] = []

    def loads(exprs: Iterable[Expr], inner: tuple[tuple[Var, Expr], ...], bound: dict[Var, Expr]) -> None:
        for expr in exprs:
            for node in walk(expr):
                if isinstance(node, Load) and node.buffer is buffer:
                    found.append(Access(tuple(substitute(i, bound) for i in node.indices), inner))

    def stores(items: Sequence[Store], inner: tuple[tuple[Var, Expr], ...], bound: dict[Var, Expr]) -> None:
        for store in items:
            loads((*store.indices, store.value), inner, bound)
            if writes and store.buffer is buffer:
                found.append(Access(tuple(substitute(i, bound) for i in store.indices), inner))

    def whole(node: Extern, inner: tuple[tuple[Var, Expr], ...]) -> None:
        if buffer in node.inputs or (writes and buffer in node.outputs):
            each = [Var(f"any{n}") for n in range(len(buffer.shape))]
            found.append(Access(tuple(each), (*inner, *zip(each, map(extent_expr, buffer.shape), strict=True))))

    def visit(node: Stmt, inner: tuple[tuple[Var, Expr], ...]) -> None:
        if buffer not in buffers_in(node):
            return
        match node:
            case For():
                visit(node.body, (*inner, (node.var, node.extent)))
            case Seq():
                for child in node.stmts:
                    visit(child, inner)
            case Alloc():
                visit(node.body, inner)
            case Let():
                loads((node.value,), inner, {})
                before = len(found)
                visit(node.body, inner)
                found[before:] = [replace(access, named=(*access.named, node.var)) for access in found[before:]]
            case If():
                loads((node.condition,), inner, {})
                visit(node.then, inner)
                if node.otherwise is not None:
                    visit(node.otherwise, inner)
            case Store():
                stores((node,), inner, {})
            case Extern():
                whole(node, inner)
            case Block():
                if node.extern is not None:
                    visit(node.extern, inner)
                elif node.name != skip:
                    loads((*node.where, *node.within, *(item.value for item in node.iters)), inner, {})
                    stores((*node.stores, *node.init), inner, node.bindings)
            case _:
                pass

    visit(stmt, ())
    return found


def _may_divide_by_zero(expr: Expr, outer: Ranges) -> bool:
    """Whether a size that may be 0 divides: the read may be guarded by a condition, and its region is not."""
    return any(
        isinstance(node, Binary) and node.op in ("//", "%") and is_sized(node.b) and bounds(node.b, outer)[0] < 1
        for node in walk(expr)
    )


def _interval(expr: Expr, inner: Ranges, outer: Ranges) -> tuple[Expr, Expr] | None:
    """Symbolic inclusive bounds of an index over the *inner* ranges, or numbers; None where there are none."""
    found = None if _may_divide_by_zero(expr, outer) else _symbolic(expr, inner, outer)
    if found is not None:
        return found
    low, high = bounds(expr, {**outer, **inner})  # what is read from memory may be clipped: min(max(B[i], 0), 9)
    if low == -inf or high == inf:
        return None
    return Const(int(low), dtypes.INDEX), Const(int(high), dtypes.INDEX)


def _symbolic(expr: Expr, inner: Ranges, outer: Ranges) -> tuple[Expr, Expr] | None:
    if not any(uses(expr, var) for var in inner):
        return None if any(isinstance(node, Load) for node in walk(expr)) else (expr, expr)
    if isinstance(expr, Var):
        limits = inner[expr]
        if isinstance(limits, UpTo):
            return Const(0, dtypes.INDEX), limits.last.expr()
        first, last = limits
        return Const(int(first), dtypes.INDEX), Const(int(last), dtypes.INDEX)
    if isinstance(expr, Select):  # either side, whatever the condition is
        return _hull("min", "max", _interval(expr.a, inner, outer), _interval(expr.b, inner, outer))
    if isinstance(expr, Call) and expr.func == "abs":
        part = _interval(expr.args[0], inner, outer)
        return None if part is None else _magnitude(*part)
    if not isinstance(expr, Binary):
        return None
    if expr.op in ("+", "-", "*"):
        return _linear_interval(linear(expr, {**outer, **inner}), inner, outer)
    a, b = _interval(expr.a, inner, outer), _interval(expr.b, inner, outer)
    if expr.op in ("min", "max"):
        return _hull(expr.op, expr.op, a, b)
    if a is not None and isinstance(expr.b, Const) and expr.b.value > 0:
        if expr.op == "//":
            return Binary("//", a[0], expr.b), Binary("//", a[1], expr.b)
        if expr.op == "%":  # exact only if no multiple of the divisor lies between
            ranges = {**outer, **inner}
            size = most(a[1] - a[0], ranges)
            low = simplify(Binary("%", a[0], expr.b), ranges)
            if size < inf and bounds(low, ranges)[1] + size < expr.b.value:
                return low, low + Const(int(size), dtypes.INDEX)
            return Const(0, dtypes.INDEX), Const(int(expr.b.value) - 1, dtypes.INDEX)
    return None


def _hull(low: str, high: str, a: tuple[Expr, Expr] | None, b: tuple[Expr, Expr] | None) -> tuple[Expr, Expr] | None:
    return None if a is None or b is None else (Binary(low, a[0], b[0]), Binary(high, a[1], b[1]))


def _magnitude(low: Expr, high: Expr) -> tuple[Expr, Expr]:
    """Bounds of ``abs(x)`` for *low* <= x <= *high*; the least is 0 where they have two signs."""
    zero = Const(0, dtypes.INDEX)
    nearest = Binary("max", Binary("max", low, Binary("-", zero, high)), zero)
    return nearest, Binary("max", high, Binary("-", zero, low))


def _linear_interval(form: Linear, inner: Ranges, outer: Ranges) -> tuple[Expr, Expr] | None:
    low: Expr = Const(form.constant, dtypes.INDEX)
    high: Expr = low
    part: tuple[Expr, Expr] | None
    for atom, factor in form.terms.values():
        if isinstance(atom, Binary) and atom.op == "*":
            part = _product_interval(atom, inner, outer)
        elif isinstance(atom, Binary) and atom.op in ("+", "-"):
            part = None if any(uses(atom, var) for var in inner) else (atom, atom)
        else:
            part = _interval(atom, inner, outer)
        if part is None:
            return None
        scale = Const(factor, dtypes.INDEX)
        low = low + Binary("*", part[0] if factor > 0 else part[1], scale)
        high = high + Binary("*", part[1] if factor > 0 else part[0], scale)
    return low, high


def _product_interval(atom: Expr, inner: Ranges, outer: Ranges) -> tuple[Expr, Expr] | None:
    """Bounds of a product of which one factor moves, and the others are sizes."""
    if not any(uses(atom, var) for var in inner):
        return None if any(isinstance(node, Load) for node in walk(atom)) else (atom, atom)
    parts = factors(atom)
    moving = [part for part in parts if not is_sized(part)]
    part = _interval(moving[0], inner, outer) if len(moving) == 1 else None
    if part is None or len(parts) == 1 or any(bounds(p, outer)[0] < 0 for p in parts if is_sized(p)):
        return None
    scale = product([other for other in parts if is_sized(other)])
    return part[0] * scale, part[1] * scale


def region(found: Sequence[Access], shape: Sequence[Size], outer: Ranges) -> list[Span]:
    """What *found* accesses together touch in each dimension of a buffer of *shape*; *outer* bounds the points."""
    spans: list[Span] = []
    inside = [_ranges(access.inner) for access in found]
    accessed = [(access, inner, {**outer, **inner}) for access, inner in zip(found, inside, strict=True)]
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


def _union(found: Sequence[tuple[Access, Ranges, Ranges]], dimension: int, size: Size, outer: Ranges) -> Span | None:
    """What *found*, each with the ranges of its own loops and of all, touch of a *dimension* of this *size*."""
    low: Expr | None = None
    high: Expr | None = None
    for access, inner, ranges in found:
        part = _interval(simplify(access.indices[dimension], ranges), inner, outer)
        if part is None or any(uses(end, var) for end in part for var in access.named):
            return None
        low = part[0] if low is None else _outermost("min", low, part[0], outer)
        high = part[1] if high is None else _outermost("max", high, part[1], outer)
    if low is None or high is None:
        return Span(Const(0, dtypes.INDEX), 0)
    low, high = simplify(low, outer), simplify(high, outer)
    extent = most(high - low, outer) + 1
    if extent == inf or not isinstance(size, int):
        return _sized_span(low, high, size, outer)
    if extent >= size:
        first, last = bounds(low, outer)[0], bounds(high, outer)[1]
        whole = first >= 0 and last < size
        return Span(Const(0, dtypes.INDEX), size) if whole else None
    return Span(low, int(extent))


def _sized_span(low: Expr, high: Expr, size: Size, outer: Ranges) -> Span | None:
    """The span from *low* to *high* where the dimension's *size*, or their distance, is no number; None for all."""
    number = most(high - low, outer)
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
