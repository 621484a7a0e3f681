"""``tvm.contrib.cblas``: products of matrices as extern stages; here by NumPy, which has a BLAS of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from flashsched.compat.tvm.runtime.packed_func import register_func
from flashsched.compat.tvm.te.extern import extern
from flashsched.compat.tvm.tir.intrin import call_packed

__all__ = ["batch_matmul", "matmul"]


def _run(a: Any, b: Any, out: Any, transa: Any = False, transb: Any = False) -> None:
    left = a.data.swapaxes(-1, -2) if transa else a.data
    right = b.data.swapaxes(-1, -2) if transb else b.data
    np.matmul(left, right, out=out.data)


register_func("tvm.contrib.cblas.matmul", _run, override=True)
register_func("tvm.contrib.cblas.batch_matmul", _run, override=True)


def matmul(lhs: Any, rhs: Any, transa: bool = False, transb: bool = False, **options: Any) -> Any:
    """``lhs @ rhs``, either transposed first where asked for."""
    rows = lhs.shape[1] if transa else lhs.shape[0]
    cols = rhs.shape[0] if transb else rhs.shape[1]
    return extern(
        (rows, cols),
        [lhs, rhs],
        lambda ins, outs: call_packed("tvm.contrib.cblas.matmul", ins[0], ins[1], outs[0], transa, transb),
        name="C",
        **options,
    )


def batch_matmul(lhs: Any, rhs: Any, transa: bool = False, transb: bool = False, **options: Any) -> Any:
    """``lhs @ rhs`` for each matrix of a batch."""
    rows = lhs.shape[2] if transa else lhs.shape[1]
    cols = rhs.shape[1] if transb else rhs.shape[2]
    return extern(
        (lhs.shape[0], rows, cols),
        [lhs, rhs],
        lambda ins, outs: call_packed("tvm.contrib.cblas.batch_matmul", ins[0], ins[1], outs[0], transa, transb),
        name="C",
        **options,
    )
