"""A scheduled nest in numbers: what it asks of a device, and how long the device's model says that it takes.

It stands between the schedule, which knows no device, and `flashsched.hw`, which knows no nest.
"""

from __future__ import annotations

from flashsched.codegen.analysis.works import Analysis, analyse, nest_works, nests_and_works, simulate

__all__ = ["Analysis", "analyse", "nest_works", "nests_and_works", "simulate"]
