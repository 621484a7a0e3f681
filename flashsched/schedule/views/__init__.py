"""`StageView`: what ``s[C]`` is, one file for each sort of primitive; each method turns handles into names."""

from __future__ import annotations

from flashsched.schedule.views.base import Loop, LoopLike
from flashsched.schedule.views.loops import LoopPrimitives
from flashsched.schedule.views.memory import MemoryPrimitives
from flashsched.schedule.views.places import PlacePrimitives

__all__ = ["Loop", "LoopLike", "StageView"]


class StageView(LoopPrimitives, PlacePrimitives, MemoryPrimitives):
    """One stage of a schedule: its loops, and the primitives that apply to them."""
