"""Schedules: the loop IR, the primitives that rewrite it, and the trace that remembers them."""

from __future__ import annotations

from flashsched.schedule.own import primitive
from flashsched.schedule.schedule import Loop, Schedule, StageView, create_schedule
from flashsched.schedule.trace import Step, Trace
from flashsched.schedule.trace_diff import TraceDiff

__all__ = ["Loop", "Schedule", "StageView", "Step", "Trace", "TraceDiff", "create_schedule", "primitive"]
