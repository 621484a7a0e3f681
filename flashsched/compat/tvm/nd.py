"""``tvm.nd``: arrays on a device."""

from __future__ import annotations

from flashsched.compat.tvm.runtime.ndarray import *  # noqa: F403
from flashsched.compat.tvm.runtime.ndarray import __all__ as _names

__all__ = [*_names]
