"""``tvm.error``: the base of all errors."""

from __future__ import annotations

from flashsched.errors import ExpressionError, KernelError
from flashsched.errors import FlashschedError as TVMError

__all__ = ["ExpressionError", "KernelError", "TVMError"]
