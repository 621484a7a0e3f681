"""Products of narrow numbers by instructions that sum several products in each lane of a vector at once."""

from __future__ import annotations

from typing import NamedTuple

from flashsched.codegen.target import host_target
from flashsched.hw import DeviceSpec
from flashsched.schedule import Schedule
from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.te.tensor import Tensor

__all__ = ["Dot", "copy_rows", "dot_for", "whole_steps"]

_COPIED = 64  # elements of a row that are copied at once


class Dot(NamedTuple):
    """An instruction that sums so many products of narrow numbers in each lane of a vector at once."""

    intrinsic: str
    products: int
    lanes: int


_DOTS = {
    ("bfloat16", "bfloat16"): Dot("x86.bf16.dot16", 2, 16),
    ("uint8", "int8"): Dot("x86.vnni.u8s8x16", 4, 16),
    ("int8", "int8"): Dot("x86.vnni.s8s8x16", 4, 16),
}


def dot_for(a: Tensor, b: Tensor, spec: DeviceSpec) -> Dot | None:
    """The instruction for products of *a* and *b*, if this CPU has it; what others have is not known here."""
    dot = _DOTS.get((a.dtype, b.dtype))
    if dot is None or spec.name != "cpu":
        return None
    return dot if all(host_target().has(feature) for feature in find_intrinsic(dot.intrinsic).features) else None


def whole_steps(s: Schedule, dot: Dot, a: Tensor, b: Tensor, sums: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The *sums* over whole steps of *dot*, and the copies of *a* and *b* that have zeros beyond their ends.

    A copy is there, under ``"A"`` or ``"B"``, for what has to be longer.
    """
    made, *copies = s.pad_einsum(sums, [1] * (len(sums.shape) - 1) + [dot.lanes, dot.products])
    s[made].set_scope("local")
    named = {"A": a, "B": b}.items()
    return made, {key: copy for key, source in named for copy in copies if copy.name.startswith(f"{source.name}.")}


def copy_rows(s: Schedule, copy: Tensor, parallel: bool) -> None:
    """A copy in the order of what is copied."""
    *_, row, column = s[copy].op.axis
    _, inner = s[copy].split(column, factor=_COPIED, tail="cut")
    s[copy].vectorize(inner)
    if parallel:
        s[copy].parallel(row)
