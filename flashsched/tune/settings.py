"""What a tuning run is asked to do, as one value: how it searches, and when it ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from flashsched.errors import TuneError, did_you_mean

__all__ = ["OBJECTIVES", "Settings", "require_path", "require_seconds", "require_whole"]

OBJECTIVES = ("time", "energy", "code")
"""What a device's model gives: seconds, joules, and instructions of straight code."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to search, and when to stop; see `flashsched.tune.tuner.tune` for what each means.

    Raises:
        TuneError: a number is none or out of range, or there is no such objective.
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
        require_whole("trials", self.trials)
        require_whole("seed", self.seed, least=0)
        require_whole("patience", self.patience)
        require_seconds("time_budget", self.time_budget)
        _require("regret", self.regret, Real, "a share", "0.02")
        _require("sampler", self.sampler, str, "a sampler's name", "'tpe'")
        _require("warm_start", self.warm_start, bool | str | os.PathLike | Sequence, "True, False or logs", "'a.jsonl'")
        if self.regret is not None and not 0 < self.regret < 1:
            raise TuneError(
                f"regret must be a share between 0 and 1, got {self.regret}", hint="0.02 stops where 2 % is left"
            )
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise TuneError(f"unknown objective {name!r}", hint=did_you_mean(str(name), OBJECTIVES))
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


def require_whole(name: str, value: Any, least: int = 1) -> None:
    """Refuse a *value* for the argument *name* that is no whole number from *least* up; None is not given.

    Raises:
        TuneError: it is none.
    """
    _require(name, value, Integral, "a whole number", "8")
    if value is not None and value < least:
        raise TuneError(f"{name} must be at least {least}, got {value}")


def require_seconds(name: str, value: Any) -> None:
    """Refuse a *value* for the argument *name* that is no number from 0 up; None is not given.

    Raises:
        TuneError: it is none.
    """
    _require(name, value, Real, "a number of seconds", "30")
    if value is not None and not value >= 0:
        raise TuneError(f"{name} must be a number of seconds from 0 up, got {value}")


def require_path(name: str, value: Any) -> None:
    """Refuse a *value* for the argument *name* that is no path; None is not given.

    Raises:
        TuneError: it is none.
    """
    _require(name, value, str | os.PathLike, "a path", "'a.jsonl'")


def _require(name: str, value: Any, kind: Any, what: str, example: str) -> None:
    alike = not isinstance(value, bool) or kind not in (Integral, Real)  # True is a number to Python only
    if value is not None and not (alike and isinstance(value, kind)):
        raise TuneError(f"{name} must be {what}, got {value!r}", hint=f"for example {name}={example}")
