"""The versions that a record names: of flashsched, of what compiles and of what computes."""

from __future__ import annotations

import functools
import platform

__all__ = ["versions"]


@functools.cache
def versions() -> dict[str, str]:
    """Version by package."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("flashsched", "llvmlite", "numpy", "optuna", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that was never installed
            found[package] = "unknown"
    return found
