"""The nest that a te graph has before anything is scheduled: one loop an axis, stage after stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import ArgumentError
from flashsched.schedule.ir import Block, Buffer, Extern, For, Iter, Load, Seq, Stmt, Store, seq
from flashsched.schedule.state import Stage, State
from flashsched.te import dtypes
from flashsched.te.binding import graph_sizes
from flashsched.te.expr import Const, Expr, Select, Var, same
from flashsched.te.external import ExternOp
from flashsched.te.inside import require_inside
from flashsched.te.recurrence import ScanOp, cycles
from flashsched.te.sizes import Size, extent_expr
from flashsched.te.tensor import Axis, ComputeOp, Operation, PlaceholderOp, Read, Reduce, Tensor, graph
from flashsched.te.visit import rewrite, substitute, walk

__all__ = ["default_state", "extern_stage", "loop_names", "new_stage", "root_nest", "stage_names"]


def default_state(outputs: Sequence[Tensor]) -> State:
    """The state that a schedule of *outputs* begins with.

    Raises:
        ScheduleError: an output is a placeholder.
    """
    from flashsched.schedule.recurrence import first_rows, require_scans_closed, with_recurrences  # built on this

    _require_names(outputs)
    buffers: dict[int, Buffer] = {}
    stages: dict[str, Stage] = {}
    params: list[Buffer] = []
    nests: list[Stmt] = []
    wanted = {id(tensor.op) for tensor in outputs}
    ops = stage_names(outputs)
    names, inside = {id(op): name for op, name in ops}, cycles([op for op, _ in ops])
    require_scans_closed(ops, outputs)
    states = [(op.state, name) for op, name in ops if isinstance(op, ScanOp)]
    buffers |= {id(tensor): Buffer(name, tensor.shape, tensor.dtype) for tensor, name in states}
    for op, name in ops:
        output = id(op) in wanted
        if isinstance(op, PlaceholderOp):
            if output:
                raise ArgumentError(
                    f"{op.name} is a placeholder, and there is nothing to schedule in it",
                    hint="give create_schedule what te.compute returned",
                )
            params.append(Buffer(name, op.shape, op.dtype, by_value=op.by_value))
            buffers[id(op.output(0))] = params[-1]
            continue
        scan = op.scan if isinstance(op, ScanOp) else inside.get(id(op))
        if isinstance(op, ScanOp):
            for part in op.together if op.index == 0 else ():  # all first rows come before the loop over time
                first = first_rows(
                    names[id(part)], part, buffers, {*stages, *names.values()}, output=id(part) in wanted
                )
                nest, stages[first.name] = root_nest(first)
                nests.append(nest)
            stage = new_stage(name, op, buffers, output=output, outs=(buffers[id(op.state)],))
        elif isinstance(op, ExternOp):
            stage = extern_stage(name, op, buffers, output=output)
        else:
            assert isinstance(op, ComputeOp)
            if scan is None:  # a row of a recurrence is computed only where its state is there
                require_inside(op)
            stage = new_stage(name, op, buffers, output=output)
        if scan is None or op is scan.parts[0]:
            nest, stage = root_nest(stage)
            nests.append(nest)
        else:  # computed at the loop over time, which is the first state's
            stage = replace(stage, attach=(names[id(scan.parts[0])], scan.parts[0].scan_axis.name))
        stages[name] = stage
    state = State(seq(nests) if nests else Seq(()), MappingProxyType(stages), tuple(params))
    return with_recurrences(state)


def _require_names(outputs: Sequence[Tensor]) -> None:
    """Refuse two sizes of one name, which no message and no trace could tell apart."""
    names = [var.name for var in graph_sizes(outputs)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentError(
            f"two sizes are called {twice!r}",
            hint=f'make it once, {twice} = te.var("{twice}"), and use it wherever it stands',
        )


def stage_names(outputs: Sequence[Tensor]) -> list[tuple[Operation, str]]:
    """The operations that *outputs* depend on, each after those that it reads, with its name in a schedule.

    That is its own name, numbered where another has it already.
    """
    named: list[tuple[Operation, str]] = []
    taken: set[str] = set()
    for op in graph(outputs):
        name, number = op.name, 0
        while name in taken:
            number += 1
            name = f"{op.name}_{number}"
        taken.add(name)
        named.append((op, name))
    return named


def new_stage(
    name: str,
    op: ComputeOp,
    buffers: dict[int, Buffer],
    *,
    output: bool = False,
    scope: str = "global",
    outs: Sequence[Buffer] = (),
) -> Stage:
    """The stage of *op*, which reads *buffers* (one for the id of each tensor) and adds its own (*outs*) to them."""
    if not outs:
        outs = _buffers(name, op, scope)
    buffers |= {id(tensor): buffer for tensor, buffer in zip(op.outputs, outs, strict=True)}
    where = tuple(op.axis)

    def to_load(node: Expr) -> Expr | None:
        return Load(buffers[id(node.tensor)], node.indices) if isinstance(node, Read) else None

    def values(exprs: Sequence[Expr]) -> list[Expr]:
        return [rewrite(expr, to_load) for expr in exprs]

    init: tuple[Store, ...] = ()
    reduction = op.reduction
    if reduction is None:
        stores = tuple(Store(b, where, v) for b, v in zip(outs, values(op.body), strict=True))
    else:
        reducer = reduction.reducer
        current: dict[Var, Expr] = {x: Load(b, where) for x, b in zip(reducer.lhs, outs, strict=True)}
        test, parts = _taking_part(reduction)
        current |= dict(zip(reducer.rhs, values(parts), strict=True))
        combined = [substitute(result, current) for result in reducer.result]
        if test is not None:
            (asked,) = values([test])
            combined = [Select(asked, value, Load(b, where)) for b, value in zip(outs, combined, strict=True)]
        stores = tuple(Store(b, where, value) for b, value in zip(outs, combined, strict=True))
        init = tuple(Store(b, where, start) for b, start in zip(outs, reducer.identity, strict=True))
    axes = (*op.axis, *op.reduce_axis)
    iters = tuple(Iter(axis, axis.begin, axis.extent, axis.kind, axis) for axis in axes)
    return Stage(name, op, Block(name, iters, stores, init), tuple(outs), output)


def _taking_part(reduction: Reduce) -> tuple[Expr | None, tuple[Expr, ...]]:
    """The condition on what takes part in a *reduction* (its ``where``), and the values that do.

    What does not take part changes nothing, so that a nest may leave it out; as the identity it would be combined.
    """
    chosen = [value for value in reduction.values if isinstance(value, Select)]
    if len(chosen) < len(reduction.values) or any(isinstance(n, Read) for n in walk(chosen[0].condition)):
        return None, reduction.values
    for value, start in zip(chosen, reduction.reducer.identity, strict=True):
        if not (same(value.b, start) and same(value.condition, chosen[0].condition)):
            return None, reduction.values
    return chosen[0].condition, tuple(value.a for value in chosen)


def extern_stage(name: str, op: ExternOp, buffers: dict[int, Buffer], *, output: bool = False) -> Stage:
    """The stage of *op*: a block without iteration variables, which calls its function or is to become its nest."""
    outs = _buffers(name, op, "global")
    inputs = tuple(buffers[id(tensor)] for tensor in op.arguments)
    buffers |= {id(tensor): out for tensor, out in zip(op.outputs, outs, strict=True)}
    call = Extern(name, op.function, inputs, outs, op.nest)
    return Stage(name, op, Block(name, (), (), extern=call), outs, output)


def _buffers(name: str, op: Operation, scope: str) -> tuple[Buffer, ...]:
    labels = [name] if len(op.outputs) == 1 else [f"{name}.v{tensor.index}" for tensor in op.outputs]
    return tuple(Buffer(b, t.shape, t.dtype, scope) for b, t in zip(labels, op.outputs, strict=True))


def loop_names(axes: Sequence[Axis]) -> list[str]:
    """The names of the loops that a stage with *axes* begins with: theirs, numbered where two are alike."""
    names: list[str] = []
    for axis in axes:
        name, number = axis.name, 1
        while name in names:
            number += 1
            name = f"{axis.name}{number}"
        names.append(name)
    return names


def root_nest(
    stage: Stage,
    region: Mapping[Axis, tuple[Expr, Size]] | None = None,
    guards: Mapping[Axis, Sequence[tuple[str, Size]]] | None = None,
) -> tuple[Stmt, Stage]:
    """The nest of *stage* with one loop an axis, and the stage that knows these loops.

    Args:
        stage: the stage.
        region: for spatial axes the part that is needed, as (first, extent); by default all of it.
        guards: for axes of *region* the bounds that it may pass: ``(">=", 0)`` or ``("<", extent)``.
    """
    from flashsched.te.expr import compare

    axes = stage.axes
    loops = {name: Var(name) for name in loop_names(axes)}
    iters, where, headers = [], [], []
    for axis, (_, var), item in zip(axes, loops.items(), stage.block.iters, strict=True):
        first, extent = (region or {}).get(axis, (Const(axis.begin, dtypes.INDEX), axis.extent))
        value: Expr = var if isinstance(first, Const) and first.value == 0 else first + var
        for op, limit in (guards or {}).get(axis, ()):
            where.append(compare(op, value, extent_expr(limit)))
        iters.append(item.bound_to(value))
        notes = MappingProxyType({"tail": stage.tails[axis]} if axis in stage.tails else {})
        headers.append((var, extent, notes))
    body: Stmt = replace(stage.block, iters=tuple(iters), where=tuple(where))
    for var, extent, notes in reversed(headers):
        body = For(var, extent_expr(extent), body, notes=notes)
    again = {*loops, *(name for step in stage.steps for name in step.out)}
    gone = {name: taker for name, taker in stage.gone.items() if name not in again}
    return body, replace(stage, loops=MappingProxyType(loops), gone=MappingProxyType(gone))
