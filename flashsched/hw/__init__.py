"""Devices as data, and models that say how long work takes on them. Takes numbers only: it knows no tensor and no loop.

``spec.py`` and ``specs/*.toml`` describe a device, ``check.py`` refuses one that contradicts itself, ``host.py``
describes this machine, ``registry.py`` finds devices by name; ``work.py`` is the contract with a scheduled nest,
``roofline.py`` the bound, ``gpu.py`` and ``cpu.py`` the models, ``predict.py`` the door to them.
"""

from __future__ import annotations

from flashsched.hw.host import (
    Measured,
    host_fingerprint,
    host_spec,
    load_measured,
    measured_path,
    save_measured,
    used_host,
)
from flashsched.hw.host_probe import Host, probe_host
from flashsched.hw.predict import MODELS, has_model, model_for, predict
from flashsched.hw.registry import Devices, devices
from flashsched.hw.roofline import roofline_s
from flashsched.hw.spec import AsicUnit, CpuUnit, DeviceSpec, GpuUnit, MemoryLevel, Source, SystolicUnit
from flashsched.hw.work import Prediction, Work

__all__ = [
    "MODELS",
    "AsicUnit",
    "CpuUnit",
    "DeviceSpec",
    "Devices",
    "GpuUnit",
    "Host",
    "Measured",
    "MemoryLevel",
    "Prediction",
    "Source",
    "SystolicUnit",
    "Work",
    "devices",
    "has_model",
    "host_fingerprint",
    "host_spec",
    "load_measured",
    "measured_path",
    "model_for",
    "predict",
    "probe_host",
    "roofline_s",
    "save_measured",
    "used_host",
]
