"""Loops written out: ``ib = tvm.tir.ir_builder.create()``, for the bodies of `te.extern` and of intrinsics.

What it makes are the statements of our loop nests, so they print, are interpreted and compiled like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flashsched.compat.tvm.te.axes import IndexVar, position, settle, shape_of
from flashsched.compat.tvm.tir.buffer import Buffer
from flashsched.compat.tvm.tir.intrin import CallStmt, ExternCall
from flashsched.compat.tvm.tir.lanes import read, store
from flashsched.errors import ExpressionError, StructureError, did_you_mean
from flashsched.schedule.ir import Alloc, Break, For, If, Let, LoopKind, Seq, Stmt, seq
from flashsched.schedule.ir import Buffer as OurBuffer
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Not, Var, as_expr

__all__ = ["BufferVar", "IRBuilder", "create"]

_MOST_TURNS = 2**62  # of a while_loop: a loop of ours has a number of turns, and this one ends before

_KINDS = {
    "serial": LoopKind.SERIAL,
    "parallel": LoopKind.PARALLEL,
    "vectorize": LoopKind.VECTORIZE,
    "vectorized": LoopKind.VECTORIZE,
    "unroll": LoopKind.UNROLL,
    "unrolled": LoopKind.UNROLL,
}


class BufferVar:
    """Memory that a program indexes: ``C[i] = A[i] + 1``, also by one index where there are several dimensions.

    A `Ramp` of indices reads or stores a vector.
    """

    def __init__(self, builder: IRBuilder, buffer: OurBuffer) -> None:
        self._builder, self.buffer = builder, buffer
        self.dtype = buffer.dtype

    def __getitem__(self, index: Any) -> Expr:
        return read(self.buffer, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._builder.emit(store(self.buffer, index, value))

    def asobject(self) -> OurBuffer:
        """The buffer of our loops."""
        return self.buffer


class IRBuilder:
    """Collects statements; `get` gives them as one."""

    def __init__(self) -> None:
        self._open: list[list[Callable[[Stmt], Stmt] | Stmt]] = [[]]

    def emit(self, stmt: Any) -> None:
        """Add a statement, a call, or what puts a statement around those that follow.

        Raises:
            ExpressionError: it is none of these.
        """
        if isinstance(stmt, ExternCall):
            stmt = CallStmt(stmt)
        if not isinstance(stmt, Stmt) and not callable(stmt):
            raise ExpressionError(
                f"{type(stmt).__name__} is no statement", hint="emit a call_extern, or buffer.vstore(…)"
            )
        self._open[-1].append(stmt)

    def get(self) -> Stmt:
        """All that was written, as one statement.

        Raises:
            StructureError: a loop or a condition is still open.
        """
        if len(self._open) != 1:
            raise StructureError("a for_range or if_scope is still open", hint="call get() after the with blocks")
        body = _joined(self._open[0])
        self._open = [[]]
        return body

    @contextmanager
    def for_range(
        self,
        begin: Any,
        end: Any,
        name: str = "i",
        dtype: str | None = None,
        kind: str = "serial",
        for_type: str | None = None,
    ) -> Iterator[Expr]:
        """A loop over ``begin <= i < end``: ``with ib.for_range(0, n, name="i", kind="parallel") as i:``.

        *for_type* is the name before 0.8 of *kind*.
        """
        kind = for_type or kind
        if kind not in _KINDS:
            raise StructureError(f"no kind of loop {kind!r}", hint=did_you_mean(kind, _KINDS))
        first = position(as_expr(begin, dtypes.INDEX))
        extent = position(as_expr(end, dtypes.INDEX)) - first
        var = Var(name)
        shown = IndexVar(name, "int32", var)
        index: Expr = shown if _is_zero(first) else shown + as_expr(begin)
        self._open.append([])
        yield index
        body = _joined(self._open.pop())
        self.emit(For(var, extent, body, _KINDS[kind]))

    @contextmanager
    def if_scope(self, cond: Any) -> Iterator[None]:
        """What is done where *cond* holds."""
        self._open.append([])
        yield
        then = _joined(self._open.pop())
        self.emit(If(settle(as_expr(cond)), then))

    @contextmanager
    def else_scope(self) -> Iterator[None]:
        """What is done where the condition of the `if_scope` just before does not hold.

        Raises:
            StructureError: there is none just before.
        """
        before = self._open[-1].pop() if self._open[-1] else None
        if not isinstance(before, If) or before.otherwise is not None:
            raise StructureError("else_scope stands behind no if_scope")
        self._open.append([])
        yield
        self.emit(If(before.condition, before.then, _joined(self._open.pop())))

    @contextmanager
    def new_scope(self) -> Iterator[None]:
        """A scope: what is allocated inside is there to its end."""
        self._open.append([])
        yield
        self.emit(_joined(self._open.pop()))

    @contextmanager
    def while_loop(self, condition: Any) -> Iterator[None]:
        """A loop for as long as *condition*, which reads memory, holds: ``with ib.while_loop(x[0] < n):``."""
        self._open.append([])
        yield
        body = _joined(self._open.pop())
        done = If(Not(settle(as_expr(condition))), Break())
        self.emit(For(Var("turn"), Const(_MOST_TURNS, dtypes.INDEX), seq([done, body])))

    def scope_attr(self, node: Any, attr_key: str, value: Any) -> None:
        """Not there: mark loops with ``for_range(kind=…)``."""
        raise NotImplementedError(f"scope_attr({attr_key!r}) is not there: mark loops with for_range(kind=…)")

    def let(self, var_name: str, value: Any) -> Expr:
        """A variable that stands for *value*, computed here once."""
        found = settle(as_expr(value))
        var = Var(var_name, found.dtype)
        self.emit(lambda body: Let(var, found, body))
        return var

    def allocate(
        self, dtype: str, shape: Any, name: str = "buf", axis_separators: Any = None, scope: str = ""
    ) -> BufferVar:
        """Memory to the end of this scope; it holds nothing at first."""
        where = "global" if scope in ("", "global") else "local" if scope.startswith("local") else scope
        buffer = OurBuffer(name, shape_of(shape), dtypes.check_dtype(dtype), where)
        self.emit(lambda body: Alloc(buffer, body))
        return BufferVar(self, buffer)

    def pointer(self, content_type: str, name: str = "ptr", scope: str = "") -> BufferVar:
        """Not there: a pointer has no length, and every access is checked against one."""
        raise NotImplementedError(f"pointer({name!r}) is not there: use decl_buffer with a shape, and buffer_ptr of it")

    def buffer_ptr(self, buffer: Buffer | OurBuffer, shape: Any = None) -> BufferVar:
        """*buffer*, to be indexed."""
        return BufferVar(self, buffer.ours if isinstance(buffer, Buffer) else buffer)

    def likely(self, expr: Any) -> Expr:
        """*expr*; what is likely is proven here, not told."""
        return as_expr(expr)


def _is_zero(expr: Expr) -> bool:
    return getattr(expr, "value", None) == 0


def _joined(items: list[Callable[[Stmt], Stmt] | Stmt]) -> Stmt:
    """*items* as one statement; those that stand around others are put around all that follow."""
    body: list[Stmt] = []
    for item in reversed(items):
        body = [item, *body] if isinstance(item, Stmt) else [item(seq(body) if body else Seq(()))]
    return seq(body) if body else Seq(())


def create() -> IRBuilder:
    """A new builder."""
    return IRBuilder()
