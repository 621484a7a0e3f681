"""flashsched: write tensor expressions, schedule them, tune the schedules, and load the kernels back.

``import flashsched as fs`` shows what `flashsched.api` lists; each name is imported when it is first used, so that the
import itself costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flashsched.api import *  # noqa: F403

_PARTS = ("api", "bench", "cli", "codegen", "compat", "errors", "functions", "hw", "ops", "schedule", "te", "testing")


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"flashsched.{name}")
    if not name.startswith("_"):
        api = importlib.import_module("flashsched.api")
        if name in api.__all__:
            value = getattr(api, name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'flashsched' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *importlib.import_module("flashsched.api").__all__})
