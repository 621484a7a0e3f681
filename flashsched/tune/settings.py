"""What a tuning run is asked to do, as one value: how it searches, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flashsched.errors import TuneError, did_you_mean

__all__ = ["OBJECTIVES", "Settings"]

OBJECTIVES = ("time", "energy", "code")
"""What a device's model gives: seconds, joules, and instructions of straight code."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to search, and when to stop; see `flashsched.tune.tuner.tune` for what each means.

    Raises:
        TuneError: a number is out of range, or there is no such objective.
    """

    trials: int = 64
    seed: int = 0
    time_budget: float | None = None
    sampler: str = "tpe"
    patience: int | None = None
    regret: float | None = None
    warm_start: bool | str | Path | Sequence[str | Path] = True
    pretrained: bool = True
    objectives: tuple[str, ...] = ("time",)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise TuneError(f"trials must be at least 1, got {self.trials}")
        if self.patience is not None and self.patience < 1:
            raise TuneError(f"patience must be at least 1 trial, got {self.patience}")
        if self.regret is not None and not 0 < self.regret < 1:
            raise TuneError(
                f"regret must be a share between 0 and 1, got {self.regret}", hint="0.02 stops where 2 % is left"
            )
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise TuneError(f"unknown objective {name!r}", hint=did_you_mean(name, OBJECTIVES))
        if self.regret is not None and len(self.objectives) > 1:
            raise TuneError("regret is about one objective; with several, patience or a number of trials ends a run")
        if len(set(self.objectives)) < len(self.objectives) or "time" not in self.objectives:
            raise TuneError(f"objectives are each named once, with time among them; got {self.objectives}")

    def logs(self) -> list[Path]:
        """The logs that a start is taken from."""
        from flashsched.tune.logs.places import log_places

        if isinstance(self.warm_start, bool):
            return list(log_places()) if self.warm_start else []
        given = [self.warm_start] if isinstance(self.warm_start, str | Path) else self.warm_start
        return [Path(path) for path in given]
