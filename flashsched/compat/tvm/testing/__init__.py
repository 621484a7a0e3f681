"""``tvm.testing``: comparing arrays, and the targets that tests can run on."""

from __future__ import annotations

from typing import Any

import numpy as np

from flashsched.compat.tvm.runtime.device import Device, cpu

__all__ = ["assert_allclose", "device_enabled", "enabled_targets", "requires_llvm"]


def assert_allclose(actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 1e-7, **options: Any) -> None:
    """NumPy's ``assert_allclose`` after a check of the shapes, with TVM's tolerances.

    Raises:
        AssertionError: the arrays differ.
    """
    actual, desired = np.asanyarray(actual), np.asanyarray(desired)
    np.testing.assert_allclose(actual.shape, desired.shape)
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, verbose=True, **options)


def enabled_targets() -> list[tuple[str, Device]]:
    """The targets that functions can be built for, each with its device."""
    return [("llvm", cpu(0))]


def device_enabled(target: Any) -> bool:
    """Whether *target* is one of them."""
    return str(target).split()[0] == "llvm"


def requires_llvm(*args: Any) -> Any:
    """A mark of tests that need LLVM, which is always there; a decorator with or without arguments."""
    return args[0] if args else lambda function: function
