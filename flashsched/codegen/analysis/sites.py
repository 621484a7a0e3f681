"""What a read nest consists of: sites, the memory that they touch, and how often; `reading` beside it makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, prod

from flashsched.codegen.analysis.arithmetic import Arithmetic
from flashsched.codegen.analysis.forms import Extents, Form, interval, total
from flashsched.errors import LoweringError
from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.schedule.ir import Buffer, For, LoopKind, Stmt
from flashsched.te import dtypes
from flashsched.te.expr import Const, Var

__all__ = ["Memory", "Nest", "Site", "Touch", "reach", "turns"]


@dataclass(slots=True, eq=False)
class Memory:
    """A buffer where it lies.

    Attributes:
        buffer: the buffer.
        shape: what is kept of it there, in the order of memory.
        strides: in elements.
        kept: whether it outlives the nest: the caller's, or used by another nest too.
        given: whether it is the caller's.
        around: the loops that it is allocated inside of, outermost first: each turn of them finds other contents.
        versions: how many turns' contents there are at once, in a pipelined loop.
        touches: all accesses to it in one nest, added while the nest is read.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kept: bool
    given: bool
    around: tuple[For, ...]
    versions: int = 1
    touches: list[Touch] = field(default_factory=list)

    @property
    def is_shared(self) -> bool:
        """Whether a GPU has it in shared memory, since that is asked for or it is made inside of blocks."""
        inside = not self.kept and any(loop.kind.is_block for loop in self.around)
        return self.buffer.scope == "shared" or (self.buffer.scope == "global" and inside)

    @property
    def by_threads(self) -> int:
        """How many of it a block has: rows of threads have their own of what is made inside of them."""
        return prod(loop.turns or 1 for loop in self.around if loop.kind.is_thread)

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return max(1, dtypes.bits(self.buffer.dtype) // 8)

    @property
    def size(self) -> int:
        """Bytes of all of it, gaps and all versions included."""
        elements = self.shape[0] * self.strides[0] if prod(self.shape) and self.shape else prod(self.shape)
        return elements * self.width * self.versions * self.copies

    @property
    def copies(self) -> int:
        """How many there are at once: each virtual thread has its own."""
        return prod(turns(loop) for loop in self.around if loop.kind is LoopKind.VTHREAD)

    def elements(self, extents: Extents) -> int:
        """How many elements its touches reach while the loops of *extents* turn."""
        return self.copies * prod(min(span, points) for span, points in reach(self.touches, self.shape, extents))


@dataclass(slots=True, eq=False)
class Touch:
    """One access of a site: indices in the order of memory, and the element that they come to."""

    memory: Memory
    indices: tuple[Form, ...]
    offset: Form
    write: bool
    needs: frozenset[Var]  # the loops whose turns find another element, or other contents

    @property
    def places(self) -> frozenset[Var]:
        """The loops whose turns touch another element, among them virtual threads with memory of their own."""
        return self.offset.vars | {loop.var for loop in self.memory.around if loop.kind is LoopKind.VTHREAD}


@dataclass(eq=False)
class Site:
    """One block of a nest.

    Attributes:
        name: of its stage.
        loops: those around it that take more than one turn, outermost first; none of threads whose first does it.
        touches: its accesses.
        work: the arithmetic of one point.
        guards: conditions, as the loops that decide them and the share of turns in which they hold.
        reduces: the loops whose turns combine into the same element.
        domain: points of the computation itself, however often they are computed.
        tests: the conditions inside of what is computed, on indices alone, each as the form that is compared with 0.
    """

    name: str
    loops: tuple[For, ...]
    touches: list[Touch]
    work: Arithmetic
    guards: list[tuple[frozenset[Var], float]]
    reduces: frozenset[Var]
    domain: int
    tests: list[Form]

    @cached_property
    def serial(self) -> tuple[For, ...]:
        """The loops that one thread turns: not those over blocks and threads of a GPU."""
        return tuple(loop for loop in self.loops if not (loop.kind.is_block or loop.kind.is_thread))

    @cached_property
    def written_out(self) -> tuple[For, ...]:
        """Those of them whose points are one piece of straight code: the innermost that are unrolled or vectorized.

        Virtual threads are written out inside, wherever their loop stands.
        """
        virtual = tuple(loop for loop in self.serial if loop.kind is LoopKind.VTHREAD)
        found: list[For] = []
        for loop in reversed([loop for loop in self.serial if loop.kind is not LoopKind.VTHREAD]):
            if loop not in self.together and loop.kind not in (LoopKind.UNROLL, LoopKind.VECTORIZE, LoopKind.TENSORIZE):
                break
            found.append(loop)
        return (*virtual, *reversed(found))

    @cached_property
    def rolled(self) -> tuple[For, ...]:
        """The serial loops around that code."""
        return tuple(loop for loop in self.serial if loop not in self.written_out)

    @cached_property
    def together(self) -> tuple[For, ...]:
        """The loops that the lanes of a warp do together by an intrinsic: the tensorized one and all inside it."""
        first = next((n for n, loop in enumerate(self.loops) if loop.kind is LoopKind.TENSORIZE), len(self.loops))
        inside = self.loops[first:]
        return inside if inside and find_intrinsic(inside[0].notes["intrinsic"]).lanes > 1 else ()

    @cached_property
    def lanes(self) -> int:
        """How many lanes share each point's work: those of a warp, or 1."""
        return find_intrinsic(self.together[0].notes["intrinsic"]).lanes if self.together else 1

    @cached_property
    def vector(self) -> For | None:
        """The loop whose turns are lanes."""
        last = self.loops[-1] if self.loops else None
        return last if last is not None and last.kind is LoopKind.VECTORIZE else None

    def repeated(self, needs: frozenset[Var]) -> float:
        """How often the rolled loops repeat what *needs* these loops: what they leave alone is done outside of them."""
        last = max((n for n, loop in enumerate(self.rolled) if loop.var in needs), default=-1)
        return prod(turns(loop) for loop in self.rolled[: last + 1])

    def copies(self, needs: frozenset[Var]) -> float:
        """How many of the straight code's points differ in what *needs* these loops; the others share it."""
        return prod(turns(loop) for loop in self.written_out if loop.var in needs)

    def begins_outside(self, needs: frozenset[Var]) -> bool:
        """Whether what *needs* these loops is begun and ended outside of all rolled loops of the reduction."""
        last = max((n for n, loop in enumerate(self.rolled) if loop.var in needs), default=-1)
        return not any(loop.var in self.reduces for loop in self.rolled[: last + 1])

    def holds(self, apart_from: Iterable[Var] = ()) -> float:
        """The share of points where all guards hold that none of the loops *apart_from* decides."""
        never = frozenset(apart_from)
        return prod((part for loops, part in self.guards if not loops & never), start=1.0)

    @cached_property
    def turns(self) -> float:
        """How often a thread comes by, guards aside."""
        return prod(turns(loop) for loop in self.serial)


@dataclass(slots=True, eq=False)
class Nest:
    """One root statement of a program: on a GPU, a kernel."""

    body: Stmt
    sites: list[Site]
    memories: list[Memory]
    extents: dict[Var, int]

    @property
    def main(self) -> Site | None:
        """The site with most arithmetic; where there is none, the one that is come by most."""
        return max(self.sites, key=lambda s: (s.work.total * s.turns, s.turns), default=None)


def turns(loop: For) -> int:
    """The number of turns of *loop*.

    Raises:
        LoweringError: it is known at run time only.
    """
    if not isinstance(loop.extent, Const):
        raise LoweringError(
            f"loop {loop.var.name!r} has {loop.extent} turns, and only numbers can be measured",
            hint="bind the sizes: s.bind_sizes({n: 512}) is the schedule of the program for that size",
        )
    return int(loop.extent.value)


def reach(touches: Sequence[Touch], shape: Sequence[int], extents: Extents) -> list[tuple[int, int]]:
    """For each dimension, from the first to the last index that *touches* reach, and at most how many of these."""
    found: list[tuple[int, int]] = []
    for dimension, size in enumerate(shape):
        low, high, points = inf, -inf, 0
        for touch in touches:
            index = touch.indices[dimension]
            first, last = interval(index, extents)
            low, high = min(low, first), max(high, last)
            points += total(extents, index.vars)
        found.append((int(min(high - low + 1, size)) if touches else 0, min(points, size)))
    return found
