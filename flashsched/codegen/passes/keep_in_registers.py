"""keep_in_registers: what is to live in registers is looked at, since a register has no address."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.errors import LoweringError
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    Extern,
    For,
    Load,
    LoopKind,
    Prefetch,
    Stmt,
    Store,
    own_exprs,
    sub_stmts,
)
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Expr
from flashsched.te.visit import uses, walk

__all__ = ["keep_in_registers"]

_Access = tuple[Buffer, tuple[Expr, ...]]


def keep_in_registers(body: Stmt) -> Stmt:
    """Return *body* as it is, if each buffer in the scope ``"register"`` can be promoted to registers.

    It can where all its indices are constants once loops are unrolled, but for the lanes of a vector, and nothing takes
    its address: no extern call, no other thread. The back end then makes values of its elements; how many of them it
    keeps at a time is up to the machine.

    Raises:
        LoweringError: that is not so; says which index is no constant, and which loop to unroll.
    """
    _visit(body, {}, ())
    return body


def _visit(stmt: Stmt, held: dict[Buffer, int], loops: tuple[For, ...]) -> None:
    """Look at *stmt* inside *loops*; *held* are the buffers in registers, with the number of loops around each."""
    if isinstance(stmt, Alloc) and stmt.buffer.scope == "register" and not stmt.buffer.held:
        held = {**held, stmt.buffer: len(loops)}
        if not all(isinstance(extent, int) for extent in stmt.buffer.shape):
            raise LoweringError(
                f"{stmt.buffer.name} is to live in registers, and its shape {list(stmt.buffer.shape)} is not known "
                "when code is made",
                hint="compute it at a loop that was split by numbers, or set_scope('local')",
            )
    if held:
        for buffer, indices in _accesses(stmt):
            if buffer in held:
                _require_constant(stmt, buffer, indices, loops[held[buffer] :])
    if isinstance(stmt, Extern):
        for buffer in held.keys() & {*stmt.inputs, *stmt.outputs}:
            raise LoweringError(
                f"{buffer.name} is to live in registers, and {stmt.name} takes its address", hint="set_scope('local')"
            )
    if isinstance(stmt, For):
        loops = (*loops, stmt)
    for inner in sub_stmts(stmt):
        _visit(inner, held, loops)


def _accesses(stmt: Stmt) -> list[_Access]:
    """What *stmt* itself reads and writes."""
    found = [(n.buffer, n.indices) for expr in own_exprs(stmt) for n in walk(expr) if isinstance(n, Load)]
    return [*found, (stmt.buffer, stmt.indices)] if isinstance(stmt, Store | Prefetch) else found


def _require_constant(stmt: Stmt, buffer: Buffer, indices: Sequence[Expr], loops: Sequence[For]) -> None:
    apart = next((loop for loop in loops if loop.kind is LoopKind.PARALLEL), None)
    if apart is not None:
        raise LoweringError(
            f"{buffer.name} is to live in registers, and the turns of the parallel loop {apart.var.name!r} share it",
            shown=nest_text(stmt),
            hint=f"compute it inside {apart.var.name!r}, or set_scope('local')",
        )
    lanes = [loop.var for loop in loops if loop.kind is LoopKind.VECTORIZE]
    for index in indices:
        rolled = [loop for loop in loops if loop.var not in lanes and uses(index, loop.var)]
        if rolled:
            loop = rolled[-1]
            what = (
                "tensorized, and its intrinsic takes an address" if loop.kind is LoopKind.TENSORIZE else "not unrolled"
            )
            raise LoweringError(
                f"{buffer.name} is to live in registers, and its index {index} is no constant: loop "
                f"{loop.var.name!r} is {what}",
                shown=nest_text(stmt),
                hint=f"unroll({loop.var.name!r}), splitting it first if it is long, or set_scope('local')",
            )
        if any(isinstance(node, Load) for node in walk(index)):
            raise LoweringError(
                f"{buffer.name} is to live in registers, and its index {index} is read from memory",
                shown=nest_text(stmt),
                hint="set_scope('local')",
            )
