"""``tvm.arith``: the simplifier."""

from __future__ import annotations

from typing import Any

from flashsched.compat.tvm.te.axes import settle
from flashsched.te.expr import as_expr
from flashsched.te.simplify import simplify

__all__ = ["Analyzer"]


class Analyzer:
    """Simplifies expressions of integers."""

    def simplify(self, expr: Any, steps: int = 2) -> Any:
        """*expr*, simplified."""
        return simplify(settle(as_expr(expr)))
