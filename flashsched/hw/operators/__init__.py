"""Models of whole operators as vendor libraries run them: no schedule in, the library's time out.

A nest's model (``hw/gpu.py``) says what one schedule takes. A library picks the best of its own kernels for a size; a
module in this folder predicts the time it reaches, over many sizes at once. Each module is one `OperatorModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.constants import Constant, Fitted, constants_for
from flashsched.hw.operators import (
    attention,
    collective,
    conv2d,
    conv2d_cpu,
    elementwise,
    elementwise_systolic,
    gemm,
    gemm_cpu,
    gemm_systolic,
    host_copy,
    row_wise,
    softmax,
)
from flashsched.hw.operators.asked import asked_sizes
from flashsched.hw.operators.times import LAUNCHED, RUNTIME
from flashsched.hw.residual import Residual
from flashsched.hw.spec import DeviceSpec

__all__ = [
    "OPERATORS",
    "ExplainsItself",
    "OperatorModel",
    "Sizes",
    "estimate",
    "operator_model",
    "predicted",
    "section_of",
]

Sizes = Mapping[str, NDArray[np.int64]]
"""A column per size, all of one length; besides the operator's own sizes it may hold ``warm``: 1 in rows whose
operands lay in the last cache already, because the measurement repeats on the same data."""


class OperatorModel(Protocol):
    """What a module in this folder provides.

    Attributes:
        NAME: the operation, as measurements and people call it.
        KINDS: kinds of device it is a model for.
        SIZES: names of the columns it reads (``warm`` apart).
        CONSTANTS: what is fitted, by name.

    A model may also have ``AKIN``: operations whose kernels stream and are launched alike, the likest first.
    """

    @property
    def NAME(self) -> str: ...  # noqa: N802
    @property
    def KINDS(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def SIZES(self) -> tuple[str, ...]: ...  # noqa: N802
    @property
    def CONSTANTS(self) -> Mapping[str, Constant]: ...  # noqa: N802

    def variant(self, spec: DeviceSpec, dtype: str) -> str:
        """The set of constants that *dtype* has on *spec*, e.g. "tensor" or "plain"; "" where there is one set."""

    def roofline(self, spec: DeviceSpec, dtype: str, sizes: Sizes) -> NDArray[np.float64]:
        """Seconds, by row, that no kernel beats: peak arithmetic and main-memory bandwidth."""

    def seconds(
        self, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes
    ) -> NDArray[np.float64]:
        """Predicted seconds by row, never below `roofline`; each constant is a number, or an array of one for each row
        (so that a fit asks about many values at once)."""


@runtime_checkable
class ExplainsItself(Protocol):
    """A model whose residual can be learned from a device's own rows (``hw/residual.py``).

    Attributes:
        GROWS: sizes of which more never takes less time.
    """

    @property
    def GROWS(self) -> tuple[str, ...]: ...  # noqa: N802

    def explained(
        self, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """What `OperatorModel.seconds` says, and columns that may tell what the model misses."""


def predicted(
    model: OperatorModel, spec: DeviceSpec, dtype: str, sizes: Sizes, values: Mapping[str, float],
    residual: Residual | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Seconds by row of *model* with the constants *values*, times what *residual* says, never below the roofline.

    Trees have edges, at which a larger size may come out faster. So a row is held to what half of it takes, in each of
    the sizes that the model ``GROWS`` in; by at most a sixth, for libraries do have sizes that are slower than larger
    ones.
    """
    if residual is None or not isinstance(model, ExplainsItself):
        return model.seconds(spec, values, dtype, sizes)
    columns = {name: np.asarray(column) for name, column in sizes.items()}
    count = len(next(iter(columns.values())))
    halves = [name for name in model.GROWS if name in columns and (columns[name] > 1).any()]
    many = {name: np.concatenate([np.maximum(column // 2, 1) if name == half else column for half in (None, *halves)])
            for name, column in columns.items()}  # fmt: skip
    seconds, traits = model.explained(spec, values, dtype, many)
    if not traits.keys() >= set(residual.traits):
        raise DeviceError(f"the residual of {spec.name} is of another version of the model of '{model.NAME}'",
                          hint="calibrate the device anew")  # fmt: skip
    corrected = seconds * residual.factor(np.stack([traits[name] for name in residual.traits], axis=1))
    own, *smaller = corrected.reshape(1 + len(halves), count)
    held: NDArray[np.float64] = np.minimum(np.max([own, *smaller], axis=0), own * _HELD)
    return np.maximum(held, model.roofline(spec, dtype, sizes))


_HELD = 7.0 / 6.0


_MODELS: tuple[OperatorModel, ...] = (
    attention, collective, conv2d, conv2d_cpu, elementwise, elementwise_systolic, gemm, gemm_cpu, gemm_systolic,
    host_copy, row_wise, softmax,
)  # fmt: skip

OPERATORS: dict[tuple[str, str], OperatorModel] = {
    (model.NAME, kind): model for model in _MODELS for kind in model.KINDS
}
"""(operation, kind of device) -> its model."""


def operator_model(op: str, spec: DeviceSpec) -> OperatorModel:
    """The model of *op* on devices of *spec*'s kind.

    Raises:
        DeviceError: there is none; says which operations have one.
    """
    found = OPERATORS.get((op, spec.kind))
    if found is None:
        known = sorted(name for name, kind in OPERATORS if kind == spec.kind)
        hint = did_you_mean(op, known) if known else f"no operation has a model on a device of kind '{spec.kind}'"
        raise DeviceError(f"there is no model of '{op}' on {spec.name}", hint=hint)
    return found


def section_of(model: OperatorModel, spec: DeviceSpec, dtype: str) -> str:
    """The section of fitted constants that *model* reads for *dtype* on *spec*: "gemm.tensor", "elementwise.cpu"."""
    parts = (model.NAME, model.variant(spec, dtype), "" if spec.kind == "gpu" else spec.kind)
    return ".".join(part for part in parts if part)


def estimate(spec: DeviceSpec, op: str, dtype: str, sizes: Mapping[str, object]) -> tuple[NDArray[np.float64], Fitted]:
    """Seconds that a vendor's library takes for *op* at each row of *sizes*, and how far to trust them.

    Each size is a number, or a column of them; what has nothing to compute takes the start of a kernel.

    Raises:
        DeviceError: no model, a size that is missing or none (`asked_sizes`), or a dtype that the device has no peak
            for.
    """
    model = operator_model(op, spec)
    columns = asked_sizes(op, model.SIZES, sizes)
    fitted = _with_akin(constants_for(spec, section_of(model, spec, dtype), model.CONSTANTS), model, spec, dtype)
    return predicted(model, spec, dtype, columns, fitted.values, fitted.residual), fitted


def _with_akin(fitted: Fitted, model: OperatorModel, spec: DeviceSpec, dtype: str) -> Fitted:
    """*fitted*, with what rows of an operation akin to *model*'s have taught of the device where there is none of its
    own: the share of the memory's bandwidth that a stream reaches, and what a launch costs.

    Taken from element-wise operations, these bring the mean error of softmax over seven GPUs whose rows of it were kept
    back from 14 to 10 %, whether its family or others had taught the rest.
    """
    if fitted.tier == "calibrated":
        return fitted
    akin = (OPERATORS.get((name, spec.kind)) for name in getattr(model, "AKIN", ()))
    for other in (one for one in akin if one is not None):
        section = section_of(other, spec, dtype)
        found = constants_for(spec, section, other.CONSTANTS)
        if found.tier == "calibrated":
            taught = {one: found.values[one] for one in ("stream", *LAUNCHED, *RUNTIME) if one in model.CONSTANTS}
            origin = f"{fitted.origin}; stream and launches: the device's own {section}".lstrip("; ")
            return replace(fitted, values={**fitted.values, **taught}, origin=origin)
    return fitted
