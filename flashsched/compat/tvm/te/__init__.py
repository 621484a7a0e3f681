"""``tvm.te``: tensor expressions and schedules."""

from __future__ import annotations

from typing import NoReturn

from flashsched.compat.tvm.te.axes import IterVar
from flashsched.compat.tvm.te.extern import extern
from flashsched.compat.tvm.te.intrin import TensorIntrin, decl_tensor_intrin
from flashsched.compat.tvm.te.operation import ComputeOp, ExternOp, Operation, PlaceholderOp, ScanOp
from flashsched.compat.tvm.te.reducers import comm_reducer, max, min, prod, sum
from flashsched.compat.tvm.te.scan import scan
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
from flashsched.errors import did_you_mean

__all__ = [
    "ComputeOp",
    "ExternOp",
    "IterVar",
    "Operation",
    "PlaceholderOp",
    "ScanOp",
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
    "scan",
    "size_var",
    "sum",
    "tag_scope",
    "thread_axis",
    "var",
    *_functions,
]

_ELSEWHERE = {
    "hybrid": "write the loops with tvm.tir.ir_builder, in a te.extern",
    "gradient": "derive the expression by hand; models are differentiated where they come from",
    "create_prim_func": "programs stay te: tvm.lower and tvm.build take the schedule",
}


def __getattr__(name: str) -> NoReturn:
    if name in _ELSEWHERE:
        raise AttributeError(f"te has no {name!r} here: {_ELSEWHERE[name]}")
    raise AttributeError(f"te has no {name!r} here: {did_you_mean(name, __all__)}; see docs/coming-from-tvm.md")
