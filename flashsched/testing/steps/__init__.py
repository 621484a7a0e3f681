"""How arguments for each primitive are drawn: most of them legal, some not; one file for each sort of primitive."""

from __future__ import annotations

from flashsched.testing.steps import loops, memory, places
from flashsched.testing.steps.base import Arguments, Draw, Drawer

__all__ = ["ARGUMENTS", "Arguments", "Draw", "Drawer"]

ARGUMENTS: dict[str, Drawer] = {**loops.ARGUMENTS, **places.ARGUMENTS, **memory.ARGUMENTS}
