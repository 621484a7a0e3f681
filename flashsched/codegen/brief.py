"""Whether a kernel ends so soon that releasing the GIL for it costs more than keeping it.

To release the GIL and take it back costs 40 ns, and, where another Python thread is at work, may cost a wait of
Python's switch interval, 5 ms. Other threads lose nothing while it is kept for less than that.
"""

from __future__ import annotations

from math import inf

from flashsched.schedule.ir import Alloc, For, If, Let, LoopKind, Prefetch, Seq, Stmt, Store
from flashsched.te.expr import Expr
from flashsched.te.foreign import Foreign
from flashsched.te.visit import walk

__all__ = ["is_brief"]

_LIMIT = 10_000
"""Nodes of expressions that are computed, a vector of four being one. They take 0.2 to 1 ns each, but where memory is
cold; so a kernel of as many takes a few microseconds, and not a tenth of the switch interval were all of it cold."""

_LANES = 4
_ALLOCATION = 100  # nodes that a buffer counts as


def is_brief(body: Stmt) -> bool:
    """Whether *body* is sure to end within microseconds. Parallel loops and code of others never are.

    >>> import flashsched as fs
    >>> from flashsched import te
    >>> def body(n):
    ...     A = te.placeholder((n,), name="A")
    ...     return fs.lower(te.create_schedule(te.compute((n,), lambda i: A[i] + 1, name="B"))).body
    >>> is_brief(body(10)), is_brief(body(100_000))
    (True, False)
    """
    return _work(body) <= _LIMIT


def _work(stmt: Stmt) -> float:
    match stmt:
        case For():
            if stmt.turns is None or stmt.kind is LoopKind.PARALLEL:
                return inf
            turns = -(-stmt.turns // _LANES) if stmt.kind is LoopKind.VECTORIZE else stmt.turns
            return turns * (1 + _work(stmt.body)) if turns else 0
        case Seq():
            return sum(map(_work, stmt.stmts))
        case If():
            return _nodes(stmt.condition) + _work(stmt.then) + (_work(stmt.otherwise) if stmt.otherwise else 0)
        case Let():
            return _nodes(stmt.value) + _work(stmt.body)
        case Alloc():
            return _ALLOCATION + _work(stmt.body)
        case Store():
            return sum(map(_nodes, (*stmt.indices, stmt.value)))
        case Prefetch():
            return sum(map(_nodes, stmt.indices))
        case _:
            return inf


def _nodes(expr: Expr) -> float:
    count = 0
    for node in walk(expr):
        if isinstance(node, Foreign):
            return inf
        count += 1
        if count > _LIMIT:
            return inf
    return count
