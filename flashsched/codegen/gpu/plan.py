"""The kernels of a lowered program, and what the host does: loops, conditions, memory and launches around them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flashsched.codegen.passes.place_barriers import each_kernel
from flashsched.codegen.passes.thread_units import threads_of
from flashsched.errors import LoweringError
from flashsched.schedule.facts import buffers_in
from flashsched.schedule.ir import Alloc, Buffer, Extern, For, Let, LoopKind, Stmt, stmt_exprs, walk_stmt
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Compare, Const, Expr, Not, Select, Var
from flashsched.te.sizes import sizes_in
from flashsched.te.visit import free_vars

__all__ = ["Launch", "Plan", "host_value", "plan_of"]

_BLOCKS = (LoopKind.BLOCK_X, LoopKind.BLOCK_Y, LoopKind.BLOCK_Z)
_THREADS = (LoopKind.THREAD_X, LoopKind.THREAD_Y, LoopKind.THREAD_Z)


_OPS: Final[dict[str, Callable[[int, int], Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
    "min": min, "max": max, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Launch(Stmt):
    """Run a kernel on a grid of blocks, and wait for it before what comes after.

    Attributes:
        name: of the kernel, for LLVM.
        body: what it does, its loops over blocks and threads included.
        grid: blocks along x, y and z, in terms of sizes and of the loops around the launch.
        block: threads along x, y and z.
        buffers: what it is passed.
        scalars: sizes and variables that it is passed, as int64.
    """

    name: str
    body: Stmt
    grid: tuple[Expr, ...]
    block: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    scalars: tuple[Var, ...]

    @property
    def threads(self) -> dict[LoopKind, int]:
        """Threads along each axis that has more than one."""
        return {kind: turns for kind, turns in zip(_THREADS, self.block, strict=True) if turns > 1}


@dataclass(frozen=True)
class Plan:
    """What the host runs: *body* is a nest whose innermost statements are launches, which *launches* lists."""

    program: Program
    body: Stmt
    launches: tuple[Launch, ...]


def plan_of(program: Program, name: str) -> Plan:
    """The plan of *program*, lowered for a GPU.

    Raises:
        LoweringError: memory for several kernels is in a scope of blocks or threads; a Python function stands in it.
    """
    launches: list[Launch] = []
    scalars = program.scalars

    def launch(kernel: Stmt) -> Stmt:
        # conditions may stand between the loops over blocks by now, which stood directly in one another
        bound = [node for node in walk_stmt(kernel) if isinstance(node, For) and node.kind.is_block]
        grid = {loop.kind: loop.extent for loop in bound}
        call = next((node for node in walk_stmt(kernel) if isinstance(node, Extern)), None)
        if call is not None:
            raise LoweringError(f"extern stage {call.name!r} is a Python function, which no GPU runs")
        made = {node.buffer for node in walk_stmt(kernel) if isinstance(node, Alloc)}
        used = [buffer for buffer in order if buffer in buffers_in(kernel) and buffer not in made]
        threads = threads_of(kernel)
        found = Launch(
            name if not launches else f"{name}_{len(launches)}",
            kernel,
            tuple(grid.get(kind, Const(1, dtypes.INDEX)) for kind in _BLOCKS),
            tuple(threads.get(kind, 1) for kind in _THREADS),
            tuple(used),
            _passed(kernel, used, scalars),
        )
        launches.append(found)
        return found

    order = [*program.params, *program.outputs, *_apart(program.body)]
    return Plan(program, each_kernel(program.body, launch), tuple(launches))


def _apart(body: Stmt) -> list[Buffer]:
    """Memory that several kernels use, which is the device's."""
    found: list[Buffer] = []

    kernels: list[Stmt] = []

    def keep(kernel: Stmt) -> Stmt:
        kernels.append(kernel)
        return kernel

    each_kernel(body, keep)
    inside = {id(node) for kernel in kernels for node in walk_stmt(kernel)}
    for node in walk_stmt(body):
        if isinstance(node, Alloc) and id(node) not in inside:
            if node.buffer.scope != "global":
                raise LoweringError(
                    f"{node.buffer.name} is in {node.buffer.scope} memory, and several kernels use it",
                    hint="compute it at a loop that is bound to blocks, or set_scope('global')",
                )
            found.append(node.buffer)
    return found


def _passed(kernel: Stmt, buffers: Sequence[Buffer], known: Sequence[Var]) -> tuple[Var, ...]:
    """The variables that *kernel* speaks of and does not make: sizes first, in the program's order."""
    made = {node.var for node in walk_stmt(kernel) if isinstance(node, For | Let)}
    spoken: dict[Var, None] = {}
    for expr in stmt_exprs(kernel):
        spoken |= dict.fromkeys(sorted(free_vars(expr), key=lambda var: var.name))
    for buffer in buffers:
        for size in (*buffer.shape, *buffer.element_strides):
            if not isinstance(size, int):
                spoken |= dict.fromkeys(sizes_in((size,)))
                spoken |= dict.fromkeys(sorted(free_vars(size), key=lambda var: var.name))
    first = [var for var in known if var in spoken]
    return (*first, *(var for var in spoken if var not in first and var not in made))


def host_value(expr: Expr, env: Mapping[Var, int]) -> int:
    """What index arithmetic is, given the sizes and the loops of the host.

    Raises:
        LoweringError: it reads memory, which is the device's.
    """
    match expr:
        case Const():
            return int(expr.value)
        case Var():
            return env[expr]
        case Binary(op="and"):
            return int(bool(host_value(expr.a, env)) and bool(host_value(expr.b, env)))
        case Binary(op="or"):
            return int(bool(host_value(expr.a, env)) or bool(host_value(expr.b, env)))
        case Binary() | Compare() if expr.op in _OPS:
            return int(_OPS[expr.op](host_value(expr.a, env), host_value(expr.b, env)))
        case Not():
            return int(not host_value(expr.value, env))
        case Select():
            return host_value(expr.a if host_value(expr.condition, env) else expr.b, env)
        case _:
            raise LoweringError(
                f"how kernels are launched depends on {expr}, which is computed on the device",
                hint="bind the loops around it to blocks, so that a kernel decides it",
            )
