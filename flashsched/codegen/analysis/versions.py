"""How many versions of each buffer a pipelined nest keeps: one is read while those ahead of it are filled."""

from __future__ import annotations

from flashsched.schedule.ir import For, Stmt, blocks, walk_stmt
from flashsched.schedule.pipelines import pieces_of, plan, private_to
from flashsched.schedule.state import State

__all__ = ["versions_of"]


def versions_of(state: State, root: Stmt) -> dict[str, int]:
    """By the name of a buffer how many versions lowering will make of it for *root*, where that is more than one."""
    doubled = {buffer.name for stage in state.stages.values() for buffer in stage.buffers if buffer.doubled}
    found: dict[str, int] = {}
    for loop in walk_stmt(root):
        if isinstance(loop, For) and ("pipeline" in loop.notes or (doubled and doubled & _written(loop))):
            pieces = pieces_of(loop)
            filled = {name for piece in pieces for name in piece.writes & doubled}
            read = {name for piece in pieces for name in piece.reads - piece.writes}
            wanted = loop.notes.get("pipeline", {})
            if wanted or filled & read:
                found |= plan(pieces, private_to(state, loop), wanted, sorted(filled & read)).versions
    return found


def _written(loop: For) -> set[str]:
    return {store.buffer.name for block in blocks(loop.body) for store in block.stores}
