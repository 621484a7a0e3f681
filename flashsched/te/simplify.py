"""Index arithmetic: linear forms, bounds, proofs, and the simplifier built on them.

An index expression is held as a `Linear` form: a sum of integer multiples of *atoms* (variables, and quotients,
remainders, minima, … that do not split further) and a constant. Ranges of variables make the bounds of an atom, the
bounds of a form decide comparisons, and that is all that legality and guards need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd, inf
from typing import Any, TypeAlias

from flashsched.errors import DtypeError
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Cast, Compare, Const, Expr, Not, Select, Var
from flashsched.te.visit import rewrite

__all__ = [
    "Linear",
    "Ranges",
    "at_most_zero",
    "below",
    "bounds",
    "fold",
    "linear",
    "prove",
    "simplify",
    "structural_key",
]

Ranges: TypeAlias = Mapping[Var, tuple[float, float]]
"""Inclusive bounds of variables; a variable that is missing may be anything."""

_NO_RANGES: Ranges = {}


def structural_key(expr: Expr) -> tuple[Any, ...]:
    """A hashable value that is equal for expressions that are alike."""
    return (type(expr).__name__, *expr.key(), *(structural_key(child) for child in expr.children))


def _index(value: int) -> Const:
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
    table = {
        "+": lambda: x + y,
        "-": lambda: x - y,
        "*": lambda: x * y,
        "//": lambda: x // y,
        "%": lambda: x % y,
        "min": lambda: min(x, y),
        "max": lambda: max(x, y),
        "&": lambda: x & y,
        "|": lambda: x | y,
        "^": lambda: x ^ y,
        "<<": lambda: x << y,
        ">>": lambda: x >> y,
    }
    value = table[op]()
    if not -(2**63) <= value < 2**63:
        raise DtypeError(f"{x} {op} {y} does not fit int64", hint="indices are int64; keep them below 2**63")
    return _index(value)


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(coefficient * atom) + constant``, the atoms keyed by their structure."""

    terms: Mapping[tuple[Any, ...], tuple[Expr, int]]
    constant: int

    def __add__(self, other: Linear) -> Linear:
        terms = dict(self.terms)
        for key, (atom, factor) in other.terms.items():
            total = factor + (terms[key][1] if key in terms else 0)
            if total:
                terms[key] = (atom, total)
            else:
                terms.pop(key, None)
        return Linear(terms, self.constant + other.constant)

    def __sub__(self, other: Linear) -> Linear:
        return self + other.times(-1)

    def times(self, factor: int) -> Linear:
        """This form multiplied by an integer."""
        if factor == 0:
            return Linear({}, 0)
        return Linear({k: (atom, f * factor) for k, (atom, f) in self.terms.items()}, self.constant * factor)

    def is_constant(self) -> bool:
        """Whether no atom is left."""
        return not self.terms

    def coefficient(self, var: Var) -> int:
        """What *var* itself is multiplied by (0 where it does not occur as an atom)."""
        entry = self.terms.get(structural_key(var))
        return entry[1] if entry else 0

    def bounds(self, ranges: Ranges) -> tuple[float, float]:
        """Inclusive bounds of the form's value."""
        low: float = self.constant
        high: float = self.constant
        for atom, factor in self.terms.values():
            lo, hi = _atom_bounds(atom, ranges)
            low += factor * (lo if factor > 0 else hi)
            high += factor * (hi if factor > 0 else lo)
        return low, high

    def expr(self) -> Expr:
        """The form written out, positive terms first, as a person would write it."""
        ordered = sorted(self.terms.values(), key=lambda term: term[1] < 0)
        leading = self.constant > 0 and all(factor < 0 for _, factor in ordered)  # 9 - i
        result: Expr | None = _index(self.constant) if leading else None
        for atom, factor in ordered:
            if result is None:
                result = atom if factor == 1 else Binary("*", atom, _index(factor))
            else:
                size = abs(factor)
                part = atom if size == 1 else Binary("*", atom, _index(size))
                result = Binary("+" if factor > 0 else "-", result, part)
        if result is None:
            return _index(self.constant)
        if self.constant and not leading:
            result = Binary("+" if self.constant > 0 else "-", result, _index(abs(self.constant)))
        return result


def _atom(expr: Expr) -> Linear:
    return Linear({structural_key(expr): (expr, 1)}, 0)


def linear(expr: Expr, ranges: Ranges = _NO_RANGES) -> Linear:
    """*expr* (an index) as a linear form, quotients and remainders split as far as *ranges* allow."""
    if isinstance(expr, Const):
        return Linear({}, int(expr.value))
    if isinstance(expr, Binary):
        if expr.op in ("+", "-"):
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            return _rejoin(a + b if expr.op == "+" else a - b)
        if expr.op == "*":
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            if b.is_constant():
                return a.times(b.constant)
            if a.is_constant():
                return b.times(a.constant)
            return _atom(Binary("*", a.expr(), b.expr()))
        if expr.op in ("//", "%"):
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            if b.is_constant() and b.constant > 0:
                return _quotient(a, b.constant, ranges) if expr.op == "//" else _remainder(a, b.constant, ranges)
            return _atom(Binary(expr.op, a.expr(), b.expr()))
        if expr.op in ("min", "max"):
            a, b = linear(expr.a, ranges), linear(expr.b, ranges)
            low, high = (a - b).bounds(ranges)
            if high <= 0:
                return a if expr.op == "min" else b
            if low >= 0:
                return b if expr.op == "min" else a
            return _atom(Binary(expr.op, a.expr(), b.expr()))
        return _atom(Binary(expr.op, linear(expr.a, ranges).expr(), linear(expr.b, ranges).expr()))
    if isinstance(expr, Var):
        known = ranges.get(expr)
        if known is not None and known[0] == known[1]:
            return Linear({}, int(known[0]))
        return _atom(expr)
    simple = simplify(expr, ranges) if expr.children else expr
    return _atom(simple) if type(simple) is type(expr) else linear(simple, ranges)  # a select may have become its side


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
    if len(rest.terms) == 1 and rest.constant == 0:
        ((atom, factor),) = rest.terms.values()
        if factor == 1 and isinstance(atom, Binary) and atom.op == "//" and _divisor(atom) > 0:
            return whole + _quotient(linear(atom.a, ranges), divisor * _divisor(atom), ranges)
    return whole + _atom(Binary("//", rest.expr(), _index(divisor)))


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
    if len(rest.terms) == 1 and rest.constant == 0:
        ((atom, factor),) = rest.terms.values()
        if factor == 1 and isinstance(atom, Binary) and atom.op == "%" and not (_divisor(atom) or 1) % divisor:
            return _remainder(linear(atom.a, ranges), divisor, ranges)
    return _atom(Binary("%", rest.expr(), _index(divisor)))


def _rejoin(form: Linear) -> Linear:
    """``c * (x // c) + x % c`` made ``x`` again."""
    for atom, factor in form.terms.values():
        if not (isinstance(atom, Binary) and atom.op == "%" and _divisor(atom) > 0):
            continue
        divisor = _divisor(atom)
        value = linear(atom.a)
        _, rest = _split(value, divisor)
        want = structural_key(Binary("//", rest.expr(), _index(divisor)))
        found = form.terms.get(want)
        if found is None or found[1] != factor * divisor:
            nested = _nested_quotient(form, atom.a, divisor, factor)
            if nested is None:
                continue
            found = nested
        # `%` keeps only the rest of the value, so what is put back is the rest as well
        without = form - _atom(atom).times(factor) - _atom(found[0]).times(found[1])
        return _rejoin(without + rest.times(factor))
    return form


def _nested_quotient(form: Linear, value: Expr, divisor: int, factor: int) -> tuple[Expr, int] | None:
    """The term ``(y // (d * e)) * factor * d`` for ``value = y // e``: quotients of quotients are stored joined."""
    if isinstance(value, Binary) and value.op == "//" and _divisor(value) > 0:
        joined = Binary("//", value.a, _index(divisor * _divisor(value)))
        found = form.terms.get(structural_key(joined))
        if found is not None and found[1] == factor * divisor:
            return found
    return None


def _atom_bounds(atom: Expr, ranges: Ranges) -> tuple[float, float]:
    if isinstance(atom, Var):
        return ranges.get(atom, (-inf, inf))
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
        return dtypes.min_value(atom.value.dtype), dtypes.max_value(atom.value.dtype)
    return -inf, inf


def _extreme_bounds(
    atom: Binary, a: tuple[float, float], b: tuple[float, float], ranges: Ranges
) -> tuple[float, float]:
    """Bounds of a minimum or maximum; both lie on their side of the mean, so ``min(x, 9 - x)`` is at most 4."""
    low, high = -inf, inf
    if atom.dtype == dtypes.INDEX:
        low, high = (linear(atom.a, ranges) + linear(atom.b, ranges)).bounds(ranges)
    if atom.op == "min":
        return min(a[0], b[0]), min(a[1], b[1], high // 2 if high < inf else inf)
    return max(a[0], b[0], -(-low // 2) if low > -inf else -inf), max(a[1], b[1])


def bounds(expr: Expr, ranges: Ranges) -> tuple[float, float]:
    """Inclusive bounds of an integer expression, infinite where nothing is known."""
    if expr.dtype != dtypes.INDEX:
        return (float(expr.value),) * 2 if isinstance(expr, Const) else _atom_bounds(expr, ranges)
    return linear(expr, ranges).bounds(ranges)


def prove(condition: Expr, ranges: Ranges, facts: Iterable[Expr] = ()) -> bool | None:
    """True or False where *condition* is certain under *ranges* and *facts* (conditions known to hold), else None."""
    if isinstance(condition, Const):
        return bool(condition.value)
    if isinstance(condition, Not):
        inner = prove(condition.value, ranges, facts)
        return None if inner is None else not inner
    if isinstance(condition, Binary) and condition.op in ("and", "or"):
        facts = tuple(facts)
        a, b = prove(condition.a, ranges, facts), prove(condition.b, ranges, facts)
        decisive = condition.op == "or"
        if a is decisive or b is decisive:
            return decisive
        return (not decisive) if a is not None and b is not None else None
    form = at_most_zero(condition, ranges)
    if form is None:
        return _prove_equality(condition, ranges)
    low, high = form.bounds(ranges)
    if high <= 0:
        return True
    if low > 0:
        return False
    for fact in facts:
        known = at_most_zero(fact, ranges)
        if known is not None:
            if (form - known).bounds(ranges)[1] <= 0:
                return True
            if (form + known).bounds(ranges)[0] > 0:
                return False
    return None


def at_most_zero(condition: Expr, ranges: Ranges = _NO_RANGES) -> Linear | None:
    """The form that is at most zero exactly when *condition* holds; None if it is no order between indices."""
    if not isinstance(condition, Compare) or condition.a.dtype != dtypes.INDEX or condition.op in ("==", "!="):
        return None
    a, b = linear(condition.a, ranges), linear(condition.b, ranges)
    one = Linear({}, 1)
    return _rejoin({"<": a - b + one, "<=": a - b, ">": b - a + one, ">=": b - a}[condition.op])


def below(form: Linear) -> Expr:
    """The condition that *form* is at most zero, as a person would write it: ``i * 4 + j < 10``."""
    left = {key: term for key, term in form.terms.items() if term[1] > 0}
    right = {key: (atom, -factor) for key, (atom, factor) in form.terms.items() if factor < 0}
    limit = 1 - form.constant
    if not left and right:  # -i + 3 <= 0 reads better as i >= 3
        return Compare(">=", Linear(right, 0).expr(), _index(form.constant))
    return Compare("<", Linear(left, 0).expr(), Linear(right, limit).expr())


def _prove_equality(condition: Expr, ranges: Ranges) -> bool | None:
    if not isinstance(condition, Compare) or condition.a.dtype != dtypes.INDEX:
        return None
    form = _rejoin(linear(condition.a, ranges) - linear(condition.b, ranges))
    low, high = form.bounds(ranges)
    if low == high == 0:
        return condition.op == "=="
    if low > 0 or high < 0:
        return condition.op == "!="
    return None


def simplify(expr: Expr, ranges: Ranges = _NO_RANGES, facts: Iterable[Expr] = ()) -> Expr:
    """*expr* with its index arithmetic in linear form, and its conditions decided where they are certain.

    Values that are not indices keep their operations in the order in which they were written.
    """
    facts = tuple(facts)
    if expr.dtype == dtypes.INDEX and isinstance(expr, Binary | Var | Const):
        return linear(expr, ranges).expr()

    def change(node: Expr) -> Expr | None:
        if isinstance(node, Compare):
            certain = prove(node, ranges, facts)
            if certain is not None:
                return Const(certain, "bool")
            form = at_most_zero(node, ranges)
            return None if form is None else below(form)
        if isinstance(node, Select) and isinstance(node.condition, Const):
            return node.a if node.condition.value else node.b
        if isinstance(node, Not) and isinstance(node.value, Const):
            return Const(not node.value.value, "bool")
        if isinstance(node, Binary) and node.op in ("and", "or"):
            decisive = node.op == "or"
            for side, other in ((node.a, node.b), (node.b, node.a)):
                if isinstance(side, Const):
                    return side if bool(side.value) is decisive else other
        if isinstance(node, Binary) and node.dtype == dtypes.INDEX:
            return linear(node, ranges).expr()
        return None

    return rewrite(expr, change)
