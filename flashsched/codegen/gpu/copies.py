"""Copies from global to shared memory that a thread begins and does not wait for (PTX ``cp.async``, sm_80).

A tile that is filled in a cooperative loop is read after a barrier, so before it a thread waits for what it has begun
of that (`flashsched.codegen.gpu.in_flight`): between the two it does something else, as it does where a buffer is
filled some turns ahead. What is copied goes through no register.
"""

from __future__ import annotations

from dataclasses import replace

from flashsched.codegen.emit_code import Code, clean_name, literal
from flashsched.codegen.emit_expr import Expressions
from flashsched.codegen.emit_state import State
from flashsched.codegen.gpu.in_flight import late_copies
from flashsched.codegen.gpu.plan import Launch
from flashsched.codegen.gpu.target import GpuArch
from flashsched.schedule.ir import Buffer, Load, Stmt, Store, stmt_exprs, walk_stmt
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Select, logical_and
from flashsched.te.visit import uses, walk

__all__ = ["LATE_COPIES_SINCE", "Copies", "moved", "with_late_copies"]

LATE_COPIES_SINCE = 80
"""The compute capability that has them first (PTX ISA manual, ``cp.async``)."""

_SIZES = (4, 8, 16)  # bytes of one copy


class Copies:
    """Which stores of a kernel are such copies, and how they are written."""

    def __init__(self, launch: Launch, arch: GpuArch) -> None:
        self._arrays = frozenset(launch.buffers)
        self._stored = {node.buffer for node in walk_stmt(launch.body) if isinstance(node, Store)}
        self._enabled = arch.is_nvidia and arch.capability >= LATE_COPIES_SINCE
        self._reads: dict[int, frozenset[Buffer]] = {}  # by the id of a loop of the kernel, which lives as long

    def suits(self, stmt: Store, loop: Stmt) -> bool:
        """Whether *stmt*, in the cooperative *loop*, may be one: an element of an array that nobody writes, as it is,
        or where it exists, and else 0.

        What the loop reads itself is read without a barrier between, so it is not copied in this way.
        """
        value, _ = moved(stmt.value)
        return (
            self._enabled
            and all(stmt.buffer is not buffer for buffer in self._read(loop))
            and stmt.buffer.scope == "shared"
            and value is not None
            and value.dtype == stmt.buffer.dtype
            and value.buffer in self._arrays
            and value.buffer not in self._stored
        )

    def _read(self, loop: Stmt) -> frozenset[Buffer]:
        if id(loop) not in self._reads:
            loads = (node for expr in stmt_exprs(loop) for node in walk(expr) if isinstance(node, Load))
            self._reads[id(loop)] = frozenset(load.buffer for load in loads)
        return self._reads[id(loop)]

    @staticmethod
    def write(stmt: Store, state: State, expressions: Expressions) -> None:
        """Write *stmt* as a copy where its bytes lie together, aligned, in both memories; else as any store.

        Where an element does not exist, nothing of it is read, and the copy is all zeros (PTX: ``src-size`` 0).
        """
        load, where = moved(stmt.value)
        assert load is not None  # it suits
        memory, code = expressions.memory, state.code
        lanes = 1 if state.lanes is None else state.lanes.width
        size = lanes * dtypes.bits(stmt.buffer.dtype) // 8
        to = memory.together(stmt.buffer, stmt.indices, lanes)
        source = memory.together(load.buffer, load.indices, lanes)
        parted = where is not None and state.lanes is not None and uses(where, state.lanes.var)
        if size not in _SIZES or state.mask is not None or parted or to is None or source is None:
            memory.store(stmt, expressions.value(stmt.value))
            return
        if to[1] % size or source[1] % size:
            memory.store(stmt, expressions.value(stmt.value))
            return
        through = "cg" if size == 16 else "ca"  # whole lines need not stay in L1, and only they can pass it by
        name = f"llvm.nvvm.cp.async.{through}.shared.global.{size}"
        types, sized = ["ptr addrspace(3)", "ptr addrspace(1)"], ""
        if where is not None:
            read = code.select(expressions.value(where), literal(size, "i32"), literal(0, "i32"))
            name, types, sized = f"{name}.s", [*types, "i32"], f", i32 {read.text}"
        code.module.declare(name, "void", types)
        near = code.make(f"addrspacecast ptr {to[0].text} to ptr addrspace(3)", "ptr", 1, clean_name(stmt.buffer.name))
        far = code.make(f"addrspacecast ptr {source[0].text} to ptr addrspace(1)", "ptr", 1, "from")
        code.line(f"call void @{name}(ptr addrspace(3) {near.text}, ptr addrspace(1) {far.text}{sized})")

    @staticmethod
    def end_group(code: Code) -> None:
        """Make a group of the copies that this thread has begun since the last one."""
        code.module.declare("llvm.nvvm.cp.async.commit.group", "void", [])
        code.line("call void @llvm.nvvm.cp.async.commit.group()")

    @staticmethod
    def wait(code: Code, under_way: int) -> None:
        """Wait for the copies that this thread has begun, all or all but its newest groups."""
        if under_way:
            code.module.declare("llvm.nvvm.cp.async.wait.group", "void", ["i32"])
            code.line(f"call void @llvm.nvvm.cp.async.wait.group(i32 {under_way})")
            return
        code.module.declare("llvm.nvvm.cp.async.wait.all", "void", [])
        code.line("call void @llvm.nvvm.cp.async.wait.all()")


def moved(value: Expr) -> tuple[Load | None, Expr | None]:
    """The element that *value* is, if it is nothing else, and the condition under which it is that, and not 0."""
    match value:
        case Load():
            return value, None
        case Select(b=Const(value=0)):
            load, where = moved(value.a)
            return load, value.condition if where is None else logical_and(value.condition, where)
        case _:
            return None, None


def with_late_copies(launch: Launch, arch: GpuArch) -> Launch:
    """*launch* with the copies that *arch* makes while its threads go on (see `flashsched.codegen.gpu.in_flight`)."""
    return replace(launch, body=late_copies(launch.body, Copies(launch, arch).suits))
