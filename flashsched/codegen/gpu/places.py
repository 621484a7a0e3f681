"""Where the memory of a kernel lies: in a thread's registers or stack, or in shared memory.

Where it is made decides, for that says who sees it: what is made inside all loops over threads is one thread's own, and
what is made outside of some of them is shared by those threads, whatever scope it was given. A warp's sums that its
lanes hold (`flashsched.codegen.passes.hold_in_lanes`) are each lane's own, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from flashsched.codegen.emit_storage import byte_size
from flashsched.codegen.passes.hold_in_lanes import lanes_of
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, For, LoopKind, Stmt, sub_stmts

__all__ = ["STATIC_SHARED", "Place", "Places", "places_of"]

STATIC_SHARED = 48 * 1024
"""Bytes of shared memory that a kernel may simply have; what needs more asks for it when it is launched
(CUDA C++ Programming Guide, "Shared Memory")."""

_ALIGNMENT = 16


@dataclass(frozen=True)
class Place:
    """Where the memory of an `Alloc` lies.

    Attributes:
        scope: ``"own"``, a thread's, or ``"shared"``.
        size: its bytes.
        offset: in the block's shared memory.
        copies: the loops over threads that each have a copy, in shared memory.
    """

    scope: str
    size: int
    offset: int = 0
    copies: tuple[For, ...] = ()


@dataclass(frozen=True)
class Places:
    """All of a kernel: by the id of an `Alloc` its place, and the bytes of shared memory that a block has."""

    of: Mapping[int, Place]
    shared_bytes: int


def places_of(kernel: Stmt, threads: Mapping[LoopKind, int]) -> Places:
    """Where memory lies in *kernel*, whose blocks have *threads* along each axis.

    No two buffers lie at one place, even if they are not in use at one time: where a barrier stands was decided by
    buffers.

    Raises:
        LoweringError: memory in the scope ``"register"`` is seen by several threads, or how much of it there is depends
            on a size.
    """
    found: dict[int, Place] = {}
    total = 0

    def visit(stmt: Stmt, own: tuple[For, ...]) -> None:
        nonlocal total
        if isinstance(stmt, For) and stmt.kind.is_thread:
            own = (stmt,) if any(loop.kind is stmt.kind for loop in own) else (*own, stmt)
        if isinstance(stmt, Alloc):
            place = _place(stmt, own, threads, total)
            if place.scope == "shared":
                room = place.size * prod(loop.turns or 1 for loop in place.copies)
                total = place.offset + -(-room // _ALIGNMENT) * _ALIGNMENT
            found[id(stmt)] = place
        for inner in sub_stmts(stmt):
            visit(inner, own)

    visit(kernel, ())
    return Places(found, total)


def _place(alloc: Alloc, own: tuple[For, ...], threads: Mapping[LoopKind, int], offset: int) -> Place:
    buffer = alloc.buffer
    size = byte_size(buffer)
    if size is None:
        raise LoweringError(
            f"how much memory {buffer.name} takes depends on a size, and a GPU's kernel has memory of known size only",
            hint="compute it at a loop that was split by numbers",
        )
    if buffer.held:
        size //= lanes_of(buffer)
    size = -(-size // _ALIGNMENT) * _ALIGNMENT
    missing = [kind.value for kind in threads if all(loop.kind is not kind for loop in own)]
    if buffer.held or (not missing and buffer.scope != "shared"):
        return Place("own", size)
    if buffer.scope == "register":
        raise LoweringError(
            f"{buffer.name} is to live in registers, and the threads of {', '.join(missing)} share it",
            hint="compute it inside the loops over threads, or set_scope('shared')",
        )
    copies = tuple(loop for kind in threads for loop in own if loop.kind is kind)
    return Place("shared", size, offset, copies)
