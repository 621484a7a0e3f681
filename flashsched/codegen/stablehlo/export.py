"""to_stablehlo: a te graph as a module of StableHLO, stage by stage, products as what XLA has for them."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.codegen.stablehlo.convolution import convolution
from flashsched.codegen.stablehlo.values import Values
from flashsched.codegen.stablehlo.writer import Array, Writer, constant_text, tensor_type
from flashsched.errors import KernelError, LoweringError
from flashsched.te.expr import Binary, Expr
from flashsched.te.recurrence import ScanOp
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Reduce, Reducer, Tensor, graph
from flashsched.te.visit import free_vars

__all__ = ["to_stablehlo"]


def to_stablehlo(args: Sequence[Tensor], name: str = "main") -> str:
    """The StableHLO text of what *args* say: inputs, then outputs, as `flashsched.build` takes them.

    A sum of products becomes ``stablehlo.convolution`` where a window moves over one of its tensors, and else
    ``stablehlo.dot_general``; other reductions ``stablehlo.reduce``. What reads its tensors along axes becomes slices
    and broadcasts, anything else (padding, tables) a gather.

    >>> from flashsched import te
    >>> A, B = te.placeholder((4, 8), name="A"), te.placeholder((8, 2), name="B")
    >>> k = te.reduce_axis((0, 8), name="k")
    >>> C = te.compute((4, 2), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    >>> "stablehlo.dot_general" in to_stablehlo([A, B, C])
    True

    Raises:
        KernelError: *args* leave out an input, or name no output.
        LoweringError: the graph has something that StableHLO does not have: sizes that are not numbers, a recurrence, a
            function of Python, erf.
    """
    outputs = [tensor for tensor in args if not isinstance(tensor.op, PlaceholderOp)]
    inputs = [tensor for tensor in args if isinstance(tensor.op, PlaceholderOp)]
    if not outputs:
        raise KernelError("there is nothing to compute: no output is among the arguments")
    writer = Writer()
    known: dict[int, Array] = {id(tensor): Array(f"%arg{n}", tensor.dtype, ()) for n, tensor in enumerate(inputs)}
    for op in graph(outputs):
        if isinstance(op, PlaceholderOp):
            if id(op.output(0)) not in known:
                raise KernelError(f"{op.name} is not among the arguments", hint="name every input that is read")
            continue
        if not isinstance(op, ComputeOp) or isinstance(op, ScanOp):
            what = "computed row after row" if isinstance(op, ScanOp) else "a function of Python"
            raise LoweringError(f"{op.name} is {what}, which has no operation in StableHLO")
        writer.line(f"// {op.name}")
        known |= {id(tensor): made for tensor, made in zip(op.outputs, _stage(op, writer, known), strict=True)}
    taken = ", ".join(f"%arg{n}: {_type(tensor)}" for n, tensor in enumerate(inputs))
    types = ", ".join(map(_type, outputs))
    names = ", ".join(known[id(tensor)].name for tensor in outputs)
    body = "\n".join([*writer.lines, f"    return {names} : {types}"])
    return f"module @flashsched {{\n  func.func public @{name}({taken}) -> ({types}) {{\n{body}\n  }}\n}}\n"


def _type(tensor: Tensor) -> str:
    return tensor_type(tensor.known_shape, tensor.dtype)


def _stage(op: ComputeOp, writer: Writer, known: dict[int, Array]) -> list[Array]:
    """The outputs of *op*, along its axes."""
    values = Values(writer, known)
    whole = op.reduction
    if whole is None:
        return [writer.broadcast(values.value(body), op.axis) for body in op.body]
    product = _product(op, whole, writer, values, known)
    if product is not None:
        return [product]
    axes = (*op.axis, *whole.axes)
    terms = [writer.broadcast(values.value(value), axes) for value in whole.values]
    return _reduced(writer, whole.reducer, terms, len(op.axis))


def _reduced(writer: Writer, reducer: Reducer, terms: Sequence[Array], kept: int) -> list[Array]:
    """*terms*, combined along all of their axes but the first *kept*."""
    starts = [writer.constant(value.value, term.dtype) for value, term in zip(reducer.identity, terms, strict=True)]
    axes = terms[0].axes[:kept]
    made = [Array(writer.fresh(), term.dtype, axes) for term in terms]
    dims = ", ".join(str(n) for n in range(kept, len(terms[0].axes)))
    scalars = [tensor_type([], term.dtype) for term in terms]
    params = [Array(f"%{side}{n}_{made[0].name[1:]}", term.dtype, ()) for side in "ab" for n, term in enumerate(terms)]
    region = Writer(3, first=int(made[-1].name[2:]) * 1000)
    inner = Values(region, {}, dict(zip((*reducer.lhs, *reducer.rhs), params, strict=True)))
    results = [inner.value(result) for result in reducer.result]
    given = ", ".join(x.name for x in (*terms, *starts))
    kinds = ", ".join([*(term.type for term in terms), *scalars])
    to = ", ".join(array.type for array in made)
    head = made[0].name if len(made) == 1 else ", ".join(array.name for array in made)
    writer.line(f'{head} = "stablehlo.reduce"({given}) <{{dimensions = array<i64: {dims}>}}> ({{')
    writer.line(f"^bb0({', '.join(f'{param.name}: {kind}' for param, kind in zip(params, scalars * 2, strict=True))}):")
    writer.lines += region.lines
    said = ", ".join(result.name for result in results)
    writer.line(f'  "stablehlo.return"({said}) : ({", ".join(scalars)}) -> ()')
    writer.line(f"}}) : ({kinds}) -> ({to})")
    return made


def _product(op: ComputeOp, whole: Reduce, writer: Writer, values: Values, known: dict[int, Array]) -> Array | None:
    """A sum of products of two arrays as ``convolution`` or ``dot_general``; None where it is something else."""
    term = whole.values[0]
    if len(whole.values) != 1 or not isinstance(term, Binary) or term.op != "*" or not _is_sum(whole.reducer):
        return None
    found = convolution(op, whole, term.a, term.b, writer, known)
    if found is not None:
        return found
    sides = [_axes(term.a), _axes(term.b)]
    if any(axis not in side for axis in whole.axes for side in sides) or not all(
        axis in sides[0] or axis in sides[1] for axis in op.axis
    ):
        return None
    a, b = values.value(term.a), values.value(term.b)
    batch = [axis for axis in op.axis if axis in a.axes and axis in b.axes]
    places = [[", ".join(str(side.axes.index(x)) for x in some) for some in (batch, whole.axes)] for side in (a, b)]
    rest = [[axis for axis in side.axes if axis not in batch and axis not in whole.axes] for side in (a, b)]
    axes = [*batch, *rest[0], *rest[1]]
    to = tensor_type([axis.count for axis in axes], term.dtype)
    batching = f"batching_dims = [{places[0][0]}] x [{places[1][0]}], " if batch else ""
    made = writer.make(
        f"stablehlo.dot_general {a.name}, {b.name}, {batching}contracting_dims = [{places[0][1]}] x [{places[1][1]}], "
        f"precision = [HIGHEST, HIGHEST] : ({a.type}, {b.type}) -> {to}",
        term.dtype,
        axes,
    )
    return writer.broadcast(made, op.axis)


def _axes(expr: Expr) -> set[Axis]:
    return {var for var in free_vars(expr) if isinstance(var, Axis)}


def _is_sum(reducer: Reducer) -> bool:
    """Whether *reducer* adds, beginning at 0."""
    result = reducer.result[0]
    adds = isinstance(result, Binary) and result.op == "+" and {result.a, result.b} == {reducer.lhs[0], reducer.rhs[0]}
    return len(reducer.result) == 1 and adds and constant_text(reducer.identity[0].value, "int64") == "0"
