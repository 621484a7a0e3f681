"""Fitting an operator's constants to measurements: least squares on the logarithm of predicted over measured time.

Each constant moves within its range on a scale from 0 to 1 (logarithmic where the range spans a decade), beginning at
a value known before, to which it is held weakly: data must speak against it. A few rows so change little, and a
constant that the rows do not touch stays where it was. Outliers count less (soft L1 beyond 10 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators import OperatorModel
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.kept import fit_key, keep_fit, kept_fit

__all__ = ["Sample", "fitted_values", "folds_of", "predicted"]

_OUTLIER = 0.1  # residuals above it count with their absolute value, not their square
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


def predicted(model: OperatorModel, sample: Sample, values: Mapping[str, float]) -> NDArray[np.float64]:
    """Seconds that *model* predicts for the rows of *sample*."""
    return model.seconds(sample.spec, values, sample.dtype, sample.sizes)


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

    def values_at(point: NDArray[np.float64]) -> dict[str, float]:
        return {name: scale.from_unit(float(x)) for name, scale, x in zip(names, scales, point, strict=True)}

    def residuals(point: NDArray[np.float64]) -> NDArray[np.float64]:
        values = values_at(point)
        times = np.concatenate([predicted(model, sample, values) for sample in samples])
        return np.concatenate([np.log(times / measured), _HOLD * (point - start)])

    inner = np.clip(start, 1e-3, 1 - 1e-3)  # the solver begins inside the range
    free = _that_matter(residuals, inner)

    def of_free(point: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = inner.copy()
        whole[free] = point
        return residuals(whole)

    if not free.any():
        return values_at(start)
    found = least_squares(
        of_free, inner[free], bounds=(0.0, 1.0), loss="soft_l1", f_scale=_OUTLIER, diff_step=1e-3, max_nfev=15,
        xtol=1e-4, ftol=1e-4,
    )  # fmt: skip
    best = start.copy()
    best[free] = found.x
    return values_at(best)


def _that_matter(
    residuals: Callable[[NDArray[np.float64]], NDArray[np.float64]], point: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which constants change any row when they move: the others need not be searched."""
    before = residuals(point)[: -len(point)]
    matter = np.zeros(len(point), dtype=np.bool_)
    for index in range(len(point)):
        for other in (0.0, 0.5, 1.0):
            moved = point.copy()
            moved[index] = other
            if np.abs(residuals(moved)[: -len(point)] - before).max() > 1e-4:
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
