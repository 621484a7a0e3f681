"""An index as code sees it: what is the same for all lanes, what a lane moves it by, and what has no such form.

Apart from the accesses themselves (`emit_memory`), which are chosen by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flashsched.codegen.emit_code import Value
from flashsched.codegen.emit_state import State
from flashsched.schedule.ir import Load, Store
from flashsched.te.expr import Binary, Compare
from flashsched.te.simplify import bounds, prove
from flashsched.te.visit import walk

__all__ = ["Affine", "in_bounds"]


@dataclass(slots=True)
class Affine:
    """An index as a sum: *terms* (a scalar's text and its factor), *lane* for each lane, *vectors*, and a constant."""

    terms: dict[str, int] = field(default_factory=dict)
    lane: int = 0
    vectors: list[tuple[Value, int]] = field(default_factory=list)
    constant: int = 0

    def add(self, value: Value, factor: int) -> None:
        """Count *factor* times an int64 *value* in."""
        if value.lanes > 1:
            self.vectors.append((value, factor))
        elif value.is_literal:
            self.constant += int(value.text) * factor
        else:
            self.terms[value.text] = self.terms.get(value.text, 0) + factor

    def scaled(self, factor: int) -> None:
        """Multiply all of it by *factor*."""
        self.terms = {text: f * factor for text, f in self.terms.items()}
        self.vectors = [(value, f * factor) for value, f in self.vectors]
        self.lane, self.constant = self.lane * factor, self.constant * factor

    def plus(self, other: Affine) -> None:
        """Count all of *other* in."""
        for text, factor in other.terms.items():
            self.terms[text] = self.terms.get(text, 0) + factor
        self.lane, self.constant = self.lane + other.lane, self.constant + other.constant
        self.vectors += other.vectors


def in_bounds(load: Load | Store, state: State) -> bool:
    """Whether the element exists in every turn and lane, whatever conditions stand around it.

    ``i % n`` is below ``n`` only where ``n`` is not 0, which no condition around it counts for here.
    """
    for index, extent in zip(load.indices, load.buffer.shape, strict=True):
        for node in walk(index):
            if isinstance(node, Binary) and node.op in ("//", "%") and bounds(node.b, state.ranges)[0] <= 0:
                return False
        low, high = bounds(index, state.ranges)
        if low < 0 or (isinstance(extent, int) and high >= extent):
            return False
        if not isinstance(extent, int) and not prove(Compare("<", index, extent), state.ranges):
            return False
    return True
