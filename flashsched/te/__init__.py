"""Tensor expressions: what is computed, apart from how.

``from flashsched import te`` gives `placeholder`, `compute`, `reduce_axis`, the reducers, the mathematics, and
`create_schedule`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flashsched.te import boundary
from flashsched.te.binding import bind_sizes
from flashsched.te.declare import compute, placeholder, reduce_axis, size_var, var
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, SizeVar, Var, const, same
from flashsched.te.expr import logical_and as all
from flashsched.te.expr import logical_or as any
from flashsched.te.external import ExternOp, extern
from flashsched.te.foreign import (
    Foreign,
    call_extern,
    call_intrin,
    call_llvm_intrin,
    call_pure_extern,
    register_intrin,
)
from flashsched.te.formulas import mathematics, show
from flashsched.te.functions import *  # noqa: F403
from flashsched.te.functions import __all__ as _functions
from flashsched.te.recurrence import ScanOp, scan
from flashsched.te.reducers import argmax, argmin
from flashsched.te.scalars import scalar
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Tensor
from flashsched.te.threads import ThreadAxis, thread_axis

if TYPE_CHECKING:
    from flashsched.schedule import create_schedule  # one floor up; typed here, imported when it is asked for

__all__ = [
    "Axis",
    "Binary",
    "Call",
    "Cast",
    "Compare",
    "ComputeOp",
    "Const",
    "Expr",
    "ExternOp",
    "Foreign",
    "Not",
    "PlaceholderOp",
    "ScanOp",
    "Select",
    "SizeVar",
    "Tensor",
    "ThreadAxis",
    "Var",
    "all",
    "any",
    "argmax",
    "argmin",
    "bind_sizes",
    "boundary",
    "call_extern",
    "call_intrin",
    "call_llvm_intrin",
    "call_pure_extern",
    "compute",
    "const",
    "create_schedule",
    "extern",
    "mathematics",
    "placeholder",
    "reduce_axis",
    "register_intrin",
    "same",
    "scalar",
    "scan",
    "show",
    "size_var",
    "thread_axis",
    "var",
    *_functions,
]


def __getattr__(name: str) -> Any:
    if name == "create_schedule":
        from flashsched.schedule import create_schedule

        return create_schedule
    raise AttributeError(f"module 'flashsched.te' has no attribute {name!r}")
