"""``tvm.tir``: expressions, their nodes, and buffers."""

from __future__ import annotations

from flashsched.compat.tvm.tir import ir_builder
from flashsched.compat.tvm.tir.buffer import Buffer, decl_buffer
from flashsched.compat.tvm.tir.intrin import *  # noqa: F403
from flashsched.compat.tvm.tir.intrin import __all__ as _calls
from flashsched.compat.tvm.tir.nodes import *  # noqa: F403
from flashsched.compat.tvm.tir.nodes import __all__ as _nodes
from flashsched.compat.tvm.tir.op import *  # noqa: F403
from flashsched.compat.tvm.tir.op import __all__ as _functions

__all__ = ["Buffer", "decl_buffer", "ir_builder", *_calls, *_nodes, *_functions]
