"""``tvm.runtime``: arrays, devices, functions and modules."""

from __future__ import annotations

from typing import Any

from flashsched.compat.tvm.runtime import ndarray
from flashsched.compat.tvm.runtime.device import Device, cpu, cuda, device
from flashsched.compat.tvm.runtime.library import load_module
from flashsched.compat.tvm.runtime.module import Module
from flashsched.compat.tvm.runtime.ndarray import NDArray
from flashsched.compat.tvm.runtime.packed_func import PackedFunc
from flashsched.compat.tvm.tir.op import const, convert

load = load_module

__all__ = [
    "Device",
    "Module",
    "NDArray",
    "PackedFunc",
    "const",
    "convert",
    "cpu",
    "cuda",
    "device",
    "enabled",
    "load",
    "load_module",
    "ndarray",
    "num_threads",
]


def enabled(target: Any) -> bool:
    """Whether functions can be built for *target*: True for ``llvm`` and ``cpu``, False for GPUs."""
    return str(target).split()[0] in ("llvm", "cpu") if str(target).split() else False


def num_threads() -> int:
    """How many threads run a parallel loop."""
    from flashsched.codegen.threads import num_threads as threads

    return threads()
