"""The tuner: tasks, search, measuring, the log, and loading from it.

People call ``fs.tune(task, ...)``, and this package is called ``flashsched.tune``: the package itself is callable, so
that both hold whatever was imported first. The function is `flashsched.tune.tuner.tune`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashsched.tune.tuner import Result

__all__: list[str] = []


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        from flashsched.tune.tuner import tune

        return tune(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
