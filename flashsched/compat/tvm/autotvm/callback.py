"""What a tuner calls after each batch: writing the log, showing progress, remembering."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flashsched.compat.tvm.autotvm.measure import MeasureInput, MeasureResult
from flashsched.compat.tvm.autotvm.record import encode

__all__ = ["Monitor", "log_to_file", "progress_bar"]

logger = logging.getLogger("autotvm")


def log_to_file(file_out: Any, protocol: str = "json") -> Callable[..., None]:
    """Append each measurement to *file_out*, a path or an open file."""

    def callback(_tuner: Any, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        lines = "".join(f"{encode(i, r, protocol)}\n" for i, r in zip(inputs, results, strict=True))
        if hasattr(file_out, "write"):
            file_out.write(lines)
            return
        path = Path(file_out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(lines)

    return callback


def progress_bar(total: int, prefix: str = "", si_prefix: str = "G") -> Callable[..., None]:
    """Show the best so far, how many are done, and the time, in one line on stderr."""
    scale = {"": 1.0, "M": 1e6, "G": 1e9, "T": 1e12}[si_prefix]
    state = {"done": 0, "current": 0.0, "best": 0.0, "start": time.time()}

    def callback(tuner: Any, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        for inp, result in zip(inputs, results, strict=True):
            state["done"] += 1
            state["current"] = 0.0
            if result.error_no == 0:
                state["current"] = inp.task.flop / (sum(result.costs) / len(result.costs)) / scale
            state["best"] = max(state["best"], state["current"])
        sys.stderr.write(
            f"\r{prefix} Current/Best: {state['current']:7.2f}/{state['best']:7.2f} {si_prefix}FLOPS | "
            f"Progress: ({state['done']:.0f}/{total}) | {time.time() - state['start']:.2f} s"
        )
        sys.stderr.write(" Done.\n" if state["done"] >= total else "")
        sys.stderr.flush()

    return callback


class Monitor:
    """Remembers the speed of each trial: `scores` in operations a second, `timestamps` in seconds."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.timestamps: list[float] = []

    def __call__(self, tuner: Any, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        for inp, result in zip(inputs, results, strict=True):
            good = result.error_no == 0
            self.scores.append(inp.task.flop / (sum(result.costs) / len(result.costs)) if good else 0.0)
            self.timestamps.append(result.timestamp)

    def reset(self) -> None:
        """Forget all."""
        self.scores, self.timestamps = [], []

    def trial_scores(self) -> list[float]:
        """The speed of each trial."""
        return self.scores

    def trial_timestamps(self) -> list[float]:
        """When each trial was done."""
        return self.timestamps
