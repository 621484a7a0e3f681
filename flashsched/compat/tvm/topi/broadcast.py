"""Operations on two tensors, or a tensor and a number, broadcast as NumPy does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te.tensor import Tensor, compute
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.errors import ShapeError
from flashsched.te.expr import as_expr, same

__all__ = [
    "add", "bitwise_and", "bitwise_or", "bitwise_xor", "broadcast_add", "broadcast_div", "broadcast_max",
    "broadcast_min", "broadcast_mul", "broadcast_shape", "broadcast_sub", "broadcast_to", "divide", "equal",
    "floor_divide", "floor_mod", "greater", "greater_equal", "left_shift", "less", "less_equal", "logical_and",
    "logical_not", "logical_or", "maximum", "minimum", "mod", "multiply", "not_equal", "power", "right_shift",
    "subtract",
]  # fmt: skip


def _alike(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, int) and isinstance(b, int) else same(as_expr(a), as_expr(b))


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def broadcast_shape(*shapes: Sequence[Any]) -> tuple[Any, ...]:
    """The shape that *shapes* broadcast to.

    Raises:
        ShapeError: they do not fit together.
    """
    result: list[Any] = []
    for shape in shapes:
        padded = [1] * (len(result) - len(shape)) + list(shape)
        result = [1] * (len(padded) - len(result)) + result
        for position, size in enumerate(padded):
            if _is_one(result[position]):
                result[position] = size
            elif not _is_one(size) and not _alike(size, result[position]):
                raise ShapeError(f"shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast together")
    return tuple(result)


def at(tensor: our_te.Tensor, indices: Sequence[Any]) -> Any:
    """The element of *tensor* that belongs to *indices* of a shape that it broadcasts to."""
    own = indices[len(indices) - tensor.ndim :]
    return tensor(*(0 if _is_one(size) else index for size, index in zip(tensor.shape, own, strict=True)))


def _operation(name: str, combine: Callable[[Any, Any], Any], what: str) -> Callable[..., Any]:
    def function(lhs: Any, rhs: Any) -> Any:
        tensors = [side for side in (lhs, rhs) if isinstance(side, our_te.Tensor)]
        if not tensors:
            return combine(as_expr(lhs), rhs)
        shape = broadcast_shape(*(tensor.shape for tensor in tensors))

        def element(*indices: Any) -> Any:
            a, b = (at(side, indices) if isinstance(side, our_te.Tensor) else side for side in (lhs, rhs))
            return combine(a, b)

        return compute(shape, element, name=f"T_{name}", tag=tag.BROADCAST)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{what}, element by element; tensors broadcast, numbers are taken as they are."
    return function


add = _operation("add", lambda a, b: a + b, "``lhs + rhs``")
subtract = _operation("subtract", lambda a, b: a - b, "``lhs - rhs``")
multiply = _operation("multiply", lambda a, b: a * b, "``lhs * rhs``")
divide = _operation("divide", tir.div, "``lhs / rhs``, of integers rounded to zero")
floor_divide = _operation("floor_divide", lambda a, b: a // b, "``lhs / rhs`` rounded down")
mod = _operation("mod", lambda a, b: a % b, "the rest of `floor_divide`")
floor_mod = mod
maximum = _operation("maximum", our_te.maximum, "the larger")
minimum = _operation("minimum", our_te.minimum, "the smaller")
power = _operation("power", tir.power, "*lhs* to the power *rhs*")
left_shift = _operation("left_shift", lambda a, b: a << b, "``lhs << rhs``")
right_shift = _operation("right_shift", lambda a, b: a >> b, "``lhs >> rhs``")
greater = _operation("greater", lambda a, b: a > b, "``lhs > rhs``")
less = _operation("less", lambda a, b: a < b, "``lhs < rhs``")
greater_equal = _operation("greater_equal", lambda a, b: a >= b, "``lhs >= rhs``")
less_equal = _operation("less_equal", lambda a, b: a <= b, "``lhs <= rhs``")
equal = _operation("equal", lambda a, b: a == b, "``lhs == rhs``")
not_equal = _operation("not_equal", lambda a, b: a != b, "``lhs != rhs``")
logical_and = _operation("logical_and", tir.all, "whether both hold")
logical_or = _operation("logical_or", tir.any, "whether either holds")
bitwise_and = _operation("bitwise_and", lambda a, b: a & b, "``lhs & rhs``")
bitwise_or = _operation("bitwise_or", lambda a, b: a | b, "``lhs | rhs``")
bitwise_xor = _operation("bitwise_xor", lambda a, b: a ^ b, "``lhs ^ rhs``")


broadcast_add, broadcast_sub, broadcast_mul, broadcast_div = add, subtract, multiply, divide
broadcast_max, broadcast_min = maximum, minimum


def logical_not(data: Tensor) -> Any:
    """Whether each element is false."""
    return compute(data.shape, lambda *i: tir.logical_not(data(*i)), name="T_logical_not", tag=tag.ELEMWISE)


def broadcast_to(data: Tensor, shape: Any) -> Any:
    """*data* repeated to *shape*."""
    if broadcast_shape(data.shape, shape) != tuple(shape):
        raise ShapeError(f"{data.name} of shape {list(data.shape)} does not broadcast to {list(shape)}")
    return compute(shape, lambda *i: at(data, i), name="T_broadcast_to", tag=tag.BROADCAST)
