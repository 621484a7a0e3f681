"""Memory for the buffers of a nest: on the stack, where LLVM can make registers of it, or from the heap.

Scopes other than a GPU's mean nothing to a CPU, so size alone decides. A buffer that is allocated inside a vectorized
loop exists once a turn, hence once a lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from flashsched.codegen.emit_code import Value, clean_name, literal
from flashsched.codegen.emit_state import Slot, State
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Buffer, For, LoopKind, Stmt, walk_stmt
from flashsched.te import dtypes
from flashsched.te.expr import Expr
from flashsched.te.sizes import Size, extent_expr

__all__ = ["MAX_STACK_BUFFER", "Storage", "buffer_notes", "byte_size", "heap_allocations", "may_lack_memory"]

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

MAX_STACK_BUFFER = 64 * 1024
"""Largest buffer, in bytes, that is kept on the stack."""

_TOO_MUCH = 1 << 62  # bytes that no machine has: what a size that does not fit counts as
_MOST_LANES = 256  # turns of a vectorized loop that may run at once

_MAX_STACK = 512 * 1024  # bytes of all buffers of a function; a worker thread's stack has several MB

_ZEROED = 4096
"""Buffers up to this size, in bytes, begin as zeros: lanes of a register tile that a mask never sets would else hold
what was there before, and arithmetic on denormal numbers is a hundred times slower. A tile without masks pays nothing,
since LLVM sees that it is overwritten; a row in memory, which it does not see, is zeroed where a mask keeps lanes of
it."""


def byte_size(buffer: Buffer) -> int | None:
    """Bytes from the first to the end of the last element; None where that depends on a size."""
    last = 0
    for extent, stride in zip(buffer.shape, buffer.element_strides, strict=True):
        if isinstance(extent, int) and extent == 0:
            return 0
        if not isinstance(extent, int) or not isinstance(stride, int):
            return None
        last += (extent - 1) * stride
    return (last + 1) * (dtypes.bits(buffer.dtype) // 8)


def may_lack_memory(body: Stmt) -> bool:
    """Whether code for *body* may ask the heap for memory, and so be refused."""
    in_lanes = {
        id(inner)
        for loop in walk_stmt(body)
        if isinstance(loop, For) and loop.kind is LoopKind.VECTORIZE
        for inner in walk_stmt(loop.body)
    }
    total = 0
    for node in walk_stmt(body):
        if isinstance(node, Alloc):
            size = byte_size(node.buffer)
            most = None if size is None else size * (_MOST_LANES if id(node) in in_lanes else 1)
            if most is None or most > MAX_STACK_BUFFER:
                return True
            total += most
    return total > _MAX_STACK


def buffer_notes(buffer: Buffer, alignment: int, written: bool) -> str:
    """What LLVM may believe of a pointer to *buffer*: nothing else points there, and how much is readable."""
    notes = ["noalias", f"align {alignment}"]
    if not written:
        notes.insert(1, "readonly")
    size = byte_size(buffer)
    if size and all(isinstance(stride, int) and stride >= 0 for stride in buffer.element_strides):
        notes.append(f"dereferenceable({size})")
    return " ".join(notes)


def _on_stack(buffer: Buffer) -> bool:
    size = byte_size(buffer)
    return size is not None and size <= MAX_STACK_BUFFER


def heap_allocations(body: Stmt) -> list[Buffer]:
    """The buffers too large for the stack that *body* allocates in this function, once a turn of it."""
    return [node.buffer for node in _own_statements(body) if isinstance(node, Alloc) and not _on_stack(node.buffer)]


def _own_statements(stmt: Stmt) -> Iterator[Stmt]:
    """All in *stmt* but what becomes another function, or exists once a lane."""
    skipped: set[int] = set()
    for node in walk_stmt(stmt):
        if id(node) in skipped:
            continue
        if isinstance(node, For) and node.kind in (LoopKind.PARALLEL, LoopKind.VECTORIZE):
            skipped.update(id(inner) for inner in walk_stmt(node))
            continue
        yield node


class Storage:
    """Gives the buffers of one function their memory.

    Args:
        state: where code is written; each buffer's slot is entered there for as long as it exists.
        evaluate: gives the value of an expression of sizes.
        give_up: writes how the function ends where memory is not to be had, given the bytes that were asked for.
    """

    def __init__(self, state: State, evaluate: Callable[[Expr], Value], give_up: Callable[[Value], None]) -> None:
        self._state = state
        self._evaluate = evaluate
        self._give_up = give_up
        self._on_stack = 0
        self._on_heap: list[str] = []  # pointers to what must be freed before the function ends

    def free_all(self) -> None:
        """Give back what is allocated on the heap at this point, because the function ends here."""
        for pointer in self._on_heap:
            self._state.code.line(f"call void @free(ptr {pointer})")

    @contextmanager
    def hoisted(self, buffers: Sequence[Buffer]) -> Iterator[None]:
        """A stretch for which *buffers* have memory, wherever in it they are allocated."""
        with ExitStack() as stack:
            for buffer in buffers:
                stack.enter_context(self.allocated(buffer))
            yield

    @contextmanager
    def allocated(self, buffer: Buffer) -> Iterator[None]:
        """A stretch for which *buffer* has memory.

        Raises:
            LoweringError: it has negative strides.
        """
        state, code = self._state, self._state.code
        if buffer in state.slots:
            yield
            return
        if any(isinstance(stride, int) and stride < 0 for stride in buffer.element_strides):
            raise LoweringError(f"buffer {buffer.name!r} is allocated with negative strides {buffer.element_strides}")
        copies = 1 if state.lanes is None else state.lanes.width
        known, hint = byte_size(buffer), clean_name(buffer.name)
        size = None if known is None else known * copies
        notes = f"noalias align {ALIGNMENT}" + (f" dereferenceable({size})" if size else "")
        fits = size is not None and self._on_stack + size <= _MAX_STACK and size <= MAX_STACK_BUFFER
        if size is not None and fits:
            self._on_stack += size
            pointer = code.stack(-(-size // ALIGNMENT) * ALIGNMENT, hint)
            zeros = code.reserve()
        else:
            pointer = self._from_heap(self._room(buffer, size, copies), hint)
            self._on_heap.append(pointer)
        state.slots[buffer] = Slot(pointer, ALIGNMENT, private=True, copies=copies, notes=notes)
        yield
        del state.slots[buffer]
        if size is not None and fits and size <= _ZEROED and (buffer.scope != "global" or buffer in state.kept):
            code.module.declare("llvm.memset.p0.i64", "void", ["ptr", "i8", "i64", "i1"])
            memset = f"ptr align {ALIGNMENT} {pointer}, i8 0, i64 {size}, i1 false"
            code.fill(zeros, f"call void @llvm.memset.p0.i64({memset})")
        state.kept.discard(buffer)
        if not fits:
            self._on_heap.remove(pointer)
            code.line(f"call void @free(ptr {pointer})")

    def _room(self, buffer: Buffer, size: int | None, copies: int) -> Value:
        """Bytes to ask for: a multiple of the alignment, as C11 wants, and never 0, for which NULL may come."""
        if size is not None:
            return literal(max(-(-size // ALIGNMENT), 1) * ALIGNMENT, "i64")
        code = self._state.code
        parts: list[Size] = list(buffer.shape) if buffer.strides is None else [buffer.shape[0], buffer.strides[0]]
        total = literal(copies * dtypes.bits(buffer.dtype) // 8, "i64")
        for part in parts:
            count = self._evaluate(extent_expr(part))
            count = count if count.is_literal else code.intrinsic("smax", count, literal(0, "i64"))
            name = "llvm.umul.with.overflow.i64"
            code.module.declare(name, "{ i64, i1 }", ["i64", "i64"])
            both = code.make(f"call {{ i64, i1 }} @{name}(i64 {total.text}, i64 {count.text})", "{ i64, i1 }")
            product = code.make(f"extractvalue {both.type} {both.text}, 0", "i64")
            over = code.make(f"extractvalue {both.type} {both.text}, 1", "i1")
            total = code.select(over, literal(_TOO_MUCH, "i64"), product)
        total = code.intrinsic("umin", total, literal(_TOO_MUCH, "i64"))
        total = code.op("add", total, literal(ALIGNMENT - 1, "i64"))
        total = code.op("and", total, literal(-ALIGNMENT, "i64"))
        return code.intrinsic("umax", total, literal(ALIGNMENT, "i64"))

    def _from_heap(self, room: Value, hint: str) -> str:
        """A pointer to that many bytes; where there are none, what is held is freed, and the function gives up."""
        code, size_t = self._state.code, f"i{self._state.code.module.target.pointer_bits}"
        code.module.declare("aligned_alloc", "noalias ptr", [size_t, size_t], "nounwind")
        code.module.declare("free", "void", ["ptr"], "nounwind")
        asked = room
        if size_t != "i64":  # what does not fit is more than can be had, and so is the most that fits
            most = code.intrinsic("umin", room, literal((1 << 32) - ALIGNMENT, "i64"))
            asked = code.convert("trunc", most, size_t)
        made = f"call noalias align {ALIGNMENT} ptr @aligned_alloc({size_t} {ALIGNMENT}, {size_t} {asked.text})"
        pointer = code.make(made, "ptr", 1, hint)
        lacking, there = code.fresh("lacking"), code.fresh("there")
        none = code.make(f"icmp eq ptr {pointer.text}, null", "i1")
        code.line(f"br i1 {none.text}, label %{lacking}, label %{there}")
        with code.branch():
            code.enter(lacking)
            self.give_up(room)
        code.enter(there)
        return pointer.text

    def give_up(self, room: Value) -> None:
        """Free what this function holds, and end it; *room* bytes were not to be had."""
        self.free_all()
        self._give_up(room)
