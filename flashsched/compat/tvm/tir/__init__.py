"""``tvm.tir``: expressions, their nodes, and buffers."""

from __future__ import annotations

from flashsched.compat.tvm.tir.nodes import *  # noqa: F403
from flashsched.compat.tvm.tir.nodes import __all__ as _nodes
from flashsched.compat.tvm.tir.op import *  # noqa: F403
from flashsched.compat.tvm.tir.op import __all__ as _functions

__all__ = [*_nodes, *_functions]
