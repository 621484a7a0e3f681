"""Stages that are not written in te: a function of arrays, called when the program runs.

The function gets the input arrays (read-only), then the output arrays, which it fills. It is Python, so it is seen by
no schedule: an extern stage has no loops, and whatever it reads and writes stands whole in memory around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DtypeError, ExpressionError, KernelError, ShapeError, user_line
from flashsched.te import dtypes
from flashsched.te.declare import checked_shape
from flashsched.te.expr import Expr
from flashsched.te.sizes import Shape
from flashsched.te.tensor import Axis, Operation, Tensor

__all__ = ["ExternOp", "call_extern", "extern", "function_name", "run_extern"]


class ExternOp(Operation):
    """Tensors that *function* fills at run time.

    Attributes:
        function: ``function(*input_arrays, *output_arrays)``.
        nest: makes the stage's own nest of the loop IR, ``nest(input_buffers, output_buffers)``, where the stage is one
            (see `flashsched.codegen.extern_nest`); *function* then tells oracles what it computes.
    """

    axis: tuple[Axis, ...] = ()
    reduce_axis: tuple[Axis, ...] = ()
    reduction = None

    def __init__(
        self,
        name: str,
        inputs: Sequence[Tensor],
        shapes: Sequence[Shape],
        types: Sequence[str],
        function: Callable[..., Any],
        nest: Callable[..., Any] | None = None,
        where: str = "",
    ) -> None:
        self.name, self.where = name, where
        self.function, self.nest = function, nest
        self._inputs = tuple(inputs)
        self.outputs = ()
        self.outputs = tuple(Tensor(self, n, s, t) for n, (s, t) in enumerate(zip(shapes, types, strict=True)))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple({id(tensor): tensor for tensor in self._inputs}.values())

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """The tensors that *function* gets, in its order; one may come twice."""
        return self._inputs


def extern(shape: Any, inputs: Any, fcompute: Callable[..., Any], dtype: Any = None, name: str = "extern") -> Any:
    """A stage that a Python function computes when the kernel runs.

    ``fcompute(*input_arrays, *output_arrays)`` fills the output arrays in place. It may be another kernel. The arrays
    are NumPy's, over the kernel's own memory, and end with the call; what the function raises reaches the kernel's
    caller. It runs on the caller's thread and holds the GIL.

    >>> import numpy as np
    >>> import flashsched as fs
    >>> from flashsched import te
    >>> A = te.placeholder((5,), name="A")
    >>> def sort(a, out):
    ...     out[...] = np.sort(a)
    >>> B = te.extern((5,), [A], sort, name="B")
    >>> C = te.compute((5,), lambda i: B[i] * 2, name="C")
    >>> print(te.create_schedule(C))
    B = extern sort(A)
    for i in range(5):
      C(i=i):
        C[i] = B[i] * 2.0
    >>> fs.build(te.create_schedule(C))(np.array([3, 1, 2, 5, 4], "float32"))
    array([ 2.,  4.,  6.,  8., 10.], dtype=float32)

    Args:
        shape: of the output, of numbers and sizes (`flashsched.te.var`); or a list of shapes, for several outputs.
        inputs: the tensors that the function reads (one, or a sequence).
        fcompute: the function.
        dtype: of the output, or a list of them; by default that of the inputs, if they have one.
        name: the stage's name in a schedule.

    Returns:
        A `Tensor`, or a tuple of them if a list of shapes was given.

    Raises:
        ShapeError: *shape* is neither one shape nor a list of them, or the number of dtypes is another; a shape is not
            made of numbers and sizes.
        DtypeError: there is no such dtype, or none was given and the inputs have several.
        ExpressionError: *fcompute* can't be called, or an input is no tensor.
    """
    where = user_line()
    reads = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for item in reads:
        if not isinstance(item, Tensor):
            raise ExpressionError(f"{name}: {item!r} is no tensor", where=where, hint="name the tensors that are read")
    if not callable(fcompute):
        raise ExpressionError(f"{name}: {fcompute!r} can't be called", where=where, hint="give a function of arrays")
    several = isinstance(shape, list) and bool(shape) and all(isinstance(part, tuple | list) for part in shape)
    shapes = [_shape(name, part, where) for part in (shape if several else [shape])]
    if dtype is None:
        known = {tensor.dtype for tensor in reads}
        if len(known) != 1:
            found = ", ".join(sorted(known)) or "none"
            raise DtypeError(
                f"{name}: which dtype has the output? Its inputs have {found}", where=where, hint="dtype=…"
            )
        types = [*known] * len(shapes)
    else:
        types = [dtypes.check_dtype(t) for t in (dtype if isinstance(dtype, list | tuple) else [dtype] * len(shapes))]
    if len(types) != len(shapes):
        raise ShapeError(f"{name} has {len(shapes)} shapes and {len(types)} dtypes", where=where)
    op = ExternOp(name, reads, shapes, types, fcompute, None, where)
    return op.outputs if several else op.output(0)


def _shape(name: str, shape: Any, where: str) -> Shape:
    items = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    for size in items:
        if isinstance(size, Expr):
            continue
        if isinstance(size, bool) or not hasattr(size, "__index__") or int(size) < 0:
            raise ShapeError(
                f"{name}: an extern stage has sizes that are numbers from 0 up, and {size!r} in {items} is none",
                where=where,
            )
    return checked_shape(items)


def call_extern(
    name: str, function: Callable[..., Any], inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]
) -> None:
    """Let *function* fill *outputs*; the inputs become read-only.

    Raises:
        KernelError: it returned something else than its outputs, so it may not have filled them.
    """
    for array in inputs:
        array.flags.writeable = False
    result = function(*inputs, *outputs)
    parts = result if isinstance(result, tuple) else (result,)
    if result is not None and not all(any(part is output for output in outputs) for part in parts):
        raise KernelError(
            f"extern stage {name!r}: its function returned {type(result).__name__}, which nobody sees",
            hint="fill the output array, which is the last argument: out[...] = value",
        )


def function_name(function: Callable[..., Any]) -> str:
    """What a function is called in a nest."""
    return str(getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__)


def run_extern(op: ExternOp, inputs: Sequence[NDArray[Any]], floats: str | None = None) -> list[NDArray[Any]]:
    """What *op* makes of *inputs*; *floats* is the dtype that its floats are wanted in, whatever their own."""
    given = [
        np.array(array, dtypes.numpy_dtype(tensor.dtype)) for array, tensor in zip(inputs, op.arguments, strict=True)
    ]
    outputs = [np.empty(tensor.known_shape, dtypes.numpy_dtype(tensor.dtype)) for tensor in op.outputs]
    call_extern(op.name, op.function, given, outputs)
    if floats is None:
        return outputs
    wide = dtypes.numpy_dtype(floats)
    return [o.astype(wide) if dtypes.is_float(t.dtype) else o for o, t in zip(outputs, op.outputs, strict=True)]
