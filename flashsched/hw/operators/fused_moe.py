"""The first product of a mixture of experts as Triton's fused kernel computes it, for all its configurations at once.

``tokens`` rows of ``hidden`` numbers each go to ``topk`` of ``experts``, whose weights are ``2 inter x hidden``. Rows
are sorted by expert and padded to whole tiles. A block computes a tile of one expert's result, in rounds along
``hidden``; ``stages`` tiles of both operands are on their way at a time. A configuration is a row of ``CONFIG``:

- *rows*, *columns*, *depth*: of a block's tile; *warps*: that share it; *stages*: buffers of the operands, plus one.
- *group*: blocks of rows that are taken before the next block of columns (``GROUP_SIZE_M``).

Written down as what it asks of a device (`Works`), it is timed by the one GPU model (``hw/gpu.py``). What is added is
what such a kernel does and no data sheet says: tokens spread evenly over experts; an expert's weights are fetched once
for each group of its rows that L2 does not bridge; operands pass through registers unless warps together multiply whole
tiles from shared memory (Hopper); a 64-bit pointer for each 16 bytes that a thread copies; nothing overlaps the first
tiles and the last product. One set of constants serves all devices: nothing here is fitted to a device of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.gpu import TENSOR_MACS, computes_whole_tiles, gpu_times
from flashsched.hw.gpu_constants import GPU_CONSTANTS
from flashsched.hw.occupancy import gpu_unit, resident_of
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.works import Works

__all__ = ["CONFIG", "CONSTANTS", "SHAPE", "moe_seconds"]

Floats = NDArray[np.float64]

SHAPE = ("tokens", "experts", "topk", "hidden", "inter")
CONFIG = ("rows", "columns", "depth", "group", "warps", "stages")

TYPICAL = {
    "arithmetic": 0.962, "dram": 1.15, "l2": 1.21, "unit_l2": 10.0, "in_flight": 8.0, "store": 8.02,
    "exposed": 1.0, "start_us": 1.99, "overlap": 6.81, "overlap_memory": 3.08,
}  # fmt: skip
"""Of the GPU model's constants, fitted by ``benchmarks/fit_moe.py`` as those below."""

CONSTANTS: dict[str, Constant] = {
    **{name: replace(one, default=TYPICAL.get(name, one.default)) for name, one in GPU_CONSTANTS.items()},
    "kept": Constant(1.52, 0.01, 3.0, "share", "of L2 in which a call finds what it or the call before it touched"),
    "edge": Constant(15.7, 0.1, 200.0, "bytes", "moved in vain for each piece of a row that a tile is deep"),
    "round": Constant(0.559, 0.1, 100.0, "barriers", "that a round is worth: waits, masks, pointers"),
    "shared": Constant(1.38, 0.1, 4.0, "ratio", "of shared memory's traffic to what operands take without conflicts"),
    "fill": Constant(0.216, 0.001, 2.0, "share", "of the time that the first tiles take to come, before any product"),
    "between_us": Constant(
        0.0732, 0.001, 10.0, "us", "in which a lone block's unit loads nothing until the next is there"
    ),
    "late": Constant(0.149, 0.0001, 1.0, "share", "of its products that a lone block waits for loads, one being ahead"),
    "drain": Constant(4.12, 0.001, 10.0, "rounds", "of products of all resident blocks that come after the last load"),
}

BYTES = 2  # of an element: bfloat16 or float16
COPY_BYTES = 16  # that a lane copies to shared memory by one instruction
COPY_INSTRUCTIONS = 3.0  # for each: the copy, and 64 bits of address to move on
ROUND_INSTRUCTIONS = 5.0  # of a warp in each round: its counter, waits and masks
REGISTERS = 95.0  # of a thread beside sums and pointers: fragments of operands, indices; by which tiles are never best
POINTER_REGISTERS = 2.0
SPILL_REGISTERS = 30.0  # that have no place double the time
MMA_SYNC = 0.65  # of the peak that one warp's instructions reach on Hopper (W. Luo et al., arXiv 2402.13499; recalled)
WARPGROUP = 4  # warps that give an instruction together which takes whole tiles (PTX ISA, wgmma)


def moe_seconds(spec: DeviceSpec, shapes: Floats, configs: Floats, constants: Mapping[str, float]) -> Floats:
    """Seconds of each of *configs* (columns as `CONFIG`) for each of *shapes* (`SHAPE`): a row a shape.

    Infinite where a configuration does not fit the device.

    >>> from flashsched.hw.registry import devices
    >>> values = {name: one.default for name, one in CONSTANTS.items()}
    >>> shapes = np.array([[8.0, 64, 8, 2048, 1408]])
    >>> narrow, wide = moe_seconds(devices["a100-sim"], shapes, np.array([[16.0, 128, 128, 1, 4, 3],
    ...                                                                  [128.0, 128, 128, 1, 4, 3]]), values)[0]
    >>> bool(narrow < wide)  # one token an expert: 127 of 128 rows are padding
    True
    """
    tokens, experts, topk, hidden, inter = (column[:, None] for column in np.asarray(shapes, dtype=float).T)
    rows, columns, depth, group, warps, stages = np.asarray(configs, dtype=float).T[:, None, :]
    width, pairs = 2.0 * inter, tokens * topk
    used = np.minimum(experts, pairs)
    fewer = np.floor(pairs / used)
    more = pairs - fewer * used  # experts with a row more than the others
    tiles = (used - more) * np.ceil(fewer / rows) + more * np.ceil((fewer + 1.0) / rows)
    across, steps, threads = np.ceil(width / columns), np.ceil(hidden / depth), 32.0 * warps
    blocks, lines = tiles * across, np.minimum(rows, pairs / tiles)

    unit, whole_tiles = gpu_unit(spec), computes_whole_tiles(gpu_unit(spec))
    grouped = whole_tiles & (rows >= (unit.matrix_shape or (1,))[0]) & (warps >= WARPGROUP)
    copied = (rows + columns) * depth * BYTES  # bytes of both operands' tiles
    sums, pointers = rows * columns / threads, copied / COPY_BYTES / threads
    registers = sums + REGISTERS + POINTER_REGISTERS * pointers
    most = unit.max_registers_per_thread
    down, beside = _shared_out(rows, columns, warps)
    fetched = np.where(grouped, 0.0, (rows * beside + columns * down) * depth * BYTES)  # into registers, each round
    macs = blocks * rows * columns * steps * depth
    others = fetched / 512.0 + COPY_INSTRUCTIONS * copied / 512.0 + ROUND_INSTRUCTIONS * warps

    works = Works(
        flops={"bfloat16": 2.0 * macs},
        useful_flops={"bfloat16": 2.0 * pairs * width * hidden},
        dram_read_bytes=0.0,
        dram_write_bytes=0.0,
        coalescing=depth * BYTES / (depth * BYTES + constants["edge"]),
        blocks=blocks,
        threads_per_block=threads,
        barriers=steps * constants["round"],
        l2_read_bytes=blocks * (lines + np.minimum(columns, width)) * hidden * BYTES,
        l2_write_bytes=blocks * lines * columns * BYTES,
        global_lane_bytes=0.0,
        shared_bytes_per_block=copied * (stages - 1.0 + grouped),
        shared_load_bytes=steps * np.where(grouped, copied, fetched) * constants["shared"],
        shared_store_bytes=(lines + columns) * depth * BYTES * steps,
        steps=steps,
        stages=stages,
        registers_per_thread=np.minimum(registers, most),
        bytes_in_flight=columns * depth * BYTES / threads * np.maximum(stages - 1.0, 1.0),  # of weights
        accumulators=np.maximum(sums / 4.0, 1.0),
        overhead_per_op=steps * others * blocks / (macs / TENSOR_MACS),
    )
    resident = resident_of(spec, works)
    at_once = np.minimum(blocks, np.maximum(resident, 1.0) * spec.units)
    on_unit = at_once / spec.units
    pace = np.where(grouped, 1.0, 1.0 / MMA_SYNC) if whole_tiles else 1.0
    late = constants["late"] / (stages - 1.0 + grouped) / np.maximum(on_unit, 1.0)
    works = replace(works, stretch=pace * (1.0 + late))
    kept = spec.level("l2").size_bytes * constants["kept"]
    weights, inputs, results = used * width * hidden * BYTES, tokens * hidden * BYTES, pairs * width * BYTES

    # An expert's weights come anew with each group of its rows, unless groups run at once or L2 keeps them until then.
    together = np.minimum(group, tiles)
    passes = np.ceil(tiles / used / np.minimum(together, np.maximum(tiles / used, 1.0)))
    at_a_time, by_l2 = at_once / together / across, kept * used / (weights + results)
    bridged = np.clip(np.maximum(at_a_time, by_l2), 0.0, 1.0)
    again = weights * (passes - 1.0) * (1.0 - bridged)
    turns = topk * across / np.clip(at_once / together, 1.0, across)  # of the inputs, for as many blocks of columns
    again = again + inputs * np.maximum(turns - 1.0, 0.0) * (1.0 - np.clip(kept / inputs, 0.0, 1.0))
    found = np.clip((weights + inputs + results) / kept, 0.0, 1.0) ** 4  # share that the call before left no room for
    dram = (weights + inputs) * found + again + results * np.clip(results / kept, 0.0, 1.0)
    works = replace(works, dram_bytes=dram * (1.0 + constants["edge"] / (depth * BYTES)))

    seconds = gpu_times(spec, works, constants, resident).seconds
    first = (lines + columns) * depth * BYTES * on_unit * spec.units / spec.dram.bandwidth_bytes_per_s
    last = on_unit * 2.0 * rows * columns * depth * spec.units / spec.peak("bfloat16")
    gaps = np.maximum(blocks / at_once - 1.0, 0.0) / np.maximum(on_unit, 1.0) * constants["between_us"] * 1e-6
    seconds = seconds + gaps + constants["fill"] * first + constants["drain"] * last
    return np.broadcast_to(seconds * (1.0 + np.maximum(registers - most, 0.0) / SPILL_REGISTERS), blocks.shape)


def _shared_out(rows: Floats, columns: Floats, warps: Floats) -> tuple[Floats, Floats]:
    """Warps down and across a tile: halved where a warp's part is longer, down to an instruction's 16 x 8 outputs.

    >>> down, beside = _shared_out(np.array([16.0, 128.0]), np.array([64.0, 128.0]), np.array([4.0, 4.0]))
    >>> down.tolist(), beside.tolist()
    ([1.0, 2.0], [4.0, 2.0])
    """
    down, beside = np.ones_like(rows * columns * warps), np.ones_like(rows * columns * warps)
    for _ in range(5):
        left = down * beside < warps
        taller = left & (rows / 16.0 / down >= columns / 16.0 / beside) & (down < rows / 16.0)
        down, beside = np.where(taller, down * 2.0, down), np.where(left & ~taller, beside * 2.0, beside)
    return down, beside
