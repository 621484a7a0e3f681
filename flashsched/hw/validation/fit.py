"""Fitting an operator's constants to measurements: least squares on the logarithm of predicted over measured time.

Each constant moves within its range on a scale from 0 to 1 (logarithmic where the range spans a decade), beginning at
a value known before, to which it is held weakly: data must speak against it. A few rows so change little, and a
constant that the rows do not touch stays where it was. Outliers count less (soft L1 beyond 10 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
_TRIED = 80  # rows, about, by which a constant is found to matter
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


def fitted_values(model: OperatorModel, samples: Sequence[Sample], known: Mapping[str, float]) -> dict[str, float]:
    """The constants of *model* that fit *samples* best, beginning at *known* and held to it weakly.

    A fit that was made before, by this version of the models on the same rows, is not made again.
    """
    key = fit_key(model.NAME, model.CONSTANTS, samples, known)
    kept = kept_fit(key)
    if kept is not None and kept.keys() == model.CONSTANTS.keys():
        return kept
    found = _fitted(model, samples, known)
    keep_fit(key, found)
    return found


def _fitted(model: OperatorModel, samples: Sequence[Sample], known: Mapping[str, float]) -> dict[str, float]:
    from scipy.optimize import least_squares  # here: it costs 0.2 s

    names = list(model.CONSTANTS)
    scales = [_Scale(model.CONSTANTS[name]) for name in names]
    start = np.array(
        [scale.to_unit(known.get(name, scale.constant.default)) for name, scale in zip(names, scales, strict=True)]
    )
    measured = np.concatenate([sample.measured_s for sample in samples])

    def values_at(point: Floats) -> dict[str, float]:
        return {name: scale.from_unit(float(x)) for name, scale, x in zip(names, scales, point, strict=True)}

    def errors_of(rows: Sequence[Sample], point: Floats, times: Floats = measured) -> Floats:
        values = values_at(point)
        found: Floats = np.log(np.concatenate([predicted(model, sample, values) for sample in rows]) / times)
        return found

    def residuals(point: Floats) -> Floats:
        return np.concatenate([errors_of(samples, point), _HOLD * (point - start)])

    few = [_every(sample, max(1, len(measured) // _TRIED)) for sample in samples]
    measured_few = np.concatenate([sample.measured_s for sample in few])

    inner = np.clip(start, 1e-3, 1 - 1e-3)  # the solver begins inside the range
    free = _that_matter(lambda point: errors_of(few, point, measured_few), inner)

    def whole(point: Floats) -> Floats:
        result: Floats = inner.copy()
        result[free] = point
        return result

    def slopes(point: Floats) -> Floats:
        """The residuals' slopes by forward differences, each row's candidates narrowed to the best ones at *point*."""
        here = whole(point)
        near = [_narrowed(model, sample, values_at(here)) for sample in samples]
        before = errors_of(near, here)
        found = np.zeros((len(measured) + len(names), int(free.sum())))
        for column, index in enumerate(np.flatnonzero(free)):
            moved = here.copy()
            step = _STEP if here[index] < 0.5 else -_STEP
            moved[index] += step
            found[: len(measured), column] = (errors_of(near, moved) - before) / step
            found[len(measured) + index, column] = _HOLD
        return found

    if not free.any():
        return values_at(start)
    found = least_squares(
        lambda point: residuals(whole(point)), inner[free], slopes, bounds=(0.0, 1.0), loss="soft_l1",
        f_scale=_OUTLIER, max_nfev=12, xtol=1e-4, ftol=1e-4,
    )  # fmt: skip
    best = start.copy()
    best[free] = found.x
    return values_at(best)


def _narrowed(model: OperatorModel, sample: Sample, values: Mapping[str, float]) -> Sample:
    """*sample*, whose rows a model that searches candidates judges by the best ones at *values* alone."""
    if not isinstance(model, _Searching):
        return sample
    near = model.narrowed(sample.spec, values, sample.dtype, sample.sizes)
    return _Part(sample.spec, sample.dtype, near, sample.measured_s)


def _every(sample: Sample, step: int) -> Sample:
    """Each *step*-th row of *sample*."""
    sizes = {name: column[::step] for name, column in sample.sizes.items()}
    return _Part(sample.spec, sample.dtype, sizes, sample.measured_s[::step])


def _that_matter(errors: Callable[[Floats], Floats], point: Floats) -> NDArray[np.bool_]:
    """Which constants change any row when they move: the others need not be searched."""
    before = errors(point)
    matter = np.zeros(len(point), dtype=np.bool_)
    for index in range(len(point)):
        for other in (0.0, 1.0):
            moved = point.copy()
            moved[index] = other
            if np.abs(errors(moved) - before).max() > 1e-4:
                matter[index] = True
                break
    return matter


def folds_of(keys: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold of each row, equal for equal rows of *keys* (one column per size), so that neighbours stay together."""
    mixed = np.full(len(keys), 1469598103934665603, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in keys.T:
            mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(1099511628211)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed >> np.uint64(33)) % np.uint64(folds)).astype(np.int64)
