"""partition_loops: a loop marked with ``partition`` or ``peel`` becomes up to three, each simpler than the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf

from flashsched.codegen.passes.guards import lasting
from flashsched.codegen.passes.tidy import EMPTY, tidy_under
from flashsched.schedule.ir import Alloc, For, If, Let, LoopKind, Seq, Stmt, own_exprs, seq, sub_stmts
from flashsched.schedule.nest import substituted
from flashsched.te import dtypes
from flashsched.te.expr import Compare, Const, Expr, Var, compare
from flashsched.te.simplify import Linear, Ranges, at_most_zero
from flashsched.te.visit import conjuncts, free_vars, walk

__all__ = ["partition_loops"]

_MARKS = ("partition", "peel")


def partition_loops(body: Stmt) -> Stmt:
    """Cut marked loops in parts: before, middle and after, each simplified by what is certain in its range.

    Rewrite, for ``front=1``::

        for i in range(10):                       C[0] = A[0]
            if i > 0: C[i] = A[i] + A[i - 1]  ->  for i in range(9):
            else: C[i] = A[i]                         C[i + 1] = A[i + 1] + A[i]

    Turns that run at once stay one loop, and each of them tests which part it is in.
    """
    return _visit(body, {}, ())


def _visit(stmt: Stmt, ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    match stmt:
        case For():
            turns = stmt.turns
            inner = {**ranges, stmt.var: (0.0, inf if turns is None else turns - 1.0)}
            cuts = [] if turns is None else _cuts(stmt, turns, ranges)
            if not cuts:
                return replace(_unmarked(stmt), body=_visit(stmt.body, inner, facts))
            return _parts(_unmarked(stmt), [0, *cuts, turns or 0], ranges, facts)
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


def _unmarked(loop: For) -> For:
    return replace(loop, notes={key: value for key, value in loop.notes.items() if key not in _MARKS})


def _parts(loop: For, ends: Sequence[int], ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    """*loop* in parts that begin and end at *ends*."""
    at_once = loop.kind.is_concurrent
    parts: list[tuple[int, Stmt]] = []
    for begin, end in pairwise(ends):
        inside = {**ranges, loop.var: (float(begin), end - 1.0)}
        body = _visit(tidy_under(loop.body, inside, facts), inside, facts)
        if not at_once:
            here = Var(loop.var.name)
            shifted = substituted(body, {loop.var: here + begin})
            body = tidy_under(
                replace(loop, var=here, extent=Const(end - begin, dtypes.INDEX), body=shifted), ranges, facts
            )
        parts.append((begin, body))
    if not at_once:
        return seq([part for _, part in parts])
    whole = parts[-1][1]
    for (_, part), (begin, _) in zip(reversed(parts[:-1]), reversed(parts[1:]), strict=True):
        whole = If(compare("<", loop.var, Const(begin, dtypes.INDEX)), part, None if whole is EMPTY else whole)
    return replace(loop, body=whole)


def _cuts(loop: For, turns: int, ranges: Ranges) -> list[int]:
    """Where *loop* is to be cut: turns at which a part begins, neither 0 nor *turns*."""
    if "peel" in loop.notes:
        front, back = loop.notes["peel"]
        wanted = {min(front, turns), max(turns - back, 0)}
    elif "partition" in loop.notes:
        wanted = set(_middle(loop, turns, ranges))
    else:
        return []
    return sorted(at for at in wanted if 0 < at < turns)


def _middle(loop: For, turns: int, ranges: Ranges) -> tuple[int, int]:
    """The longest part of *loop* in which no condition changes."""
    marks = {0, turns}
    doubtful: list[tuple[int, int]] = []
    for form, inner in _forms(loop.body, {}):
        factor = form.coefficient(loop.var)
        rest = Linear({key: term for key, term in form.terms.items() if term[0] is not loop.var}, form.constant)
        spoken = {var for atom, _ in rest.terms.values() for var in free_vars(atom)}
        if not factor or loop.var in spoken or not spoken <= inner.keys():
            continue
        low, high = rest.bounds(inner)
        if low == -inf or high == inf:
            continue
        first, last = _change(factor, int(low), int(high))
        doubtful.append((first, last))
        marks |= {min(max(first, 0), turns), min(max(last, 0), turns)}
    ends = sorted(marks)
    certain = [
        (begin, end)
        for begin, end in pairwise(ends)
        if not any(first < end and begin < last for first, last in doubtful)
    ]
    return max(certain, key=lambda part: part[1] - part[0], default=(0, turns))


def _change(factor: int, low: int, high: int) -> tuple[int, int]:
    """The turns ``first <= v < last`` in which ``factor * v + rest <= 0`` is in doubt, for ``low <= rest <= high``.

    Below *first* it is certain one way, from *last* on it is certain the other way.
    """
    if factor > 0:  # true up to -high // factor, false from -low // factor + 1
        return -high // factor + 1, -low // factor + 1
    return -(-low // -factor), -(-high // -factor)  # v >= rest / -factor: false below, true from there


def _forms(stmt: Stmt, inner: Mapping[Var, tuple[float, float]]) -> Iterator[tuple[Linear, Ranges]]:
    """The conditions in *stmt*, as forms that are at most zero where they hold, and the ranges of the loops between."""
    for expr in own_exprs(stmt):
        for node in walk(expr):
            if isinstance(node, Compare):
                orders = [compare(op, node.a, node.b) for op in ("<=", ">=")] if node.op in ("==", "!=") else [node]
                yield from ((form, inner) for order in orders if (form := at_most_zero(order)) is not None)
    if isinstance(stmt, For):
        if stmt.kind is LoopKind.VECTORIZE and stmt.notes.get("tail") == "mask":
            return  # its condition stays a mask
        inner = {**inner, stmt.var: (0.0, inf if stmt.turns is None else stmt.turns - 1.0)}
    for child in sub_stmts(stmt):
        yield from _forms(child, inner)
