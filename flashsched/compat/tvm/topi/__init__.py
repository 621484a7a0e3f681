"""``tvm.topi``: the usual operators, written in te, each with a plain CPU schedule.

``with tvm.target.Target("llvm"): s = topi.generic.schedule_injective(B)`` works as in TVM, the target being needless.
"""

from __future__ import annotations

from typing import NoReturn

from flashsched.compat.tvm.topi import broadcast as _broadcast
from flashsched.compat.tvm.topi import elemwise as _elemwise
from flashsched.compat.tvm.topi import generic, nn, tag, testing, utils, x86
from flashsched.compat.tvm.topi import reduction as _reduction
from flashsched.compat.tvm.topi import transform as _transform
from flashsched.compat.tvm.topi.broadcast import *  # noqa: F403
from flashsched.compat.tvm.topi.elemwise import *  # noqa: F403
from flashsched.compat.tvm.topi.nn import matmul
from flashsched.compat.tvm.topi.reduction import *  # noqa: F403
from flashsched.compat.tvm.topi.transform import *  # noqa: F403

__all__ = [
    "generic",
    "matmul",
    "nn",
    "tag",
    "testing",
    "utils",
    "x86",
    *_broadcast.__all__,
    *_elemwise.__all__,
    *_reduction.__all__,
    *_transform.__all__,
]


def __getattr__(name: str) -> NoReturn:
    hint = "topi.generic schedules for the CPU" if name in ("cuda", "arm_cpu", "gpu") else "write the te.compute of it"
    raise AttributeError(f"topi has no {name!r} here: {hint}")
