"""From a kind of device to its model, and one door to all of them.

A new kind is one function ``(spec, work) -> Prediction`` and one line in ``MODELS``.
"""

from __future__ import annotations

from collections.abc import Callable

from flashsched.errors import DeviceError
from flashsched.hw.asic import predict_asic
from flashsched.hw.cpu import predict_cpu
from flashsched.hw.gpu import predict_gpu
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.tpu import predict_tpu
from flashsched.hw.work import Prediction, Work

__all__ = ["MODELS", "has_model", "model_for", "predict"]

Model = Callable[[DeviceSpec, Work], Prediction]

MODELS: dict[str, Model] = {"asic": predict_asic, "cpu": predict_cpu, "gpu": predict_gpu, "tpu": predict_tpu}
"""Kind of device -> its model."""


def has_model(spec: DeviceSpec) -> bool:
    """Whether work can be simulated on *spec*."""
    return spec.kind in MODELS


def model_for(spec: DeviceSpec) -> Model:
    """The model of *spec*'s kind.

    Raises:
        DeviceError: its kind has none; says which kinds have.
    """
    if spec.kind not in MODELS:
        raise DeviceError(
            f"device '{spec.name}' cannot be simulated: kind '{spec.kind}' has no model",
            hint=f"kinds with a model: {', '.join(sorted(MODELS))}; its spec can still be read and changed",
        )
    return MODELS[spec.kind]


def predict(spec: DeviceSpec, work: Work) -> Prediction:
    """How long *work* takes on *spec*, and why.

    Raises:
        DeviceError: the kind has no model, or the device lacks a dtype or memory level that *work* uses.
        Infeasible: *work* asks a unit for more than it has.
    """
    return model_for(spec)(spec, work)
