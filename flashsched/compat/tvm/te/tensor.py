"""`placeholder`, `compute`, `reduce_axis` and what they make, with TVM's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flashsched import te
from flashsched.compat.tvm.te.axes import BoundAxis, IndexVar, ReduceAxis, ThreadAxis, fixed, settle, shape_of, sized
from flashsched.compat.tvm.te.operation import adopt_operation
from flashsched.errors import ExpressionError
from flashsched.te.expr import Expr, Var, as_expr
from flashsched.te.tensor import Axis, ComputeOp, Operation, PlaceholderOp

__all__ = [
    "Tensor",
    "TensorSlice",
    "adopt",
    "compute",
    "placeholder",
    "reduce_axis",
    "tag_scope",
    "thread_axis",
]

_tags: list[str] = []


def _operator(name: str, swapped: bool) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        from flashsched.compat.tvm.topi import broadcast

        run = getattr(broadcast, name)
        return run(other, self) if swapped else run(self, other)

    return method


class Tensor(te.Tensor):
    """A tensor; ``A[i, j]``, ``A[i][j]`` and ``A(i, j)`` are an element, ``A + B`` is `topi.add`."""

    def __getitem__(self, indices: Any) -> Any:
        items = indices if isinstance(indices, tuple | list) else (indices,)
        return TensorSlice(self, tuple(items)) if len(items) < self.ndim else te.Tensor.__getitem__(self, tuple(items))

    @property
    def value_index(self) -> int:
        """Which output of its operation it is."""
        return self.index

    def same_as(self, other: Any) -> bool:
        """Whether *other* is this very tensor."""
        return other is self

    def __neg__(self) -> Any:
        return self * -1

    __add__, __radd__ = _operator("add", False), _operator("add", True)
    __sub__, __rsub__ = _operator("subtract", False), _operator("subtract", True)
    __mul__, __rmul__ = _operator("multiply", False), _operator("multiply", True)
    __truediv__, __rtruediv__ = _operator("divide", False), _operator("divide", True)
    __floordiv__, __rfloordiv__ = _operator("floor_divide", False), _operator("floor_divide", True)
    __mod__, __rmod__ = _operator("mod", False), _operator("mod", True)

    def astype(self, dtype: str) -> Any:
        """Its elements, converted."""
        from flashsched.compat.tvm.topi import elemwise

        return elemwise.cast(self, dtype)


class TensorSlice:
    """A tensor with some of its indices given: ``A[i]`` of a matrix."""

    def __init__(self, tensor: Tensor, indices: tuple[Any, ...]) -> None:
        self.tensor = tensor
        self.indices = indices
        self.dtype = tensor.dtype

    def __getitem__(self, indices: Any) -> Any:
        items = indices if isinstance(indices, tuple | list) else (indices,)
        return self.tensor[(*self.indices, *items)]

    def __te_expr__(self) -> Expr:
        return self.tensor(*self.indices)  # refused, with the rank that is missing

    def __repr__(self) -> str:
        return f"{self.tensor.name}[{', '.join(map(str, self.indices))}]"


def adopt(op: Operation) -> tuple[Tensor, ...]:
    """The outputs of an operation, made tensors of this module, and its axes: the same objects, which offer more.

    So what a primitive of ours makes (a cache stage, the parts of a reduction) is handled as what the user made.
    """
    adopt_operation(op)
    for axis in (*getattr(op, "axis", ()), *getattr(op, "reduce_axis", ())):
        if type(axis) is Axis:
            object.__setattr__(axis, "__class__", BoundAxis)
    for tensor in op.outputs:
        if type(tensor) is te.Tensor:
            tensor.__class__ = Tensor
            tensor.shape = tuple(map(sized, tensor.shape))
    return op.outputs  # type: ignore[return-value]


def placeholder(shape: Any, dtype: Any = None, name: str = "placeholder") -> Tensor:
    """A tensor that the caller passes in; float32 unless *dtype* says otherwise."""
    op: PlaceholderOp = te.placeholder(shape_of(shape), dtype or "float32", name).op  # type: ignore[assignment]
    return adopt(op)[0]


def reduce_axis(dom: Any, name: str = "rv", thread_tag: str = "", span: Any = None) -> Any:
    """An axis to reduce over, for ``dom = (begin, end)``; *thread_tag* and *span* are not used."""
    axis = te.reduce_axis((fixed(dom[0]), fixed(dom[1])), name)
    return ReduceAxis(BoundAxis(axis.name, axis.dtype, axis.extent, axis.kind, axis.begin))


def thread_axis(dom: Any = None, tag: str = "", name: str = "", span: Any = None) -> ThreadAxis:
    """A GPU's axis of blocks or threads: ``thread_axis("threadIdx.x")`` or ``thread_axis((0, 64), "threadIdx.x")``."""
    if isinstance(dom, str):
        dom, tag = None, dom
    if not tag:
        raise ExpressionError("thread_axis needs the name of a thread axis", hint='te.thread_axis("threadIdx.x")')
    extent = None if dom is None else int(dom[1] - dom[0]) if isinstance(dom, tuple | list) else int(dom)
    return ThreadAxis(tag, extent)


def compute(
    shape: Any,
    fcompute: Callable[..., Any],
    name: str = "compute",
    tag: str = "",
    attrs: dict[str, Any] | None = None,
    varargs_names: Sequence[str] | None = None,
) -> Any:
    """A tensor whose element at ``indices`` is ``fcompute(*indices)``; several where it returns a tuple or a list.

    *tag* and *attrs* are kept with the operation, as ``op.tag`` and ``op.attrs``.
    """

    def body(*axes: Var) -> Any:
        result = fcompute(*(IndexVar(axis.name, "int32", axis) for axis in axes))
        several = isinstance(result, tuple | list)
        settled = tuple(settle(as_expr(value)) for value in (result if several else (result,)))
        return settled if several else settled[0]

    if varargs_names is not None:
        names = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in varargs_names]
        body.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    else:
        body.__signature__ = inspect.signature(fcompute)  # type: ignore[attr-defined]
    made = te.compute(shape_of(shape), body, name=name)
    op: ComputeOp = made[0].op if isinstance(made, tuple) else made.op
    op.tag = tag or (_tags[-1] if _tags else "")  # type: ignore[attr-defined]
    op.attrs = dict(attrs or {})  # type: ignore[attr-defined]
    tensors = adopt(op)
    return list(tensors) if isinstance(made, tuple) else tensors[0]


@contextmanager
def tag_scope(tag: str) -> Iterator[None]:
    """Tag the operations made inside; also a decorator of the function that makes them."""
    _tags.append(tag)
    try:
        yield
    finally:
        _tags.pop()
