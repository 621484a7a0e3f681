"""Along which axis a nest has its vectors, and what is reused along the others.

An axis makes good vectors where its neighbouring turns lie next to each other: in what is written, and in most of what
is read. An operand that lies the other way counts little where it is read often enough to be worth a packed copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flashsched.ops.derived.accesses import Access, StageFacts, facts_of
from flashsched.schedule import Schedule
from flashsched.te.expr import Var
from flashsched.te.tensor import Axis

__all__ = ["NestFacts", "has_reuse", "reuse_along", "reused_whole", "vector_choices", "worth_packing", "local_sums"]

_PACKED_READS = 8
"""Reads of each element from which a copy in a better order pays."""

_WORST = -1.0  # an axis that scores less than this below the best is not offered


@dataclass(frozen=True)
class NestFacts:
    """What is known of a nest's two stages.

    Attributes:
        finish: the stage that has the loops.
        sums: the reduction inside; *finish* itself where it reduces, None where nothing does.
        inside: for each axis of *finish* the one of *sums*.
        turns: how many turns each axis of *finish* has where the nest stands.
    """

    finish: StageFacts
    sums: StageFacts | None
    inside: Mapping[Axis, Axis]
    turns: Mapping[Axis, int]

    @classmethod
    def of(cls, s: Schedule, name: str, sums: str | None, turns: Mapping[Axis, int]) -> NestFacts:
        """What is known of the stage *name*, and of *sums*, the stage that reduces for it, as they are now."""
        finish = facts_of(s, name)
        body = finish if finish.reduced else None if sums is None else facts_of(s, sums)
        return cls(finish, body, _inside_of(finish, body), turns)

    @property
    def body(self) -> StageFacts:
        """The stage whose points take the time."""
        return self.sums or self.finish

    def inner(self, axis: Axis) -> Axis:
        """The axis of `body` for *axis* of *finish*."""
        return self.inside.get(axis, axis)

    def count(self, axis: Var) -> int:
        """Turns of an axis of `body`."""
        for outer, turns in self.turns.items():
            if self.inner(outer) is axis:
                return turns
        assert isinstance(axis, Axis)
        return axis.count

    @property
    def work(self) -> float:
        """Instructions of the whole nest."""
        body = math.prod(self.count(axis) for axis in (*self.body.spatial, *self.body.reduced)) * self.body.cost
        return body + math.prod(self.turns.values()) * self.finish.cost

    def footprint(self, access: Access, part: Mapping[Axis, int]) -> int:
        """Elements that *access* of `body` reaches while the axes of *finish* run over a *part* of their turns."""
        within = {self.inner(axis): turns for axis, turns in part.items()}
        total = 1
        for form in access.indices:
            reach = 1
            for axis in (*self.body.spatial, *self.body.reduced):
                reach += abs(form.coefficient(axis)) * (within.get(axis, self.count(axis)) - 1)
            total *= reach
        return total


def _inside_of(finish: StageFacts, body: StageFacts | None) -> dict[Axis, Axis]:
    """For each axis of the finish the axis of the sums that it reads them by."""
    found: dict[Axis, Axis] = {}
    for access in [] if body is None else finish.reads_of(body.buffers):
        for form, own in zip(access.indices, body.spatial if body else (), strict=True):
            for axis in finish.spatial:
                if form.coefficient(axis) == 1:
                    found[axis] = own
    return found


def local_sums(s: Schedule, name: str, sums: str | None) -> str | None:
    """The stage that reduces for *name*, in memory of its own: *sums*, or one that is parted from it; None without."""
    if facts_of(s, name).reduced:
        made = s.cache_write(name, "local")
        return s[made[0] if isinstance(made, tuple) else made].name
    if sums is not None:
        s[sums].set_scope("local")
    return sums


def vector_choices(s: Schedule, facts: NestFacts, lanes: int) -> list[tuple[Axis, bool]]:
    """The axes along which vectors may run, best first; the flag says that it is one of the reduction's."""
    scored = [(_spatial_score(s, facts, axis, lanes), -number, axis, False)
              for number, axis in enumerate(reversed(facts.finish.spatial)) if facts.turns[axis] > 1]  # fmt: skip
    body = facts.sums
    if body is not None and body.reduced:
        last = body.reduced[-1]
        if last.count > 1:
            scored.append((_reduced_score(facts, last, lanes), -99, last, True))
    scored.sort(key=lambda entry: entry[:2], reverse=True)
    return [(axis, reduces) for score, _, axis, reduces in scored if score >= scored[0][0] + 2 * _WORST][:3]


def reuse_along(facts: NestFacts, vector: Axis) -> list[Axis]:
    """The other axes of *finish*, those first along which most of what vectors hold is used again."""
    others = [axis for axis in facts.finish.spatial if axis is not vector and facts.turns[axis] > 1]
    return sorted(others, key=lambda axis: _reused(facts, vector, axis), reverse=True)


def has_reuse(facts: NestFacts, vector: Axis, axis: Axis) -> bool:
    """Whether anything that vectors hold is used again along *axis*, or a part of it."""
    return _reused(facts, vector, axis) > 0


def reused_whole(facts: NestFacts, vector: Axis, axis: Axis) -> bool:
    """Whether some vectors are used again, just as they are, along *axis*."""
    return _reused(facts, vector, axis) >= 1


def worth_packing(s: Schedule, facts: NestFacts, access: Access, vector: Axis) -> bool:
    """Whether *access* can be copied so that vectors lie together, and is read often enough for it."""
    if access.dimension(facts.inner(vector)) is None or not _at_root(s, access):
        return False
    elements = math.prod(int(size) for size in access.buffer.shape)
    points = math.prod(facts.count(axis) for axis in (*facts.body.spatial, *facts.body.reduced))
    return points >= _PACKED_READS * elements


def _at_root(s: Schedule, access: Access) -> bool:
    made = s.state.stage_of(access.buffer)
    return not access.buffer.by_value and (made is None or made.attach is None)


def _spatial_score(s: Schedule, facts: NestFacts, axis: Axis, lanes: int) -> float:
    score = sum(2.0 if access.stride(axis) == 1 else -2.0 for access in facts.finish.writes) / len(facts.finish.writes)
    reads: Sequence[Access] = facts.finish.reads if facts.sums is not facts.finish else ()
    if facts.sums is None or facts.sums is not facts.finish:
        reads = [read for read in reads if facts.sums is None or read.buffer not in facts.sums.buffers]
        score += sum(0.5 if access.stride(axis) in (0, 1) else -1.0 for access in reads)
    if facts.sums is not None:
        inner = facts.inner(axis)
        for access in facts.sums.reads:
            step = access.stride(inner)
            packs = step not in (0, 1) and worth_packing(s, facts, access, axis)
            score += 2.0 if step == 1 else 1.0 if step == 0 else 0.5 if packs else -2.0
    return score - 4.0 * max(0.0, 1 - facts.turns[axis] / lanes)


def _reduced_score(facts: NestFacts, axis: Axis, lanes: int) -> float:
    assert facts.sums is not None
    steps = [access.stride(axis) for access in facts.sums.reads]
    score = sum(2.0 if step == 1 else 1.0 if step == 0 else -2.0 for step in steps) - 1.0
    return score - 4.0 * min(1.0, lanes / axis.count)


def _reused(facts: NestFacts, vector: Axis, axis: Axis) -> float:
    reads = [a for a in facts.body.reads if a.stride(facts.inner(vector)) not in (0, None)]
    same = sum(1.0 for access in reads if access.stride(facts.inner(axis)) == 0)
    near = sum(0.25 for access in reads if _overlaps(facts, access, facts.inner(axis)))
    return same + near


def _overlaps(facts: NestFacts, access: Access, axis: Axis) -> bool:
    """Whether neighbouring turns of *axis* read partly the same: a window slides along it."""
    for form in access.indices:
        if form.coefficient(axis) == 1:
            return any(form.coefficient(other) == 1 for other in facts.body.reduced) or _read_elsewhere(facts, access)
    return False


def _read_elsewhere(facts: NestFacts, access: Access) -> bool:
    return sum(1 for other in facts.body.reads if other.buffer is access.buffer) > 1
