"""Counting the arithmetic of one point: operations by dtype, fused multiply-adds, expensive functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flashsched.schedule.ir import Load, Store
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Select, Var
from flashsched.te.foreign import Foreign
from flashsched.te.visit import walk

__all__ = ["Arithmetic", "count"]

CHEAP = ("floor", "ceil", "round", "rint", "trunc", "fabs", "abs", "copysign", "fmin", "fmax", "isnan", "isinf")
"""Functions that are one plain instruction; all others are evaluated by the unit for special functions, or by code."""


@dataclass(slots=True)
class Arithmetic:
    """What one point computes. Each operation counts one, so a multiply-add counts two.

    Attributes:
        flops: operations by dtype. A product of two values that were widened from a narrower type counts, with the
            addition it feeds, under (narrow, wide): matrix units multiply narrow and add wide.
        fused: operations that are part of a fused multiply-add.
        special: divisions, roots, exponentials, ….
        conditions: comparisons of indices (padding, masks).
    """

    flops: dict[tuple[str, str], float] = field(default_factory=dict)
    fused: float = 0.0
    special: float = 0.0
    conditions: float = 0.0

    @property
    def total(self) -> float:
        """All operations, special ones aside."""
        return sum(self.flops.values())


def count(stores: Sequence[Store]) -> Arithmetic:
    """The arithmetic of *stores*; that of the indices is not counted."""
    found = Arithmetic()
    for store in stores:
        _visit(store.value, found)
    return found


def _visit(expr: Expr, found: Arithmetic) -> None:
    match expr:
        case Load() | Const() | Var():
            return
        case Binary():
            if expr.op in ("+", "-") and not is_index(expr):
                product = next((side for side in (expr.b, expr.a) if isinstance(side, Binary) and side.op == "*"), None)
                if product is not None:
                    kind = _kind(product)
                    _add(found, kind, 2.0)
                    found.fused += 2.0
                    for side in (expr.a, expr.b):
                        for part in (side.a, side.b) if side is product else (side,):
                            _visit(part, found)
                    return
            if not is_index(expr) and expr.op not in ("and", "or"):
                if expr.op == "/" or (expr.op in ("//", "%") and not dtypes.is_bool(expr.dtype)):
                    found.special += 1.0
                else:
                    _add(found, _kind(expr), 1.0)
        case Compare():
            if is_index(expr.a):
                found.conditions += 1.0
                return
            _add(found, (expr.a.dtype, expr.a.dtype), 1.0)
        case Select():
            if not _index_only(expr.condition):
                _add(found, (expr.dtype, expr.dtype), 1.0)
        case Call(func="tf32"):
            pass  # part of the instruction that multiplies it
        case Call():
            if expr.func == "fma":
                _add(found, (expr.dtype, expr.dtype), 2.0)
                found.fused += 2.0
            elif expr.func in CHEAP:
                _add(found, (expr.dtype, expr.dtype), 1.0)
            else:
                found.special += 1.0
        case Foreign():
            found.special += 1.0
        case _:
            pass  # a cast, a negation: part of the instruction that uses it
    for child in expr.children:
        _visit(child, found)


def _add(found: Arithmetic, kind: tuple[str, str], number: float) -> None:
    found.flops[kind] = found.flops.get(kind, 0.0) + number


def _kind(expr: Binary) -> tuple[str, str]:
    narrow = expr.dtype
    if expr.op == "*" and all(isinstance(side, Call) and side.func == "tf32" for side in (expr.a, expr.b)):
        return "tf32", expr.dtype
    if expr.op == "*" and isinstance(expr.a, Cast) and isinstance(expr.b, Cast):
        sources = {expr.a.value.dtype, expr.b.value.dtype}
        if len(sources) == 1:
            narrow = sources.pop()
    return narrow, expr.dtype


def is_index(expr: Expr) -> bool:
    """Whether *expr* is an index that no element of a tensor tells."""
    return expr.dtype == dtypes.INDEX and _index_only(expr)


def _index_only(expr: Expr) -> bool:
    return not any(isinstance(node, Load) for node in walk(expr))
