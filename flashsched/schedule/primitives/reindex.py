"""reindex: a stage reads a copy that is indexed by its own axes, however it indexed the tensor."""

from __future__ import annotations

from flashsched.errors import ArgumentError, StructureError
from flashsched.schedule.arguments import TensorName
from flashsched.schedule.default import new_stage, root_nest
from flashsched.schedule.ir import Load, block_loads
from flashsched.schedule.nest import insert_before_reader
from flashsched.schedule.primitives.blocks import map_loads
from flashsched.schedule.primitives.cache_read import require_there, tensor_named, unused_stage
from flashsched.schedule.primitives.opaque import require_te
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse
from flashsched.te.bounds import within_loop
from flashsched.te.expr import Binary, Expr, Select, Var, compare, const, logical_and
from flashsched.te.simplify import Ranges, prove, simplify, structural_key
from flashsched.te.sizes import extent_expr
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Read
from flashsched.te.visit import substitute, uses, walk

__all__ = ["reindex"]


@primitive()
def reindex(state: State, stage: str, tensor: TensorName) -> Result:
    """Let *stage* read *tensor* from a copy with a dimension for each of its axes that the read depends on.

    Rewrite::

        C[x] += A[x * 2 + r] * W[r]    ->    A.reindex[x, r] = A[x * 2 + r]
                                             C[x] += A.reindex[x, r] * W[r]

    What is left is a plain product of tensors, which an intrinsic, `pad_einsum` or a layout can work on: a convolution
    becomes a matrix product. Where a read is behind a condition, the copy holds 0 for elements that do not exist. What
    a stage writes is indexed by its own axes already: there ``cache_write`` does the same.

    >>> from flashsched import te
    >>> A, r = te.placeholder((9,), name="A"), te.reduce_axis((0, 3), name="r")
    >>> C = te.compute((4,), lambda x: te.sum(A[x * 2 + r], axis=r), name="C")
    >>> s = te.create_schedule(C)
    >>> s.reindex(C, A)
    Tensor(A.reindex, shape=[4, 3], float32)
    >>> print(s)
    for x in range(4):
      for r in range(3):
        A.reindex(x=x, r=r):
          A.reindex[x, r] = A[x * 2 + r]
    for x in range(4):
      for r in range(3):
        C(x=x, r=r):  # reduces r
          init C[x] = 0.0
          C[x] = C[x] + A.reindex[x, r]

    Args:
        state: the schedule's state.
        stage: the reader.
        tensor: what it reads.

    Returns:
        The name of the new stage.

    Raises:
        ScheduleError: *stage* does not read *tensor*, or at several places, or at one that is read from memory or
            found by dividing by what may be 0; *tensor* is computed at a loop.
    """
    known = state.stage(stage)
    require_te(state, known, "given another index")
    source = tensor_named(state, tensor)
    writer = state.stage_of(source)
    found = {structural_key(load): load for load in block_loads(known.block) if load.buffer is source}
    if not found or writer is known:
        refuse(
            state,
            f"{stage!r} does not read {tensor!r}",
            error=ArgumentError,
            block=stage,
            hint="name a tensor that it reads",
        )
    require_there(state, writer, "reindex")
    if writer is not None:
        require_unscanned(state, writer, "copied for a reader of its own")
    (load, *others) = found.values()
    if others or any(isinstance(node, Load) for index in load.indices for node in walk(index)):
        refuse(
            state,
            f"{stage!r} reads {tensor!r} at {', '.join(map(str, found.values()))}, and a copy has one element for each "
            "point only where one place is read that its axes alone tell",
            error=StructureError,
            block=stage,
            hint=f"copy it as it is: cache_read({tensor!r}, 'global')",
        )
    name = unused_stage(state, f"{tensor}.reindex")
    used = [axis for axis in known.axes if any(uses(index, axis) for index in load.indices)]
    axes = tuple(Axis(axis.name, axis.dtype, axis.extent) for axis in used)
    values: dict[Var, Expr] = {old: new + old.begin for old, new in zip(used, axes, strict=True)}
    ranges: Ranges = {}
    for axis in axes:
        size = axis.extent
        ranges = within_loop(ranges, axis, extent_expr(max(size, 1) if isinstance(size, int) else size))
    indices = [simplify(substitute(index, values), ranges) for index in load.indices]
    by = [node.b for index in indices for node in walk(index) if isinstance(node, Binary) and node.op in ("//", "%")]
    zero = next((part for part in by if prove(compare("!=", part, 0), ranges) is not True), None)
    if zero is not None:
        refuse(
            state,
            f"{stage!r} reads {load}, which divides by {zero}; the copy is made whatever that is, and it may be 0",
            error=StructureError,
            block=stage,
            hint=f"copy it as it is: cache_read({tensor!r}, 'global')",
        )
    read = PlaceholderOp(source.name, source.shape, source.dtype).output(0)
    value: Expr = Read(read, tuple(indices))
    tests = [
        test
        for index, size in zip(indices, source.shape, strict=True)
        for test in (compare(">=", index, 0), compare("<", index, extent_expr(size)))
        if prove(test, ranges) is not True
    ]
    if tests:
        value = Select(logical_and(*tests), value, const(0, source.dtype))
    fresh = new_stage(name, ComputeOp(name, axes, (value,)), {id(read): source})
    own = tuple(simplify(axis - axis.begin) for axis in used)
    state = map_loads(state, (source,), lambda _: Load(fresh.buffers[0], own), [stage])
    nest, fresh = root_nest(fresh)
    state = state.with_stage(fresh, before=stage)
    return state.with_body(insert_before_reader(state.body, nest, fresh.buffers)), (name,)
