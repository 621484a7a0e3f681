"""`scan`: rows computed one after another, each from the rows before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flashsched import te
from flashsched.compat.tvm.te.tensor import adopt

__all__ = ["scan"]


def scan(
    init: Any,
    update: Any,
    state_placeholder: Any,
    inputs: Any = None,
    name: str = "scan",
    tag: str = "",
    attrs: Mapping[str, Any] | None = None,
) -> Any:
    """A recurrence over time, the first dimension of each state; lists give several states.

    Args:
        init: the first rows.
        update: row *t* of it becomes the state's; it reads the state at earlier times.
        state_placeholder: what *update* reads for the state.
        inputs: the other tensors that are read.
        name: the stage's name; its axes are ``op.scan_axis`` and ``op.spatial_axis_``.
        tag: kept as ``op.tag``.
        attrs: kept as ``op.attrs``.

    Returns:
        The state, or a list of them where lists were given.
    """
    made = te.scan(init, update, state_placeholder, inputs=inputs, name=name)
    several = isinstance(made, tuple)
    tensors = list(made) if isinstance(made, tuple) else [made]
    for tensor in tensors:
        adopt(tensor.op)
        adopt(tensor.op.init)
        tensor.op.tag, tensor.op.attrs = tag, dict(attrs or {})
    return tensors if several else tensors[0]
