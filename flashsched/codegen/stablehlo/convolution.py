"""Convolutions among sums of products: a window that moves along some axes, weights that have what it runs over."""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.codegen.stablehlo.writer import Array, Writer, tensor_type
from flashsched.te.expr import Cast, Expr
from flashsched.te.simplify import linear
from flashsched.te.tensor import Axis, ComputeOp, Read, Reduce

__all__ = ["convolution"]


@dataclass(frozen=True)
class _Window:
    """A dimension that a window moves along: ``out * stride + tap * dilation``."""

    out: Axis
    tap: Axis
    stride: int
    dilation: int


def convolution(
    op: ComputeOp, whole: Reduce, a: Expr, b: Expr, writer: Writer, sources: dict[int, Array]
) -> Array | None:
    """The sum of *a* times *b* as ``stablehlo.convolution``, along *op*'s axes; None where it is something else."""
    for image, weights in ((a, b), (b, a)):
        found = _matched(op, whole, _read(image), _read(weights))
        if found is not None:
            read, filters, dims, others = found
            return _written(op, writer, sources, (read, image.dtype), (filters, weights.dtype), dims, others)
    return None


def _read(expr: Expr) -> Read | None:
    while isinstance(expr, Cast):
        expr = expr.value
    return expr if isinstance(expr, Read) else None


def _matched(
    op: ComputeOp, whole: Reduce, image: Read | None, weights: Read | None
) -> tuple[Read, Read, list[_Window | Axis], list[Axis]] | None:
    """What each dimension of *image* and of *weights* is, if they are those of one convolution."""
    if image is None or weights is None:
        return None
    dims = [_dimension(index, set(whole.axes)) for index in image.indices]
    others = [_dimension(index, set(whole.axes)) for index in weights.indices]
    windows = [dim for dim in dims if isinstance(dim, _Window)]
    plain = [dim for dim in dims if isinstance(dim, Axis)]
    features = [axis for axis in plain if axis in whole.axes]
    batches = [axis for axis in plain if axis in op.axis]
    taps = [window.tap for window in windows]
    outs = [axis for axis in others if isinstance(axis, Axis) and axis in op.axis]
    if not windows or any(dim is None for dim in dims) or any(not isinstance(axis, Axis) for axis in others):
        return None
    if (
        len(features) != 1
        or len(batches) != 1
        or len(outs) != 1
        or {*taps, *features} != set(whole.axes)
        or len(others) != len(taps) + 2
    ):
        return None
    if {*batches, *outs, *(window.out for window in windows)} != set(op.axis):
        return None
    for window, size in zip(dims, image.tensor.known_shape, strict=True):
        if isinstance(window, _Window):
            reach = (window.tap.count - 1) * window.dilation + 1
            if (size - reach) // window.stride + 1 != window.out.count:
                return None
        elif isinstance(window, Axis) and window.count != size:
            return None
    sizes = weights.tensor.known_shape
    if any(isinstance(axis, Axis) and axis.count != size for axis, size in zip(others, sizes, strict=True)):
        return None
    return image, weights, [dim for dim in dims if dim is not None], [x for x in others if isinstance(x, Axis)]


def _dimension(index: Expr, reduced: set[Axis]) -> _Window | Axis | None:
    form = linear(index)
    terms = [(atom, factor) for atom, factor in form.terms.values() if isinstance(atom, Axis)]
    if form.constant or len(terms) != len(form.terms) or any(factor < 1 or axis.begin != 0 for axis, factor in terms):
        return None
    if len(terms) == 1 and terms[0][1] == 1:
        return terms[0][0]
    taps = [(axis, factor) for axis, factor in terms if axis in reduced]
    outs = [(axis, factor) for axis, factor in terms if axis not in reduced]
    if len(taps) != 1 or len(outs) != 1:
        return None
    return _Window(outs[0][0], taps[0][0], outs[0][1], taps[0][1])


def _written(
    op: ComputeOp,
    writer: Writer,
    sources: dict[int, Array],
    image: tuple[Read, str],
    weights: tuple[Read, str],
    dims: list[_Window | Axis],
    others: list[Axis],
) -> Array:
    windows = [dim for dim in dims if isinstance(dim, _Window)]
    numbers = {window.tap: str(n) for n, window in enumerate(windows)}
    taken = ", ".join(numbers[dim.tap] if isinstance(dim, _Window) else "b" if dim in op.axis else "f" for dim in dims)
    filters = ", ".join(numbers.get(axis, "o" if axis in op.axis else "i") for axis in others)
    places = {window.out: str(n) for n, window in enumerate(windows)}
    batch = next(dim for dim in dims if isinstance(dim, Axis) and dim in op.axis)
    given = ", ".join(places.get(axis, "b" if axis is batch else "f") for axis in op.axis)
    operands = [_whole(writer, sources, *side) for side in (image, weights)]
    kinds = [tensor_type(read.tensor.known_shape, dtype) for read, dtype in (image, weights)]
    to = tensor_type([axis.count for axis in op.axis], op.outputs[0].dtype)
    stride = ", ".join(str(window.stride) for window in windows)
    dilation = ", ".join(str(window.dilation) for window in windows)
    pads = ", ".join("[0, 0]" for _ in windows)
    ones = ", ".join("1" for _ in windows)
    text = (
        f"stablehlo.convolution({', '.join(operands)}) dim_numbers = [{taken}]x[{filters}]->[{given}], "
        f"window = {{stride = [{stride}], pad = [{pads}], lhs_dilate = [{ones}], rhs_dilate = [{dilation}]}} "
        f"{{batch_group_count = 1 : i64, feature_group_count = 1 : i64, "
        f"precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>]}} : "
        f"({', '.join(kinds)}) -> {to}"
    )
    return writer.make(text, op.outputs[0].dtype, op.axis)


def _whole(writer: Writer, sources: dict[int, Array], read: Read, dtype: str) -> str:
    """The name of all of a tensor, as *dtype*."""
    name, tensor = sources[id(read.tensor)].name, read.tensor
    if tensor.dtype == dtype:
        return name
    kinds = tensor_type(tensor.known_shape, tensor.dtype), tensor_type(tensor.known_shape, dtype)
    return writer.make(f"stablehlo.convert {name} : ({kinds[0]}) -> {kinds[1]}", dtype, ()).name
