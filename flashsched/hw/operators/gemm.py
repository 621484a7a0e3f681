"""Matrix products on GPUs as vendor libraries compute them: C[m, n] = A[m, k] B[k, n], one or ``batch`` of them.

A library has a few dozen kernels: a tile of the output for each block, and a number of slices that the reduction is
split into. This module writes each of them down as what it asks of the device (`Works`), hands all of them for all
sizes to the one GPU model (``hw/gpu.py``), and takes the fastest. What a library's kernels have in common (how deep
they load ahead, what a split costs, how layouts slow them) are constants of this operator; the rest are the model's.

Not modelled: the heuristics by which a library misses its own fastest kernel. That, and not the physics, is most of the
error that remains (``docs/design/0015-gpu-products.md``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.gpu import GpuTimes, computes_whole_tiles, gpu_times
from flashsched.hw.numbers import Numbers
from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.operators.dtypes import arithmetic, scaling, storage_bytes
from flashsched.hw.operators.gemm_constants import CONSTANTS, KNOWN, UNLIKE
from flashsched.hw.operators.gemm_menus import Menu, menu_of
from flashsched.hw.operators.quantising import quantising_s
from flashsched.hw.operators.times import as_timed, column
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.works import Works

__all__ = [
    "CONSTANTS",
    "GROWS",
    "KINDS",
    "KNOWN",
    "NAME",
    "SIZES",
    "UNLIKE",
    "Chosen",
    "chosen",
    "explained",
    "gemm_seconds",
    "narrowed",
    "roofline",
    "seconds",
    "variant",
]

NAME = "gemm"
KINDS = ("gpu",)
SIZES = ("m", "n", "k", "batch")
GROWS = ("m", "n", "k", "batch")

Floats = NDArray[np.float64]
Sizes = Mapping[str, NDArray[np.int64]]

SIDE = 16.0
"""Threads along each side of a tile on lanes: each loads ``rows / 16 + columns / 16`` operands from shared memory for
its ``rows / 16 * columns / 16`` multiply-adds, and an operand takes as long to issue as a multiply-add."""

FAR_BYTES = 32768.0
"""Length of a row of the reduction from which translation begins to miss: a tile's 128 rows then span 4 MB."""

ALIAS_BYTES = 131072
"""Row length whose multiples fall into the same channels and sets (MI210 halves its rate there, and only there)."""

_FORGETS = 0.25
"""How much more than a cache holds must be touched between two uses, for none of it to be there still, beginning half
as much below. L40S and RTX PRO 6000 fall from 2.3 times main memory's rate to it between 0.85 and 1.1 of their L2."""

_MOST_STAGES = 8.0
"""Of a kernel that takes as many buffers as fit: eight of a tile of 64 x 128 hide main memory's latency."""

SCALED = 128.0
"""Elements of the reduction that share a scale, where blocks of them have one (DeepGEMM, CK)."""

_SCALINGS = {"": 0, "block": 1, "row": 2, "packed": 0}

NARROWED = "kernels"
"""Column of sizes that holds, by row, the indices of the only kernels to look at."""

_AT_A_TIME = 32768  # kernels of all rows together


def variant(spec: DeviceSpec, dtype: str) -> str:
    """ "tensor" where matrix units do the arithmetic, "bytes" where on elements of a byte, "plain" where the lanes of
    the plain cores do, "packed" where on four bytes at a time."""
    if not _on_matrix_units(spec, dtype):
        return "packed" if _packed(spec, dtype) else "plain"
    return "bytes" if storage_bytes(dtype) == 1 else "tensor"


def _packed(spec: DeviceSpec, dtype: str) -> bool:
    """Whether lanes multiply four bytes at a time (dp4a), for want of matrix units or of a layout that these take."""
    without = spec.gpu is None or spec.gpu.matrix_shape is None
    return arithmetic(dtype) == "int8" and (without or scaling(dtype) == "packed")


def _on_matrix_units(spec: DeviceSpec, dtype: str) -> bool:
    if _packed(spec, dtype):
        return False
    name = arithmetic(dtype)
    plain = spec.peaks.get("float32", spec.peak(name))
    return name not in ("float64", "float32", "int32") and spec.peak(name) > plain * 1.05


def _menu(spec: DeviceSpec, dtype: str) -> Menu:
    return menu_of(spec, _on_matrix_units(spec, dtype), scaling(dtype) == "block")


def roofline(spec: DeviceSpec, dtype: str, sizes: Sizes) -> Floats:
    """Seconds by row that no product beats: the arithmetic at its peak, and what L2 cannot hold from main memory."""
    m, n, k, batch, _ = _columns(sizes)
    moved = np.maximum(sum(_operand_bytes(m, n, k, batch, storage_bytes(dtype))) - spec.level("l2").size_bytes, 0.0)
    return np.maximum(2.0 * m * n * k * batch / spec.peak(arithmetic(dtype)), moved / spec.dram.bandwidth_bytes_per_s)


def gemm_seconds(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Floats:
    """Seconds of the fastest candidate for each row of *sizes* ("m", "n", "k", and optionally "batch", "warm")."""
    fastest = np.concatenate([total.min(axis=1) for total in _totals(spec, constants, dtype, sizes)])
    return _of_fastest(fastest, spec, constants, dtype, sizes)


def _of_fastest(fastest: Floats, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Floats:
    """Seconds of products whose *fastest* kernels are known; those with a vector have better ones."""
    vector = np.minimum(sizes["m"], sizes["n"]) == 1
    spared = np.where(vector, np.minimum(constants["vector_us"] * 1e-6, 0.5 * fastest), 0.0)
    return np.maximum(fastest - spared, roofline(spec, dtype, sizes))


def narrowed(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes, keep: int = 3) -> Sizes:
    """*sizes* with each row's *keep* fastest kernels beside it: all that `seconds` looks at then.

    For constants near by, where the fastest kernel is one of these, a fraction of the work finds the same time.
    """
    best = [np.argpartition(total, keep, axis=1)[:, :keep] for total in _totals(spec, constants, dtype, sizes)]
    return {**sizes, NARROWED: np.concatenate(best)}


def _totals(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Iterator[Floats]:
    """Seconds of every kernel for every size."""
    return (each.total for each in _candidates(spec, constants, dtype, sizes))


def _candidates(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Iterator[_Candidates]:
    """Every kernel for every size, as many rows at a time as caches hold well."""
    given: Mapping[str, Any] = constants  # numbers, or arrays of one by row
    every = _kernels(_menu(spec, dtype))
    most = max(1, _AT_A_TIME // sizes.get(NARROWED, every.T).shape[1])
    for start in range(0, len(sizes["m"]), most):
        rows = np.s_[start : start + most]
        values = {name: value[rows, None] if np.ndim(value) else value for name, value in given.items()}
        part = {name: np.asarray(column)[rows] for name, column in sizes.items()}
        yield _Candidates.of(spec, values, dtype, part)


def seconds(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> Floats:
    """Predicted seconds by row, never below `roofline`; with what a framework's launches add, where rows say so."""
    kernel = gemm_seconds(spec, constants, dtype, sizes)
    return _as_called(kernel + quantising_s(spec, sizes), constants, sizes)


def _as_called(kernel: Floats, constants: Mapping[str, float], sizes: Sizes) -> Floats:
    """What a clock shows of products that take *kernel* seconds."""
    call = np.where(column(sizes, "batch", 1.0) > 1, constants["batch_call"], 1.0)
    around: dict[str, Any] = {**constants, "gap_us": constants["gap_us"] * call}  # by row
    return as_timed(kernel, around, sizes, call)


def explained(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes
) -> tuple[Floats, dict[str, Floats]]:
    """What `seconds` says, and what may tell a library's choice, by row and as logarithms: sizes, how they divide, and
    how much slower than the fastest kernel those of each tile are. A library of other tiles has other such traits."""
    m, n, k, batch, warm = _columns(sizes)
    table = _kernels(_menu(spec, dtype))
    every = list(_candidates(spec, constants, dtype, sizes))
    totals = np.concatenate([each.total for each in every])
    fastest = totals.min(axis=1)
    time = np.log2(fastest)
    found = {
        "m": np.log2(m), "n": np.log2(n), "k": np.log2(k), "batch": np.log2(batch), "warm": warm,
        "launched": column(sizes, "launched"), "time": time, "m/n": np.log2(m / n),
        "result": np.log2(m * n * batch), "left": np.log2(m * k * batch), "right": np.log2(n * k * batch),
        "rate": np.log2(m * n * k * batch) - time, "traffic": np.log2((m * n + m * k + n * k) * batch) - time,
    }  # fmt: skip
    for name, value in (("element", storage_bytes(dtype)), ("scaling", _SCALINGS[scaling(dtype)]),
                        ("integer", arithmetic(dtype) == "int8")):  # fmt: skip
        found[name] = np.full(len(m), float(value))
    for name in ("m", "n", "k"):
        size = np.asarray(sizes[name], dtype=np.int64)
        found[f"{name} divides"] = np.log2(np.minimum(size & -size, 256))
    for rows, columns in ((256, 128), (128, 128), (64, 128), (64, 64)):
        waves = np.ceil(m / rows) * np.ceil(n / columns) * batch / spec.units
        found[f"{rows}x{columns} waves"], found[f"{rows}x{columns} idle"] = np.log2(waves), np.ceil(waves) / waves
    for rows, columns in dict.fromkeys((int(r), int(c)) for r, c in table[:, :2]):
        of_tile = totals[:, (table[:, 0] == rows) & (table[:, 1] == columns)].min(axis=1)
        found[f"{rows}x{columns} slower"] = np.minimum(np.log2(of_tile / fastest), 4.0)
    for name in ("fma", "load", "latency", "store", "l2", "dram", "power"):  # what holds the fastest kernel back
        found[f"{name} share"] = np.concatenate([each.share(name) for each in every])
    found["unsplit slower"] = np.minimum(np.log2(totals[:, table[:, 2] == 1].min(axis=1) / fastest), 4.0)
    kernel = _of_fastest(fastest, spec, constants, dtype, sizes) + quantising_s(spec, sizes)
    return _as_called(kernel, constants, sizes), found


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
    rows, columns, splits = (int(value) for value in candidates.kernels[0, best, :3])
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

    def share(self, limiter: str) -> Floats:
        """Of the fastest kernel's time, what *limiter* takes alone."""
        best = self.total.argmin(axis=1)[:, None]
        alone = np.broadcast_to(self.times.breakdown[limiter], self.total.shape)
        return (np.take_along_axis(alone, best, 1) / np.take_along_axis(self.total, best, 1))[:, 0]

    @classmethod
    def of(cls, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> _Candidates:
        tensor = _on_matrix_units(spec, dtype)
        table = _kernels(_menu(spec, dtype))
        kernels = table[sizes.get(NARROWED, np.s_[None, :])]
        works, partial = _works(spec, constants, dtype, sizes, kernels[..., :3].astype(float), tensor)
        # Tiles are copied in step, so that neighbours' requests meet; of one-byte elements fits are no better for it.
        if tensor and storage_bytes(dtype) > 1:
            meeting = gpu_unit(spec).coalesced_units
            constants = {**constants, **{name: constants[name] * meeting for name in ("l2", "unit_l2")}}
        times = gpu_times(spec, works, constants)
        l2 = spec.level("l2").drawn_by(np.inf) * constants["l2"]
        extra = np.where(partial > 0, constants["split_us"] * 1e-6 + partial / l2, 0.0)
        single = np.where(_is_ragged(sizes), kernels[..., _RAGGED], kernels[..., _SINGLE])
        there = np.where(column(sizes, "batch", 1.0)[:, None] > 1, kernels[..., _BATCHED], single)
        total = np.where(there, times.seconds + extra, np.inf)
        return cls(kernels, times, extra, total)


_SINGLE, _RAGGED, _BATCHED = 3, 4, 5


@functools.cache
def _kernels(menu: Menu) -> NDArray[np.int64]:
    """Rows, columns, slices of each kernel, and whether it is there for single products, ragged ones, and batches."""
    tiles, ragged = dict.fromkeys((*menu.tiles, *menu.batched)), menu.ragged or menu.tiles
    return np.array([
        (*tile, splits, tile in menu.tiles, tile in ragged, tile in menu.batched and splits in menu.batched_splits)
        for tile in tiles for splits in menu.splits
    ])  # fmt: skip


def _is_ragged(sizes: Sizes) -> NDArray[np.bool_]:
    """Which rows are single products whose operands' rows have odd lengths, so that no wide load is aligned."""
    n, k, batch = (column(sizes, name, 1.0)[:, None] for name in ("n", "k", "batch"))
    ragged: NDArray[np.bool_] = (n % 32 > 0) & (k % 32 > 0) & (batch == 1)
    return ragged


def _works(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes, kernels: Floats, tensor: bool
) -> tuple[Works, Numbers]:
    """The candidates, and the bytes of partial sums that the last pass of a split reduction moves."""
    m, n, k, batch, warm = (column[:, None] for column in _columns(sizes))
    rows, columns, splits = kernels[..., 0], kernels[..., 1], kernels[..., 2]
    size = storage_bytes(dtype)
    deep = 128.0 / size if tensor else 16.0  # elements of the reduction that one round loads
    slice_k = np.ceil(k / splits / deep) * deep
    used = np.ceil(k / slice_k)
    blocks = np.ceil(m / rows) * np.ceil(n / columns) * batch * used
    lines, across = np.minimum(rows, m), np.minimum(columns, n)
    threads = np.where(rows * columns >= 16384, 256.0, np.where(rows * columns >= 4096, 128.0, 64.0))
    sums = rows * columns / threads

    a, b, c = _operand_bytes(m, n, k, batch, size)
    wide = float(max(size, 2))  # of a result: products of bytes give 16 bits
    c = m * n * batch * wide
    sides = lines + across
    if tensor and computes_whole_tiles(gpu_unit(spec)):  # two neighbours' loads of what both need are one (multicast)
        sides = sides - np.maximum(np.where(m > rows, across, 0.0), np.where(n > columns, lines, 0.0)) / 2.0
    read = blocks * sides * np.minimum(slice_k, k) * size
    held = spec.level("l2").size_bytes * constants["kept"]
    weights = np.where(warm > 0, 1.0, constants["turns"]) * b
    cold = b * _forgotten((a + weights + c) / held) + (a + c) * _forgotten((a + b + c) / held)
    together = np.minimum(blocks, spec.units * np.clip(np.floor(32768.0 / (rows * columns)), 1.0, 6.0)) / used
    again = np.maximum(read / np.sqrt(np.maximum(together, 1.0)) - a - b, 0.0)
    missed = np.clip(1.0 - held / (a + b + c), 0.0, 1.0)

    row_bytes = k * size
    odd = (n % 32 > 0) & (k % 32 > 0) if tensor else np.False_
    stretch = np.where(odd, constants["ragged"], 1.0)
    stretch = stretch * (1.0 + constants["far"] * np.maximum(np.log2(row_bytes / FAR_BYTES), 0.0))
    stretch = stretch * np.where(row_bytes % ALIAS_BYTES == 0, constants["alias"], 1.0)
    one_by_one = _is_ragged(sizes) & _menu(spec, dtype).one_by_one
    name = arithmetic(dtype)
    packed = 4.0 if _packed(spec, dtype) else 1.0
    name = "float32" if packed > 1.0 else name
    flops = {name: 2.0 * blocks * rows * columns * slice_k / packed}
    if scaling(dtype) == "block":  # sums leave the matrix units for each block's scale
        flops["float32"] = flops[name] / SCALED
    works = Works(
        flops=flops,
        useful_flops={name: 2.0 * m * n * k * batch / packed},
        dram_read_bytes=0.0,
        dram_write_bytes=0.0,
        dram_bytes=cold + again * missed,
        blocks=blocks,
        threads_per_block=threads,
        l2_read_bytes=read,
        l2_write_bytes=blocks * lines * across * np.where(used > 1, 4.0, wide),
        global_lane_bytes=0.0,
        shared_bytes_per_block=(rows + columns) * 128.0,
        steps=slice_k / deep,
        stages=_stages(spec, constants, tensor, (rows + columns) * 128.0),
        registers_per_thread=sums + 48.0,
        bytes_in_flight=np.where(one_by_one, constants["narrow"], 256.0),
        overhead_per_op=0.0 if tensor else SIDE * (1.0 / rows + 1.0 / columns),
        accumulators=1024.0,  # a library keeps its pipes full, whatever the tile
        stretch=stretch,
    )
    return works, np.where(used > 1, 8.0 * m * n * batch * used, 0.0)


def _stages(spec: DeviceSpec, constants: Mapping[str, float], tensor: bool, tile_bytes: Floats) -> Numbers:
    """Buffers of a tile's loads: where an engine copies whole tiles, as many as shared memory holds, up to a few."""
    if not tensor or not computes_whole_tiles(gpu_unit(spec)):
        return constants["stages"]
    return np.clip(np.floor(spec.level("shared").size_bytes / tile_bytes), 2.0, _MOST_STAGES)


def _forgotten(touched: Floats) -> Floats:
    """The share that a cache has lost of data, *touched* times what it holds having been touched since."""
    return np.clip((touched - 1.0) / _FORGETS + 0.5, 0.0, 1.0)


def _columns(sizes: Sizes) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    m, n, k = (column(sizes, name) for name in ("m", "n", "k"))
    return m, n, k, column(sizes, "batch", 1.0), column(sizes, "warm")


def _operand_bytes(m: Floats, n: Floats, k: Floats, batch: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    return m * k * batch * size, k * n * batch * size, m * n * batch * size
