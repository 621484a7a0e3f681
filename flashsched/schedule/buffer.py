"""Memory for tensors; apart from the statements that use it, which are in `flashsched.schedule.ir`."""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.schedule.layout import IndexMap, strides_of
from flashsched.te.sizes import Shape

__all__ = ["LANES", "SCOPES", "Buffer"]

SCOPES = ("global", "shared", "local", "register")
"""Where a buffer lives: memory that all see; a GPU block's shared memory; one thread's registers or stack, as the back
end decides; one thread's registers, or lowering refuses it."""

LANES = "lanes"
"""What memory is held by whose first index is the thread along threadIdx.x that has it; others may ask it for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Memory for one tensor, known by identity. Element ``i, j`` lies at ``i * strides[0] + j * strides[1]``.

    Dimensions and strides are numbers, or expressions of sizes. *strides* count elements; None means row-major without
    gaps. *alignment*, in bytes, is promised of the first element. The rest is for lowering. *layout* maps the nest's
    indices to those of the memory. *aligned* asks, by ``(dimension, factor, offset)``, for strides that are *offset*
    modulo *factor*. *doubled* memory is filled a turn ahead of its readers. *rolling* memory, ``(dimension, window)``,
    keeps the last *window* indices from turn to turn.
    A caller passes a number for a *by_value* buffer, which has one element. In code for a GPU, memory of a warp may be
    *held* by its lanes: each has the elements in registers that the intrinsic of that name, or `LANES`, gives it.
    """

    name: str
    shape: Shape
    dtype: str
    scope: str = "global"
    strides: Shape | None = None
    alignment: int = 0
    layout: IndexMap | None = None
    aligned: tuple[tuple[int, int, int], ...] = ()
    doubled: bool = False
    rolling: tuple[int, int] | None = None
    by_value: bool = False
    held: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it is one thread's own: nothing else sees it."""
        return self.scope in ("local", "register")

    @property
    def element_strides(self) -> Shape:
        """The strides, written out."""
        if self.strides is not None:
            return self.strides
        return strides_of(self.shape)

    def __repr__(self) -> str:
        return f"Buffer({self.name}{list(self.shape)}, {self.dtype}, {self.scope})"
