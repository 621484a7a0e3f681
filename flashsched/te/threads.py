"""Axes of a GPU's grid, as classic te programs name them; they mean something to a schedule only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flashsched.errors import AxisError
from flashsched.te.nodes import Var

__all__ = ["ThreadAxis", "thread_axis"]


@dataclass(frozen=True, slots=True)
class ThreadAxis:
    """An axis of blocks, threads or virtual threads, and how many of them there are, where that was said."""

    name: str
    extent: int | None = None

    @property
    def var(self) -> Var:
        """What stands for a turn of it in a condition: ``axis.var == 0``."""
        return Var(self.name)


def thread_axis(span: Any = None, name: str | None = None) -> ThreadAxis:
    """An axis for ``bind``: ``thread_axis("threadIdx.x")``, or ``thread_axis((0, 64), "threadIdx.x")``.

    >>> thread_axis((0, 64), "threadIdx.x")
    ThreadAxis(name='threadIdx.x', extent=64)

    Raises:
        AxisError: *name* is no axis of a GPU, or *span* does not begin at 0.
    """
    if isinstance(span, str) and name is None:
        span, name = None, span
    if name is None or not re.fullmatch(r"(blockIdx|threadIdx)\.[xyz]|vthread", name):
        hint = "blockIdx.x, .y, .z, threadIdx.x, .y, .z or vthread"
        raise AxisError(f"{name!r} is no axis of a GPU", hint=hint)
    if span is None:
        return ThreadAxis(name)
    first, end = span if isinstance(span, tuple | list) and len(span) == 2 else (0, span)
    if first != 0 or not isinstance(end, int) or end < 0:
        raise AxisError(
            f"the axis {name} runs over {span}, and must run from 0", hint=f'thread_axis((0, 64), "{name}")'
        )
    return ThreadAxis(name, end)
