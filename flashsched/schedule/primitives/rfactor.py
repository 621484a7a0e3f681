"""rfactor: a reduction is cut in two stages, one that combines parts and one that combines what the parts gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import ArgumentError, StructureError
from flashsched.schedule.default import loop_names, new_stage
from flashsched.schedule.derive import derive
from flashsched.schedule.ir import Block, Buffer, For, Iter, Load, Store, walk_stmt
from flashsched.schedule.nest import loop_chain
from flashsched.schedule.primitives.cache_read import unused_stage
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.loops import block_of, require_whole
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import Stage, State, refuse
from flashsched.schedule.trace import Step
from flashsched.te.expr import Binary, Expr, Select, Var, logical_and
from flashsched.te.sizes import Size
from flashsched.te.tensor import Axis, AxisKind, ComputeOp, Read, Reduce, Reducer
from flashsched.te.visit import free_vars, rewrite, substitute

__all__ = ["rfactor"]


@primitive()
def rfactor(state: State, stage: str, loop: str, factor_axis: int = 0) -> Result:
    """Combine, in a new stage, what belongs to each turn of the reduction's *loop*; *stage* then combines the turns.

    Rewrite::

        for i: for k.o: for k.i:              for k.o: for i: for k.i:
            C[i] += A[i, k.o * f + k.i]  ->       C.rf[k.o, i] += A[i, k.o * f + k.i]
                                              for i: for k.o: C[i] += C.rf[k.o, i]

    In the new stage *loop* is an axis of the output, so it may be parallel or a vector. Its place among the dimensions
    is *factor_axis*. Points that a ragged split leaves out combine nothing; the loops of the new stage keep the *tail*
    of that split, so where it is cut full tiles do not compare. The result is the same up to the rounding of floats.

    Computed at the loop over the parts, the new stage keeps one part's sums: ``compute_at`` and ``set_scope("local")``
    make the tile of accumulators of a product that is blocked over k.

    >>> from flashsched import te
    >>> A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> C = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> outer, _ = s[C].split(k, factor=3)
    >>> s.rfactor(C, outer)
    Tensor(C.rf, shape=[2, 4], float32)
    >>> print(s)
    for k.o in range(2):
      for i in range(4):
        for k.i in range(3):
          C.rf(k.o=k.o, i=i, k.i=k.i):  # reduces k.i
            init C.rf[k.o, i] = 0.0
            C.rf[k.o, i] = C.rf[k.o, i] + A[i, k.o * 3 + k.i]
    for i in range(4):
      for k.o in range(2):
        C(i=i, k.o=k.o):  # reduces k.o
          init C[i] = 0.0
          C[i] = C[i] + C.rf[k.o, i]

    Args:
        state: the schedule's state.
        stage: the reduction.
        loop: the loop over the reduction that becomes an axis.
        factor_axis: its place among the dimensions of the new tensor; -1 is the last.

    Returns:
        The name of the new stage. The steps that *stage* took on its output's loops are kept.

    Raises:
        ScheduleError: *stage* is no reduction, or *loop* does not run over it; there is no such *factor_axis*; another
            stage is computed at one of its loops; one of its steps can't be kept; its padding has a stated value.
    """
    known = state.stage(stage)
    node = state.loop(stage, loop)
    require_whole(state, known, "rfactor")
    rank = len(known.spatial)
    reducing = _reducing(known)
    if loop not in reducing:
        refuse(
            state,
            f"loop {loop!r} does not run over a reduction, and rfactor makes parts of a reduction",
            error=StructureError,
            loop=node.var,
            hint="name a loop over one of the reduce axes: s[C].op.reduce_axis, or what split made of it",
        )
    if not -rank - 1 <= factor_axis <= rank:
        refuse(
            state,
            f"factor_axis {factor_axis} is no place among the {rank + 1} dimensions of the new tensor",
            error=ArgumentError,
            hint=f"use {-rank - 1} to {rank}",
        )
    held = state.attached_to(stage)
    if held:
        refuse(
            state,
            f"stage {held[0].name!r} is computed at a loop of {stage!r}, and the new stage would read it elsewhere",
            error=StructureError,
            block=stage,
            hint=f"call rfactor before {held[0].name}.compute_at, and compute it at a loop of the new stage",
        )
    if any(free_vars(store.value) for store in known.block.init):
        refuse(
            state,
            f"{stage!r} states what its padding holds, and the sum of parts that each hold it would be something else",
            error=StructureError,
            block=stage,
            hint="call rfactor before transform_layout(pad_value=...)",
        )
    place = factor_axis % (rank + 1)
    names = {var: name for name, var in known.loops.items()}
    chain = loop_chain(state.body, stage, known.loops)
    others = [n for n in chain if n is not node and names[n.var] in reducing]
    parts = _parts(state, known, node, {n.var: names[n.var] for n in others}, others, place)
    mine, theirs = _shared_out(state, known, loop, {names[n.var] for n in others})
    theirs = tuple(replace(step, stage=parts.name) for step in theirs)
    state = state.with_stage(replace(parts, steps=theirs, attach=known.attach), before=stage)
    state = derive(state.with_stage(replace(_combined(known, parts, place), steps=mine)), stage)
    state = _in_order(state, stage, [names[n.var] for n in chain if n not in others])
    return moved(state, parts.name, known.attach), (parts.name,)


def _parts(state: State, known: Stage, node: For, names: Mapping[Var, str], others: list[For], place: int) -> Stage:
    """The stage that combines the points of each turn of *node*: its axes are those of *known*, *node* and *others*."""
    name = unused_stage(state, f"{known.name}.rf")
    axes: list[Axis] = [Axis(a.name, a.dtype, a.extent, a.kind, a.begin) for a in known.spatial]
    part = Axis(node.var.name, node.var.dtype, _extent(node))
    inner = {n.var: Axis(names[n.var], n.var.dtype, _extent(n), AxisKind.REDUCE) for n in others}
    bound = block_of(state, known.name)
    loops: dict[Var, Expr] = {node.var: part, **inner}
    values: dict[Var, Expr] = dict(zip(known.spatial, axes, strict=True))
    values |= {item.var: substitute(item.value, loops) for item in bound.iters if item.kind is AxisKind.REDUCE}
    given = (*bound.where, *bound.within)  # padding combines nothing
    conditions = [substitute(w, loops) for w in given if free_vars(w) & loops.keys()]
    left = {n.var for n in walk_stmt(state.body) if isinstance(n, For)}  # loops that are no part of the reduction
    if any(free_vars(w) & left for w in conditions):
        refuse(
            state,
            f"a condition of {known.name!r} speaks of its output and of its reduction at once",
            error=StructureError,
            block=known.name,
            hint="call rfactor before the steps that made it",
        )
    axes.insert(place, part)
    where = tuple(axes)
    shape = tuple(axis.extent for axis in axes)
    buffers = {b: Buffer(b.name.replace(known.name, name, 1), shape, b.dtype) for b in known.buffers}
    starts = {store.buffer: store.value for store in known.block.init}

    def own(expr: Expr) -> Expr:
        """*expr* in the axes of the parts; where nothing is left to combine, of what each point begins with."""

        def change(found: Expr) -> Expr | None:
            if not isinstance(found, Load) or found.buffer not in buffers:
                return None
            return Load(buffers[found.buffer], where) if others else starts[found.buffer]

        return substitute(rewrite(expr, change), values)

    def store(old: Store) -> Store:
        value = own(old.value if others else _alone(known, old.value))
        if conditions:
            value = Select(logical_and(*conditions), value, own(Load(old.buffer, old.indices)))
        return Store(buffers[old.buffer], where, value)

    iters = tuple(Iter(axis, axis.begin, axis.extent, axis.kind, axis) for axis in (*axes, *inner.values()))
    init = tuple(Store(buffers[b], where, start) for b, start in starts.items()) if others else ()
    block = Block(name, iters, tuple(map(store, known.block.stores)), init)
    whole = known.now
    assert isinstance(whole, ComputeOp), "an extern stage has no loops"
    op = _operation(whole, name, where, tuple(inner.values()), values, conditions)
    made = {part: node, **dict(zip(inner.values(), others, strict=True))}
    tails = {axis: loop.notes["tail"] for axis, loop in made.items() if "tail" in loop.notes}
    return Stage(name, op, block, tuple(buffers.values()), False, tails=MappingProxyType(tails))


def _alone(known: Stage, value: Expr) -> Expr:
    """The *value* of a store of *known* where just one point is combined: what is combined, where it can be told."""
    if len(known.buffers) == 1 and isinstance(value, Binary) and isinstance(value.a, Load):
        return value.b if value.a.buffer is known.buffers[0] else value
    return value


def _operation(
    op: ComputeOp,
    name: str,
    axes: tuple[Axis, ...],
    inner: tuple[Axis, ...],
    values: Mapping[Var, Expr],
    conditions: Sequence[Expr],
) -> ComputeOp:
    """The operation of the parts, for its axes and its tensors."""
    whole = op.reduction
    assert whole is not None
    terms = tuple(substitute(value, values) for value in whole.values)
    if conditions:
        test = logical_and(*conditions)
        terms = tuple(Select(test, t, i) for t, i in zip(terms, whole.reducer.identity, strict=True))
    return ComputeOp(name, axes, _reduced(whole.reducer, terms, inner) if inner else terms, op.where)


def _reduced(reducer: Reducer, terms: tuple[Expr, ...], axes: tuple[Axis, ...]) -> tuple[Expr, ...]:
    return tuple(Reduce(reducer, terms, axes, number) for number in range(len(terms)))


def _combined(known: Stage, parts: Stage, place: int) -> Stage:
    """*known* as the stage that combines *parts*, over one reduce axis."""
    whole = known.now.reduction
    assert whole is not None
    old = parts.spatial[place]
    axis = Axis(old.name, old.dtype, old.extent, AxisKind.REDUCE)
    indices: list[Expr] = list(known.spatial)
    indices.insert(place, axis)
    terms = tuple(Read(tensor, tuple(indices)) for tensor in parts.op.outputs)
    op = ComputeOp(known.name, known.spatial, _reduced(whole.reducer, terms, (axis,)), known.op.where)
    read = {id(tensor): buffer for tensor, buffer in zip(parts.op.outputs, parts.buffers, strict=True)}
    block = new_stage(known.name, op, read, outs=known.buffers).block
    gone = {**known.gone, **dict.fromkeys(known.loops, "rfactor")}  # names that the steps it keeps are not to take
    return replace(known, remade=op, block=block, gone=MappingProxyType(gone))


def _reducing(known: Stage) -> set[str]:
    """The loops of *known*, alive or not, that are over its reduction or were made of one that is."""
    found = {n for n, axis in zip(loop_names(known.axes), known.axes, strict=True) if axis.kind is AxisKind.REDUCE}
    for step in known.steps:
        if _names(step) & found:
            found |= set(step.out)
    return found


def _shared_out(state: State, known: Stage, loop: str, others: set[str]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The steps of *known* that it keeps, and those that the stage of the parts takes on."""
    reducing = _reducing(known)
    above = {loop}  # the loop, and those that it was made of
    for step in reversed(known.steps):
        if above & set(step.out):
            above |= _names(step)
    mine: list[Step] = []
    theirs: list[Step] = []
    for step in known.steps:
        named = _names(step)
        if not named & reducing or (named == {loop} and not step.out):
            mine.append(step)
        elif step.primitive == "reorder":  # the loops of the reduction are one from now on
            order = [loop if name in above else name for name in step.args["loops"] if name not in reducing - above]
            mine.append(replace(step, args={"loops": list(dict.fromkeys(order))}))
        elif named <= others and not step.out:
            theirs.append(step)
        elif not named <= reducing:
            refuse(
                state,
                f"{step.text()} of {known.name!r} is about its output and its reduction at once, and can't be kept",
                error=StructureError,
                block=known.name,
                hint="call rfactor before that step",
            )
    return tuple(mine), tuple(theirs)


def _names(step: Step) -> set[str]:
    """The loops that *step* names."""
    return {step.args["loop"]} if "loop" in step.args else set(step.args.get("loops", ()))


def _in_order(state: State, stage: str, wanted: list[str]) -> State:
    """*state* with the loops of *stage* in the order *wanted*."""
    known = state.stages[stage]
    names = {var: name for name, var in known.loops.items()}
    if [names[n.var] for n in loop_chain(state.body, stage, known.loops)] == wanted:
        return state
    last = Step("reorder", stage, {"loops": wanted})
    return derive(state.with_stage(replace(known, steps=(*known.steps, last))), stage)


def _extent(node: For) -> Size:
    return node.extent if node.turns is None else node.turns
