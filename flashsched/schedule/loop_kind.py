"""The kinds of loops: what a loop promises of its turns, or asks of the back end; never what they compute.

Apart from the statements (`flashsched.schedule.ir`), which are about what is computed.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["LoopKind"]


class LoopKind(Enum):
    """How the turns of a loop are run."""

    SERIAL = "serial"
    UNROLL = "unroll"
    VECTORIZE = "vectorize"
    PARALLEL = "parallel"
    TENSORIZE = "tensorize"
    BLOCK_X = "blockIdx.x"
    BLOCK_Y = "blockIdx.y"
    BLOCK_Z = "blockIdx.z"
    THREAD_X = "threadIdx.x"
    THREAD_Y = "threadIdx.y"
    THREAD_Z = "threadIdx.z"
    VTHREAD = "vthread"

    __hash__ = object.__hash__  # each is there once; Enum's own is Python's, and nests are asked for kinds all the time

    def __init__(self, axis: str) -> None:
        self.is_block = axis.startswith("blockIdx")
        """Whether the turns are blocks of a GPU grid."""
        self.is_thread = axis.startswith("threadIdx")
        """Whether the turns are threads of a GPU block."""

    @property
    def is_concurrent(self) -> bool:
        """Whether the turns may run at the same time, in any order."""
        others = (LoopKind.PARALLEL, LoopKind.VECTORIZE, LoopKind.VTHREAD)
        return self.is_block or self.is_thread or self in others
