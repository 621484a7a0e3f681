"""The constants of the GPU model: how well kernels use such a device, which no data sheet states.

Fitted for each architecture family to measurements of library products (``fitted/*.toml``); the defaults are those of
a device that nothing is known of but its spec. They are few, each has a physical meaning and bounds outside of which it
would have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flashsched.hw.constants import Constant

__all__ = ["DEFAULTS", "GPU_CONSTANTS", "NESTS"]

GPU_CONSTANTS: dict[str, Constant] = {
    "arithmetic": Constant(1.0, 0.4, 1.0, "share", "of the peak that a unit's main loop reaches with data at hand"),
    "op_pj": Constant(1.5, 0.01, 60.0, "pJ", "that an operation of 16 bits takes of the power limit on matrix units"),
    "reuse": Constant(0.4, 0.0, 1.0, "exponent", "by which energies fall with the multiply-adds of a unit beyond 512"),
    "droop": Constant(0.8, 0.33, 1.0, "exponent", "that a lack of power slows by: 1/3 at best, 1 at a fixed voltage"),
    "burst": Constant(
        0.01, 0.01, 0.9, "share", "of the time that its energy takes which a kernel much below 1 ms is spared"
    ),
    "byte_pj": Constant(0.01, 0.01, 400.0, "pJ", "that moving one byte from L2 to a unit takes of the power limit"),
    "dram": Constant(
        1.0, 0.5, 1.2, "ratio", "of the main memory's rate that kernels reach to the spec's sustained one"
    ),
    "l2": Constant(1.0, 0.05, 10.0, "ratio", "of L2's rate to the spec's sustained one; above 1: units share a load"),
    "unit_l2": Constant(1.0, 0.05, 10.0, "ratio", "of the rate at which one unit draws from L2 to the spec's"),
    "in_flight": Constant(
        0.4, 0.004, 16.0, "share", "of a unit's shared memory that it has under way from main memory at a time"
    ),
    "store": Constant(64.0, 0.5, 512.0, "bytes/clock", "that one unit stores when a block writes its results"),
    "exposed": Constant(0.3, 0.01, 1.0, "share", "of that store time which no other block's work hides"),
    "ahead": Constant(1.0, 0.02, 1.0, "share", "of it left where warps are free while a whole tile is computed"),
    "start_us": Constant(0.05, 0.05, 60.0, "us", "that a kernel takes to start and to end, beyond an empty one"),
    "block_us": Constant(0.01, 0.01, 30.0, "us", "from a block's start to its first operands, not overlapped"),
    "wave": Constant(
        1.0, 0.0, 1.0, "share", "of whole waves: 1 counts started blocks, 0 spreads the last over all units"
    ),
    "lone": Constant(
        0.0, 0.0, 1.0, "share", "of a block's place that is lost while no other is there: 1 takes rounds as whole ones"
    ),
    "overlap": Constant(
        4.0, 1.0, 12.0, "norm", "that joins what a unit does at once: 1 adds, infinity takes the longest"
    ),
    "overlap_memory": Constant(4.0, 1.0, 12.0, "norm", "that joins a unit's time with L2's and main memory's"),
}

DEFAULTS: Mapping[str, float] = MappingProxyType({name: one.default for name, one in GPU_CONSTANTS.items()})
"""The values where nothing was fitted."""

NESTS: Mapping[str, float] = MappingProxyType({**DEFAULTS, "few": 4.0})
"""Those of a nest that a compiler made a kernel of. A library's kernels are scheduled by hand, and overlap within a
warp; ours overlap as far as a scheduler has other warps to turn to: with ``few`` of them, half as well. Of 18 cases
measured on an H100 (``benchmarks/cuda.py``), with any one left out, 8 to 12 is best; 4 takes most of what it gains, and
leaves tiles of 128 x 128 the three quarters of the peak that kernels in CUDA are reported to reach."""
