"""``tvm.tir``: expressions, their nodes, and buffers."""

from __future__ import annotations

from typing import NoReturn

from flashsched.compat.tvm.te.reducers import comm_reducer, max, min, sum
from flashsched.compat.tvm.tir import ir_builder
from flashsched.compat.tvm.tir.buffer import Buffer, decl_buffer
from flashsched.compat.tvm.tir.intrin import *  # noqa: F403
from flashsched.compat.tvm.tir.intrin import __all__ as _calls
from flashsched.compat.tvm.tir.lanes import Broadcast, Ramp
from flashsched.compat.tvm.tir.nodes import *  # noqa: F403
from flashsched.compat.tvm.tir.nodes import __all__ as _nodes
from flashsched.compat.tvm.tir.op import *  # noqa: F403
from flashsched.compat.tvm.tir.op import __all__ as _functions

__all__ = ["Broadcast", "Buffer", "Ramp", "comm_reducer", "decl_buffer", "ir_builder", "max", "min", "sum"]
__all__ += [*_calls, *_nodes, *_functions]

_ELSEWHERE = {
    "PrimFunc": "give the statement to te.extern, whose function is called with buffers",
    "Schedule": "schedule with te.create_schedule",
    "transform": "the passes are the list flashsched.codegen.lower.PASSES",
    "stmt_functor": "flashsched.schedule.ir.walk_stmt and rewrite_stmt go over our statements",
}


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"tir has no {name!r} here: {_ELSEWHERE.get(name, 'see docs/coming-from-tvm.md')}")
