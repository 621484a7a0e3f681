"""Cycles that an array of multiply-adders takes for a matrix product: what TPUs and edge accelerators have in common.

An array of R x C multiply-adders holds one operand (or the sums) still while the others march through it, a step each
cycle. A product larger than the array is folded: R x C at a time. Each fold marches ``T`` steps, and costs the way in
and out besides.

==================  =================  ====================  ==========================
what stays          rows, columns, T   one fold              the first fold's values
==================  =================  ====================  ==========================
weights (``ws``)    K, N, M            R + T + R + C - 2     R cycles to be loaded
outputs (``os``)    M, N, K            T + R + C - 2         none: the sums begin at 0
inputs (``is``)     K, M, N            R + T + R + C - 2     R cycles to be loaded
==================  =================  ====================  ==========================

These are SCALE-Sim's cycles (Samajdar et al., "A systematic methodology for characterizing scalability of DNN
accelerators using SCALE-Sim", ISPASS 2020), fold after fold. Real arrays load the next weights while the last ones are
at work and let one fold follow the other (`streamed_cycles`; Jouppi et al., ISCA 2017, section 2).

Sizes may be numbers or NumPy arrays of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flashsched.errors import DeviceError, did_you_mean

__all__ = ["folded_cycles", "streamed_cycles"]

_MAPPED = {"ws": ("k", "n", "m"), "os": ("m", "n", "k"), "is": ("k", "m", "n")}


def folded_cycles(m: Any, n: Any, k: Any, rows: int, columns: int, dataflow: str = "ws") -> Any:
    """Cycles of C[m, n] = A[m, k] B[k, n] on one array of *rows* x *columns*, one fold after the other has left.

    Raises:
        DeviceError: no such dataflow.

    >>> folded_cycles(4, 4, 4, 4, 4), folded_cycles(7, 5, 3, 4, 4, "os")
    (14, 36)
    """
    if dataflow not in _MAPPED:
        raise DeviceError(f"no dataflow {dataflow!r}", hint=did_you_mean(dataflow, _MAPPED))
    sizes = {"m": m, "n": n, "k": k}
    down, across, steps = (sizes[name] for name in _MAPPED[dataflow])
    loading = 0 if dataflow == "os" else rows
    return _ceil(down, rows) * _ceil(across, columns) * (loading + steps + rows + columns - 2)


def streamed_cycles(m: Any, n: Any, k: Any, rows: int, columns: int, arrays: int = 1) -> Any:
    """Cycles of the same product on *arrays* that hold weights, the next ones loaded while the last are at work.

    A fold is then as long as the longer of its own steps and the loading of the next; the way in and out is paid once.
    Weights lie in the array either way around: whichever operand makes it faster.

    >>> int(streamed_cycles(512, 128, 128, 128, 128)), int(streamed_cycles(512, 128, 256, 128, 128, arrays=2))
    (894, 894)
    """

    def held(steps: Any, across: Any) -> Any:
        folds = _ceil(_ceil(k, rows) * _ceil(across, columns), arrays)
        return folds * np.maximum(steps, rows) + rows + rows + columns - 2

    return np.minimum(held(m, n), held(n, m))[()]


def _ceil(size: Any, part: int) -> Any:
    return -(-size // part)
