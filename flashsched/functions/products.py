"""``fs.matmul`` on arrays of any rank.

The kernels are found as `flashsched.functions.kernels` tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import KernelError, counted
from flashsched.functions.kernels import as_arrays, kernel_for, on_clear
from flashsched.functions.packing import Packed

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel

__all__ = ["matmul"]

Array = NDArray[Any]

_calls: dict[tuple[Any, ...], Any] = on_clear({})
"""The kernel for two arrays of these shapes as they lie, and what follows; for any others it calls `_product`."""

_made: dict[Any, Any] = on_clear({})
"""What `_call_of` made, by kernel."""


def matmul(a: Any, b: Any, bias: Any = None, activation: str | None = None, out: Any = None) -> Array:
    """``activation(a @ b + bias)`` in one kernel, with shapes as ``numpy.matmul`` has them.

    A transposed matrix (``x.T``) is read as it lies. Narrow floats are summed in float32, and int8 and uint8 (times
    int8) in int32, which is then the result's dtype.

    Args:
        a: shape (M, K), (K,), or (..., M, K) for a product for each matrix.
        b: shape (K, N), (K,), or (..., K, N), of a's dtype; or what `prepack` made of a matrix.
        bias: shape (N,), or None.
        activation: None, ``"relu"``, ``"gelu"`` (tanh form) or ``"silu"``.
        out: the array to fill, of the result's shape; a fresh one by default.

    Raises:
        KernelError: the arrays do not fit together.
    """
    try:
        call = _calls[a.shape, b.shape, activation, bias is None]
    except (AttributeError, KeyError, TypeError):
        return _product(a, b, out, bias, activation)
    inputs = (a, b) if bias is None else (a, b, bias)
    result: Array = call(*inputs) if out is None else call(*inputs, out)
    return result


def _product(a: Any, b: Any, out: Any = None, bias: Any = None, activation: str | None = None) -> Array:
    """`matmul`, for arguments of any kind."""
    if isinstance(b, Packed):
        return _again_packed(a, b, bias, activation, out)
    x, y = _operands(a, b)
    left = x[np.newaxis] if x.ndim == 1 else x
    right = y[:, np.newaxis] if y.ndim == 1 else y
    if not x.ndim or not y.ndim or left.shape[-1] != right.shape[-2]:
        raise KernelError(f"matmul takes shapes (..., M, K) and (..., K, N), and got {x.shape} and {y.shape}")
    columns = right.shape[-1]
    vector = _bias(bias, columns)
    shape = _result_shape(x, y, left, right)
    if right.ndim == 2:
        rows = left.reshape(math.prod(left.shape[:-1]), left.shape[-1])
        made = _matrices(rows, right, vector, activation, _as_matrix(out, shape, (len(rows), columns)))
    elif vector is None and activation is None:
        made = _batch(left, right)
    else:
        raise KernelError(
            f"matmul takes bias and activation for one right side (K, N), and got {y.shape}",
            hint="add them afterwards",
        )
    return _given(made, shape, out)


def _given(made: Array, shape: tuple[int, ...], out: Any) -> Array:
    """The result in *out*, if there is one, and else as it was *made*."""
    if out is None:
        return made.reshape(shape)
    result: Array = out
    if made is not out:
        (target,) = as_arrays("matmul", out=out)
        if target.shape != shape:
            raise KernelError(f"matmul: out has shape {target.shape}, and the result has {shape}")
        if not np.may_share_memory(made, target):
            target[...] = made.reshape(shape)
    return result


def _operands(a: Any, b: Any) -> tuple[Array, Array]:
    (x,), (y,) = as_arrays("matmul", a=a), as_arrays("matmul", b=b)
    if x.dtype != y.dtype and (str(x.dtype), str(y.dtype)) != ("uint8", "int8"):
        raise KernelError(f"matmul: a is {x.dtype} and b is {y.dtype}", hint="cast one of them")
    return x, y


def _bias(bias: Any, columns: int) -> Array | None:
    if bias is None:
        return None
    v: Array
    (v,) = as_arrays("matmul", bias=bias)
    if v.shape != (columns,):
        raise KernelError(f"matmul: bias has shape {v.shape}, and the output has {counted(columns, 'column')}")
    return v


def _result_shape(x: Array, y: Array, left: Array, right: Array) -> tuple[int, ...]:
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise KernelError(f"matmul takes shapes (..., M, K) and (..., K, N), and got {x.shape} and {y.shape}") from None
    return (*batch, *left.shape[-2:-1][: x.ndim - 1], *right.shape[-1:][: y.ndim - 1])


def _as_matrix(out: Any, shape: tuple[int, ...], matrix: tuple[int, int]) -> Any:
    """*out*, of *shape*, as the *matrix* that a kernel fills, where it can be seen as one."""
    if out is None or shape == matrix:
        return out  # which the kernel looks at
    (target,) = as_arrays("matmul", out=out)
    if target.shape != shape:
        raise KernelError(f"matmul: out has shape {target.shape}, and the result has {shape}")
    return target.reshape(matrix) if target.flags.c_contiguous else None


def _turned(x: Array) -> bool:
    return bool(x.flags.f_contiguous and not x.flags.c_contiguous)


def _matrices(x: Array, y: Array, bias: Array | None, activation: str | None, out: Any) -> Array:
    sizes = (x.shape[0], y.shape[1], x.shape[1])
    options = {"transpose_b": True} if _turned(y) else {}
    kernel, turned = _kernel("matmul", sizes, x, options, bias, activation)
    if not turned and not options:
        call = _call_of(kernel, bias is not None, activation)
        if call is not None:
            _calls[x.shape, y.shape, activation, bias is None] = call
    inputs = [x.T if turned else x, y.T if options else y, *([] if bias is None else [bias])]
    result: Array = kernel(*inputs) if out is None else kernel(*inputs, out)
    return result


def _kernel(
    op: str, sizes: tuple[int, ...], x: Array, options: dict[str, Any], bias: Array | None, activation: str | None
) -> tuple[Kernel, bool]:
    """The kernel for the left side *x*, and whether it takes that transposed."""
    turned = _turned(x)
    given = {"activation": activation, "bias": bias is not None, "transpose_a": turned, **options}
    return kernel_for(op, sizes, str(x.dtype), tuple(sorted((k, v) for k, v in given.items() if v))), turned


def _call_of(kernel: Kernel, biased: bool, activation: str | None) -> Callable[..., Array] | None:
    """What calls *kernel* where it fits, and `_product` elsewhere; made once."""
    if kernel not in _made:
        _made[kernel] = kernel.or_else(_general(biased, activation))
    found: Callable[..., Array] | None = _made[kernel]
    return found


def _general(biased: bool, activation: str | None) -> Callable[..., Array]:
    """`_product` with the arguments of a kernel: a, b, the bias if it is *biased*, and perhaps the output."""
    if biased:
        return lambda a, b, bias, out=None: _product(a, b, out, bias, activation)
    return lambda a, b, out=None: _product(a, b, out, None, activation)


def _batch(left: Array, right: Array) -> Array:
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    options: dict[str, Any] = {}
    inputs = []
    for name, x in (("transpose_a", left), ("transpose_b", right)):
        turned = x.ndim > 2 and not x.flags.c_contiguous and x.swapaxes(-1, -2).flags.c_contiguous
        if turned:
            options[name] = True
            x = x.swapaxes(-1, -2)
        inputs.append(np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(math.prod(batch), *x.shape[-2:]))
    sizes = (math.prod(batch), left.shape[-2], right.shape[-1], left.shape[-1])
    kernel = kernel_for("batch_matmul", sizes, str(left.dtype), tuple(sorted(options.items())))
    made: Array = kernel(*inputs)
    return made


def _again_packed(a: Any, b: Packed, bias: Any, activation: str | None, out: Any) -> Array:
    """`_packed`, by a look-up and a call where there was such a product before."""
    try:
        *above, depth = a.shape
        if len(above) != 1 and out is None and depth == b.shape[0]:
            return _again_packed(a.reshape(math.prod(above), depth), b, bias, activation, None).reshape(
                *above, b.shape[1]
            )
        call = _calls[a.shape, b.panels.shape, b.shape, activation, bias is None]
    except (AttributeError, KeyError, TypeError, ValueError):
        return _packed(a, b, bias, activation, out)
    inputs = (a, b.panels) if bias is None else (a, b.panels, bias)
    result: Array = call(*inputs) if out is None else call(*inputs, out)
    return result


def _packed(a: Any, b: Packed, bias: Any, activation: str | None, out: Any) -> Array:
    x, _ = _operands(a, b.panels)
    if not x.ndim or x.shape[-1] != b.shape[0]:
        raise KernelError(f"matmul takes shapes (..., M, K) and (K, N), and got {x.shape} and {b.shape}")
    columns = b.shape[1]
    vector = _bias(bias, columns)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    kernel, turned = _kernel("packed_matmul", (len(rows), columns, *b.panels.shape[1:]), rows, {}, vector, activation)
    inputs = [rows.T if turned else rows, b.panels, *([] if vector is None else [vector])]
    shape = (*x.shape[:-1], columns)
    target = _as_matrix(out, shape, (len(rows), columns))
    if x.ndim == 2 and not turned:
        whole = b.shape

        def slowly(a: Any, panels: Any, *rest: Any) -> Array:  # for other arrays of these shapes
            told, *filled = (*rest,) if vector is not None else (None, *rest)
            return _packed(a, Packed(panels, whole), told, activation, *filled or (None,))

        call = kernel.or_else(slowly)
        if call is not None:
            _calls[x.shape, b.panels.shape, b.shape, activation, vector is None] = call
    made: Array = kernel(*inputs) if target is None else kernel(*inputs, target)
    return _given(made, shape, out)
