"""``tvm.contrib.util``: the name before 0.8 of `utils`."""

from __future__ import annotations

from flashsched.compat.tvm.contrib.utils import *  # noqa: F403
from flashsched.compat.tvm.contrib.utils import __all__ as _names

__all__ = [*_names]
