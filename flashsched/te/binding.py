"""bind_sizes: the program for sizes that are known, made of one that holds for any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flashsched.errors import ShapeError
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, SizeVar, Var
from flashsched.te.external import ExternOp
from flashsched.te.recurrence import Scan, ScanOp, build_scan
from flashsched.te.scalars import scalar_tensor
from flashsched.te.sizes import as_size, sizes_in
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Read, Reduce, Tensor, graph
from flashsched.te.visit import rewrite, substitute

__all__ = ["bind_sizes", "bound_graph", "check_sizes", "graph_sizes"]


def graph_sizes(outputs: Sequence[Tensor]) -> tuple[SizeVar, ...]:
    """The sizes that the computation of *outputs* speaks of, in the order in which it first does."""
    found: list[int | Expr] = []
    for op in graph(outputs):
        found += [size for tensor in op.outputs for size in tensor.shape]
        if isinstance(op, ComputeOp):
            found += [axis.extent for axis in op.reduce_axis]
            found += op.body
    return sizes_in(found)


def check_sizes(sizes: Mapping[Any, Any]) -> dict[SizeVar, int]:
    """*sizes*, each of which must be a size variable with a number from 0 up.

    Raises:
        ShapeError: one is not.
    """
    for var, value in sizes.items():
        if not isinstance(var, SizeVar):
            raise ShapeError(f"{var!r} is no size", hint='a size is made by te.var: n = te.var("n"), then {n: 512}')
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 0:
            raise ShapeError(f"size {var.name} can't be {value!r}", hint="a size is a whole number from 0 up: {n: 512}")
    return {var: int(value) for var, value in sizes.items()}


def bind_sizes(tensors: Tensor | Sequence[Tensor | Expr], sizes: Mapping[SizeVar, int]) -> Any:
    """The same computation where *sizes* have these numbers, of new placeholders.

    >>> from flashsched import te
    >>> n = te.var("n")
    >>> A = te.placeholder((n, n + 1), name="A")
    >>> C = te.compute((n,), lambda i: A[i, i + 1] * 2, name="C")
    >>> te.bind_sizes([A, C], {n: 512})
    [Tensor(A, shape=[512, 513], float32), Tensor(C, shape=[512], float32)]

    Args:
        tensors: one, or several (inputs may be among them, and scalars).
        sizes: a number from 0 up for each size that is to be known.

    Returns:
        The new tensor, or a list of them.

    Raises:
        ShapeError: a key is no size, or a number is none; a dimension would be below 0.
    """
    if isinstance(tensors, Tensor):
        return bound_graph([tensors], check_sizes(sizes))[id(tensors)]
    items = [scalar_tensor(item) for item in tensors]
    made = bound_graph(items, check_sizes(sizes))
    found = (made[id(item)] for item in items)
    return [new if item is old else Read(new, ()) for new, old, item in zip(found, tensors, items, strict=True)]


def bound_graph(outputs: Sequence[Tensor], sizes: Mapping[SizeVar, int]) -> dict[int, Tensor]:
    """A new tensor for the id of each tensor that *outputs* depend on, where *sizes* have these numbers."""
    made: dict[int, Tensor] = {}
    values: dict[Var, Expr] = {var: Const(number, dtypes.INDEX) for var, number in sizes.items()}

    def size(old: int | Expr, name: str) -> int | Expr:
        new = old if isinstance(old, int) else as_size(substitute(old, values))
        if isinstance(new, int) and new < 0:
            raise ShapeError(
                f"a dimension of {name} would be {old} = {new}", hint="choose sizes for which no dimension is below 0"
            )
        return new

    def axis(old: Axis, name: str) -> Axis:
        return Axis(old.name, old.dtype, size(old.extent, name), old.kind, old.begin)

    def placeholder(old: Tensor) -> tuple[Tensor, ...]:
        shape = tuple(size(dimension, old.name) for dimension in old.shape)
        assert isinstance(old.op, PlaceholderOp)
        return PlaceholderOp(old.name, shape, old.dtype, old.op.where, by_value=old.op.by_value).outputs

    ops, scans = graph(outputs), dict[int, Scan]()
    for state in (op.state for op in ops if isinstance(op, ScanOp)):  # which the stages of a recurrence read
        made |= {id(state): placeholder(state)[0]}
    for op in ops:
        if isinstance(op, PlaceholderOp):
            fresh = placeholder(op.output(0))
        elif isinstance(op, ScanOp):
            if op.index == 0:  # and with it the other states
                scans[id(op.scan)] = _bound_scan(op.scan, made)
            fresh = scans[id(op.scan)].parts[op.index].outputs
        elif isinstance(op, ExternOp):
            shapes = [tuple(size(dimension, t.name) for dimension in t.shape) for t in op.outputs]
            types = [t.dtype for t in op.outputs]
            inputs = [made[id(tensor)] for tensor in op.arguments]
            fresh = ExternOp(op.name, inputs, shapes, types, op.function, op.nest, op.where).outputs
        else:
            assert isinstance(op, ComputeOp)
            fresh = _bound_op(op, {old: axis(old, op.name) for old in (*op.axis, *op.reduce_axis)}, values, made)
        made |= {id(old): new for old, new in zip(op.outputs, fresh, strict=True)}
    return made


def _bound_scan(old: Scan, made: Mapping[int, Tensor]) -> Scan:
    init, update, states = (tuple(made[id(t)] for t in part) for part in (old.init, old.update, old.states))
    return build_scan(old.name, init, update, states, old.where)


def _bound_op(
    op: ComputeOp, axes: Mapping[Var, Axis], values: Mapping[Var, Expr], made: Mapping[int, Tensor]
) -> tuple[Tensor, ...]:
    def to_new(node: Expr) -> Expr | None:
        return Read(made[id(node.tensor)], node.indices) if isinstance(node, Read) else None

    body = []
    for value in op.body:
        new = substitute(rewrite(value, to_new), {**values, **axes})
        if isinstance(new, Reduce):
            new = Reduce(new.reducer, new.values, tuple(axes[axis] for axis in new.axes), new.index)
        body.append(new)
    return ComputeOp(op.name, tuple(axes[axis] for axis in op.axis), tuple(body), op.where).outputs
