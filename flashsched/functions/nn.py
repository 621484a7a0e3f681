"""More of the NumPy-like face: softmax, normalization, attention and their like, on arrays of any rank.

They find their kernels as `flashsched.functions.kernels` tells. An array of more than two dimensions is seen as rows.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import KernelError
from flashsched.functions.kernels import Options, again, as_arrays, kernel_for, remember

__all__ = ["attention", "gelu", "layernorm", "max", "mean", "rmsnorm", "softmax", "sum", "transpose"]

Array = NDArray[Any]


def softmax(x: Any, axis: int = -1, out: Any = None) -> Array:
    """``exp(x)`` divided by its sum over *axis*, as it is computed safely: with the largest x taken away first.

    A row with a NaN or an infinity above 0 becomes NaN, and so does a row of nothing but infinities below 0.

    Args:
        x: of any rank from 1 up; float32, float64, float16 or bfloat16 (computed in float32).
        axis: any axis; the last one needs no copies.
        out: the array to fill, of x's shape; a fresh one by default.

    Raises:
        KernelError: *x* has no such axis, or *out* another shape.
    """
    done = again("softmax", (), (x,), out) if axis == -1 else None
    if done is not None:
        return done
    (a,) = as_arrays("softmax", x=x)
    place = _axis("softmax", a, axis)
    if place == a.ndim - 1:
        return _on_rows("softmax", a, [], (), out)
    moved = np.moveaxis(_on_rows("softmax", np.moveaxis(a, place, -1), [], (), None), -1, place)
    return np.ascontiguousarray(moved) if out is None else _copied("softmax", moved, out)


def layernorm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5, out: Any = None) -> Array:
    """``(x - mean) / sqrt(variance + eps) * gamma + beta`` over the last axis, with the biased variance.

    Args:
        x: of any rank from 1 up.
        gamma: shape (N,), N being the last of x's.
        beta: shape (N,).
        eps: what keeps a constant row finite.
        out: the array to fill, of x's shape; a fresh one by default.

    Raises:
        KernelError: the arrays do not fit together.
    """
    options = (("eps", float(eps)),)
    done = again("layernorm", options, (x, gamma, beta), out)
    if done is not None:
        return done
    a, g, b = as_arrays("layernorm", x=x, gamma=gamma, beta=beta)
    _require_weights("layernorm", a, gamma=g, beta=b)
    return _on_rows("layernorm", a, [g, b], options, out)


def rmsnorm(x: Any, gamma: Any, eps: float = 1e-5, out: Any = None) -> Array:
    """``x / sqrt(mean(x**2) + eps) * gamma`` over the last axis; arguments as in `layernorm`."""
    options = (("eps", float(eps)),)
    done = again("rmsnorm", options, (x, gamma), out)
    if done is not None:
        return done
    a, g = as_arrays("rmsnorm", x=x, gamma=gamma)
    _require_weights("rmsnorm", a, gamma=g)
    return _on_rows("rmsnorm", a, [g], options, out)


def gelu(x: Any, bias: Any = None, residual: Any = None, form: str = "erf", out: Any = None) -> Array:
    """``gelu(x + bias) + residual`` in one pass over memory, gelu(x) being x times the normal distribution's Phi(x).

    Args:
        x: of any rank from 1 up.
        bias: shape (N,), N being the last of x's; or None.
        residual: of x's shape; or None.
        form: ``"erf"``, exact, or ``"tanh"``, the usual formula near it.
        out: the array to fill, of x's shape; a fresh one by default.

    Raises:
        KernelError: the arrays do not fit together, or there is no such form.
    """
    if form not in ("erf", "tanh"):
        raise KernelError(f"gelu: form is 'erf' or 'tanh', not {form!r}")
    given = {name: a for name, a in (("x", x), ("bias", bias), ("residual", residual)) if a is not None or name == "x"}
    options = (("form", form), *((name, True) for name in given if name != "x"))
    done = again("gelu", options, tuple(given.values()), out)
    if done is not None:
        return done
    arrays = dict(zip(given, as_arrays("gelu", **given), strict=True))
    a, others = arrays["x"], []
    _axis("gelu", a, -1)
    if bias is not None:
        _require_weights("gelu", a, bias=arrays["bias"])
        others.append(arrays["bias"])
    if residual is not None:
        if arrays["residual"].shape != a.shape:
            raise KernelError(f"gelu: residual has shape {arrays['residual'].shape}, and x has {a.shape}")
        others.append(arrays["residual"].reshape(prod(a.shape[:-1]), a.shape[-1]))
    return _on_rows("gelu", a, others, options, out)


def sum(x: Any, axis: int | None = -1, out: Any = None) -> Array:
    """The sum over *axis* (None: of all elements), narrow floats added up in float32."""
    return _reduced("sum", x, axis, out)


def mean(x: Any, axis: int | None = -1, out: Any = None) -> Array:
    """The mean over *axis* (None: of all elements), narrow floats added up in float32."""
    return _reduced("mean", x, axis, out)


def max(x: Any, axis: int | None = -1, out: Any = None) -> Array:
    """The largest value over *axis* (None: of all elements); NaN where there is one, minus infinity of nothing."""
    return _reduced("max", x, axis, out)


def _reduced(op: str, x: Any, axis: int | None, out: Any) -> Array:
    """The first axis and the last are combined as they lie; one between them is brought to the end by a copy."""
    done = again(op, (("axis", axis),), (x,), out)
    if done is not None:
        return done
    (a,) = as_arrays(op, x=x)
    place = _axis(op, a, -1 if axis is None else axis)
    if axis is None:
        a, place = a.reshape(1, -1), 1
    shape = a.shape[:place] + a.shape[place + 1 :] if axis is not None else ()
    if 0 < place < a.ndim - 1:
        a, place = np.moveaxis(a, place, -1), a.ndim - 1
    rows = (a.shape[0], prod(a.shape[1:])) if place == 0 and a.ndim > 1 else (prod(a.shape[:-1]), a.shape[-1])
    over = 0 if place == 0 and a.ndim > 1 else 1
    kernel = kernel_for(op, rows, str(a.dtype), (("axis", over),))
    made: Array = kernel(a.reshape(rows)).reshape(shape)
    if a is x and rows == a.shape:
        remember(kernel, op, (("axis", axis),), (a,))
    return made if out is None else _copied(op, made, out)


def transpose(x: Any, out: Any = None) -> Array:
    """The transpose of a matrix, as an array of its own whose rows lie together."""
    done = again("transpose", (), (x,), out)
    if done is not None:
        return done
    (a,) = as_arrays("transpose", x=x)
    if a.ndim != 2:
        raise KernelError(f"transpose takes a matrix, and got shape {a.shape}", hint="transpose each of them")
    kernel = kernel_for("transpose", a.shape, str(a.dtype))
    if out is None:
        made: Array = kernel(a)
        remember(kernel, "transpose", (), (a,))
        return made
    (target,) = as_arrays("transpose", out=out)
    kernel(a, target)
    return target


def attention(q: Any, k: Any, v: Any, causal: bool = False, out: Any = None) -> Array:
    """``softmax(q @ k.T / sqrt(D)) @ v`` for each head; the scores are never all in memory.

    It is computed online, with the scores of one tile of queries and one block of keys at a time. A value that is
    infinite or NaN may show in the result even where the weight of its key is 0.

    Args:
        q: queries, of shape (B, H, S, D), or any number of dimensions before the last two.
        k: keys, of q's shape.
        v: values, of q's shape.
        causal: query i looks at the keys up to i only, and the others cost nothing.
        out: the array to fill, of q's shape; a fresh one by default.

    Raises:
        KernelError: the arrays do not fit together.
    """
    options = (("causal", bool(causal)),)
    done = again("attention", options, (q, k, v), out)
    if done is not None:
        return done
    arrays = as_arrays("attention", q=q, k=k, v=v)
    shape = arrays[0].shape
    if len(shape) < 2 or any(array.shape != shape for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise KernelError(f"attention takes three arrays of one shape (B, H, S, D), and got {shapes}")
    heads = (1, prod(shape[:-2]), *shape[-2:]) if len(shape) != 4 else shape
    kernel = kernel_for("attention", heads, str(arrays[0].dtype), options)
    made: Array = kernel(*(array.reshape(heads) for array in arrays)).reshape(shape)
    if heads == shape:
        remember(kernel, "attention", options, arrays)
    return made if out is None else _copied("attention", made, out)


def _axis(function: str, x: Array, axis: int) -> int:
    if not isinstance(axis, int | np.integer):
        raise KernelError(f"{function}: axis must be an integer, got {axis!r}")
    if not -x.ndim <= axis < x.ndim:
        raise KernelError(f"{function}: axis {axis} is none of an array of shape {x.shape}")
    return axis % x.ndim


def _require_weights(function: str, x: Array, **weights: Array) -> None:
    _axis(function, x, -1)
    for name, weight in weights.items():
        if weight.shape != x.shape[-1:]:
            raise KernelError(f"{function}: {name} has shape {weight.shape}, and the rows of x have {x.shape[-1]}")


def _on_rows(op: str, x: Array, others: list[Array], options: Options, out: Any) -> Array:
    """*op* of *x* as rows of its last axis, and of *others* as they are."""
    rows = prod(x.shape[:-1]), x.shape[-1]
    kernel = kernel_for(op, rows, str(x.dtype), options)
    if x.ndim == 2 and (out is None or (isinstance(out, np.ndarray) and out.shape == x.shape)):
        whole: Array = kernel(x, *others) if out is None else kernel(x, *others, out)
        remember(kernel, op, options, (x, *others), out)
        return whole
    flat = x.reshape(rows)
    if out is None:
        made: Array = kernel(flat, *others)
        return made.reshape(x.shape)
    (target,) = as_arrays(op, out=out)
    view = target.reshape(rows) if target.shape == x.shape else target
    if view.shape == rows and np.may_share_memory(view, target):
        kernel(flat, *others, view)
        return target
    return _copied(op, kernel(flat, *others).reshape(x.shape), target)


def _copied(op: str, result: Array, out: Any) -> Array:
    (target,) = as_arrays(op, out=out)
    if target.shape != result.shape:
        raise KernelError(f"{op}: out has shape {target.shape}, and the result has {result.shape}")
    target[...] = result
    return target
