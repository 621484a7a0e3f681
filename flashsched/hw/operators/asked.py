"""The sizes that an estimate is asked for: whole numbers in range, one column each, and operations with nothing to do.

It stands apart from the models, which take columns that are sound as they are, and millions of them in a fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DeviceError
from flashsched.hw.operators.collective import COLLECTIVES
from flashsched.hw.operators.elementwise import FUNCTIONS

__all__ = ["EXTENTS", "asked_sizes"]

EXTENTS = (
    *("m", "n", "k", "batch", "seqlen", "kv_len", "heads", "kv_heads", "head_dim"),
    *("cin", "cout", "hin", "win", "kh", "kw"),
)  # fmt: skip
"""Sizes that count what there is to compute: with one of them 0 there is nothing."""

_LEAST = {"stride_h": 1, "stride_w": 1, "devices": 1}  # others may be 0
_MOST = 2**62
_INDEX = {"function": len(FUNCTIONS), "collective": len(COLLECTIVES), "pass": 3, "causal": 2}


def asked_sizes(op: str, names: Sequence[str], sizes: Mapping[str, object]) -> dict[str, NDArray[np.int64]]:
    """*sizes* as columns of one length, numbers repeated; *names* are those that *op* needs.

    An operation without elements becomes the smallest one there is, which takes the start of a kernel; a product whose
    reduction is empty becomes one of length 1, for its result is written.

    Raises:
        DeviceError: a size is missing, no whole number, out of its range, or columns differ in length; a window is
            larger than the image with its padding.
    """
    missing = [name for name in names if name not in sizes]
    if missing:
        raise DeviceError(f"{op} needs the sizes {', '.join(names)}; {', '.join(missing)} is missing")
    columns = {name: _column(op, name, value) for name, value in sizes.items()}
    try:
        together = np.broadcast_arrays(*columns.values())
    except ValueError:
        told = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise DeviceError(f"{op}: the sizes must be single numbers or of one length; there are {told}") from None
    made = {name: np.array(column) for name, column in zip(columns, together, strict=True)}
    for image, pad, kernel in (("hin", "pad_h", "kh"), ("win", "pad_w", "kw")):
        if {image, pad, kernel} <= set(made):
            room = made[image] + 2 * made[pad]
            small = (room < made[kernel]) & (made[image] > 0)
            if small.any():
                row = int(np.argmax(small))
                raise DeviceError(
                    f"{op}: {kernel} is {made[kernel][row]}, and {image} with its padding has {room[row]}"
                )
    if op == "gemm":
        made["k"] = np.maximum(made["k"], 1)
    counts = [name for name in EXTENTS if name in made]
    if counts:
        nothing = np.any([made[name] == 0 for name in counts], axis=0)
        made |= {name: np.where(nothing, 1, made[name]) for name in counts}
    if op == "attention" and ((made["causal"] == 1) & (made["kv_len"] < made["seqlen"])).any():
        raise DeviceError(
            "attention: under a causal mask kv_len is at least seqlen: the queries are the last of the keys"
        )
    return made


def _column(op: str, name: str, value: object) -> NDArray[np.int64]:
    try:
        given = np.asarray(value)
    except ValueError:  # rows of several lengths
        given = np.asarray(str(value))
    whole = given.dtype.kind in "bui" or (given.dtype.kind == "f" and bool((np.floor(given) == given).all()))
    if not whole or given.ndim > 1 or given.size == 0 or bool((given >= _MOST).any()):
        raise DeviceError(
            f"{op}: the size {name} must be a whole number below 2**62, or a column of them, got {value!r}"
        )
    column = np.atleast_1d(given).astype(np.int64)
    least, beyond = _LEAST.get(name, 0), _INDEX.get(name)
    wrong = (column < least) | (column >= (_MOST if beyond is None else beyond))
    if wrong.any():
        upto = "up" if beyond is None else f"to {beyond - 1}"
        raise DeviceError(f"{op}: the size {name} is {column[wrong][0]}; it must be from {least} {upto}")
    return column
