"""transpose of a matrix: tiles as large as a vector is long, each turned in registers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike, Operator, register
from flashsched.ops.rows import run_rows
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["transpose"]

_DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8")


def _define(rows: int, cols: int, dtype: str = "float32") -> list[Tensor]:
    """Y[j, i] = X[i, j]."""
    x = te.placeholder((rows, cols), dtype, name="X")
    return [x, te.compute((cols, rows), lambda j, i: x[i, j], name="Y")]


def _reference(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x.T)


transpose: Operator = register(Operator("transpose", _define, (2048, 2048), _DTYPES, _reference))


@transpose.template("cpu")
def transpose_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A tile is loaded as vectors along the rows of X, and stored as vectors along those of Y; tiles in blocks.

    A block's rows of X and of Y are few enough for the cache and the pages that the CPU has at hand.
    """
    x, out = args
    if out.known_shape[0] * out.known_shape[1] == 0:
        return  # nothing to do: the plain nest will do it
    lanes, _ = vector_shape(spec, out.dtype)
    side = min(lanes, 16)
    block = knobs.choice("block", (1, 2, 4, 8, 16), default=8)
    j, i = s[out].op.axis
    j_tile, j_in = s[out].split(j, factor=side, tail="cut")
    i_tile, i_in = s[out].split(i, factor=side, tail="cut")
    j_block, j_tile = s[out].split(j_tile, factor=block)
    i_block, i_tile = s[out].split(i_tile, factor=block)
    inner = knobs.choice("order", ("along X", "along Y"))
    tiles = (j_tile, i_tile) if inner == "along Y" else (i_tile, j_tile)
    blocks = (j_block, i_block) if inner == "along Y" else (i_block, j_block)
    s[out].reorder(*blocks, *tiles, j_in, i_in)
    s[out].unroll(j_in)
    s[out].vectorize(i_in)
    run_rows(s, args, s[out].fuse(*blocks), knobs, spec)
    tile = s.cache_read(x, "local", [out])
    s[tile].compute_at(s[out], tiles[1])
    row, column = s[tile].op.axis
    s[tile].unroll(row)
    s[tile].vectorize(column)
