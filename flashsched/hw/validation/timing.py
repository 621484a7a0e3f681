"""How each published source timed its rows: a property of the measurement, which no device is to be blamed for.

``launched``: 0 the device's own time of the kernel; 1 events around kernels that a framework launches one by one;
2 a host clock around many calls; 3 a host clock around each call, with a synchronisation. ``warm``: the rows repeat on
the same data without clearing the caches. ``rowwise``: see ``operators/times.py``. ``drifts``: operations whose rows
take longer the later they stand in their table, by as much for short kernels as for long ones, for a
reason that no source states. Each row of them bears its ``place`` in the run, in thousandths. ``quantises``: products
of bytes are a framework's layers, which quantise the activations first, in a kernel of its own. ``graphs``: the vendor
whose graphs are replayed; on another's devices, which have none, kernels are launched one by one.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SOFTMAX_ARRAYS", "SOURCES", "Timing", "timing_of"]


class Timing(NamedTuple):
    """How a source timed; *why* says where that is stated."""

    launched: int
    warm: int
    rowwise: int = 0
    why: str = ""
    drifts: tuple[str, ...] = ()
    quantises: bool = False
    graphs: str = ""


SOURCES: dict[str, Timing] = {
    "aiconfigurator": Timing(
        0, 0, why="CUDA graph replay, weights rotated so that L2 does not hold them", quantises=True, graphs="NVIDIA"
    ),
    "neusight": Timing(1, 1, why="CUDA events, mean of the best 5 of 25, warm cache", drifts=("conv2d",)),
    "vidur": Timing(0, 1, 1, why="kernel time from the profiler, in whole microseconds"),
    "deepbench": Timing(2, 1, why="host clock over repeated calls"),
    "llmcompass": Timing(3, 1, why="host clock with a synchronisation"),
    "pipeweave": Timing(0, 1, why="kernel duration, 2 or 3 samples averaged"),
    "aiter": Timing(0, 1, why="device time in the tuner"),
    "scalesim": Timing(0, 1, why="device time of the XLA fusion"),
    "yangwhale": Timing(3, 1, why="host clock, dispatch included"),
    "jaxdocs": Timing(3, 1, why="timeit, each call awaited"),
    "keichi": Timing(2, 1, why="host clock"),
    "mlxbench": Timing(3, 1, why="host clock, 10 us resolution"),
    "orfeo": Timing(2, 1, why="host clock"),
    "danieldk": Timing(2, 1, why="host clock"),
    "gpubenches": Timing(0, 1, why="device time"),
    "mamf": Timing(1, 1, why="CUDA events"),
}


def timing_of(source: str, vendor: str) -> Timing:
    """How *source* timed devices of *vendor*; an unknown one's rows count as the device's own time, on repeated data.

    >>> timing_of("aiconfigurator", "NVIDIA").launched, timing_of("aiconfigurator", "Intel").launched
    (0, 1)
    """
    found = SOURCES.get(source, Timing(0, 1, why="not known: taken as the device's own time"))
    return found._replace(launched=1) if found.graphs not in ("", vendor) else found


SOFTMAX_ARRAYS = {"mlx_gpu": 8, "mlx_gpu_compile": 6}
"""Arrays that softmax moves where a framework computes it operation by operation, the maximum, the difference, the
power, the sum and the quotient, or makes one kernel of the two in the middle. So does MLX in mlxbench since it compiles
(after 0.2), at the rate of main memory on all of Apple's chips; before, it took one kernel as others do."""
