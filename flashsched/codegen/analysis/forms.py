"""Index expressions as numbers: how far an index reaches, and its values over many points at once.

The symbolic side of this is `flashsched.te.simplify`, which proves things and answers in expressions; here a nest is
only measured, and often, so an index is boiled down once to a sum of integer multiples and asked many times.
A variable that is not mentioned in a question stands at 0: only differences matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, inf, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flashsched.te.expr import Binary, Compare, Const, Expr, Not, Var
from flashsched.te.visit import walk

__all__ = [
    "Extents",
    "Form",
    "Points",
    "fact_of",
    "form_of",
    "interval",
    "rejoined",
    "share",
    "total",
    "values",
    "written",
]

Extents: TypeAlias = Mapping[Var, int]
"""How many turns each loop takes, its variable running from 0."""

Points: TypeAlias = Mapping[Var, NDArray[np.int64]]
"""Values of variables at many points."""

MOST_POINTS = 4096
"""Points at which a condition is tried before its share is estimated from a sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """``a op b`` inside a form, *op* one of ``// % min max``; ``?`` is a value that nothing is known of."""

    op: str
    a: Form
    b: Form


Atom: TypeAlias = Var | Part


class Form:
    """A sum of integer multiples of variables and parts, and a constant. Immutable."""

    __slots__ = ("_vars", "constant", "terms")

    def __init__(self, terms: Mapping[Atom, int], constant: int = 0) -> None:
        self.terms = terms
        self.constant = constant
        self._vars: frozenset[Var] | None = None

    @property
    def vars(self) -> frozenset[Var]:
        """The variables that it speaks of."""
        if self._vars is None:
            self._vars = frozenset(self.in_order())
        return self._vars

    def in_order(self) -> list[Var]:
        """The variables that it speaks of, in the order in which it does: what is drawn for them is drawn in it."""
        found: dict[Var, None] = {}
        for atom in self.terms:
            if isinstance(atom, Part):
                found.update(dict.fromkeys((*atom.a.in_order(), *atom.b.in_order())))
            else:
                found[atom] = None
        return list(found)

    def quotients(self) -> Iterator[Part]:
        """All quotients and remainders in it, those inside of others too."""
        for atom in self.terms:
            if isinstance(atom, Part):
                yield from atom.a.quotients()
                yield from atom.b.quotients()
                if atom.op in ("//", "%"):
                    yield atom

    def plus(self, other: Form, factor: int = 1) -> Form:
        """This form and *factor* times another."""
        if not other.terms:
            return Form(self.terms, self.constant + factor * other.constant)
        terms = dict(self.terms)
        for atom, count in other.terms.items():
            terms[atom] = terms.get(atom, 0) + factor * count
        return Form({atom: count for atom, count in terms.items() if count}, self.constant + factor * other.constant)

    def times(self, factor: int) -> Form:
        """This form multiplied."""
        return Form({atom: count * factor for atom, count in self.terms.items() if factor}, self.constant * factor)

    def without(self, gone: Iterable[Var]) -> Form:
        """This form with the variables *gone* at 0."""
        dropped = frozenset(gone)
        if dropped.isdisjoint(self.vars):
            return self
        result = Form({}, self.constant)
        for atom, count in self.terms.items():
            if isinstance(atom, Part):
                part = _part(atom.op, atom.a.without(dropped), atom.b.without(dropped), {})
                result = result.plus(part, count)
            elif atom not in dropped:
                result = result.plus(Form({atom: 1}), count)
        return result

    def step(self, var: Var) -> int | None:
        """By how much one turn of *var* moves the value, where it is the same everywhere; else None."""
        if var not in self.vars:
            return 0
        alone = all(isinstance(atom, Var) or var not in atom.a.vars | atom.b.vars for atom in self.terms)
        return self.terms[var] if alone else None


def form_of(expr: Expr, known: Mapping[Var, Form], extents: Extents) -> Form:
    """*expr*, an index, as a form; *known* says what variables stand for, *extents* bound the others."""
    if isinstance(expr, Const):
        return Form({}, int(expr.value))
    if isinstance(expr, Var):
        return known.get(expr) or Form({expr: 1})
    if isinstance(expr, Binary) and expr.op in ("+", "-", "*", "//", "%", "min", "max"):
        a, b = form_of(expr.a, known, extents), form_of(expr.b, known, extents)
        if expr.op in ("+", "-"):
            return a.plus(b, 1 if expr.op == "+" else -1)
        if expr.op == "*" and (not a.terms or not b.terms):
            return a.times(b.constant) if not b.terms else b.times(a.constant)
        if expr.op != "*":
            return _part(expr.op, a, b, extents)
    inside: dict[Atom, int] = {}
    for var in (node for node in walk(expr) if isinstance(node, Var)):
        inside.update(dict.fromkeys(known[var].in_order() if var in known else (var,), 1))
    return Form({Part("?", Form(inside), Form({})): 1})


def _part(op: str, a: Form, b: Form, extents: Extents) -> Form:
    if op in ("//", "%") and not b.terms and b.constant > 0:
        divisor = b.constant
        whole = Form({atom: n // divisor for atom, n in a.terms.items() if n % divisor == 0}, a.constant // divisor)
        rest = Form({atom: n for atom, n in a.terms.items() if n % divisor}, a.constant % divisor)
        if not rest.terms or (rest.vars <= extents.keys() and _inside(interval(rest, extents), divisor)):
            return whole if op == "//" else rest
        for step in sorted({gcd(divisor, n) for n in rest.terms.values()} - {1}, reverse=True):
            coarse = Form({atom: n // step for atom, n in rest.terms.items() if n % step == 0}, rest.constant // step)
            fine = Form({atom: n for atom, n in rest.terms.items() if n % step}, rest.constant % step)
            if fine.vars <= extents.keys() and _inside(interval(fine, extents), step):
                part = _part(op, coarse, Form({}, divisor // step), extents)  # of (step * x + fine) // (step * d)
                return whole.plus(part) if op == "//" else part.times(step).plus(fine)
        if op == "//":
            return whole.plus(Form({Part(op, rest, b): 1}))
        return Form({Part(op, rest, b): 1})
    if not a.terms and not b.terms and op in ("min", "max"):
        return Form({}, (min if op == "min" else max)(a.constant, b.constant))
    return Form({Part(op, a, b): 1})


def rejoined(form: Form, extents: Extents) -> Form:
    """*form*, an address, with what several indices were cut from made whole: ``c * (x // c) + x % c`` is ``x`` again,
    and ``c * (x // c % d) + x % c`` is ``x % (c * d)``."""
    for atom, count in form.terms.items():
        if not isinstance(atom, Part) or atom.op != "%" or atom.b.terms or atom.b.constant <= 0:
            continue
        divisor = atom.b.constant
        wanted = written(_part("//", atom.a, atom.b, extents))
        for other, by in form.terms.items():
            if by != count * divisor or not isinstance(other, Part):
                continue
            if written(Form({other: 1})) == wanted:
                whole = atom.a
            elif other.op == "%" and not other.b.terms and other.b.constant > 0 and written(other.a) == wanted:
                whole = _part("%", atom.a, Form({}, divisor * other.b.constant), extents)
            else:
                continue
            rest = Form(
                {known: n for known, n in form.terms.items() if known is not atom and known is not other}, form.constant
            )
            return rejoined(rest.plus(whole, count), extents)
    return form


def written(form: Form) -> tuple[int, frozenset[object]]:
    """The same for forms that are written in the same way, in whatever order."""
    return form.constant, frozenset((_atom_written(atom), count) for atom, count in form.terms.items())


def _atom_written(atom: Atom) -> object:
    return (atom.op, written(atom.a), written(atom.b)) if isinstance(atom, Part) else id(atom)


def _inside(reach: tuple[float, float], divisor: int) -> bool:
    return reach[0] >= 0 and reach[1] < divisor


def interval(form: Form, extents: Extents, facts: Sequence[Form] = ()) -> tuple[float, float]:
    """Inclusive bounds of the form while the variables of *extents* take all their turns, and *facts* are at most 0."""
    low: float = form.constant
    high: float = form.constant
    for atom, count in form.terms.items():
        if isinstance(atom, Part):
            first, last = _part_interval(atom, extents, facts)
        else:
            first, last = 0.0, float(max(extents.get(atom, 1) - 1, 0))
            if facts:
                first, last = _tightened(Form({atom: 1}), (first, last), extents, facts)
        low += count * (first if count > 0 else last)
        high += count * (last if count > 0 else first)
    return _tightened(form, (low, high), extents, facts) if facts else (low, high)


def _tightened(form: Form, plain: tuple[float, float], extents: Extents, facts: Sequence[Form]) -> tuple[float, float]:
    """*plain*, the bounds of *form*, or better ones where *facts* give them, as in `flashsched.schedule.regions`."""
    low, high = plain
    for atom, count in form.terms.items():
        if count == 1 and isinstance(atom, Part) and atom.op == "//" and not atom.b.terms and atom.b.constant > 0:
            by = atom.b.constant
            ends = interval(form.plus(Form({atom: 1}), -1).times(by).plus(atom.a), extents, facts)
            low, high = max(low, ends[0] // by), min(high, ends[1] // by)
    for fact in facts:
        for atom, factor in fact.terms.items():
            mine = form.terms.get(atom, 0)
            if mine:
                scale = abs(factor) // gcd(mine, factor)
                times = scale * mine // factor
                ends = interval(form.times(scale).plus(fact, -times), extents)
                low, high = (low, min(high, ends[1] // scale)) if times > 0 else (max(low, -(-ends[0] // scale)), high)
    return low, high


def _part_interval(part: Part, extents: Extents, facts: Sequence[Form]) -> tuple[float, float]:
    if part.op == "?":
        return (-inf, inf) if part.a.vars & extents.keys() else (0.0, 0.0)
    a, b = interval(part.a, extents, facts), interval(part.b, extents, facts)
    if part.op == "min":
        return min(a[0], b[0]), min(a[1], b[1])
    if part.op == "max":
        return max(a[0], b[0]), max(a[1], b[1])
    if b[0] != b[1] or b[0] <= 0 or a[0] == -inf or a[1] == inf:
        return -inf, inf
    divisor = b[0]
    if part.op == "//":
        return a[0] // divisor, a[1] // divisor
    if a[0] // divisor == a[1] // divisor:
        return a[0] % divisor, a[1] % divisor
    return 0.0, divisor - 1


def values(form: Form, points: Points) -> NDArray[np.int64]:
    """The form at *points* (arrays that broadcast together)."""
    result = np.asarray(form.constant, dtype=np.int64)
    for atom, count in form.terms.items():
        if isinstance(atom, Part):
            result = result + count * _part_values(atom, points)
        elif atom in points:
            result = result + count * points[atom]
    return result


def _part_values(part: Part, points: Points) -> NDArray[np.int64]:
    if part.op == "?":
        return np.asarray(0, dtype=np.int64)
    a, b = values(part.a, points), values(part.b, points)
    if part.op in ("min", "max"):
        return np.minimum(a, b) if part.op == "min" else np.maximum(a, b)
    divisor = np.maximum(b, 1)
    return a // divisor if part.op == "//" else a % divisor


def total(extents: Extents, some: Iterable[Var]) -> int:
    """The turns of *some* loops, nested."""
    return prod(extents.get(var, 1) for var in some)


def share(condition: Expr, known: Mapping[Var, Form], extents: Extents) -> tuple[frozenset[Var], float]:
    """The loops that decide *condition*, and the share of their turns in which it holds.

    Exact where the values that are compared are spread evenly, as splits leave them, or few enough to be tried; else
    from a fixed sample of turns.
    """
    if isinstance(condition, Binary) and condition.op == "and":
        first, second = share(condition.a, known, extents), share(condition.b, known, extents)
        return first[0] | second[0], first[1] * second[1]
    if isinstance(condition, Not):
        loops, part = share(condition.value, known, extents)
        return loops, 1.0 - part
    if not isinstance(condition, Compare) or condition.op in ("==", "!="):
        return frozenset(), 1.0
    form = _at_most_zero(condition, known, extents)
    low, high = interval(form, {var: extents.get(var, 1) for var in form.vars})
    if high <= 0 or low > 0:
        return frozenset(), float(high <= 0)
    step = _even_step(form, extents)
    if step:
        return form.vars, (0 - low) // step * step / (high - low + step) + step / (high - low + step)
    return form.vars, _tried(form, extents)


def _at_most_zero(order: Compare, known: Mapping[Var, Form], extents: Extents) -> Form:
    """The form that is at most 0 exactly where *order* holds."""
    a, b = form_of(order.a, known, extents), form_of(order.b, known, extents)
    form = a.plus(b, -1) if order.op in ("<", "<=") else b.plus(a, -1)
    return form.plus(Form({}, order.op in ("<", ">")))


def fact_of(condition: Expr, extents: Extents) -> Form | None:
    """A form that is at most 0 where *condition* holds, in steps of 1; None if it is no order of what moves."""
    if not isinstance(condition, Compare) or condition.op in ("==", "!="):
        return None
    form = _at_most_zero(condition, {}, extents)
    common = gcd(*form.terms.values())
    return Form({atom: n // common for atom, n in form.terms.items()}, -(-form.constant // common)) if common else None


def _even_step(form: Form, extents: Extents) -> int:
    """The distance of neighbouring values where a form takes each of them equally often, as digits do; else 0."""
    counts = []
    for atom, count in form.terms.items():
        if isinstance(atom, Part) or count < 0:
            return 0
        counts.append((count, extents.get(atom, 1)))
    counts.sort()
    reach = counts[0][0]
    for count, turns in counts:
        if count != reach:
            return 0
        reach *= turns
    return counts[0][0]


def _tried(form: Form, extents: Extents) -> float:
    loops = sorted(form.in_order(), key=lambda var: extents.get(var, 1))
    if total(extents, loops) <= MOST_POINTS:
        grid = np.meshgrid(*(np.arange(extents.get(var, 1)) for var in loops), indexing="ij", sparse=True)
        points: Points = dict(zip(loops, grid, strict=True))
    else:
        rng = np.random.default_rng(0)
        points = {var: rng.integers(0, extents.get(var, 1), MOST_POINTS) for var in loops}
    return float(np.mean(values(form, points) <= 0))
