"""What each axis of a stage does to each element that it reads and writes: how far apart, in elements, two turns are.

All rules of a derived space read from here: which axis makes good vectors, along which an operand is reused, what is
worth packing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flashsched.schedule import Schedule
from flashsched.schedule.ir import Block, Buffer, Load, Store, block_loads
from flashsched.te import dtypes
from flashsched.te.bounds import linear
from flashsched.te.expr import Binary, Call, Expr, Select, Var
from flashsched.te.linear import Linear, structural_key
from flashsched.te.sizes import numbers
from flashsched.te.tensor import Axis, AxisKind
from flashsched.te.visit import free_vars, uses, walk

__all__ = ["Access", "StageFacts", "facts_of"]

_CALL = 12.0  # instructions of an exponential, a logarithm, …
_DIVISION = 4.0


@dataclass(frozen=True)
class Access:
    """One element that a point of a stage reads or writes.

    Attributes:
        indices: a linear form for each dimension.
        strides: how far apart two neighbouring turns of each axis are, in elements; None where that is not one number.
    """

    buffer: Buffer
    indices: tuple[Linear, ...]
    strides: dict[Var, int | None]

    @property
    def bytes(self) -> int:
        """Bytes of the whole buffer."""
        return _bytes(self.buffer)

    def stride(self, axis: Var) -> int | None:
        """0 where *axis* does not matter."""
        return self.strides.get(axis, 0)

    def dimension(self, axis: Var) -> int | None:
        """The dimension whose index is *axis* itself and whose place no other dimension shares."""
        found = [n for n, form in enumerate(self.indices) if any(uses(atom, axis) for atom, _ in form.terms.values())]
        if len(found) == 1 and len(self.indices[found[0]].terms) == 1 and self.indices[found[0]].coefficient(axis) == 1:
            return found[0] if self.indices[found[0]].constant == 0 else None
        return None


@dataclass(frozen=True)
class StageFacts:
    """A stage as it stands.

    Attributes:
        spatial: the axes of what it writes; *reduced*: those that it combines over.
        reads, writes: its accesses, each once; its own buffers are not among the reads.
        cost: instructions for a point, roughly.
        bits: of the widest element that it writes.
        tested: the axes that conditions at borders ask for.
    """

    name: str
    spatial: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    cost: float
    bits: int
    tested: frozenset[Var]
    buffers: tuple[Buffer, ...]

    @property
    def points(self) -> int:
        """How many points it has, those that it combines among them."""
        return math.prod(axis.count for axis in (*self.spatial, *self.reduced))

    @property
    def elements(self) -> int:
        """How many elements it writes."""
        return math.prod(axis.count for axis in self.spatial)

    @property
    def bytes(self) -> int:
        """Bytes that it writes."""
        return sum(map(_bytes, self.buffers))

    def reads_of(self, buffers: Sequence[Buffer]) -> list[Access]:
        """The accesses that read one of *buffers*."""
        return [access for access in self.reads if access.buffer in buffers]


def facts_of(s: Schedule, name: str) -> StageFacts:
    """What is known of the stage *name* of *s*."""
    stage = s.state.stage(name)
    return _facts(name, stage.block, stage.axes, stage.buffers)


@functools.lru_cache(maxsize=1024)  # by identity: neither blocks nor buffers ever change, and candidates share them
def _facts(name: str, block: Block, axes: tuple[Axis, ...], buffers: tuple[Buffer, ...]) -> StageFacts:
    own = set(buffers)
    reads: list[Access] = []
    seen: set[tuple[Any, ...]] = set()
    for load in block_loads(block):
        if load.buffer in own:
            continue
        if (key := structural_key(load)) not in seen:
            seen.add(key)
            reads.append(_access(load, axes))
    writes = tuple(_access(store, axes) for store in block.stores)
    bits = max(dtypes.bits(buffer.dtype) for buffer in buffers)
    values = [store.value for store in block.stores]
    tests = [node.condition for value in values for node in walk(value) if isinstance(node, Select)]
    tested = frozenset().union(*[free_vars(test) for test in tests if not _reads(test)])
    return StageFacts(
        name,
        tuple(axis for axis in axes if axis.kind is AxisKind.SPATIAL),
        tuple(axis for axis in axes if axis.kind is AxisKind.REDUCE),
        tuple(reads),
        writes,
        sum(cost_of(value) for value in values),
        bits,
        tested,
        buffers,
    )


def _reads(value: Expr) -> bool:
    return any(isinstance(node, Load) for node in walk(value))


def cost_of(value: Expr) -> float:
    """Instructions for *value*, roughly; what is read costs nothing here, and neither do indices."""
    total = 0.0
    for node in walk(value):
        if node.dtype == dtypes.INDEX:
            continue
        if isinstance(node, Call):
            total += _CALL
        elif isinstance(node, Binary):
            total += _DIVISION if node.op in ("/", "//", "%") else 1.0
        elif isinstance(node, Select):
            total += 1.0
    return total


def _access(node: Load | Store, axes: Sequence[Axis]) -> Access:
    forms = tuple(linear(index) for index in node.indices)
    steps = [int(step) for step in node.buffer.element_strides]
    strides: dict[Var, int | None] = {}
    for axis in axes:
        total: int | None = 0
        for form, step in zip(forms, steps, strict=True):
            atoms = [atom for atom, _ in form.terms.values() if uses(atom, axis)]
            if any(atom is not axis for atom in atoms):
                total = None
                break
            assert total is not None
            total += form.coefficient(axis) * step
        if total != 0:
            strides[axis] = total
    return Access(node.buffer, forms, strides)


def _bytes(buffer: Buffer) -> int:
    return math.prod(numbers(buffer.shape, f"what is asked of {buffer.name}")) * dtypes.bits(buffer.dtype) // 8
