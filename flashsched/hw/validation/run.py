"""Predict every measured row, by constants that never saw it, and say how far off the predictions are.

Three tiers: *calibrated* refits the constants to the device's own rows, fold by fold, each row being predicted by the
fit that left its fold out; *family* takes the constants fitted to other devices of its architecture family, *specs*
those fitted to other families (both ship with the package, see ``fitted/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DeviceError
from flashsched.hw.constants import Tier, constants_for
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.boost import learned_residual
from flashsched.hw.validation.fit import fitted_values, folds_of, predicted
from flashsched.hw.validation.kept import fit_key, keep_times, kept_times
from flashsched.hw.validation.operations import FOLD_BY
from flashsched.hw.validation.parallel import mapped
from flashsched.hw.validation.rows import Rows, read_rows, thinned
from flashsched.hw.validation.scores import SIZE_RANGES, Score, range_of, score
from flashsched.hw.validation.tables import Notes

__all__ = ["TIERS", "Scored", "Validation", "collect", "held_out", "validate_models"]

TIERS: tuple[Tier, ...] = ("calibrated", "family", "specs")
_FEWEST = 10  # rows of a device that a calibration needs
_WORTH_PROCESSES = 2000  # rows
_MOST = 400  # rows of a fold's fit: more change nothing and cost time


@dataclass(frozen=True)
class Scored:
    """One line of the table of results."""

    device: str
    spec: str
    op: str
    dtype: str
    sizes: str
    tier: str
    score: Score


@dataclass
class Validation:
    """Every row that has a model, what each tier says of it (NaN where the tier has nothing), and what was left out."""

    groups: list[Rows]
    predicted_s: dict[Tier, list[NDArray[np.float64]]]
    roofline_s: list[NDArray[np.float64]]
    notes: Notes = field(default_factory=Notes)

    @property
    def rows(self) -> int:
        """How many rows have a prediction."""
        return sum(len(group.measured_s) for group in self.groups)

    @property
    def tables(self) -> dict[str, list[NDArray[np.float64]]]:
        """The tiers' predictions and, as one more, the roofline."""
        return {**{str(tier): times for tier, times in self.predicted_s.items()}, "roofline": self.roofline_s}

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """One row for each measured row and tier: the columns that ``--rows`` writes."""
        parts: dict[str, list[NDArray[np.generic]]] = {
            name: []
            for name in ("file", "row", "device", "op", "dtype", "measured_us", "predicted_us", "roofline_us", "tier")
        }
        for tier in TIERS:
            for group, times, bound in zip(self.groups, self.predicted_s[tier], self.roofline_s, strict=True):
                known = np.isfinite(times)
                count = int(known.sum())
                for name, value in (
                    ("file", group.file), ("device", group.device), ("op", group.op), ("dtype", group.dtype_name),
                    ("tier", tier),
                ):  # fmt: skip
                    parts[name].append(np.full(count, value))
                parts["row"].append(group.lines[known])
                for name, seconds in (
                    ("measured_us", group.measured_s),
                    ("predicted_us", times),
                    ("roofline_us", bound),
                ):
                    parts[name].append(seconds[known] * 1e6)
        return {name: np.concatenate(each) if each else np.array([]) for name, each in parts.items()}

    def scores(self, *, by_size: bool = False) -> list[Scored]:
        """One line per device, operation, dtype and tier (and range of measured times), the roofline as a tier."""
        tables = self.tables
        keys = list(dict.fromkeys((g.device, g.spec.name, g.op, g.dtype_name) for g in self.groups))
        found = []
        for key in sorted(keys):
            at = [i for i, g in enumerate(self.groups) if (g.device, g.spec.name, g.op, g.dtype_name) == key]
            measured = np.concatenate([self.groups[i].measured_s for i in at])
            ranges = range_of(measured)
            for tier, table in tables.items():
                times = np.concatenate([table[i] for i in at])
                for index, name in [(-1, "all"), *((i, n) for i, (n, _) in enumerate(SIZE_RANGES) if by_size)]:
                    chosen = np.isfinite(times) & ((ranges == index) | (index < 0))
                    if chosen.any():
                        found.append(Scored(*key, name, tier, score(times[chosen], measured[chosen])))
        return found

    def overall(self) -> list[Scored]:
        """One line per operation and tier, over all devices and dtypes."""
        found = []
        models = sorted({group.model.NAME for group in self.groups})
        for name in models:
            at = [i for i, group in enumerate(self.groups) if group.model.NAME == name]  # noqa: SIM300
            measured = np.concatenate([self.groups[i].measured_s for i in at])
            for tier, table in self.tables.items():
                times = np.concatenate([table[i] for i in at])
                known = np.isfinite(times)
                if known.any():
                    found.append(Scored("all", "", name, "all", "all", tier, score(times[known], measured[known])))
        return found


def validate_models(data: Path, *, device: str | DeviceSpec | None = None, folds: int = 5) -> Validation:
    """Predict the measurements in *data*, of all devices or of *device* alone: a known one by name, or any other.

    Raises:
        DeviceError: nothing can be read, no row has a model, or fewer than two folds are asked for.
    """
    if folds < 2:
        raise DeviceError(f"folds is {folds}; at least 2 are needed, so that a fit can leave rows out")
    groups, notes = read_rows(data, device)
    return collect(groups, notes, folds)


def collect(groups: list[Rows], notes: Notes, folds: int) -> Validation:
    """The three tiers' predictions of *groups*; without *folds*, which take a fit each, not the calibrated one's."""
    places: dict[tuple[str, str], list[int]] = {}
    for index, group in enumerate(groups):
        places.setdefault((group.device, group.section), []).append(index)
    tasks = sorted(places.values(), key=lambda task: -sum(len(groups[index].measured_s) for index in task))

    def predicted_of(task: list[int]) -> dict[Tier, list[NDArray[np.float64]]]:
        return _by_tier([groups[index] for index in task], folds)

    many = sum(len(group.measured_s) for group in groups) > _WORTH_PROCESSES
    answers = mapped(predicted_of, tasks) if many else [predicted_of(task) for task in tasks]
    predicted_s: dict[Tier, list[NDArray[np.float64]]] = {tier: [np.empty(0)] * len(groups) for tier in TIERS}
    for task, by_tier in zip(tasks, answers, strict=True):
        for tier, times_of in by_tier.items():
            for index, times in zip(task, times_of, strict=True):
                predicted_s[tier][index] = times
    roofline_s = [group.model.roofline(group.spec, group.dtype, group.sizes) for group in groups]
    return Validation(groups, predicted_s, roofline_s, notes)


def _by_tier(members: list[Rows], folds: int) -> dict[Tier, list[NDArray[np.float64]]]:
    """What each tier says of rows of one device and section; NaN where it has nothing of its own."""
    found: dict[Tier, list[NDArray[np.float64]]] = {"calibrated": held_out(members, folds)}
    for tier in TIERS[1:]:
        found[tier] = []
        for group in members:
            best = constants_for(group.spec, group.section, group.model.CONSTANTS, tier=tier)
            times = np.full(len(group.measured_s), np.nan)
            if best.tier == tier:
                times = predicted(group.model, group, best.values, best.residual)
            found[tier].append(times)
    return found


def held_out(members: list[Rows], folds: int) -> list[NDArray[np.float64]]:
    """Each row's prediction by the fit that did not see its fold; NaN where there are too few rows for a fit."""
    counts = [len(group.measured_s) for group in members]
    if folds < 2 or sum(counts) < _FEWEST:
        return [np.full(count, np.nan) for count in counts]
    first = members[0]
    known = constants_for(first.spec, first.section, first.model.CONSTANTS, tier="family").values
    key = fit_key(f"{first.model.NAME} in {folds} folds", first.model.CONSTANTS, members, known)
    times = kept_times(key, sum(counts))
    if times is None:
        times = np.concatenate(_by_folds(members, folds, known))
        keep_times(key, times)
    return np.split(times, np.cumsum(counts)[:-1])


def _by_folds(members: list[Rows], folds: int, known: Mapping[str, float]) -> list[NDArray[np.float64]]:
    first, times = members[0], [np.full(len(group.measured_s), np.nan) for group in members]
    sides = [folds_of(_fold_keys(group), folds) for group in members]
    for fold in range(folds):
        tested = [side == fold for side in sides]
        if not any(side.any() for side in tested):
            continue
        seen = [group.take(~side) for group, side in zip(members, tested, strict=True) if not side.all()]
        values = fitted_values(first.model, thinned(seen, _MOST), known) if seen else known
        residual = learned_residual(seen, values)
        for group, side, out in zip(members, tested, times, strict=True):
            if side.any():
                out[side] = predicted(group.model, group.take(side), values, residual)
    return times


def _fold_keys(group: Rows) -> NDArray[np.int64]:
    """What rows that belong together share; all sizes where it is the same for all rows, which were one fold."""
    names = FOLD_BY.get(group.model.NAME, ("n",) if "n" in group.sizes else tuple(group.sizes)[:1])
    keys = np.stack([group.sizes[name] for name in names], axis=1)
    if (keys == keys[0]).all():
        keys = np.stack([group.sizes[name] for name in group.model.SIZES if name in group.sizes], axis=1)
    return keys
