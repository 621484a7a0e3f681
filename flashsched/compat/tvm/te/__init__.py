"""``tvm.te``: tensor expressions and schedules."""

from __future__ import annotations

from flashsched.compat.tvm.te.axes import IterVar
from flashsched.compat.tvm.te.extern import extern
from flashsched.compat.tvm.te.intrin import TensorIntrin, decl_tensor_intrin
from flashsched.compat.tvm.te.reducers import comm_reducer, max, min, prod, sum
from flashsched.compat.tvm.te.schedule import Schedule, create_schedule
from flashsched.compat.tvm.te.stage import Stage
from flashsched.compat.tvm.te.tensor import (
    Tensor,
    TensorSlice,
    compute,
    placeholder,
    reduce_axis,
    tag_scope,
    thread_axis,
)
from flashsched.compat.tvm.te.var import size_var, var
from flashsched.compat.tvm.tir.op import *  # noqa: F403
from flashsched.compat.tvm.tir.op import __all__ as _functions
from flashsched.te.extern import ExternOp
from flashsched.te.tensor import ComputeOp, Operation, PlaceholderOp

__all__ = [
    "ComputeOp",
    "ExternOp",
    "IterVar",
    "Operation",
    "PlaceholderOp",
    "Schedule",
    "Stage",
    "Tensor",
    "TensorIntrin",
    "TensorSlice",
    "comm_reducer",
    "compute",
    "create_schedule",
    "decl_tensor_intrin",
    "extern",
    "max",
    "min",
    "placeholder",
    "prod",
    "reduce_axis",
    "size_var",
    "sum",
    "tag_scope",
    "thread_axis",
    "var",
    *_functions,
]
