"""What a tuning run tells: `Progress` while it goes on, `Result` at its end. How it searches is ``tune/tuner.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flashsched.errors import TuneError
from flashsched.schedule import Trace
from flashsched.tune.logs.record import Record
from flashsched.tune.logs.trials import Trials
from flashsched.tune.task import Candidate, Task

if TYPE_CHECKING:
    import pandas as pd

    from flashsched.codegen.kernel import Kernel

__all__ = ["VALID", "Progress", "Result"]

VALID = ("correct", "unverified")
"""Statuses of trials whose time counts in a search; only ``correct`` is good enough to be loaded."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told after each trial.

    Attributes:
        done: trials so far, those of a resumed run included.
        trials: how many there will be at most.
        best_s: the best time so far in seconds; None while there is none.
        share: the roofline's time over the best: 1 is the device's limit.
        elapsed_s: seconds since the run began.
        left_s: seconds left, as far as can be told.
        failed: trials by status, those that failed.
        stage: what is being done: ``"search"`` or ``"finals"``.
        notes: what is worth knowing of the run, the latest last: what it started from, what was found amiss.
    """

    done: int
    trials: int
    best_s: float | None
    share: float | None
    elapsed_s: float
    left_s: float
    failed: dict[str, int]
    stage: str = "search"
    notes: tuple[str, ...] = ()


@dataclass
class Result:
    """What a tuning run found.

    Attributes:
        task: what was tuned.
        device: on which device.
        records: all trials, in order; finalists carry their final times. A run with a log keeps the latest in memory
            and reads the others from there when they are asked for.
        best: the best record; None where no schedule was valid.
        ties: records whose times can't be told from the best's.
        log: the log they were written to.
        refused: why candidates were ruled out before they were run, and how often.
        stopped: why the search ended.
        notes: what is worth knowing of the run: what it started from, what was found amiss.
        objectives: what was searched for.
        front: with several objectives, the records that no other beats in all of them, the fastest first.
    """

    task: Task
    device: str
    records: Trials
    best: Record | None
    ties: list[Record] = field(default_factory=list)
    log: Path | None = None
    refused: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    notes: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ("time",)
    front: list[Record] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """The trials as a pandas DataFrame, one row each."""
        from flashsched.tune.logs.report import frame

        return frame(self.records)

    @property
    def kernel(self) -> Kernel:
        """The best schedule, compiled for this machine.

        Raises:
            TuneError: no schedule was valid, or the run was for a simulated device.
        """
        from flashsched.codegen.build import build

        if self.best is None:
            raise TuneError(f"no valid schedule of {self.task!r} was found", hint=self.why_nothing())
        if self.best.source != "measured":
            raise TuneError(
                f"this schedule is for {self.device}, which is simulated here and runs no kernels",
                hint="tune for device='cpu' to run it on this machine",
            )
        found = self.schedule()
        return build(found.schedule, found.args, name=self.task.op)

    def schedule(self) -> Candidate:
        """The best schedule, replayed.

        Raises:
            TuneError: no schedule was valid.
        """
        if self.best is None:
            raise TuneError(f"no valid schedule of {self.task!r} was found", hint=self.why_nothing())
        return self.task.replay(Trace.from_json(self.best.trace))

    def why_nothing(self) -> str:
        """What the trials failed of, then why others were not run; the most frequent first."""
        reasons: dict[str, int] = {}
        for record in self.records:
            if record.status not in VALID:
                text = f"{record.status}: {(record.error or '').splitlines()[0] if record.error else ''}"
                reasons[text] = reasons.get(text, 0) + 1
        failed = sorted(reasons.items(), key=lambda item: -item[1])
        refused = sorted(self.refused.items(), key=lambda item: -item[1])
        ordered = [*failed, *((f"not run: {text}", count) for text, count in refused)]
        return "; ".join(f"{count} x {text}" for text, count in ordered[:5]) or "nothing was tried"
