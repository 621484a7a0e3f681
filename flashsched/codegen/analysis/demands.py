"""What every device must do for a nest, however it is scheduled: bytes that main memory moves, names of arithmetic."""

from __future__ import annotations

from flashsched.codegen.analysis.reading import Nest
from flashsched.hw import DeviceSpec
from flashsched.te import dtypes

__all__ = ["USABLE", "arithmetic_name", "compulsory", "element_bits"]

USABLE = 0.75
"""Share of a cache that may hold data for reuse before what streams by pushes it out. Estimated."""


def compulsory(nest: Nest, cache_bytes: float, *, write: bool) -> float:
    """Bytes of what *nest* writes for others, or of what it reads of others; each element once.

    What one nest leaves for another stays in the last cache, of *cache_bytes*, where it fits.
    """
    number = 0.0
    for memory in nest.memories:
        written = any(touch.write for touch in memory.touches)
        if memory.kept and written == write and (memory.given or memory.size > USABLE * cache_bytes):
            number += memory.elements(nest.extents) * memory.width
    return number


def arithmetic_name(spec: DeviceSpec, narrow: str, wide: str) -> str:
    """The dtype under which *spec* counts an operation: the narrow one where it has a peak for it.

    Raises:
        DeviceError: float64 on a device without it, which nothing narrower stands in for.
    """
    if narrow in spec.peaks:
        return narrow
    if wide in spec.peaks:
        return wide
    if wide == "float64":
        spec.peak(wide)
    return "float32" if dtypes.is_float(wide) or "int32" not in spec.peaks else "int32"


def element_bits(nest: Nest) -> int:
    """Bits of an element of the main arithmetic."""
    main = nest.main
    if main is None:
        return 32
    kinds = main.work.flops
    if kinds:
        return dtypes.bits(max(kinds, key=lambda kind: kinds[kind])[1])
    return main.touches[0].memory.width * 8 if main.touches else 32
