"""What is known at the point of a function where code is being written: variables, buffers, vector lanes, the mask.

It stands apart from the text (`emit_code`) and from the meaning of expressions and statements, which both consult it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from flashsched.codegen.emit_code import Code, Value, clean_name
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Buffer
from flashsched.te.expr import Var

__all__ = ["Lanes", "Slot", "State"]


class Slot(NamedTuple):
    """Where a buffer's first element lies.

    Attributes:
        pointer: the LLVM value.
        alignment: what is certain of it, in bytes.
        private: only the function being written can reach it.
        copies: how many lanes have an element of their own at each index; they lie side by side.
        notes: LLVM's attributes of the pointer, for a function that it is passed to.
        spare: what stores mask off holds nothing that counts, and may be written (`emit_spare`).
    """

    pointer: str
    alignment: int
    private: bool = False
    copies: int = 1
    notes: str = "noalias"
    spare: bool = False


class Lanes(NamedTuple):
    """The turns of a vectorized loop that run at once: ``base <= var < base + width``."""

    var: Var
    width: int
    base: Value


@dataclass
class State:
    """The point that code is written at.

    Attributes:
        code: the function's text.
        outer: the state of the function around this one, which passes in what is used from there.
        named: what a `Let` computed once, in the register type of its dtype.
        ranges: inclusive bounds of the variables.
        lanes: the vectorized loop that the code is in.
        mask: the lanes that are active, where not all are.
        captured: what was taken from *outer*: a buffer or a variable, and its parameter.
        streaming: stores of vectors go past the caches.
        kept: buffers of which a store under a mask wrote back other lanes.
    """

    code: Code
    outer: State | None = None
    variables: dict[Var, Value] = field(default_factory=dict)
    named: dict[Var, Value] = field(default_factory=dict)
    slots: dict[Buffer, Slot] = field(default_factory=dict)
    ranges: dict[Var, tuple[float, float]] = field(default_factory=dict)
    lanes: Lanes | None = None
    mask: Value | None = None
    captured: dict[Buffer | Var, str] = field(default_factory=dict)
    streaming: bool = False
    kept: set[Buffer] = field(default_factory=set)

    def variable(self, var: Var) -> Value:
        """The value of a loop's variable; that of a vectorized loop is a vector.

        Raises:
            LoweringError: no loop around this point has it.
        """
        found = self.variables.get(var)
        if found is not None:
            return found
        if self.lanes is not None and var is self.lanes.var:
            return self._lane_values(self.lanes)
        if self.outer is None:
            raise LoweringError(f"variable {var.name!r} is used outside the loop that has it")
        found = self.outer.variable(var)
        if not found.is_literal:
            name = f"%{clean_name(var.name).replace('.', '_')}_in{len(self.captured)}"
            self.captured[var] = name
            found = Value(name, found.kind)
        self.variables[var] = found
        return found

    def slot(self, buffer: Buffer) -> Slot:
        """Where *buffer* lies.

        Raises:
            LoweringError: it is neither a parameter nor allocated around this point.
        """
        found = self.slots.get(buffer)
        if found is not None:
            return found
        if self.outer is None:
            raise LoweringError(
                f"buffer {buffer.name!r} is used, but it is neither a parameter nor allocated there",
                hint="list it among the kernel's tensors",
            )
        outside = self.outer.slot(buffer)
        name = f"%{clean_name(buffer.name).replace('.', '_')}_in{len(self.captured)}"
        self.captured[buffer] = name
        found = outside._replace(pointer=name, private=False)
        self.slots[buffer] = found
        return found

    def _lane_values(self, lanes: Lanes) -> Value:
        key = ("lanes", lanes.base.text, lanes.width)
        found: Value | None = self.code.memo.get(key)
        if found is None:
            steps = self.code.iota(lanes.width, "i64")
            found = steps if lanes.base.text == "0" else self.code.op("add", lanes.base, steps)
            self.code.memo[key] = found
        return found

    @contextmanager
    def bound(self, var: Var, value: Value, within: tuple[float, float]) -> Iterator[None]:
        """A stretch in which *var* is *value*, which lies *within* these bounds; a size may be known there anew."""
        before = self.variables.get(var), self.ranges.get(var)
        self.variables[var], self.ranges[var] = value, within
        try:
            yield
        finally:
            del self.variables[var], self.ranges[var]
            if before[0] is not None:
                self.variables[var] = before[0]
            if before[1] is not None:
                self.ranges[var] = before[1]

    @contextmanager
    def in_lanes(self, lanes: Lanes, low: float, high: float) -> Iterator[None]:
        """A stretch that runs *lanes* at once."""
        self.lanes, self.ranges[lanes.var] = lanes, (low, high)
        try:
            yield
        finally:
            self.lanes = None
            del self.ranges[lanes.var]

    @contextmanager
    def masked(self, mask: Value) -> Iterator[None]:
        """A stretch in which only those active lanes count where *mask* holds too."""
        saved = self.mask
        assert self.lanes is not None
        both = mask if saved is None else self.code.op("and", saved, mask)
        self.mask = self.code.broadcast(both, self.lanes.width)
        try:
            yield
        finally:
            self.mask = saved
