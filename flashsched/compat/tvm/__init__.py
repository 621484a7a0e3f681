"""TVM's classic API (up to 0.19) over flashsched: CPU programs run with their import line changed.

Write ``from flashsched.compat import tvm`` for ``import tvm``, and ``from flashsched.compat.tvm import te, tir, topi``
for ``from tvm import te, tir, topi``. Each module of TVM's has one here, of the same name; what a schedule does,
prints and refuses is flashsched's. docs/coming-from-tvm.md tells what differs and what is missing.
"""

from __future__ import annotations

import importlib
from typing import Any

from flashsched.compat.tvm import contrib, ir, nd, runtime, target, te, testing, tir, transform
from flashsched.compat.tvm.driver import IRModule, build, lower
from flashsched.compat.tvm.runtime.device import cpu, cuda, device, metal, opencl, rocm, vulkan
from flashsched.compat.tvm.runtime.packed_func import get_global_func, register_func
from flashsched.compat.tvm.tir.op import convert
from flashsched.errors import FlashschedError as TVMError

__version__ = "0.19.0"
"""The version whose API this is."""

__all__ = [
    "IRModule",
    "TVMError",
    "build",
    "contrib",
    "convert",
    "cpu",
    "cuda",
    "device",
    "get_global_func",
    "ir",
    "lower",
    "metal",
    "nd",
    "opencl",
    "register_func",
    "rocm",
    "runtime",
    "target",
    "te",
    "testing",
    "tir",
    "transform",
    "vulkan",
]

_PARTS = ("arith", "autotvm", "error", "topi")
_MOVED = {  # names before 0.7, and what they became
    "context": ("runtime", "device"), "gpu": ("runtime", "cuda"), "module": ("runtime", ""),
    "ndarray": ("nd", ""), "select": ("tir", "Select"), "schedule": ("te.schedule", ""), "hybrid": ("te", "hybrid"),
}  # fmt: skip
_ELSEWHERE = {
    "relay": "fs.from_onnx and fs.from_pytorch read whole models",
    "relax": "fs.from_onnx and fs.from_pytorch read whole models",
    "auto_scheduler": "fs.tune searches the schedules of a te program",
    "meta_schedule": "fs.tune searches the schedules of a te program",
    "script": "programs are written in te",
    "rpc": "kernels run and are measured on this machine",
}


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"flashsched.compat.tvm.{name}")
    for part in (te, tir):  # where 0.6 had them: tvm.placeholder, tvm.compute, tvm.const, …
        if name in part.__all__:
            return getattr(part, name)
    if name in _MOVED:
        module, renamed = _MOVED[name]
        found = importlib.import_module(f"flashsched.compat.tvm.{module}")
        return getattr(found, renamed) if renamed else found
    hint = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ", see docs/coming-from-tvm.md"
    raise AttributeError(f"flashsched.compat.tvm has no {name!r}{hint}")
