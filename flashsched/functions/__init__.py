"""The NumPy-like face: ``fs.matmul(a, b)``, ``fs.softmax(x)`` and their like, on arrays.

`kernels` finds the kernel for some arrays; the other modules say which arrays fit together, one family a module.
"""

from __future__ import annotations

from flashsched.functions.convolution import conv2d
from flashsched.functions.elementwise import add, relu
from flashsched.functions.kernels import clear_kernels, kernel_for, log_files
from flashsched.functions.nn import attention, gelu, layernorm, max, mean, rmsnorm, softmax, sum, transpose
from flashsched.functions.packing import Packed, PackedFilters, prepack
from flashsched.functions.products import matmul

__all__ = [
    "Packed",
    "PackedFilters",
    "add",
    "attention",
    "clear_kernels",
    "conv2d",
    "gelu",
    "kernel_for",
    "layernorm",
    "log_files",
    "matmul",
    "max",
    "mean",
    "prepack",
    "relu",
    "rmsnorm",
    "softmax",
    "sum",
    "transpose",
]
