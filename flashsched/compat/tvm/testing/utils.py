"""``tvm.testing.utils``: the names of `tvm.testing`, where TVM defines them."""

from __future__ import annotations

from flashsched.compat.tvm.testing import *  # noqa: F403
from flashsched.compat.tvm.testing import __all__ as _names

__all__ = [*_names]
