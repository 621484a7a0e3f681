"""What the function of a `te.compute` calls its axes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flashsched.errors import ShapeError, counted

__all__ = ["axis_names"]


def axis_names(fcompute: Callable[..., Any], rank: int) -> list[str]:
    """The names of *fcompute*'s parameters, one for each of *rank* dimensions.

    Raises:
        ShapeError: it takes another number of them.
    """
    defaults = [f"i{n}" for n in range(rank)] if rank > 1 else ["i"] * rank
    try:
        parameters = list(inspect.signature(fcompute).parameters.values())
    except (TypeError, ValueError):
        return defaults
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        fixed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        return (fixed + defaults[len(fixed) :])[:rank]
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    if not len(required) <= rank <= len(positional):
        raise ShapeError(
            f"the shape has {counted(rank, 'dimension')}, and the function takes {len(positional)} "
            f"({', '.join(positional) or 'none'})",
            hint="give the function one parameter for each dimension, or *indices",
        )
    return positional[:rank]
