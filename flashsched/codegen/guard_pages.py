"""Arrays that end, or begin, at a page that can't be touched: reading or writing one element outside is a SIGSEGV.

What checks kernels (the tuner's verification, the fuzzer) runs them on such arrays, in processes that may die.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Any

import numpy as np

from flashsched.codegen.arrays import Array

__all__ = ["guarded"]


def guarded(shape: tuple[int, ...], dtype: np.dtype[Any], values: Array | None = None, *, side: str = "after") -> Array:
    """An array beside a page that can't be touched, filled with *values* or with poison.

    Where pages can't be protected the array is a plain one.

    Args:
        shape: its shape.
        dtype: its element type.
        values: what it holds; by default bytes that are NaN in every float format, and in integers a number that small
            sums are not.
        side: ``"after"``: the last element ends at the page; ``"before"``: the first one begins right behind it.
    """
    size = math.prod(shape) * dtype.itemsize
    page = mmap.PAGESIZE
    room = -(-size // page) * page
    memory = mmap.mmap(-1, room + page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if hasattr(ctypes, "CDLL") and hasattr(mmap, "PROT_READ"):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        libc.mprotect(base + (room if side == "after" else 0), page, 0)
    first = room - size if side == "after" else page
    flat = np.frombuffer(memory, dtype=np.uint8, count=size, offset=first)
    array = flat.view(dtype).reshape(shape)
    if values is None:
        flat[:] = 0xA7 if dtype.kind in "iub" else 0xFF
    else:
        array[...] = values
    return array
