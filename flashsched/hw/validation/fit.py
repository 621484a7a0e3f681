"""Fitting an operator's constants to measurements: least squares on the logarithm of predicted over measured time.

Each constant moves within its range on a scale from 0 to 1 (logarithmic where the range spans a decade), beginning at
a value known before, to which it is held weakly: data must speak against it. A few rows so change little, and a
constant that the rows do not touch stays where it was. Outliers count less (soft L1 beyond 10 %).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flashsched.hw import operators
from flashsched.hw.constants import Constant
from flashsched.hw.operators import OperatorModel
from flashsched.hw.residual import Residual
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.kept import fit_key, keep_fit, kept_fit

Floats = NDArray[np.float64]

__all__ = ["Sample", "fitted_values", "folds_of", "predicted"]

_OUTLIER = 0.1  # residuals above it count with their absolute value, not their square
_STEP = 1e-3  # of a constant's range, by which slopes are found
_TRIES = 4  # points that the solver asks about in a round, with the best candidates at the point where it began
_TRIES_AT_ONCE = 12  # of a model that searches nothing, and so has no rounds
_FEW = 120  # rows, about, that the way is found with, before all are asked
_HOLD = 0.3  # weight of the value known before: a constant moved across its range costs as a row that is off by 30 %


class Sample(Protocol):
    """Rows of one device, operation and dtype: what a fit needs of them."""

    @property
    def spec(self) -> DeviceSpec: ...
    @property
    def dtype(self) -> str: ...
    @property
    def sizes(self) -> Mapping[str, NDArray[np.int64]]: ...
    @property
    def measured_s(self) -> NDArray[np.float64]: ...


@runtime_checkable
class _Searching(Protocol):
    """A model that takes the best of many candidates, and can be told to look at a few of them alone."""

    def narrowed(
        self, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
    ) -> Mapping[str, NDArray[np.int64]]: ...


@dataclass(frozen=True)
class _Part:
    """Some rows of a `Sample`, or all of them with their candidates narrowed."""

    spec: DeviceSpec
    dtype: str
    sizes: Mapping[str, NDArray[np.int64]]
    measured_s: NDArray[np.float64]

    def every(self, step: int) -> _Part:
        """Each *step*-th of the rows."""
        sizes = {name: column[::step] for name, column in self.sizes.items()}
        return _Part(self.spec, self.dtype, sizes, self.measured_s[::step])

    def narrowed(self, model: OperatorModel, values: Mapping[str, float]) -> _Part:
        """The same rows, which a model that searches candidates judges by the best ones at *values* alone."""
        if not isinstance(model, _Searching):
            return self
        near = model.narrowed(self.spec, values, self.dtype, self.sizes)
        return _Part(self.spec, self.dtype, near, self.measured_s)


@dataclass(frozen=True)
class _Scale:
    """A constant's range as 0 … 1."""

    constant: Constant

    @property
    def logarithmic(self) -> bool:
        return self.constant.low > 0 and self.constant.high >= 5 * self.constant.low

    def to_unit(self, value: float) -> float:
        low, high = self.constant.low, self.constant.high
        value = min(max(value, low), high)
        if self.logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low) if high > low else 0.0

    def from_unit(self, unit: float) -> float:
        low, high = self.constant.low, self.constant.high
        if self.logarithmic:
            return float(low * (high / low) ** unit)
        return float(low + unit * (high - low))


def predicted(
    model: OperatorModel, sample: Sample, values: Mapping[str, float], residual: Residual | None = None
) -> Floats:
    """Seconds that *model* predicts for the rows of *sample*."""
    return operators.predicted(model, sample.spec, sample.dtype, sample.sizes, values, residual)


def fitted_values(
    model: OperatorModel, samples: Sequence[Sample], known: Mapping[str, float], effort: int = 1,
    fixed: Sequence[str] = (),
) -> dict[str, float]:  # fmt: skip
    """The constants of *model* that fit *samples* best, beginning at *known* and held to it weakly, the *fixed* ones
    firmly; more *effort* finds the way with so many times the rows, and goes so many times the rounds at its end.

    A fit that was made before, by this version of the models on the same rows, is not made again.
    """
    name = model.NAME if effort == 1 and not fixed else f"{model.NAME}, effort {effort}, fixed {sorted(fixed)}"
    key = fit_key(name, model.CONSTANTS, samples, known)
    kept = kept_fit(key)
    if kept is not None and kept.keys() == model.CONSTANTS.keys():
        return kept
    found = _fitted(model, samples, known, effort, fixed)
    keep_fit(key, found)
    return found


def _fitted(
    model: OperatorModel, samples: Sequence[Sample], known: Mapping[str, float], effort: int, fixed: Sequence[str]
) -> dict[str, float]:
    from scipy.optimize import least_squares  # here: it costs 0.2 s

    kept = {name: known.get(name, model.CONSTANTS[name].default) for name in fixed}
    names = [name for name in model.CONSTANTS if name not in kept]
    scales = [_Scale(model.CONSTANTS[name]) for name in names]
    start = np.array(
        [scale.to_unit(known.get(name, scale.constant.default)) for name, scale in zip(names, scales, strict=True)]
    )

    def values_at(point: Floats) -> dict[str, float]:
        free = {name: scale.from_unit(float(x)) for name, scale, x in zip(names, scales, point, strict=True)}
        return {name: {**free, **kept}[name] for name in model.CONSTANTS}

    def errors_at(near: Sequence[_Part], points: Sequence[Floats]) -> Floats:
        """Errors by point (a row of the result) and row, all of them in one call of the model for each part."""
        values = {name: np.array([scale.from_unit(float(x)) for x in column])
                  for name, scale, column in zip(names, scales, np.transpose(points), strict=True)}  # fmt: skip
        values |= {name: np.full(len(points), value) for name, value in kept.items()}
        found = [np.log(_at_points(model, part, values) / part.measured_s) for part in near]
        return np.concatenate(found, axis=1)

    def slopes_at(near: Sequence[_Part], point: Floats) -> Floats:
        """The residuals' slopes by forward differences."""
        steps = np.where(point < 0.5, _STEP, -_STEP)
        before, *moved = errors_at(near, [point, *(point + np.diag(steps))])
        return np.concatenate([(np.stack(moved) - before).T / steps, _HOLD * np.eye(len(names))])

    def residuals(near: Sequence[_Part], point: Floats) -> Floats:
        return np.concatenate([errors_at(near, [point])[0], _HOLD * (point - start)])

    parts = _joined(samples)
    rows = sum(len(part.measured_s) for part in parts)
    few = [part.every(max(1, rows // (_FEW * effort))) for part in parts]
    here = inner = np.clip(start, 1e-3, 1 - 1e-3)  # the solver begins inside the range
    searching = isinstance(model, _Searching)
    rounds_of_all = 1 if effort == 1 else 2 * effort
    for seen, rounds in ((few, 4), (parts, rounds_of_all)):  # most of the way is gone with a few rows
        for _ in range(rounds if searching else 1):
            near = [part.narrowed(model, values_at(here)) for part in seen]
            found = least_squares(
                partial(residuals, near), here, partial(slopes_at, near), bounds=(0.0, 1.0), loss="soft_l1",
                f_scale=_OUTLIER, max_nfev=_TRIES if searching else _TRIES_AT_ONCE, xtol=1e-4, ftol=1e-4,
            ).x  # fmt: skip
            moved, here = float(np.abs(found - here).max()), found
            if moved < _STEP:
                break
    return values_at(np.where(here == inner, start, here))


def _joined(samples: Sequence[Sample]) -> list[_Part]:
    """*samples* with those of one device, dtype and set of columns put together: a call of a model for each."""
    alike: dict[tuple[str, str, tuple[str, ...]], list[Sample]] = {}
    for sample in samples:
        alike.setdefault((sample.spec.fingerprint, sample.dtype, tuple(sorted(sample.sizes))), []).append(sample)
    return [
        _Part(members[0].spec, dtype, {name: np.concatenate([one.sizes[name] for one in members]) for name in columns},
              np.concatenate([one.measured_s for one in members]))
        for (_, dtype, columns), members in alike.items()
    ]  # fmt: skip


def _at_points(model: OperatorModel, part: _Part, values: Mapping[str, Floats]) -> Floats:
    """Seconds of each row (along the result) at each point: *values* has a column of the points' by constant."""
    count, rows = len(next(iter(values.values()))), len(part.measured_s)
    sizes = {name: np.concatenate([column] * count) for name, column in part.sizes.items()}
    by_row: dict[str, Any] = {name: np.repeat(column, rows) for name, column in values.items()}
    return model.seconds(part.spec, by_row, part.dtype, sizes).reshape(count, rows)


def folds_of(keys: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold of each row, equal for equal rows of *keys* (one column per size), so that neighbours stay together."""
    mixed = np.full(len(keys), 1469598103934665603, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in keys.T:
            mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(1099511628211)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed >> np.uint64(33)) % np.uint64(folds)).astype(np.int64)
