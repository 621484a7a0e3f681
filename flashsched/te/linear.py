"""Linear forms: an index expression as a sum of integer multiples of *atoms* and a constant.

An atom is a variable, or a quotient, remainder, minimum, … that does not split further, or a product of such (sizes
multiply). What ranges of variables say about a form is found in `flashsched.te.bounds`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flashsched.errors import DtypeError
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Expr, SizeVar, Var
from flashsched.te.quick import quickly_made

__all__ = ["Linear", "Ranges", "atom_form", "factors", "fold", "index", "product", "structural_key"]

Ranges: TypeAlias = Mapping[Var, tuple[float, float]]
"""Inclusive bounds of variables; one that is missing may be anything, or at least 0 if it is a size."""


def structural_key(expr: Expr) -> tuple[Any, ...]:
    """A hashable value that is equal for expressions that are alike; kept with the expression, which never changes."""
    found: tuple[Any, ...] | None = getattr(expr, "_structural_key", None)
    if found is None:
        found = (type(expr).__name__, *expr.key(), *map(structural_key, expr.children))
        object.__setattr__(expr, "_structural_key", found)
    return found


_FOLDED: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "min": min,
    "max": max,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


def index(value: int) -> Const:
    """An index constant."""
    return Const(value, dtypes.INDEX)


def fold(op: str, a: Const, b: Const) -> Const:
    """``a op b`` on two index constants, as a constant.

    Raises:
        ExpressionError: a division by zero, a shift by less than 0 or more than 63 bits, or a result beyond int64.
    """
    x, y = int(a.value), int(b.value)
    if op in ("//", "%") and y == 0:
        raise DtypeError(f"division by zero: {x} {op} 0", hint="divide by something that is at least 1")
    if op in ("<<", ">>") and not 0 <= y < 64:
        raise DtypeError(f"a shift is by 0 to 63 bits: {x} {op} {y}", hint="shift by less, or multiply")
    value = _FOLDED[op](x, y)
    if not -(2**63) <= value < 2**63:
        raise DtypeError(f"{x} {op} {y} does not fit int64", hint="indices are int64; keep them below 2**63")
    return index(value)


def factors(atom: Expr) -> tuple[Expr, ...]:
    """What an atom is a product of."""
    if isinstance(atom, Binary) and atom.op == "*" and atom.dtype == dtypes.INDEX:
        return (*factors(atom.a), *factors(atom.b))
    return (atom,)


def product(parts: Sequence[Expr]) -> Expr:
    """The product of atoms in one order for all products that are alike: sizes last, by name."""
    ordered = sorted(parts, key=lambda part: (isinstance(part, SizeVar), str(part), id(part)))
    result = ordered[0]
    for part in ordered[1:]:
        result = Binary("*", result, part)
    return result


@quickly_made
@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(coefficient * atom) + constant``, the atoms keyed by their structure."""

    terms: Mapping[tuple[Any, ...], tuple[Expr, int]]
    constant: int

    def __add__(self, other: Linear) -> Linear:
        if not other.terms:
            return Linear(self.terms, self.constant + other.constant) if other.constant else self
        if not self.terms:
            return Linear(other.terms, self.constant + other.constant) if self.constant else other
        terms = dict(self.terms)
        for key, (atom, factor) in other.terms.items():
            total = factor + (terms[key][1] if key in terms else 0)
            if total:
                terms[key] = (atom, total)
            else:
                terms.pop(key, None)
        return Linear(terms, self.constant + other.constant)

    def __sub__(self, other: Linear) -> Linear:
        return self + other.times(-1) if other.terms or other.constant else self

    def times(self, factor: int) -> Linear:
        """This form multiplied by an integer."""
        if factor == 0:
            return Linear({}, 0)
        if factor == 1:
            return self
        return Linear({k: (atom, f * factor) for k, (atom, f) in self.terms.items()}, self.constant * factor)

    def __mul__(self, other: Linear) -> Linear:
        total = Linear({}, 0)
        for mine, own in self.terms.values():
            for atom, factor in other.terms.values():
                total = total.plus(product((*factors(mine), *factors(atom))), own * factor)
        for atom, factor in other.terms.values():
            total = total.plus(atom, factor * self.constant)
        return total + self.times(other.constant)

    def plus(self, atom: Expr, factor: int) -> Linear:
        """This form and *factor* times *atom*."""
        return self + Linear({structural_key(atom): (atom, factor)} if factor else {}, 0)

    def is_constant(self) -> bool:
        """Whether no atom is left."""
        return not self.terms

    def coefficient(self, var: Var) -> int:
        """What *var* itself is multiplied by (0 where it does not occur as an atom)."""
        entry = self.terms.get(structural_key(var))
        return entry[1] if entry else 0

    def bounds(self, ranges: Ranges) -> tuple[float, float]:
        """Inclusive bounds of the form's value."""
        from flashsched.te.bounds import form_bounds  # bounds are found of these forms

        return form_bounds(self, ranges)

    def expr(self) -> Expr:
        """The form written out, positive terms first, as a person would write it."""
        ordered = sorted(self.terms.values(), key=lambda term: term[1] < 0)
        leading = self.constant > 0 and all(factor < 0 for _, factor in ordered)  # 9 - i
        result: Expr | None = index(self.constant) if leading else None
        for atom, factor in ordered:
            if result is None:
                result = atom if factor == 1 else Binary("*", atom, index(factor))
            else:
                size = abs(factor)
                part = atom if size == 1 else Binary("*", atom, index(size))
                result = Binary("+" if factor > 0 else "-", result, part)
        if result is None:
            return index(self.constant)
        if self.constant and not leading:
            result = Binary("+" if self.constant > 0 else "-", result, index(abs(self.constant)))
        return result


def atom_form(expr: Expr) -> Linear:
    """The form that is just *expr*."""
    return Linear({structural_key(expr): (expr, 1)}, 0)
