"""Where the threads of a block wait for each other; in nests that were lowered for a GPU only.

Apart from `flashsched.schedule.ir`, since no scheduled nest holds it: what a nest means has no need of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.schedule.ir import Stmt

__all__ = ["Barrier"]


@dataclass(frozen=True, slots=True, eq=False)
class Barrier(Stmt):
    """All threads of a block come here before any goes on, and see what the others have written."""
