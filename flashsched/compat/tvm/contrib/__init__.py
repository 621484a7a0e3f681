"""``tvm.contrib``: compilers, temporary folders, and functions of other libraries.

`cblas` is registered as packed functions when one of its names is first asked for.
"""

from __future__ import annotations

import importlib

__all__ = ["register_packed"]


def register_packed(name: str) -> None:
    """Register the functions of the module that *name* begins with, if it is one: ``tvm.contrib.cblas.matmul``."""
    if name.startswith("tvm.contrib.cblas."):
        importlib.import_module("flashsched.compat.tvm.contrib.cblas")
