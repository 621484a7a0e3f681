"""Code for GPUs: a nest whose loops are bound to blocks and threads becomes PTX, or assembly for AMD's GPUs.

What is lowered here has the barriers of `flashsched.codegen.passes.place_barriers` in it. `plan` tells which parts are
kernels and how the host runs them, `places` where memory lies, `emit` writes a kernel, `build` ties it together; `run`
and `driver` run it where a CUDA device is.
"""

from __future__ import annotations

__all__: list[str] = []
