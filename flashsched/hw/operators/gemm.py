"""Matrix products on GPUs as vendor libraries compute them: C[m, n] = A[m, k] B[k, n], one or ``batch`` of them.

A library has a few dozen kernels: a tile of the output for each block, and a number of slices that the reduction is
split into. This module writes each of them down as what it asks of the device (`Works`), hands all of them for all
sizes to the one GPU model (``hw/gpu.py``), and takes the fastest. What a library's kernels have in common (how deep
they load ahead, what a split costs, how layouts slow them) are constants of this operator; the rest are the model's.

Not modelled: the heuristics by which a library misses its own fastest kernel. That, and not the physics, is most of the
error that remains (``docs/design/0015-gpu-products.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.gpu import GpuTimes, gpu_times
from flashsched.hw.gpu_constants import GPU_CONSTANTS
from flashsched.hw.numbers import Numbers
from flashsched.hw.operators.dtypes import arithmetic, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.works import Works

__all__ = [
    "CONSTANTS",
    "KINDS",
    "NAME",
    "SIZES",
    "Chosen",
    "chosen",
    "gemm_seconds",
    "roofline",
    "seconds",
    "variant",
]

NAME = "gemm"
KINDS = ("gpu",)
SIZES = ("m", "n", "k", "batch")

Floats = NDArray[np.float64]
Sizes = Mapping[str, NDArray[np.int64]]

TYPICAL = {
    "arithmetic": 0.95, "power": 0.85, "byte_ops": 0.5, "unit_in_flight": 40000.0, "store": 15.0, "exposed": 0.6,
    "start_us": 1.5, "block_us": 0.05, "wave": 0.7, "overlap": 3.0, "overlap_memory": 3.0,
}  # fmt: skip
"""Defaults of the GPU model's constants for a library's products, where a nest's are those of a perfect device."""

CONSTANTS: dict[str, Constant] = {
    **{name: replace(one, default=TYPICAL.get(name, one.default)) for name, one in GPU_CONSTANTS.items()},
    "stages": Constant(4.0, 1.5, 12.0, "buffers", "of a tile's loads: all but one are under way at a time"),
    "split_us": Constant(2.5, 0.05, 60.0, "us", "to add the slices of a split reduction up, their bytes apart"),
    "kept": Constant(0.7, 0.01, 3.0, "share", "of L2 in which a product finds what it or the call before it touched"),
    "turns": Constant(16.0, 1.0, 100.0, "layers", "of such weights that are used before the same come again"),
    "ragged": Constant(1.03, 1.0, 1.6, "ratio", "of arithmetic time where neither n nor k is a multiple of 32"),
    "far": Constant(0.02, 0.001, 2.0, "share", "of time that each doubling of a row beyond 32 KiB adds"),
    "alias": Constant(1.05, 1.0, 4.0, "ratio", "of time where rows are a multiple of 128 KiB, and fall into one set"),
    "batch_tile": Constant(1024.0, 1024.0, 16384.0, "elements", "of the smallest tile that a library has for batches"),
    "vector_us": Constant(0.1, 0.01, 5.0, "us", "that a product with a vector is faster, for it fills no tile"),
    "batch_call": Constant(0.6, 0.2, 2.0, "ratio", "of a framework's time around a batched product to a linear one's"),
    **LAUNCHED,
}

TENSOR_TILES = (
    (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64),
    (128, 32), (32, 128), (64, 32), (32, 64), (32, 32),
)  # fmt: skip
"""Rows and columns of the output that one block computes, on tensor cores; CUTLASS's and cuBLAS's usual ones."""

PLAIN_TILES = TENSOR_TILES[2:]
"""Those on the plain cores, whose registers hold no more."""

SPLITS = (1, 2, 3, 4, 6, 8, 16, 32)
"""Slices of the reduction that different blocks compute, and a last pass adds up."""

FAR_BYTES = 32768.0
"""Length of a row of the reduction from which translation begins to miss: a tile's 128 rows then span 4 MB."""

ALIAS_BYTES = 131072
"""Row length whose multiples fall into the same channels and sets (MI210 halves its rate there, and only there)."""

_ROWS_AT_A_TIME = 512


def variant(spec: DeviceSpec, dtype: str) -> str:
    """ "tensor" where matrix units do the arithmetic, "plain" where the lanes of the plain cores do."""
    name = arithmetic(dtype)
    plain = spec.peaks.get("float32", spec.peak(name))
    return "plain" if name in ("float64", "float32", "int32") or spec.peak(name) <= plain * 1.05 else "tensor"


def roofline(spec: DeviceSpec, dtype: str, sizes: Sizes) -> Floats:
    """Seconds by row that no product beats: the arithmetic at its peak, and what L2 cannot hold from main memory."""
    m, n, k, batch, _ = _columns(sizes)
    moved = np.maximum(sum(_operand_bytes(m, n, k, batch, storage_bytes(dtype))) - spec.level("l2").size_bytes, 0.0)
    return np.maximum(2.0 * m * n * k * batch / spec.peak(arithmetic(dtype)), moved / spec.dram.bandwidth_bytes_per_s)


def gemm_seconds(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Floats:
    """Seconds of the fastest candidate for each row of *sizes* ("m", "n", "k", and optionally "batch", "warm")."""
    found = np.empty(len(sizes["m"]))
    for start in range(0, len(found), _ROWS_AT_A_TIME):
        part = {name: np.asarray(column)[start : start + _ROWS_AT_A_TIME] for name, column in sizes.items()}
        found[start : start + _ROWS_AT_A_TIME] = _Candidates.of(spec, constants, dtype, part).total.min(axis=1)
    vector = np.minimum(sizes["m"], sizes["n"]) == 1
    found -= np.where(vector, np.minimum(constants["vector_us"] * 1e-6, 0.5 * found), 0.0)
    return np.maximum(found, roofline(spec, dtype, sizes))


def seconds(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Floats:
    """Predicted seconds by row, never below `roofline`; with what a framework's launches add, where rows say so."""
    kernel = gemm_seconds(spec, constants, dtype, sizes)
    call = np.where(column(sizes, "batch", 1.0) > 1, constants["batch_call"], 1.0)
    around: dict[str, Any] = {**constants, "gap_us": constants["gap_us"] * call}  # by row
    return as_timed(kernel, around, sizes, call)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The kernel that is fastest for one size: its tile, slices of the reduction, and what its time is made of."""

    tile: tuple[int, int]
    splits: int
    seconds: float
    breakdown: Mapping[str, float]

    @property
    def bound(self) -> str:
        """The limiter that takes longest."""
        return max(self.breakdown, key=lambda name: self.breakdown[name])


def chosen(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, m: int, n: int, k: int, batch: int = 1
) -> Chosen:
    """The kernel that a library would pick for one size, and seconds by limiter.

    >>> from flashsched.hw.registry import devices
    >>> values = {name: one.default for name, one in CONSTANTS.items()}
    >>> kernel = chosen(devices["a100-sim"], values, "bfloat16", 4096, 4096, 4096)
    >>> kernel.splits, min(kernel.tile) >= 128
    (1, True)
    """
    sizes = {name: np.array([value]) for name, value in (("m", m), ("n", n), ("k", k), ("batch", batch))}
    candidates = _Candidates.of(spec, constants, dtype, sizes)
    best = int(candidates.total[0].argmin())
    rows, columns, splits = (int(value) for value in candidates.kernels[best])
    shape = candidates.total.shape
    breakdown = {
        name: float(np.broadcast_to(value, shape)[0, best]) for name, value in candidates.times.breakdown.items()
    }
    breakdown["split"] = float(candidates.extra[0, best])
    return Chosen((rows, columns), splits, float(candidates.total[0, best]), breakdown)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Every kernel for every size: sizes down the rows, kernels along the columns."""

    kernels: NDArray[np.int64]
    times: GpuTimes
    extra: Floats
    total: Floats

    @classmethod
    def of(cls, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> _Candidates:
        tensor = variant(spec, dtype) == "tensor"
        tiles = TENSOR_TILES if tensor else PLAIN_TILES
        kernels = np.array([(*tile, splits) for tile in tiles for splits in SPLITS])
        works, partial = _works(spec, constants, dtype, sizes, kernels.astype(float), tensor)
        times = gpu_times(spec, works, constants)
        l2 = spec.level("l2").drawn_by(np.inf) * constants["l2"]
        extra = np.where(partial > 0, constants["split_us"] * 1e-6 + partial / l2, 0.0)
        area = kernels[:, 0] * kernels[:, 1]
        lacking = np.where(
            column(sizes, "batch", 1.0)[:, None] > 1, np.maximum(constants["batch_tile"] / area, 1.0), 1.0
        )
        return cls(kernels, times, extra, (times.seconds + extra) * lacking)


def _works(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes, kernels: Floats, tensor: bool
) -> tuple[Works, Numbers]:
    """The candidates, and the bytes of partial sums that the last pass of a split reduction moves."""
    m, n, k, batch, warm = (column[:, None] for column in _columns(sizes))
    rows, columns, splits = (column[None, :] for column in kernels.T)
    size = storage_bytes(dtype)
    deep = 128.0 / size if tensor else 16.0  # elements of the reduction that one round loads
    slice_k = np.ceil(k / splits / deep) * deep
    used = np.ceil(k / slice_k)
    blocks = np.ceil(m / rows) * np.ceil(n / columns) * batch * used
    lines, across = np.minimum(rows, m), np.minimum(columns, n)
    threads = np.where(rows * columns >= 16384, 256.0, np.where(rows * columns >= 4096, 128.0, 64.0))
    sums = rows * columns / threads

    a, b, c = _operand_bytes(m, n, k, batch, size)
    read = blocks * (lines + across) * np.minimum(slice_k, k) * size
    held = spec.level("l2").size_bytes * constants["kept"]
    fresh = np.clip((a + c) / held, 0.0, 1.0)  # share of activations and results that L2 does not hold
    weights = b * np.clip(b * constants["turns"] / held, 0.0, 1.0)
    cold = np.where(warm > 0, (a + b + c) * np.clip((a + b + c) / held, 0.0, 1.0), weights + (a + c) * fresh)
    together = np.minimum(blocks, spec.units * np.clip(np.floor(32768.0 / (rows * columns)), 1.0, 6.0)) / used
    again = np.maximum(read / np.sqrt(np.maximum(together, 1.0)) - a - b, 0.0)
    missed = np.clip(1.0 - held / (a + b + c), 0.0, 1.0)

    row_bytes = k * size
    stretch = np.where((n % 32 > 0) & (k % 32 > 0), constants["ragged"], 1.0)
    stretch = stretch * (1.0 + constants["far"] * np.maximum(np.log2(row_bytes / FAR_BYTES), 0.0))
    stretch = stretch * np.where(row_bytes % ALIAS_BYTES == 0, constants["alias"], 1.0)
    name = arithmetic(dtype)
    works = Works(
        flops={name: 2.0 * blocks * rows * columns * slice_k},
        useful_flops={name: 2.0 * m * n * k * batch},
        dram_read_bytes=0.0,
        dram_write_bytes=0.0,
        dram_bytes=cold + again * missed,
        blocks=blocks,
        threads_per_block=threads,
        l2_read_bytes=read,
        l2_write_bytes=blocks * lines * across * np.where(used > 1, 4.0, float(size)),
        global_lane_bytes=0.0,
        shared_bytes_per_block=(rows + columns) * 128.0,
        steps=slice_k / deep,
        stages=constants["stages"],
        registers_per_thread=sums + 48.0,
        bytes_in_flight=256.0,
        accumulators=1024.0,  # a library keeps its pipes full, whatever the tile
        stretch=stretch,
    )
    return works, np.where(used > 1, 8.0 * m * n * batch * used, 0.0)


def _columns(sizes: Sizes) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    m, n, k = (column(sizes, name) for name in ("m", "n", "k"))
    return m, n, k, column(sizes, "batch", 1.0), column(sizes, "warm")


def _operand_bytes(m: Floats, n: Floats, k: Floats, batch: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    return m * k * batch * size, k * n * batch * size, m * n * batch * size
