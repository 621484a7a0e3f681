"""cache_write: a stage computes into a buffer nearer to it, and is copied out."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import StructureError
from flashsched.schedule.default import root_nest
from flashsched.schedule.derive import derive, detached
from flashsched.schedule.ir import Buffer, Iter, Load, Store
from flashsched.schedule.nest import insert_before_reader
from flashsched.schedule.primitives.cache_read import require_scope, unused_stage
from flashsched.schedule.primitives.loops import require_whole
from flashsched.schedule.primitives.opaque import require_te
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import recurrent, require_unscanned
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te.expr import Expr, Var
from flashsched.te.tensor import Axis, AxisKind, ComputeOp, Read, Reduce
from flashsched.te.visit import rewrite, substitute

__all__ = ["cache_write", "operation_over", "taken_over"]


@primitive()
def cache_write(state: State, stage: str, scope: str) -> Result:
    """Let a new stage in *scope* do what *stage* does, and let *stage* only copy its result.

    Rewrite::

        for i: for k: C[i] += A[i, k]    ->    for i: for k: C.local[i] += A[i, k]
                                               for i: C[i] = C.local[i]

    A reduction moves to the new stage with its axes: handles of them are to be taken from it.

    >>> from flashsched import te
    >>> A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> C = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> s.cache_write(C, "local")
    Tensor(C.local, shape=[4], float32)
    >>> print(s)
    for i in range(4):
      for k in range(6):
        C.local(i=i, k=k):  # reduces k
          init C.local[i] = 0.0
          C.local[i] = C.local[i] + A[i, k]
    for i in range(4):
      C(i=i):
        C[i] = C.local[i]

    Returns:
        The name of the new stage. Compute it at a loop of *stage*, so that a tile is finished before it is copied.

    Raises:
        ScheduleError: *stage* has been scheduled already, or there is no such scope.
    """
    require_scope(state, scope)
    return taken_over(state, stage, "cache_write", scope, f"{stage}.{scope}")


def taken_over(state: State, stage: str, step: str, scope: str, wish: str) -> Result:
    """What `cache_write` does, for *step*; the new stage is called *wish*, numbered where there is one."""
    known = state.stage(stage)
    require_te(state, known, "computed elsewhere")
    require_unscanned(state, known, "computed elsewhere")
    require_whole(state, known, step)
    recurs = recurrent(state, stage)
    if known.steps or (known.attach is not None and not recurs) or state.attached_to(stage):
        done = known.steps[0].text() if known.steps else "compute_at"
        refuse(
            state,
            f"{stage!r} was scheduled already ({done}), and {step} would throw that away",
            error=StructureError,
            block=stage,
            hint=f"call {step} first, then schedule both stages",
        )
    name = unused_stage(state, wish)
    producer = _moved(known, name, scope)
    copy_iters = tuple(item for item in known.block.iters if item.kind is AxisKind.SPATIAL)
    where = tuple(item.var for item in copy_iters)
    stores = tuple(
        Store(out, where, Load(inner, where)) for out, inner in zip(known.buffers, producer.buffers, strict=True)
    )
    copier = replace(known, block=replace(known.block, iters=copy_iters, stores=stores, init=()))
    if recurs:  # both stand where a stage of a recurrence begins, at the loop over time
        state = detached(state, stage).with_stage(replace(producer, attach=known.attach), before=stage)
        return derive(derive(state.with_stage(copier), stage), name), (name,)
    copy_nest, fresh = root_nest(copier)
    moved = {
        axis: f"cache_write({scope!r})" if step == "cache_write" else step
        for axis in known.loops
        if axis not in fresh.loops
    }
    fresh = replace(fresh, gone=MappingProxyType({**known.gone, **moved}))
    body = insert_before_reader(detached(state, stage).body, copy_nest, known.buffers)
    inner_nest, producer = root_nest(producer)
    body = insert_before_reader(body, inner_nest, producer.buffers)
    state = state.with_body(body).with_stage(producer, before=stage).with_stage(fresh)
    return state, (name,)


def _moved(stage: Stage, name: str, scope: str) -> Stage:
    """The stage that does what *stage* does, into buffers of its own and with axes of its own."""
    axes: dict[Var, Expr] = {
        axis: Axis(axis.name, axis.dtype, axis.extent, axis.kind, axis.begin) for axis in stage.axes
    }
    buffers = {old: Buffer(old.name.replace(stage.name, name, 1), old.shape, old.dtype, scope) for old in stage.buffers}

    def to_own(node: Expr) -> Expr | None:
        if isinstance(node, Load) and node.buffer in buffers:
            return Load(buffers[node.buffer], node.indices)
        return None

    def expr(value: Expr) -> Expr:
        return substitute(rewrite(value, to_own), axes)

    def store(old: Store) -> Store:
        return Store(buffers[old.buffer], tuple(expr(i) for i in old.indices), expr(old.value))

    iters = []
    for item in stage.block.iters:
        var = axes[item.var]
        assert isinstance(var, Axis)
        iters.append(Iter(var, item.begin, item.extent, item.kind, var))
    block = replace(
        stage.block,
        name=name,
        iters=tuple(iters),
        stores=tuple(map(store, stage.block.stores)),
        init=tuple(map(store, stage.block.init)),
    )
    op = stage.now
    assert isinstance(op, ComputeOp), "an extern stage was refused before"
    return Stage(name, operation_over(op, name, axes), block, tuple(buffers.values()), False)


def operation_over(op: ComputeOp, name: str, axes: dict[Var, Expr]) -> ComputeOp:
    """*op* with other *axes*; a copy of its outputs, if its reduction was moved away before."""
    spatial = tuple(axis for axis in (axes[a] for a in op.axis) if isinstance(axis, Axis))
    if not all(axis in axes for axis in op.reduce_axis):
        return ComputeOp(name, spatial, tuple(Read(tensor, spatial) for tensor in op.outputs), op.where)

    def renew(value: Expr) -> Expr:
        value = substitute(value, axes)
        if isinstance(value, Reduce):
            kept = [axes[axis] for axis in value.axes]
            value = Reduce(value.reducer, value.values, tuple(a for a in kept if isinstance(a, Axis)), value.index)
        return value

    return ComputeOp(name, spatial, tuple(renew(value) for value in op.body), op.where)
