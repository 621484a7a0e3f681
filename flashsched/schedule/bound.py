"""Nests in which sizes are known: numbers (or other expressions) put in wherever a size stands, in buffers too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from flashsched.schedule.ir import (
    Alloc,
    Block,
    Buffer,
    Extern,
    Let,
    Load,
    Prefetch,
    Stmt,
    Store,
    map_exprs,
    rewrite_stmt,
)
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, SizeVar, Var
from flashsched.te.sizes import Shape, Size, Sizes, as_size
from flashsched.te.visit import rewrite, substitute

__all__ = ["Bound", "bound_program"]


class Bound:
    """Puts *values* in for sizes.

    Args:
        values: an expression for each size that is known.
        keep: buffers that stay what they are, since someone else made them.
    """

    def __init__(self, values: Mapping[Var, Expr], keep: Collection[Buffer] = ()) -> None:
        self._values = values
        self._buffers: dict[Buffer, Buffer] = {buffer: buffer for buffer in keep}

    def size(self, size: Size) -> Size:
        """A dimension or a stride."""
        return size if isinstance(size, int) else as_size(substitute(size, self._values))

    def shape(self, shape: Shape) -> Shape:
        """All dimensions of a shape."""
        return tuple(map(self.size, shape))

    def buffer(self, old: Buffer) -> Buffer:
        """The buffer that stands for *old*: one for all its uses."""
        if old not in self._buffers:
            strides = None if old.strides is None else self.shape(old.strides)
            self._buffers[old] = replace(old, shape=self.shape(old.shape), strides=strides)
        return self._buffers[old]

    def expr(self, expr: Expr) -> Expr:
        """An expression, its loads included."""

        def change(node: Expr) -> Expr | None:
            if isinstance(node, Load):
                return Load(self.buffer(node.buffer), node.indices)
            return self._values.get(node) if isinstance(node, SizeVar) else None

        return rewrite(expr, change)

    def _extern(self, call: Extern) -> Extern:
        inputs, outputs = (tuple(map(self.buffer, part)) for part in (call.inputs, call.outputs))
        return replace(call, inputs=inputs, outputs=outputs)

    def stmt(self, stmt: Stmt) -> Stmt:
        """A statement and all in it."""

        def store(old: Store) -> Store:
            return Store(self.buffer(old.buffer), tuple(self.expr(i) for i in old.indices), self.expr(old.value))

        def change(node: Stmt) -> Stmt | None:
            match node:
                case Store() | Prefetch():
                    return replace(node, buffer=self.buffer(node.buffer))
                case Extern():
                    return self._extern(node)
                case Alloc():
                    return Alloc(self.buffer(node.buffer), node.body)
                case Block():
                    iters = tuple(replace(item, extent=self.size(item.extent)) for item in node.iters)
                    stores = tuple(map(store, node.stores))
                    extern = None if node.extern is None else self._extern(node.extern)
                    return replace(node, iters=iters, stores=stores, init=tuple(map(store, node.init)), extern=extern)
                case Let() if node.var in self._values:
                    return node.body
                case _:
                    pass
            return None

        return rewrite_stmt(map_exprs(stmt, self.expr), change)


def bound_program(program: Program, sizes: Sizes) -> Program:
    """*program* where *sizes* have these numbers."""
    bound = Bound({var: Const(number, dtypes.INDEX) for var, number in sizes.items()})
    params = tuple(map(bound.buffer, program.params))
    outputs = tuple(map(bound.buffer, program.outputs))
    needs = tuple(bound.expr(need) for need in program.needs)
    return replace(program, params=params, outputs=outputs, body=bound.stmt(program.body), needs=needs)
