"""Which stages share loops: the nests of a program, each with what is computed inside its blocks.

A *nest* is one stage that walks over its output in tiles, the reduction whose sums a tile finishes (if there is one),
and the stages that are computed block by block for it: rows' maxima for a softmax, a padded image for a convolution,
the erosion that a dilation reads. What two nests share lies in memory; what one nest holds stays in the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass, field

from flashsched.ops.derived.accesses import StageFacts, facts_of
from flashsched.ops.derived.inlining import readers_of
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te.expr import Var
from flashsched.te.tensor import Axis
from flashsched.te.visit import uses

__all__ = ["Nest", "find_nests"]


@dataclass
class Nest:
    """Stages that share loops.

    Attributes:
        finish: the stage that has the loops over tiles.
        sums: the reduction that it finishes, held in registers; None where there is none or it is *finish* itself.
        inner: nests computed in each block of this one, in the order in which they are computed.
        shared: the axes of *finish* that all of *inner* follow: blocks are cut along these only. None: along any.
        held: bytes of what *inner* writes.
    """

    finish: str
    sums: str | None = None
    inner: list[Nest] = field(default_factory=list)
    shared: tuple[Axis, ...] | None = None
    held: int = 0


def find_nests(
    s: Schedule,
    knobs: KnobsLike,
    apart: Set[str],
    first: Callable[[StageFacts, Collection[Axis], bool], bool] = lambda finish, shared, overlaps: True,
) -> list[Nest]:
    """The nests of *s*, readers before what they read, as *knobs* place what may be in two places.

    Args:
        s: the schedule.
        knobs: what decides.
        apart: stages that are in no nest.
        first: ``first(finish, shared, overlaps)``, whether the first answer is a block of *finish*: blocks are then cut
            along *shared*, and what they need of each other's may overlap.
    """
    nests: list[Nest] = []
    home: dict[str, tuple[Nest, Mapping[Axis, frozenset[Axis]]]] = {}
    finishing: dict[str, Nest] = {}  # by the stage that has the loops, inner nests among them
    for stage in reversed(s.stages):
        name = stage.name
        if name in apart:
            continue
        facts = facts_of(s, name)
        readers = readers_of(s, name)
        places = {id(home[r][0]): home[r][0] for r in readers if r in home}
        nest: Nest | None = None
        if not s.state.stages[name].output and len(places) == 1 and all(r in home for r in readers):
            (nest,) = places.values()
        if nest is None:
            nests.append(finishing.setdefault(name, Nest(name)))
            home[name] = nests[-1], {axis: frozenset((axis,)) for axis in facts.spatial}
            continue
        follows = _follows(facts, [(facts_of(s, r), home[r][1]) for r in readers])
        if _is_finished_by(facts, [facts_of(s, r) for r in readers]) and finishing[readers[0]].sums is None:
            finishing[readers[0]].sums = name
            home[name] = nest, follows
            continue
        common = frozenset[Axis]().union(*follows.values())
        shared = tuple(a for a in (nest.shared or facts_of(s, nest.finish).spatial) if a in common and a.count > 1)
        near = bool(shared) and first(
            facts_of(s, nest.finish), shared, _slides(facts, [facts_of(s, r) for r in readers])
        )
        if shared and knobs.choice(f"{name}: place", ("root", "block"), default="block" if near else "root") == "block":
            nest.inner.insert(0, finishing.setdefault(name, Nest(name)))
            nest.shared = shared
            nest.held += facts.bytes
            home[name] = nest, follows
        else:
            nests.append(finishing.setdefault(name, Nest(name)))
            home[name] = nests[-1], {axis: frozenset((axis,)) for axis in facts.spatial}
    return nests


def _follows(
    facts: StageFacts, readers: list[tuple[StageFacts, Mapping[Axis, frozenset[Axis]]]]
) -> dict[Axis, frozenset[Axis]]:
    """For each axis of a stage the axes of its nest's finish that decide which part of it *readers* need.

    Each reader comes with the same of its own axes.
    """
    found: dict[Axis, frozenset[Axis]] = {axis: frozenset() for axis in facts.spatial}
    for reader, theirs in readers:
        for access in reader.reads_of(facts.buffers):
            for axis, form in zip(facts.spatial, access.indices, strict=True):
                atoms = [atom for atom, _ in form.terms.values()]
                for other in reader.spatial:
                    if any(uses(atom, other) for atom in atoms):
                        found[axis] |= theirs.get(other, frozenset())
    return found


def _slides(facts: StageFacts, readers: list[StageFacts]) -> bool:
    """Whether windows slide over a stage: one element is read for several elements of a reader."""
    forms = [form for reader in readers for access in reader.reads_of(facts.buffers) for form in access.indices]
    return any(len(form.terms) > 1 for form in forms)


def _is_finished_by(facts: StageFacts, readers: list[StageFacts]) -> bool:
    """Whether each element of a reduction is read at one point of one stage that is no reduction itself."""
    if not facts.reduced or len(readers) != 1 or readers[0].reduced:
        return False
    reads = readers[0].reads_of(facts.buffers)
    first = [tuple(form.terms.values()) for form in reads[0].indices]
    axes: list[Var] = []
    for access in reads:
        for form, terms in zip(access.indices, first, strict=True):
            if len(form.terms) > 1 or form.constant or tuple(form.terms.values()) != terms:
                return False
            axes += [atom for atom, factor in terms if isinstance(atom, Axis) and factor == 1]
    counted = [axis for axis in readers[0].spatial if axis in axes]
    return all(axis.count == 1 or axis in counted for axis in readers[0].spatial) and len(counted) == len(
        [terms for terms in first if terms]
    )
