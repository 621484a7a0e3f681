"""split: one loop becomes two."""

from __future__ import annotations

from types import MappingProxyType

from flashsched.errors import ArgumentError
from flashsched.schedule.ir import For, Stmt
from flashsched.schedule.nest import loop_ranges, path_to_loop, replace_loop, simplified, substituted
from flashsched.schedule.primitives.compute_at import rolled_anew
from flashsched.schedule.primitives.loops import renamed, require_count, require_serial, require_unmarked
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.primitives.tails import require_tail, room_for_padding, tail_body, tail_index
from flashsched.schedule.state import State, refuse
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, compare, is_const
from flashsched.te.simplify import prove, simplify

__all__ = ["split"]


@primitive(on_loops=True)
def split(
    state: State,
    stage: str,
    loop: str,
    factor: int | None = None,
    nparts: int | None = None,
    tail: str = "guard",
) -> Result:
    """Cut *loop* into an outer loop and an inner loop of *factor* turns (or into *nparts* outer turns).

    Rewrite::

        for i in range(n):     ->    for i.o in range(ceil(n / factor)):
            S                            for i.i in range(factor):
                                             S[i := i.o * factor + i.i]  where i.o * factor + i.i < n

    The condition is left out where it always holds. *tail* says what becomes of it where it does not:

    - ``"guard"``, the default: it is tested as lowering sees fit, at each point at most; always possible.
    - ``"cut"``: it is tested once a tile. Full tiles get code without conditions, the last one code of its own size.
    - ``"mask"``: it stays the mask of a vector loop, whatever else cuts the nest (in any other loop it is a guard).
    - ``"pad"``: the tail is computed as well. Memory is made larger, and holds 0 there; what a reduction writes there
      is its identity, and the tail of a loop over a reduction adds nothing.
    - ``"shift"``: ``S[i := min(i.o * factor, n - factor) + i.i]``, so the last tile is full, and overlaps with the one
      before.

    >>> from flashsched import te
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].split("i", factor=4)
    (C.i.o, C.i.i)
    >>> print(s)
    for i.o in range(3):
      for i.i in range(4):
        C(i=i.o * 4 + i.i):
          where i.o * 4 + i.i < 10
          C[i] = A[i] + 1.0

    Returns:
        The names of the outer and the inner loop.

    Raises:
        ScheduleError: *loop* is absent or not serial; neither or both of *factor* and *nparts* are given, or below 1.
        ArgumentError: there is no such *tail*, or fewer than *factor* turns to shift a tile into.
        OutputError: an output would be padded.
        StructureError: a loop would be padded that is only a part of its axis; or padded or shifted where its turns are
            no number.
        DependenceError: a reduction would be shifted, and compute some points twice.
    """
    node = state.loop(stage, loop)
    require_serial(state, node, loop, "split", f"split first, then mark '{loop}.i'")
    require_unmarked(state, node, loop, "split")
    if factor is not None and nparts is None:
        inner_turns: Expr = Const(require_count(state, "factor", factor), dtypes.INDEX)
        outer_turns = _parts(node.extent, factor)
    elif nparts is not None and factor is None:
        outer_turns = Const(require_count(state, "nparts", nparts), dtypes.INDEX)
        inner_turns = _parts(node.extent, nparts)
    else:
        refuse(
            state,
            f"give either factor or nparts, got factor={factor}, nparts={nparts}",
            error=ArgumentError,
            loop=node.var,
            hint="factor=4 makes inner loops of 4 turns, nparts=4 an outer loop of 4",
        )
    ragged = prove(compare("==", outer_turns * inner_turns, node.extent), {}) is not True
    tail = require_tail(state, stage, node, loop, tail, inner_turns, ragged=ragged)
    known = state.stage(stage)
    names = known.unused_name(f"{loop}.o"), known.unused_name(f"{loop}.i")
    outer, inner = Var(names[0]), Var(names[1])
    notes = {**node.notes, "tail": tail} if tail in ("cut", "mask") else dict(node.notes)
    around = loop_ranges(path_to_loop(state.body, node)[:-1])

    def rewrite(old: For) -> Stmt:
        step = Const(1, dtypes.INDEX) if is_const(inner_turns, 0) else inner_turns  # an empty loop: what both run over
        index = tail_index(tail, outer, inner, step, node.extent)
        body = substituted(old.body, {old.var: index})
        if ragged:
            body = tail_body(state, stage, old, body, compare("<", index, node.extent), tail)
        tiled = For(inner, inner_turns, body, notes=MappingProxyType(notes))
        whole = For(outer, outer_turns, tiled, notes=old.notes)
        return simplified(whole, around)

    state = state.with_body(replace_loop(state.body, node.var, rewrite))
    given = f"factor={factor}" if factor is not None else f"nparts={nparts}"
    step = f"split({loop!r}, {given})"
    state = renamed(state, stage, [loop], {names[0]: outer, names[1]: inner}, step, names[1])
    if tail == "pad":
        state = room_for_padding(state, stage, (outer, inner), loop)
    return rolled_anew(state, stage, names[1]), names


def _parts(turns: Expr, size: int) -> Expr:
    """How many parts of *size* turns, the last perhaps not full, *turns* are."""
    parts = (turns + (size - 1)) // size
    return parts if isinstance(parts, Const) else simplify(parts)
