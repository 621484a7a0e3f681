"""Small scheduled programs for GPUs: tensor cores, and tiles that are copied ahead."""

from __future__ import annotations

from typing import Final

from flashsched import te
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["MMA", "mma_product", "staged_sums", "warp_product"]

MMA: Final = {"float16": "nvidia.mma.m16n8k16.f16", "bfloat16": "nvidia.mma.m16n8k16.bf16"}
"""The instruction of a tensor core by the dtype of its operands."""


def mma_product(
    m: int, n: int, k: int, dtype: str, staged: bool = False, lanes: int = 32
) -> tuple[Schedule, list[Tensor]]:
    """Blocks of 32 x 16, two warps each with 16 rows; operands from global memory, or *staged* in shared memory."""
    A, B = te.placeholder((m, k), dtype, name="A"), te.placeholder((k, n), dtype, name="B")
    axis = te.reduce_axis((0, k), name="k")
    C = te.compute(
        (m, n), lambda i, j: te.sum(A[i, axis].astype("float32") * B[axis, j].astype("float32"), axis=axis), name="C"
    )
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(x, "shared", [sums]) for x in (A, B)] if staged else []
    i, j = s[C].op.axis
    io, jo, ii, ji = s[C].tile(i, j, 32, 16)
    warp, ii = s[C].split(ii, factor=16)
    s[C].reorder(io, jo, warp, ii, ji)
    for loop, axis_name in ((io, "blockIdx.y"), (jo, "blockIdx.x"), (warp, "threadIdx.y")):
        s[C].bind(loop, axis_name)
    s[sums].compute_at(s[C], warp)
    (i, j), (kk,) = s[sums].op.axis, s[sums].op.reduce_axis
    jo, ji2 = s[sums].split(j, factor=8)
    ko, ki = s[sums].split(kk, factor=16)
    s[sums].reorder(ko, jo, i, ji2, ki)
    s[sums].tensorize(i, MMA[dtype])
    _, lane = s[C].split(s[C].fuse(ii, ji), factor=lanes)
    s[C].bind(lane, "threadIdx.x")
    for copy in copies:
        s[copy].compute_at(s[sums], ko)
        whole = s[copy].fuse(*s[copy].op.axis)
        rows, x = s[copy].split(whole, factor=lanes)
        _, y = s[copy].split(rows, factor=2)
        s[copy].bind(y, "threadIdx.y")
        s[copy].bind(x, "threadIdx.x")
    return s, [A, B, C]


def warp_product(
    m: int, n: int, k: int, dtype: str = "float16", turned: str = "", stages: int = 1, lanes: bool = True
) -> tuple[Schedule, list[Tensor]]:
    """A warp a block, whose *lanes* read the sums that they hold, or else rows of 32. *turned* may name A and B."""
    A = te.placeholder((k, m) if "A" in turned else (m, k), dtype, name="A")
    B = te.placeholder((n, k) if "B" in turned else (k, n), dtype, name="B")
    axis = te.reduce_axis((0, k), name="k")

    def one(i: te.Expr, j: te.Expr) -> te.Expr:
        a = A[axis, i] if "A" in turned else A[i, axis]
        b = B[j, axis] if "B" in turned else B[axis, j]
        found: te.Expr = te.sum(a.astype("float32") * b.astype("float32"), axis=axis)
        return found

    C = te.compute((m, n), one, name="C")
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(x, "shared", [sums]) for x in (A, B)]
    i, j = s[C].op.axis
    io, jo, ii, ji = s[C].tile(i, j, 16, 8)
    for loop, name in ((io, "blockIdx.y"), (jo, "blockIdx.x")):
        s[C].bind(loop, name)
    s[sums].compute_at(s[C], jo)
    ko, ki = s[sums].split("k", factor=16)
    s[sums].reorder(ko, *s[sums].op.axis, ki)
    s[sums].tensorize(s[sums].op.axis[0], MMA[dtype])
    if lanes:
        half, row = s[C].split(ii, factor=8)
        column, pair = s[C].split(ji, factor=2)
        s[C].reorder(half, row, column, pair)
        s[C].bind(s[C].fuse(row, column), "threadIdx.x")
        s[C].vectorize(pair)
    else:
        s[C].bind(s[C].split(s[C].fuse(ii, ji), factor=32)[1], "threadIdx.x")
    for copy in copies:
        s[copy].compute_at(s[sums], ko)
        s[copy].storage_align(0, factor=16, offset=8)
        _, thread = s[copy].split(s[copy].fuse(*s[copy].op.axis), factor=32)
        s[copy].bind(thread, "threadIdx.x")
    if stages > 1:
        s[sums].software_pipeline(ko, stages=[0, 0, stages - 1])
    return s, [A, B, C]


def staged_sums(rounds: int = 8, ahead: int = 1, operands: int = 1) -> tuple[Schedule, list[Tensor]]:
    """Tiles of A and B, *rounds* of eight rows, filled by all threads some turns *ahead* of those that sum them."""
    k = te.reduce_axis((0, 8 * rounds), name="k")
    inputs = [te.placeholder((8 * rounds, 128), name=name) for name in "AB"[:operands]]
    C = te.compute((128,), lambda j: te.sum(sum(x[k, 127 - j] for x in inputs), axis=k), name="C")
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(x, "shared", [sums]) for x in inputs]
    s[C].bind("j", "threadIdx.x")
    s[sums].compute_at(s[C], "j")
    ko, _ = s[sums].split("k", factor=8)
    for copy in copies:
        s[copy].compute_at(s[sums], ko)
        parts, lanes = s[copy].split(s[copy].fuse(*s[copy].op.axis), factor=4)
        s[copy].bind(s[copy].split(parts, factor=128)[1], "threadIdx.x")
        s[copy].vectorize(lanes)
        if ahead == 1:
            s[copy].double_buffer()
    if ahead > 1:
        s[sums].software_pipeline(ko, stages=[*[0] * operands, ahead])
    return s, [*inputs, C]
