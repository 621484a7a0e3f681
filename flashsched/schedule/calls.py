"""The two nodes that only the code of an intrinsic has: a call of a C function, and the address of a buffer in it.

Apart from `flashsched.schedule.ir`, since no nest holds them: what a nest means is never behind a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flashsched.schedule.ir import Buffer, Stmt
from flashsched.te.expr import Expr

__all__ = ["AccessPtr", "CallExtern"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AccessPtr(Expr):
    """The address *offset* elements after the first of *buffer*; nothing but an argument of a `CallExtern`."""

    buffer: Buffer
    offset: Expr
    mode: str = "r"
    dtype = "handle"

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.offset,)

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return AccessPtr(self.buffer, children[0], self.mode)

    def key(self) -> tuple[Any, ...]:
        return (id(self.buffer), self.mode)

    def text(self, parts: Sequence[str]) -> str:
        """The address as it is printed."""
        return f"&{self.buffer.name}" + ("" if parts[0] == "0" else f" + {parts[0]}")


@dataclass(frozen=True, slots=True, eq=False)
class CallExtern(Stmt):
    """Call the C function *symbol*, which gives *dtype* or ``void``. It stands in the code of intrinsics only: what a
    nest means is never behind a call."""

    symbol: str
    args: tuple[Expr, ...]
    dtype: str = "int32"
