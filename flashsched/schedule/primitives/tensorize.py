"""tensorize: an instruction takes the place of loops that compute what it computes."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import ArgumentError
from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.schedule.ir import For, LoopKind, Stmt, rewrite_stmt
from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.loops import require_serial
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["tensorize"]


@primitive(on_loops=True)
def tensorize(state: State, stage: str, loop: str, intrinsic: str, tail: str | None = None) -> Result:
    """Let *intrinsic* do what *loop* does, all loops inside included.

    The nest stays as it is, which is what the loop means; the machine code calls the intrinsic's instructions. The
    loops are matched with what the intrinsic computes: the extents (in any order of the loops), the store, the dtypes,
    and the places in memory up to strides and the first element. This is asked again after each later step.

    A reduction's init is done before the loop: by the intrinsic's ``reset``, or by plain loops. Where the whole
    reduction is inside and the intrinsic has a ``body``, that does both.

    An intrinsic computes whole tiles. Where a tile may be ragged, the tail is cut (`split`'s ``tail="cut"``, or here
    for a stage whose tile is cut by its reader): full tiles are done by the intrinsic, the last one by plain loops.

    >>> from flashsched import te
    >>> A = te.placeholder((32,), name="A")
    >>> B = te.placeholder((8, 32), name="B")
    >>> k = te.reduce_axis((0, 8), name="k")
    >>> C = te.compute((32,), lambda j: te.sum(A[k] * B[k, j], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> jo, ji = s[C].split("j", factor=16)
    >>> s[C].reorder(jo, "k", ji)
    >>> s[C].tensorize(ji, "x86.fma.f32x16")
    >>> print(s)
    for j.o in range(2):
      for k in range(8):
        for j.i in range(16):  # tensorize, intrinsic=x86.fma.f32x16
          C(j=j.o * 16 + j.i, k=k):  # reduces k
            init C[j] = 0.0
            C[j] = C[j] + A[k] * B[k, j]

    Raises:
        UnknownNameError: there is no such loop or intrinsic.
        MatchError: the loops compute something else, or lie in memory as the instruction can't take it; the message
            shows the first difference.
        StructureError: *loop* has a kind already, or one inside it has; it holds another computation.
        DependenceError: there is a condition in it that is no tail to be cut.
    """
    node = state.loop(stage, loop)
    find_intrinsic(intrinsic)
    require_serial(state, node, loop, "tensorized", "a loop has one kind; split it to give each part its own")
    notes = MappingProxyType({**node.notes, "intrinsic": intrinsic})
    if tail not in (None, "cut"):
        refuse(state, f"no tail strategy {tail!r} of a tensorized loop", error=ArgumentError, hint="tail='cut'")

    def change(old: For) -> Stmt:
        whole = replace(old, kind=LoopKind.TENSORIZE, notes=notes)
        return rewrite_stmt(whole, _cut) if tail == "cut" else whole

    return state.with_body(replace_loop(state.body, node.var, change)), ()


def _cut(node: Stmt) -> Stmt | None:
    if not isinstance(node, For):
        return None
    return replace(node, notes=MappingProxyType({**node.notes, "tail": "cut"}))
