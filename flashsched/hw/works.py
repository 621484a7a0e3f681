"""Many `Work`s at once: the same fields, each a number or an array, so that NumPy judges thousands in a call.

A search over tiles differs in a few fields only; the others stay one number. Any fields that are arrays must broadcast
against each other: sizes down the rows, tiles along the columns. `Works.of` makes one out of a single `Work`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from flashsched.hw.numbers import Numbers
from flashsched.hw.work import Work

__all__ = ["Works"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """What kernels ask of a GPU: the fields of `Work` that its model reads, where their meaning is told.

    ``stretch`` is the time per time of the unit's arithmetic that a layout costs which the nest does not show, 1 or
    more: rows so far apart that each load misses the address translation, sizes that force narrow loads.
    """

    flops: Mapping[str, Numbers]
    dram_read_bytes: Numbers
    dram_write_bytes: Numbers
    fma_share: Numbers = 1.0
    special_ops: Numbers = 0.0
    useful_flops: Mapping[str, Numbers] | None = None
    dram_bytes: Numbers | None = None
    coalescing: Numbers = 1.0
    blocks: Numbers = 1.0
    threads_per_block: Numbers = 1.0
    l2_read_bytes: Numbers | None = None
    l2_write_bytes: Numbers | None = None
    global_lane_bytes: Numbers | None = None
    shared_bytes_per_block: Numbers = 0.0
    shared_load_bytes: Numbers = 0.0
    shared_store_bytes: Numbers = 0.0
    steps: Numbers = 1.0
    barriers: Numbers = 0.0
    guarded: Numbers = 0.0
    stages: Numbers = 1.0
    registers_per_thread: Numbers = 32.0
    bytes_in_flight: Numbers = 16.0
    bank_conflict: Numbers = 1.0
    accumulators: Numbers = 1.0
    overhead_per_op: Numbers = 0.0
    unrolled: bool = True
    stretch: Numbers = 1.0

    @classmethod
    def of(cls, work: Work) -> Works:
        """The one candidate *work*."""
        return cls(**{name: getattr(work, name) for name in _SHARED})

    @property
    def compulsory_bytes(self) -> Numbers:
        """The least that main memory must move: every input read and every output written once."""
        return self.dram_read_bytes + self.dram_write_bytes

    @property
    def main_dtype(self) -> str:
        """The dtype that most operations of all candidates are in; "float32" where there are none."""
        return max(self.flops, key=lambda dtype: float(np.max(self.flops[dtype])), default="float32")


_SHARED = tuple(field.name for field in fields(Works) if field.name != "stretch")
