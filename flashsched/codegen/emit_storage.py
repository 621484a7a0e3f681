"""Memory for the buffers of a nest: on the stack, where LLVM can make registers of it, or from the heap.

Scopes other than a GPU's mean nothing to a CPU, so size alone decides. A buffer that is allocated inside a vectorized
loop exists once a turn, hence once a lane.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from flashsched.codegen.emit_code import clean_name
from flashsched.codegen.emit_state import Slot, State
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Buffer, For, LoopKind, Stmt, walk_stmt
from flashsched.te import dtypes

__all__ = ["MAX_STACK_BUFFER", "Storage", "buffer_notes", "byte_size", "heap_allocations"]

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

MAX_STACK_BUFFER = 64 * 1024
"""Largest buffer, in bytes, that is kept on the stack."""

_MAX_STACK = 512 * 1024  # bytes of all buffers of a function; a worker thread's stack has several MB

_ZEROED = 4096
"""Buffers up to this size, in bytes, begin as zeros: lanes of a register tile that a mask never sets would else hold
what was there before, and arithmetic on denormal numbers is a hundred times slower. A tile without masks pays nothing,
since LLVM sees that it is overwritten."""


def byte_size(buffer: Buffer) -> int:
    """Bytes from the first to the end of the last element."""
    if 0 in buffer.shape:
        return 0
    last = sum((extent - 1) * stride for extent, stride in zip(buffer.shape, buffer.element_strides, strict=True))
    return (last + 1) * (dtypes.bits(buffer.dtype) // 8)


def buffer_notes(buffer: Buffer, alignment: int, written: bool) -> str:
    """What LLVM may believe of a pointer to *buffer*: nothing else points there, and how much is readable."""
    notes = ["noalias", f"align {alignment}"]
    if not written:
        notes.insert(1, "readonly")
    size = byte_size(buffer)
    if size > 0 and all(stride >= 0 for stride in buffer.element_strides):
        notes.append(f"dereferenceable({size})")
    return " ".join(notes)


def _on_stack(buffer: Buffer) -> bool:
    return byte_size(buffer) <= MAX_STACK_BUFFER


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
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._on_stack = 0
        self._on_heap: list[str] = []

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
        if any(stride < 0 for stride in buffer.element_strides):
            raise LoweringError(f"buffer {buffer.name!r} is allocated with negative strides {buffer.element_strides}")
        copies = 1 if state.lanes is None else state.lanes.width
        size, hint = byte_size(buffer) * copies, clean_name(buffer.name)
        fits = self._on_stack + size <= _MAX_STACK and size <= MAX_STACK_BUFFER
        notes = f"noalias align {ALIGNMENT}" + (f" dereferenceable({size})" if size else "")
        if fits:
            self._on_stack += size
            pointer = code.stack(size, hint)
            if size <= _ZEROED:
                code.module.declare("llvm.memset.p0.i64", "void", ["ptr", "i8", "i64", "i1"])
                code.line(f"call void @llvm.memset.p0.i64(ptr align {ALIGNMENT} {pointer}, i8 0, i64 {size}, i1 false)")
        else:
            room = math.ceil(size / ALIGNMENT) * ALIGNMENT  # C11 wants a multiple
            code.module.declare("aligned_alloc", "noalias ptr", ["i64", "i64"], "nounwind")
            code.module.declare("free", "void", ["ptr"], "nounwind")
            made = f"call noalias align {ALIGNMENT} ptr @aligned_alloc(i64 {ALIGNMENT}, i64 {room})"
            pointer = code.make(made, "ptr", 1, hint).text
            self._on_heap.append(pointer)
        state.slots[buffer] = Slot(pointer, ALIGNMENT, private=True, copies=copies, notes=notes)
        yield
        del state.slots[buffer]
        if not fits:
            self._on_heap.remove(pointer)
            code.line(f"call void @free(ptr {pointer})")
