"""The constants of products on GPUs: the model's, with defaults of a library's kernels, and what libraries have in
common; and which of them a fit over several devices is told.
"""

from __future__ import annotations

from dataclasses import replace

from flashsched.hw.constants import Constant
from flashsched.hw.gpu_constants import GPU_CONSTANTS
from flashsched.hw.operators.times import LAUNCHED

__all__ = ["CONSTANTS", "KNOWN", "UNLIKE"]

TYPICAL = {
    "arithmetic": 0.95, "byte_pj": 20.0, "in_flight": 0.6, "store": 15.0, "exposed": 0.6,
    "ahead": 0.4, "start_us": 1.5, "block_us": 0.05, "wave": 0.6, "lone": 0.3, "overlap": 4.0, "overlap_memory": 2.5,
}  # fmt: skip
"""Defaults of the GPU model's constants for a library's products, where a nest's are those of a perfect device."""

CONSTANTS: dict[str, Constant] = {
    **{name: replace(one, default=TYPICAL.get(name, one.default)) for name, one in GPU_CONSTANTS.items()},
    "stages": Constant(5.0, 1.5, 12.0, "buffers", "of a tile's loads: all but one are under way at a time"),
    "split_us": Constant(2.5, 0.05, 60.0, "us", "to add the slices of a split reduction up, their bytes apart"),
    "kept": Constant(0.9, 0.01, 3.0, "share", "of L2 in which a product finds what it or the call before it touched"),
    "turns": Constant(6.0, 1.0, 100.0, "layers", "of such weights that are used before the same come again"),
    "waits": Constant(
        0.4, 0.0, 1.0, "share", "of the issue of loads that a lane waits for where there is room for both"
    ),
    "narrow": Constant(2.0, 0.2, 64.0, "bytes", "that a thread has under way where a kernel of lanes loads one by one"),
    "ragged": Constant(1.03, 1.0, 1.6, "ratio", "of matrix units' time where neither n nor k is a multiple of 32"),
    "far": Constant(0.02, 0.001, 2.0, "share", "of time that each doubling of a row beyond 32 KiB adds"),
    "alias": Constant(1.05, 1.0, 4.0, "ratio", "of time where rows are a multiple of 128 KiB, and fall into one set"),
    "vector_us": Constant(0.1, 0.01, 5.0, "us", "that a product with a vector is faster, for it fills no tile"),
    "batch_call": Constant(0.6, 0.2, 2.0, "ratio", "of a framework's time around a batched product to a linear one's"),
    **LAUNCHED,
}

_CACHE = {"kept": 0.9, "turns": 6.0}
_MATRIX = {"droop": 0.8, "reuse": 0.4, "overlap_memory": 3.0}
_LANES = {"store": 64.0, "l2": 1.0, "unit_l2": 1.0, "byte_pj": 20.0, "droop": 1.0}
_HOST: dict[str, float | None] = dict.fromkeys(("host_us", "gap_us", "loop_us", "batch_call"))
KNOWN: dict[str, dict[str, float | None]] = {
    "tensor": {**_CACHE, **_MATRIX, "byte_pj": 40.0, "l2": 1.25, "unit_l2": 1.0},
    "plain": {**_CACHE, **_LANES, **_HOST},
    "packed": {**_CACHE, **_LANES, **_HOST},
    "bytes": {**_CACHE, **_MATRIX, "op_pj": 1.5},
}
"""Constants that a fit over several devices is told; None: that a fit over one family takes from the others. A cache
holds about its size, and aiconfigurator's rows use six layers' weights in turn; rows that fill no cache would draw both
off. Those of matrix units are about what devices that tell them well come to, each fitted alone; a joint fit puts into
them what devices differ in. L2 serves such tiles at about its spec's rate, on NVIDIA's boards once for two neighbours
(``coalesced_units``). What an operation on bytes costs is better told by those on 16 bits. And
L2, instructions and energy all slow a small tile on lanes: which of them does, a few devices' rows cannot tell apart.
So L2 is taken at its spec's rate, a unit's loads and stores at its port's 64 bytes a clock, a byte from L2 at 20 pJ,
and the clock as proportional to the power. A host's time is no trait of a family: one sister's tells nothing of
another's."""

UNLIKE = {"plain": ("maxwell",)}
"""Families whose rows teach other families nothing: those of Maxwell boards were timed with cuBLAS of 2016, and are 35
to 45 % slower than the constants say that all of NVIDIA's later families agree on."""
