"""``topi.x86``: the schedules for CPUs."""

from __future__ import annotations

from flashsched.compat.tvm.topi import schedules as _schedules
from flashsched.compat.tvm.topi.schedules import *  # noqa: F403

__all__ = [*_schedules.__all__]
