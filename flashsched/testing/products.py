"""Random sums of products for the graphs of `flashsched.testing.graphs`: what is padded, cut in parts and cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from flashsched import te
from flashsched.te import dtypes
from flashsched.te.tensor import Tensor

if TYPE_CHECKING:
    from flashsched.testing.graphs import Maker

__all__ = ["product"]

_SIZES = (1, 2, 3, 4, 5, 7)


def product(maker: Maker, near: Tensor, name: str) -> Any:
    """A product of two fresh matrices, or of *near* and a vector, each element read at its axes and nothing else."""
    dtype = str(maker.one_of(*(("float32", "int32", "float64") if maker.exact else ("float32", "float64"))))
    m, n, k = (maker.one_of(*_SIZES) for _ in range(3))
    axis = te.reduce_axis((0, k), "k0")
    A = te.placeholder((m, k), dtype, f"{name}_a")
    if maker.draw(st.booleans()):
        B = te.placeholder((n, k), dtype, f"{name}_b")
        maker.tensors += [A, B]
        return te.compute((m, n), lambda i, j: te.sum(A[i, axis] * B[j, axis], axis=axis), name)
    maker.tensors.append(A)
    fits = near.ndim == 1 and near.dtype == dtype and near.shape[0] == k and dtypes.is_int(dtype)
    v = near if fits else te.placeholder((k,), dtype, f"{name}_v")
    return te.compute((m,), lambda i: te.sum(A[i, axis] * v[axis], axis=axis), name)
