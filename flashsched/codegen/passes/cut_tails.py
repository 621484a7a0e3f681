"""cut_tails: full tiles run without conditions, and the last tile gets code of its own size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, inf

from flashsched.codegen.passes.guards import guarded, lasting
from flashsched.codegen.passes.tidy import tidy_under
from flashsched.schedule.ir import Alloc, For, If, Let, Seq, Stmt, seq
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Linear, Ranges, at_most_zero, below, within_loop
from flashsched.te.visit import conjuncts, free_vars, loop_vars

__all__ = ["cut_tails"]


@dataclass(frozen=True, slots=True)
class _Test:
    """A condition ``outer + inner <= 0``, where *outer* is known at some point and *inner* lies within bounds."""

    outer: Linear
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Inner:
    """A loop between a point and a condition: its range, and whether its tail is cut."""

    span: tuple[float, float]
    cut: bool


def cut_tails(body: Stmt) -> Stmt:
    """Choose, once a tile, between code for a full tile and code for the tail.

    Rewrite, for a loop ``i`` split by 4 whose tail is cut::

        for i.o in range(3):                      for i.o in range(3):
            for i.i in range(4):                      if i.o * 4 < 7:                 # full: no condition inside
                if i.o * 4 + i.i < 10:        ->          for i.i in range(4): S
                    S                                 else:                           # i.o can only be 2
                                                          for i.i in range(4): if 8 + i.i < 10: S

    Where only one tile can be ragged its condition has a constant bound, so that unrolling leaves just the rest.
    """
    return _visit(body, {}, ())


def _visit(stmt: Stmt, ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    match stmt:
        case For():
            inner = within_loop(ranges, stmt.var, stmt.extent)
            return replace(stmt, body=_cut(stmt.body, inner, facts, stmt.var))
        case Seq():
            return seq([_visit(child, ranges, facts) for child in stmt.stmts])
        case Alloc() | Let():
            return replace(stmt, body=_visit(stmt.body, ranges, facts))
        case If():
            then = _visit(stmt.then, ranges, (*facts, *lasting(conjuncts(stmt.condition))))
            return If(stmt.condition, then, None if stmt.otherwise is None else _visit(stmt.otherwise, ranges, facts))
        case _:
            pass
    return stmt


def _cut(body: Stmt, ranges: Ranges, facts: Sequence[Expr], newest: Var) -> Stmt:
    """*body*, just inside the loop over *newest*, with the tests that can first be made here."""
    if isinstance(body, If) and body.otherwise is None:  # what is certain inside tells how many tiles are ragged
        return If(body.condition, _cut(body.then, ranges, (*facts, *lasting(conjuncts(body.condition))), newest))
    for test in _tests(body, ranges, newest):
        full = below(test.outer + Linear({}, int(test.high)))
        fast = tidy_under(body, ranges, (*facts, full))
        only = _only_ragged_value(test, ranges, facts)
        if only is None:  # several tiles may be ragged: a loop further in tells them apart
            return If(full, _cut(fast, ranges, facts, newest), _visit(body, ranges, facts))
        tail = tidy_under(_with_value(body, test.outer, only), ranges, facts)
        return If(full, _cut(fast, ranges, facts, newest), _cut(tail, ranges, facts, newest))
    return _visit(body, ranges, facts)


def _tests(body: Stmt, ranges: Ranges, newest: Var) -> Iterator[_Test]:
    """The conditions in *body* on loops whose tails are cut that *newest* decides for some of its turns."""
    for condition, inside in _conditions(body, {}):
        form = at_most_zero(condition)
        if form is None:
            continue
        outer, inner = _parted(form, ranges)
        spoken = {var for atom, _ in inner.terms.values() for var in free_vars(atom)}
        if newest not in {var for atom, _ in outer.terms.values() for var in free_vars(atom)}:
            continue
        if not spoken or not all(var in inside and inside[var].cut for var in spoken):
            continue
        low, high = inner.bounds({**ranges, **{var: item.span for var, item in inside.items()}})
        lowest, highest = outer.bounds(ranges)
        if -inf < low and high < inf and lowest + high <= 0 < highest + high:
            yield _Test(outer, low, high)


def _conditions(stmt: Stmt, inside: Mapping[Var, _Inner]) -> Iterator[tuple[Expr, Mapping[Var, _Inner]]]:
    """Each condition in *stmt*, with the loops between."""
    match stmt:
        case For():
            span = within_loop({}, stmt.var, stmt.extent)[stmt.var]
            yield from _conditions(stmt.body, {**inside, stmt.var: _Inner(span, stmt.notes.get("tail") == "cut")})
        case Seq():
            for child in stmt.stmts:
                yield from _conditions(child, inside)
        case Alloc() | Let():
            yield from _conditions(stmt.body, inside)
        case If():
            yield from ((term, inside) for term in conjuncts(stmt.condition))
            yield from _conditions(stmt.then, inside)
            if stmt.otherwise is not None:
                yield from _conditions(stmt.otherwise, inside)
        case _:
            pass


def _parted(form: Linear, known: Mapping[Var, object]) -> tuple[Linear, Linear]:
    """The part of *form* that speaks only of *known* variables (with the constant), and the rest."""
    outer = {key: term for key, term in form.terms.items() if loop_vars(term[0]) <= known.keys()}
    inner = {key: term for key, term in form.terms.items() if key not in outer}
    return Linear(outer, form.constant), Linear(inner, 0)


def _only_ragged_value(test: _Test, ranges: Ranges, facts: Sequence[Expr]) -> int | None:
    """The value that the outer part must have where a tile is not full, if there is just one."""
    step = 0
    for _, factor in test.outer.terms.values():
        step = gcd(step, factor)
    first = int(-test.high) + 1
    first += (test.outer.constant - first) % step
    return first if _most(test.outer, ranges, facts) < first + step else None


def _most(form: Linear, ranges: Ranges, facts: Sequence[Expr]) -> float:
    """An upper bound of *form*, from *ranges* and from each of *facts* that speaks of the same atoms."""
    most = form.bounds(ranges)[1]
    for fact in facts:
        known = at_most_zero(fact)
        if known is None:
            continue
        for key, (_, factor) in known.terms.items():
            here = form.terms.get(key)
            if here is not None and here[1] % factor == 0 and here[1] // factor > 0:  # known <= 0, so less is no loss
                most = min(most, (form - known.times(here[1] // factor)).bounds(ranges)[1])
    return most


def _with_value(stmt: Stmt, outer: Linear, value: int) -> Stmt:
    """*stmt* where *outer* is known to be *value*: conditions that speak of it become conditions of the rest."""

    def term(condition: Expr) -> Expr:
        form = at_most_zero(condition)
        if form is None:
            return condition
        rest = form - outer
        if len(rest.terms) != len(form.terms) - len(outer.terms):
            return condition
        return below(rest + Linear({}, value))

    def visit(node: Stmt) -> Stmt:
        match node:
            case For() | Alloc() | Let():
                return replace(node, body=visit(node.body))
            case Seq():
                return seq([visit(child) for child in node.stmts])
            case If():
                whole = guarded([term(t) for t in conjuncts(node.condition)], visit(node.then))
                otherwise = None if node.otherwise is None else visit(node.otherwise)
                return replace(whole, otherwise=otherwise) if isinstance(whole, If) else whole
            case _:
                pass
        return node

    return visit(stmt)
