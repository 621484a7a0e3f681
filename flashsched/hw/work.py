"""The contract between a scheduled nest and a device model: numbers in (``Work``), numbers out (``Prediction``).

Neither side knows the other: the tuner reads the nest and fills a ``Work``; the models read it with a spec.
A ``Work`` describes one kernel launch (GPU) or one call (CPU). What a field's default says is "none of that".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from flashsched.errors import DeviceError

__all__ = ["Prediction", "Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a scheduled kernel asks of a device.

    Arithmetic, of the whole kernel:
        flops: floating-point (or integer) operations by dtype, tail and recomputed work included; a multiply-add
            is two. A name like "float16" or "tf32" means that the tensor cores do it where the device has them.
        fma_share: share of them that are in fused multiply-adds (matmul 1, relu 0).
        special_ops: exp, tanh, erf, division, sqrt … evaluated.
        useful_flops: operations of the computation itself, which the roofline counts; None: the same as ``flops``.

    Main memory, of the whole kernel:
        dram_read_bytes, dram_write_bytes: compulsory traffic: each input and output element once.
        dram_bytes: traffic that really crosses between DRAM and the last cache; None: the model works it out from
            how much of the data that cache holds.
        coalescing: useful bytes per byte of the sectors (GPU, 32 bytes) or lines (CPU, 64) moved, above 0 up to 1.

    GPU, of the whole kernel:
        blocks, threads_per_block: the grid.
        l2_read_bytes: bytes requested from L2 by all blocks: a staged tile once for each block, an unstaged load once
            for each warp (lanes that read one address share it; no reuse between warps is assumed). None: compulsory.
        l2_write_bytes: bytes stored by all blocks; None: compulsory.
        global_lane_bytes: bytes that threads load from and store to global memory, summed over threads, which the
            load/store units must move, a line at a time: 128 for each line that the lanes of a warp touch together,
            where that is more; None: ``l2_read_bytes + l2_write_bytes``.
    GPU, per block:
        shared_bytes_per_block: shared memory allocated (every stage of a multi-buffered tile counted).
        shared_load_bytes, shared_store_bytes: bytes moved from and to shared memory, summed over the block's threads:
            each thread's loads counted, broadcasts too.
        steps: rounds of "load from global memory, then compute on it" that must follow one another: trips of the staged
            reduction loop; for an unstaged loop its trips divided by how far it is unrolled; 1 for an elementwise
            kernel.
        barriers: block-wide barriers executed, and exchanges between the lanes of a warp, which take about as long.
        guarded: operations that a thread does one after another, each behind a condition of its own.
        stages: buffers of a staged tile: 1 waits for each load, 2 or more loads ahead.
    GPU, per thread:
        registers_per_thread: 32-bit registers.
        bytes_in_flight: bytes of independent global loads that a thread has outstanding at a time, of whole sectors.
        bank_conflict: shared-memory wavefronts per wavefront that a conflict-free access takes, at least 1.

    CPU:
        level_bytes: bytes crossing the boundary on the near side of each cache level, by level name, of the whole
            call: "l1" what the core loads and stores, "l2" between L1 and L2, … . DRAM is ``dram_bytes``.
        vector_lanes: elements per vector instruction of the main arithmetic (1: scalar code).
        element_bits: bits of an element of that arithmetic.
        warm: the call is one of many on the same data, so that what fits a cache is there already: level_bytes and
            dram_bytes (which must be given) leave that out, and the roofline takes the bandwidth of the level that
            holds the data.
        threads: threads used. parallel_items: iterations that are dealt out to them.

    TPU and ASIC, of the whole call:
        product: (m, n, k) of a matrix product that the arrays do without a pause: of a round's tiles.
        products: how many such products there are; 0: the arrays have nothing to do.
        vector_ops: operations of the vector unit, rows padded to whole registers.
        weight_bytes: compulsory bytes of the operand that is the same from call to call (the right side of a product).
        steps: rounds of "tiles in, then compute"; stages: 2 where they have a second buffer to come to;
        shared_bytes_per_block: bytes of a core's own memory that a round takes; parallel_items: parts that are dealt
        out to cores; level_bytes: bytes that arrays and vector unit move from and to the nearest memory.

    All, in the innermost loop:
        accumulators: independent accumulation chains (per thread of a GPU, vectors on a CPU): what hides FMA latency.
        overhead_per_op: other instructions (loads, address arithmetic) issued for each arithmetic instruction.
        unrolled: the innermost loop is unrolled, so that its counter and branch cost nothing.
    """

    flops: Mapping[str, float]
    dram_read_bytes: float
    dram_write_bytes: float
    fma_share: float = 1.0
    special_ops: float = 0.0
    useful_flops: Mapping[str, float] | None = None
    dram_bytes: float | None = None
    coalescing: float = 1.0
    blocks: int = 1
    threads_per_block: int = 1
    l2_read_bytes: float | None = None
    l2_write_bytes: float | None = None
    global_lane_bytes: float | None = None
    shared_bytes_per_block: int = 0
    shared_load_bytes: float = 0.0
    shared_store_bytes: float = 0.0
    steps: float = 1.0
    barriers: float = 0.0
    guarded: float = 0.0
    stages: int = 1
    registers_per_thread: int = 32
    bytes_in_flight: float = 16.0
    bank_conflict: float = 1.0
    level_bytes: Mapping[str, float] = field(default_factory=dict)
    vector_lanes: float = 1.0
    element_bits: int = 32
    threads: int = 1
    warm: bool = False
    parallel_items: float = 1.0
    product: tuple[int, int, int] = (0, 0, 0)
    products: float = 0.0
    vector_ops: float = 0.0
    weight_bytes: float = 0.0
    accumulators: float = 1.0
    overhead_per_op: float = 0.0
    unrolled: bool = True

    def __post_init__(self) -> None:
        for table in ("flops", "level_bytes", "useful_flops"):
            for key, value in (getattr(self, table) or {}).items():
                if not value >= 0:
                    raise DeviceError(f"Work: {table}[{key!r}] is {value!r}; it must be 0 or more")
        for name in _AT_LEAST_ONE:
            if not getattr(self, name) >= 1:
                raise DeviceError(f"Work: {name} is {getattr(self, name)!r}; it must be at least 1")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise DeviceError(f"Work: {name} is {value!r}; it must be 0 or more")
        if self.products and min(self.product) < 1:
            raise DeviceError(f"Work: product is {self.product!r}; its sizes must be at least 1")
        if not 0 < self.coalescing <= 1:
            raise DeviceError(f"Work: coalescing is {self.coalescing!r}; it must be above 0, at most 1")
        if not 0 <= self.fma_share <= 1:
            raise DeviceError(f"Work: fma_share is {self.fma_share!r}; it must be from 0 to 1")
        if self.bytes_in_flight <= 0:
            raise DeviceError(f"Work: bytes_in_flight is {self.bytes_in_flight!r}; it must be above 0")

    @property
    def compulsory_bytes(self) -> float:
        """The least that main memory must move: every input read and every output written once."""
        return self.dram_read_bytes + self.dram_write_bytes

    @property
    def counted_flops(self) -> Mapping[str, float]:
        """The operations that the roofline counts, by dtype."""
        return self.flops if self.useful_flops is None else self.useful_flops

    @property
    def main_dtype(self) -> str:
        """The dtype that most operations are in; "float32" where there are none."""
        return max(self.flops, key=lambda dtype: self.flops[dtype], default="float32")


_AT_LEAST_ONE = (
    "blocks", "threads_per_block", "steps", "stages", "registers_per_thread", "bank_conflict", "vector_lanes",
    "threads", "parallel_items", "accumulators", "element_bits",
)  # fmt: skip
_OTHERS = ("flops", "useful_flops", "level_bytes", "coalescing", "fma_share", "unrolled", "product", "warm")
_NOT_NEGATIVE = tuple(f.name for f in fields(Work) if f.name not in (*_AT_LEAST_ONE, *_OTHERS))


_TIERS = {
    "calibrated": "constants fitted to this device",
    "family": "constants fitted to other devices of its family",
    "specs": "from the device's specs alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a device model says of a ``Work``.

    Attributes:
        time_s: predicted time, launch included; never below ``roofline_s``.
        roofline_s: the bound from peak arithmetic and main-memory bandwidth alone.
        bound: the limiter that takes longest, a key of ``breakdown``.
        utilization: share of the peak arithmetic that is reached, 0 to 1.
        occupancy: resident threads per thread that a unit can hold (GPU), share of the cores used (CPU); NaN where no
            schedule is known, as of a vendor's library.
        occupancy_limit: what stops more blocks from being resident: "registers", "shared", "threads", "blocks", "grid".
        waves: blocks per block resident on the whole device (GPU), turns of the parallel loop per thread (CPU); NaN
            where no schedule is known.
        bytes: bytes moved at each memory level, of the whole kernel.
        breakdown: seconds that each limiter alone would take; they overlap, so their sum is more than ``time_s``.
        energy_j: power times time, from rest to full power with the busiest of arithmetic and main memory; None
            where the spec states no power.
        tier: whose measurements the model's constants were fitted to: "calibrated" (this device's), "family", "specs".
        error_pct: mean error of such predictions, in percent, over measurements that no fit saw; None: never checked.
        how: whose time it is: "schedule" (the one given), "best of 64 schedules" (of a search; "one schedule of ours"
            where it tried no other), or "library" (the vendor's, by the operator's model; "library, as a product" where
            a convolution goes by its implicit GEMM).
        note: what else is to be known of it, as that the device cannot hold the operands; "" where nothing is.
    """

    time_s: float
    roofline_s: float
    bound: str
    utilization: float
    occupancy: float
    occupancy_limit: str
    waves: float
    bytes: Mapping[str, float]
    breakdown: Mapping[str, float]
    energy_j: float | None = None
    tier: str = "specs"
    error_pct: float | None = None
    how: str = "schedule"
    note: str = ""

    @property
    def trust(self) -> str:
        """Tier and error band as people read them."""
        error = "never held against a measurement" if self.error_pct is None else f"±{self.error_pct:.0f} %"
        return f"{error} ({_TIERS.get(self.tier, self.tier)})"

    @property
    def share_of_roofline(self) -> float:
        """Roofline time per predicted time, 0 to 1."""
        return self.roofline_s / self.time_s if self.time_s > 0 else 1.0
