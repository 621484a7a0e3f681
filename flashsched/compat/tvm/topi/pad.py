"""`pad`: elements around a tensor."""

from __future__ import annotations

from typing import Any

from flashsched.compat.tvm.te.tensor import Tensor, compute
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.errors import ShapeError

__all__ = ["pad"]


def pad(
    data: Tensor,
    pad_before: Any,
    pad_after: Any = None,
    pad_value: Any = 0.0,
    name: str = "PadInput",
    attrs: Any = None,
) -> Any:
    """*data* with elements of *pad_value* before and after it in each dimension."""
    before = [int(n) for n in pad_before]
    after = before if pad_after is None else [int(n) for n in pad_after]
    if len(before) != data.ndim or len(after) != data.ndim:
        raise ShapeError(f"pad of {data.ndim} dimensions by {before} and {after}")
    shape = [b + size + a for b, size, a in zip(before, data.shape, after, strict=True)]
    filler = tir.const(pad_value, data.dtype)

    def element(*i: Any) -> Any:
        inside = []
        for index, b, a, size in zip(i, before, after, data.shape, strict=True):
            inside += [index >= b] if b else []
            inside += [index < size + b] if a else []
        own = data(*(index - b if b else index for index, b in zip(i, before, strict=True)))
        return tir.if_then_else(tir.all(*inside), own, filler) if inside else own

    return compute(shape, element, name=name, tag=f"{tag.INJECTIVE},pad", attrs=attrs)
