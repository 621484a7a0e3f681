"""One answer to one question of a template: a split, an order, annotations, a value; and how it is applied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flashsched.errors import ArgumentError, TuneError

__all__ = [
    "AnnotateEntity",
    "Entity",
    "OtherOptionEntity",
    "ReorderEntity",
    "SplitEntity",
    "VirtualAxis",
    "entity_from_json",
]


@dataclass(frozen=True, eq=False)
class VirtualAxis:
    """A loop as the questions see it: a length (None where an earlier answer decides it) and a name."""

    length: Any
    name: str = ""

    @classmethod
    def of(cls, axis: Any) -> VirtualAxis:
        """*axis*: a loop of a schedule, a number of turns, or an axis already.

        Raises:
            ArgumentError: its length is no number.
        """
        if isinstance(axis, VirtualAxis):
            return axis
        if isinstance(axis, int):
            return cls(int(axis))
        extent = getattr(getattr(axis, "dom", None), "extent", None)
        if not isinstance(extent, int):
            raise ArgumentError(f"{axis!r} has no constant length", hint="tune for one size, then build for that size")
        return cls(int(extent), str(getattr(axis, "name", "")))


@dataclass
class SplitEntity:
    """The turns of each loop that a split gives, outermost first; -1 for what is left."""

    size: list[int]

    def apply(self, sch: Any, op: Any, axis: Any) -> list[Any]:
        """Cut *axis* of *op*; the loops, outermost first."""
        loops, rest = [], axis
        for position in range(1, len(self.size)):
            outer, rest = sch[op].split(rest, factor=math.prod(self.size[position:]))
            loops.append(outer)
        return [*loops, rest]

    def to_json(self) -> list[Any]:
        """As a log keeps it."""
        return ["sp", self.size]

    def __repr__(self) -> str:
        return str(self.size)


@dataclass
class ReorderEntity:
    """An order of loops, by their places before."""

    perm: list[int]

    def apply(self, sch: Any, op: Any, axes: Sequence[Any]) -> list[Any]:
        """Put *axes* of *op* in order; returns them so."""
        ordered = [axes[place] for place in self.perm]
        if len(ordered) > 1:
            sch[op].reorder(*ordered)
        return ordered

    def to_json(self) -> list[Any]:
        """As a log keeps it."""
        return ["re", self.perm]

    def __repr__(self) -> str:
        return str(self.perm)


@dataclass
class AnnotateEntity:
    """What is done to each of several loops: ``"none"``, ``"unroll"``, ``"vec"``, or the place of an anchor."""

    anns: list[Any]

    def apply(
        self,
        sch: Any,
        op: Any,
        axes: Sequence[Any],
        axis_lens: Sequence[int] | None = None,
        max_unroll: int | None = None,
        vec_size: Sequence[int] | None = None,
        cfg: Any = None,
        source: Sequence[Sequence[Any]] | None = None,
    ) -> list[Any]:
        """Do it to *axes* of *op*.

        Args:
            sch: the schedule.
            op: the stage.
            axes: its loops.
            axis_lens: the turns of each, for the limits that follow; by default read off the loops.
            max_unroll: a longer loop is left as it is, and *cfg* is told.
            vec_size: a loop whose length is none of these is left as it is, and *cfg* is told.
            cfg: the configuration that is told.
            source: for ``locate_cache``: the loops to choose anchors from, for each copy.
        """
        if source is not None:
            for place, loops in zip(self.anns, source, strict=True):
                sch[loops[0]].compute_at(sch[op], axes[place])
            return list(axes)
        for number, (ann, axis) in enumerate(zip(self.anns, axes, strict=True)):
            length = axis_lens[number] if axis_lens is not None else VirtualAxis.of(axis).length
            if ann == "unroll":
                if max_unroll is not None and length > max_unroll:
                    _tell(cfg, f"unroll {length} turns, more than {max_unroll}")
                else:
                    sch[op].unroll(axis)
            elif ann == "vec":
                if vec_size is not None and length not in vec_size:
                    _tell(cfg, f"vectorize {length} turns, none of {list(vec_size)}")
                else:
                    sch[op].vectorize(axis)
            elif ann != "none":
                raise ArgumentError(f"nothing is done to a CPU's loop for {ann!r}")
        return list(axes)

    def to_json(self) -> list[Any]:
        """As a log keeps it."""
        return ["an", self.anns]

    def __repr__(self) -> str:
        return str(self.anns)


def _tell(cfg: Any, text: str) -> None:
    if cfg is not None:
        cfg.raise_error(f"too large to {text}")


@dataclass
class OtherOptionEntity:
    """A value."""

    val: Any

    def to_json(self) -> list[Any]:
        """As a log keeps it."""
        return ["ot", self.val]

    def __repr__(self) -> str:
        return str(self.val)


Entity: TypeAlias = SplitEntity | ReorderEntity | AnnotateEntity | OtherOptionEntity


def entity_from_json(kind: str, value: Any) -> Entity:
    """The entity that a log kept.

    Raises:
        TuneError: there is no such kind.
    """
    match kind:
        case "sp":
            return SplitEntity([int(size) for size in value])
        case "re":
            return ReorderEntity([int(place) for place in value])
        case "an":
            return AnnotateEntity(list(value))
        case "ot":
            return OtherOptionEntity(value)
        case _:
            raise TuneError(f"a configuration holds sp, re, an and ot, not {kind!r}")
