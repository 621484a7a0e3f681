"""What the threads of a block do about each other; in nests that were lowered for a GPU only.

Apart from `flashsched.schedule.ir`, since no scheduled nest holds it: what a nest means has no need of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.schedule.ir import Stmt, Store

__all__ = ["Barrier", "Begun", "LateStore"]


@dataclass(frozen=True, slots=True, eq=False)
class Barrier(Stmt):
    """All threads of a block come here before any goes on, and see what the others have written.

    Of the groups of copies that a thread has begun (see `Begun`), the newest *under_way* need not have ended.
    """

    under_way: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LateStore(Store):
    """A copy that a thread begins, and goes on: it is there after a barrier that waits for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Begun(Stmt):
    """The copies that a thread has begun since the last such place are a group, which barriers wait for as one."""
