"""The GPU template of softmax, normalizations and sums of rows: a block works on a row from end to end.

The threads of a block share a row: each combines what it comes to in a register, the block combines what its threads
have, and all of them finish the row. A row is fetched from memory once; when it is read again it is near.
"""

from __future__ import annotations

from flashsched.errors import Infeasible
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import gpu_unit, widest
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.te import dtypes
from flashsched.te.tensor import Axis, Tensor

__all__ = ["rows_gpu"]

_VECTORS = 4  # that a thread has of a row to begin with, so that several loads are on their way
_THREADS = 128  # of a block to begin with
_UNROLLED = 8  # vectors of a thread up to which its loop over them is written out


def rows_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule a graph of stages over rows, or over rows and columns; *args* are the inputs, then the output.

    Knobs: ``threads`` along a row, ``rows`` of a block, ``keep`` what several stages read of a row in shared memory
    rather than compute it again.

    Raises:
        Infeasible: *spec* is no GPU, or cannot hold such a block.
    """
    unit = gpu_unit(spec)
    out = args[-1]
    rows = out.known_shape[0]
    sums = [stage for stage in s.stages if stage.op.reduction is not None]
    columns = max((axis.count for stage in sums for axis in stage.op.reduce_axis), default=0)
    if not rows * columns:
        return  # nothing to compute: the plain nest will do
    vector = min(widest(tensor.dtype, columns) for tensor in args[:-1])
    vectors = columns // vector
    sizes = [n for n in (32, 64, 128, 256, 512, 1024) if n <= unit.max_threads_per_block and n < 2 * vectors] or [1]
    wanted = [n for n in sizes if n * _VECTORS >= vectors]
    threads = knobs.choice("threads", sizes, default=wanted[0] if wanted else sizes[-1])
    each = knobs.choice("rows", (1, 2, 4, 8), default=max(1, min(8, _THREADS // threads)))
    knobs.require(threads * each <= unit.max_threads_per_block, f"{threads} x {each} threads are too many for a block")

    between = [stage for stage in s.stages if stage.op.reduction is None and stage.name != s[out].name]
    wide = [stage for stage in between if len(stage.op.axis) == 2]
    size = sum(columns * dtypes.bits(stage.op.output(0).dtype) // 8 for stage in wide) * each
    fits = size + 8 * threads * each * len(sums) <= unit.shared_bytes_per_block
    keep = bool(wide) and knobs.choice("keep", (False, True), default=fits)
    knobs.require(fits or not keep, f"{each} rows of {columns} do not fit into shared memory")
    for stage in between:
        if not keep or stage not in wide:
            stage.compute_inline()

    finish = s[out]
    if finish.op.reduction is not None:
        raise Infeasible(f"{out.name} is a reduction, and this template finishes rows by a stage after it")
    block, row = finish.split(finish.op.axis[0], factor=each)
    finish.bind(block, "blockIdx.x")
    finish.bind(row, "threadIdx.y")
    if len(finish.op.axis) == 2:
        _share(finish, finish.op.axis[1], threads, vector, columns)
    for stage in reversed([stage for stage in s.stages if stage.name != finish.name]):
        stage.compute_at(finish, row)
        _share(stage, (stage.op.reduce_axis or stage.op.axis[1:])[0], threads, vector, columns)


def _share(stage: StageView, along: Axis, threads: int, vector: int, columns: int) -> None:
    """Deal the elements *along* a row out to threads, neighbouring vectors to neighbours."""
    parts, lanes = stage.split(along, factor=vector)
    turns, thread = stage.split(parts, factor=threads)
    stage.bind(thread, "threadIdx.x")
    if stage.op.reduction is not None:
        stage.reorder(thread, turns, lanes)  # what a thread combines by itself is inside of it
        stage.unroll(lanes)
    else:
        stage.vectorize(lanes)
    if columns <= _UNROLLED * threads * vector:
        stage.unroll(turns)
