"""Kernels that look at each index read from memory, as in ``A[B[i], j]``, before they use it.

All other indices are proven or guarded when a schedule is made; one that is data can be anything, and a plain kernel
trusts it. A checked one reads element 0 where an index lies outside, notes it, and raises when it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flashsched.codegen.bound import BoundKernel
from flashsched.codegen.caller import Caller
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.signature import Fit
from flashsched.errors import KernelError, counted
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Seq,
    Stmt,
    Store,
    seq,
)
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Compare, Const, Expr, Not, Select, compare, const, logical_and
from flashsched.te.simplify import Ranges, bounds, prove
from flashsched.te.sizes import Size, extent_expr, size_value
from flashsched.te.visit import walk

__all__ = ["CheckedKernel", "Site", "with_checks"]

_INSIDE = -(2**63)  # what the report holds of an index that was always inside


@dataclass(frozen=True)
class Site:
    """An index that comes from memory: dimension *dimension* of *tensor*, which has *size* elements."""

    tensor: str
    dimension: int
    size: Size
    text: str


def with_checks(program: Program) -> tuple[Program, tuple[Site, ...]]:
    """*program*, a nest of plain stores, with checks that write to a last output, an element for each `Site`.

    Vector loops become serial ones, so that each point is looked at by itself.
    """
    counted = _Checks(Buffer("out_of_range", (0,), dtypes.INDEX))
    counted.stmt(program.body, {})
    report = Buffer("out_of_range", (len(counted.sites),), dtypes.INDEX)
    body = _Checks(report).stmt(program.body, {})
    return replace(program, body=body, outputs=(*program.outputs, report)), tuple(counted.sites)


class _Checks:
    def __init__(self, report: Buffer) -> None:
        self.report = report
        self.sites: list[Site] = []
        self.pending: list[Stmt] = []
        self.ranges: Ranges = {}

    def stmt(self, stmt: Stmt, ranges: Mapping[Any, tuple[float, float]]) -> Stmt:
        match stmt:
            case For():
                kind = LoopKind.SERIAL if stmt.kind is LoopKind.VECTORIZE else stmt.kind
                return replace(stmt, kind=kind, body=self.stmt(stmt.body, {**ranges, **loop_ranges([stmt])}))
            case Seq():
                return seq([self.stmt(inner, ranges) for inner in stmt.stmts])
            case Alloc():
                return replace(stmt, body=self.stmt(stmt.body, ranges))
            case If():
                otherwise = None if stmt.otherwise is None else self.stmt(stmt.otherwise, ranges)
                (condition,), checks = self.exprs((stmt.condition,), ranges)
                return seq([*checks, If(condition, self.stmt(stmt.then, ranges), otherwise)])
            case Let():
                (value,), checks = self.exprs((stmt.value,), ranges)
                return seq([*checks, Let(stmt.var, value, self.stmt(stmt.body, ranges))])
            case Store():
                (*indices, value), checks = self.exprs((*stmt.indices, stmt.value), ranges)
                return seq([*checks, Store(stmt.buffer, tuple(indices), value)])
            case _:
                return stmt

    def exprs(self, exprs: Sequence[Expr], ranges: Ranges) -> tuple[list[Expr], list[Stmt]]:
        """*exprs* with safe indices, and the checks that come before them."""
        self.pending, self.ranges = [], ranges
        return [self.expr(expr, ()) for expr in exprs], self.pending

    def expr(self, expr: Expr, under: tuple[Expr, ...]) -> Expr:
        """*expr* with safe indices, where it is computed *under* these conditions only."""
        match expr:
            case Select():
                test = self.expr(expr.condition, under)
                return Select(test, self.expr(expr.a, (*under, test)), self.expr(expr.b, (*under, Not(test))))
            case Binary(op="and" | "or"):
                left = self.expr(expr.a, under)
                return Binary(expr.op, left, self.expr(expr.b, (*under, left if expr.op == "and" else Not(left))))
            case Load():
                pairs = zip(expr.indices, expr.buffer.shape, strict=True)
                load = Load(expr.buffer, tuple(self.index(expr, n, i, s, under) for n, (i, s) in enumerate(pairs)))
                return _unless_empty(load, expr)
            case _:
                children = [self.expr(child, under) for child in expr.children]
                return expr.rebuild(children) if children else expr

    def index(self, load: Load, number: int, index: Expr, size: Size, under: tuple[Expr, ...]) -> Expr:
        if not _is_data(index):
            return index
        safe = self.expr(index, under)
        if prove(safe >= 0, self.ranges) and prove(safe < extent_expr(size), self.ranges):
            return safe
        inside = logical_and(compare(">=", safe, 0), compare("<", safe, size))
        place = Const(len(self.sites), dtypes.INDEX)
        self.sites.append(Site(load.buffer.name, number, size, str(load)))
        self.pending.append(If(logical_and(*under, Not(inside)), Store(self.report, (place,), safe)))
        return Select(inside, safe, Const(0, dtypes.INDEX))


def _is_data(index: Expr) -> bool:
    return any(isinstance(node, Load) for node in walk(index))


def _unless_empty(load: Load, asked: Load) -> Expr:
    """*load*, or 0 where a dimension that data index has no element 0 either."""
    sizes = [size for size, index in zip(load.buffer.shape, asked.indices, strict=True) if _is_data(index)]
    tests = [Compare(">", extent_expr(s), Const(0, dtypes.INDEX)) for s in sizes if bounds(extent_expr(s), {})[0] < 1]
    return Select(logical_and(*tests), load, const(0, load.dtype)) if tests else load


class CheckedKernel(Kernel):
    """A kernel that raises where an index read from memory lay outside; the outputs then hold nothing that counts."""

    def __init__(self, kernel: Kernel, sites: tuple[Site, ...]) -> None:
        self.__dict__.update(kernel.__dict__)
        self.caller = _CheckedCaller(kernel.caller, sites)
        self.__call__ = self.caller  # type: ignore[method-assign]

    def bind(self, *args: Any) -> BoundKernel:
        """The kernel together with *args*; see `Kernel.bind`. A call of it looks at the indices, too."""
        arguments, fit = self.caller.fitted(args)
        bound, caller = self._bind(arguments, fit), self.caller

        def once() -> Any:
            return caller.called(arguments, fit)

        bound.__call__ = once  # type: ignore[method-assign]
        return bound


class _CheckedCaller(Caller):
    """Calls a kernel whose last output is a report, which nobody passes, and raises what it says."""

    def __init__(self, caller: Caller, sites: tuple[Site, ...]) -> None:
        self.__dict__.update(caller.__dict__)
        self.told = self.params[:-1]
        self._sites = sites

    def fitted(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Fit]:
        """The arrays among *args* and the report after them, fresh outputs if there are none, and how they must be.

        Raises:
            KernelError: there are too few or too many, or one is no number where one is taken.
        """
        arrays = len(args) - len(self.passed)
        if arrays == len(self.params):
            raise self.refusal(self._count_reason(len(args)))
        if arrays == len(self.told):
            args += (np.empty(len(self._sites), np.int64),)
        return super().fitted(args)

    def called(self, args: tuple[Any, ...], fit: Fit) -> Any:
        """Run the kernel on what `fitted` gave.

        Raises:
            KernelError: an index lay outside.
        """
        args[-1].fill(_INSIDE)
        result = super().called(args, fit)
        for site, index in zip(self._sites, args[-1].tolist(), strict=True):
            if index != _INSIDE:
                raise KernelError(
                    f"an index read from memory is {index}, and dimension {site.dimension} of {site.tensor} has "
                    f"{counted(size_value(site.size, fit.sizes), 'element')}",
                    step=f"{self.name}: {site.text}",
                    hint="correct the data, or hold the index inside: te.clip(index, 0, n - 1)",
                )
        return result
