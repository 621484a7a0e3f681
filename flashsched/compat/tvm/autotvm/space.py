"""What a template can ask for: splits, orders, annotations and knobs; a space of them, and one point of it.

While a space is collected (`ConfigSpace`), each question is answered with its first option; when a point is applied
(`ConfigEntity`), with that point's. A point has one number, in which the first knob counts fastest, as in TVM.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flashsched.compat.tvm.autotvm.entities import (
    AnnotateEntity,
    Entity,
    OtherOptionEntity,
    ReorderEntity,
    SplitEntity,
    VirtualAxis,
    entity_from_json,
)
from flashsched.compat.tvm.te.stage import LoopVar
from flashsched.errors import ArgumentError, TuneError, UnknownNameError, did_you_mean

__all__ = ["ConfigEntity", "ConfigSpace", "FallbackConfigEntity", "Subspace"]

_MOST_ENTITIES = 200_000  # of one knob; more is a mistake in the template


class Subspace:
    """The options of one knob, in order.

    Args:
        title: how it prints, ``Split(policy=factors, product=512, num_outputs=2)``.
        entities: the options.
        num_output: how many axes the template gets for it.
    """

    def __init__(self, title: str, entities: Iterator[Entity], num_output: int) -> None:
        self.title = title
        self.entities: list[Entity] = list(itertools.islice(entities, _MOST_ENTITIES + 1))
        self.num_output = num_output
        if not self.entities:
            raise TuneError(f"{title} has no options", hint="widen its filter, or give it candidates")
        if len(self.entities) > _MOST_ENTITIES:
            raise TuneError(f"{title} has more than {_MOST_ENTITIES} options", hint="give it a filter or a max_factor")

    def __len__(self) -> int:
        return len(self.entities)

    def __getitem__(self, index: int) -> Entity:
        return self.entities[index]

    def __repr__(self) -> str:
        return f"{self.title} len={len(self)}"


class ConfigSpace:
    """The questions of a template, by name and in the order of asking."""

    is_fallback = False

    def __init__(self) -> None:
        self.space_map: dict[str, Subspace] = {}
        self._entity_map: dict[str, Entity] = {}
        self._collect = True
        self.flop: float | None = None
        self.code_hash: str | None = None
        self.errors: list[str] = []

    # -- what a template calls

    @staticmethod
    def axis(var: Any) -> VirtualAxis:
        """*var*, a loop or a number of turns, as an axis to define on."""
        return VirtualAxis.of(var)

    reduce_axis = axis

    def define_split(
        self,
        name: str,
        axis: Any,
        policy: str = "factors",
        num_outputs: int = 2,
        filter: Callable[[SplitEntity], bool] | None = None,
        **kwargs: Any,
    ) -> list[VirtualAxis]:
        """How *axis* is cut into *num_outputs* loops; ``cfg[name].apply(s, op, axis)`` cuts it.

        Args:
            name: the question's name.
            axis: a loop, or a number of turns.
            policy: ``"factors"`` (those that divide), ``"power2"``, ``"verbose"`` (both) or ``"candidate"``.
            num_outputs: loops that come out.
            filter: keeps an option if it says so.
            kwargs: ``max_factor`` bounds each inner loop, ``no_tail=False`` allows a last turn that is not full,
                ``candidate`` lists the sizes for that policy, ``[[-1, 4, 8], …]``.
        """
        source = VirtualAxis.of(axis)
        most = kwargs.get("max_factor", 1 << 31)
        title = f"Split(policy={policy}, product={source.length}, num_outputs={num_outputs})"
        made = _splits(source.length, policy, num_outputs, most, kwargs.get("no_tail", True), kwargs.get("candidate"))
        return self._define(name, title, (e for e in made if filter is None or filter(e)), num_outputs)

    def define_reorder(self, name: str, axes: Sequence[Any], policy: str, **kwargs: Any) -> list[VirtualAxis]:
        """The order of *axes*.

        Args:
            name: the question's name.
            axes: loops, or what other questions returned.
            policy: ``"identity"``, ``"all"``, ``"interval"`` (only those in ``interval=(first, last)`` move),
                ``"candidate"`` (``candidate=[[…axes…], …]``) or ``"interleave"`` (``spatial=``, ``reduce=`` lists of
                the loops of each axis, outermost first).
            kwargs: what the policy needs.
        """
        made = (ReorderEntity(perm) for perm in _orders(list(axes), policy, kwargs))
        return self._define(name, f"Reorder(policy={policy}, num_axes={len(axes)})", made, len(axes))

    def define_annotate(self, name: str, axes: Sequence[Any], policy: str, **kwargs: Any) -> list[VirtualAxis]:
        """What is done to *axes*: ``"unroll"``, ``"vec"``, ``"try_unroll"``, ``"try_vec"``, ``"try_unroll_vec"``.

        The ``try`` policies also leave loops as they are. ``"locate_cache"`` picks *num_anchor* of the axes, where
        copies are to be computed.
        """
        made = (AnnotateEntity(anns) for anns in _annotations(len(axes), policy, kwargs))
        return self._define(name, f"Annotate(policy={policy}, num_axes={len(axes)})", made, len(axes))

    def define_knob(self, name: str, candidate: Sequence[Any]) -> None:
        """A choice among *candidate*; ``cfg[name].val`` is the one taken."""
        title = f"OtherOption({list(candidate)})"
        self._define(name, title, (OtherOptionEntity(value) for value in candidate), 0)

    def add_flop(self, flop: float) -> None:
        """Count *flop* operations for the template; without it they are counted in the te graph."""
        self.flop = (self.flop or 0.0) + float(flop)

    def raise_error(self, msg: str) -> None:
        """Rule this point out, because *msg*."""
        self.errors.append(msg)

    def valid(self) -> bool:
        """Whether nothing ruled this point out."""
        return not self.errors

    def _define(self, name: str, title: str, entities: Iterator[Entity], outputs: int) -> list[VirtualAxis]:
        if self._collect and name not in self.space_map:
            self.space_map[name] = Subspace(title, entities, outputs)
            self._entity_map[name] = self.space_map[name][0]
        return [VirtualAxis(None, f"{name}.{number}") for number in range(outputs)]

    # -- what a tuner calls

    def __len__(self) -> int:
        return math.prod(len(space) for space in self.space_map.values())

    @property
    def dims(self) -> list[int]:
        """The number of options of each knob."""
        return [len(space) for space in self.space_map.values()]

    def get(self, index: int) -> ConfigEntity:
        """Point number *index*.

        Raises:
            ArgumentError: there are not so many.
        """
        if not 0 <= index < len(self):
            raise ArgumentError(f"the space has {len(self)} points, and there is no number {index}")
        left, entities = index, {}
        for name, space in self.space_map.items():
            left, at = divmod(left, len(space))
            entities[name] = space[at]
        return ConfigEntity(index, self.code_hash, entities)

    def knobs_of(self, index: int) -> list[int]:
        """The option taken of each knob, at point number *index*."""
        taken = []
        for size in self.dims:
            index, at = divmod(index, size)
            taken.append(at)
        return taken

    def index_of(self, knobs: Sequence[int]) -> int:
        """The number of the point that takes these options."""
        index = 0
        for at, size in zip(reversed(knobs), reversed(self.dims), strict=True):
            index = index * size + at
        return index

    def __getitem__(self, name: str) -> Any:
        if name not in self._entity_map:
            raise UnknownNameError(f"the template defined no {name!r}", hint=did_you_mean(name, self._entity_map))
        return self._entity_map[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entity_map

    def __repr__(self) -> str:
        rows = [f"  {number:2d} {name}: {space!r}" for number, (name, space) in enumerate(self.space_map.items())]
        return "\n".join([f"ConfigSpace (len={len(self)}, space_map=", *rows, ")"])


class ConfigEntity(ConfigSpace):
    """One point of a space: the answer to each question."""

    def __init__(self, index: int, code_hash: str | None, entities: Mapping[str, Entity]) -> None:
        super().__init__()
        self.index = index
        self.code_hash = code_hash
        self._collect = False
        self._entity_map = dict(entities)

    def _define(self, name: str, title: str, entities: Iterator[Entity], outputs: int) -> list[VirtualAxis]:
        if name not in self._entity_map:
            raise UnknownNameError(
                f"this configuration says nothing of {name!r}, so it was made for another template",
                hint=f"it knows {', '.join(self._entity_map) or 'nothing'}; tune again",
            )
        return super()._define(name, title, entities, outputs)

    def to_json_dict(self) -> dict[str, Any]:
        """The point as a log keeps it."""
        entity = [[name, *item.to_json()] for name, item in self._entity_map.items()]
        return {"index": self.index, "code_hash": self.code_hash, "entity": entity}

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> ConfigEntity:
        """The point that a log kept, ours or TVM's.

        Raises:
            TuneError: it is none.
        """
        try:
            entities = {name: entity_from_json(kind, value) for name, kind, value in data["entity"]}
            return cls(int(data["index"]), data.get("code_hash"), entities)
        except (KeyError, TypeError, ValueError) as error:
            raise TuneError(f"no configuration of a template: {str(data)[:80]} ({error})") from None

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        shown = [(name, item) for name, item in self._entity_map.items()]
        return f"{shown},{self.code_hash},{self.index}"


class FallbackConfigEntity(ConfigSpace):
    """Every question's first option, where no log knows better; `is_fallback` tells."""

    is_fallback = True
    index = -1

    def __setitem__(self, name: str, entity: Entity) -> None:
        self._entity_map[name] = entity

    def fallback_split(self, name: str, constraints: Sequence[int]) -> None:
        """Cut the split *name* into parts as large as they may be, the last first.

        Args:
            name: the question.
            constraints: for each part the most turns that it may have; -1 for any.
        """
        space = self.space_map[name]
        limits = [math.inf if most == -1 else most for most in constraints]
        fits = [
            entity
            for entity in space.entities
            if isinstance(entity, SplitEntity)
            and all(size == -1 or size <= most for size, most in zip(entity.size, limits, strict=True))
        ]
        if fits:
            self._entity_map[name] = max(fits, key=lambda entity: list(reversed(entity.size)))

    def __repr__(self) -> str:
        return f"{list(self._entity_map.items())},{self.code_hash},fallback"


def _factors(length: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(max(length, 1)) + 1) if length % n == 0]
    return sorted({*small, *(length // n for n in small)})


def _splits(
    length: int, policy: str, outputs: int, most: int, no_tail: bool, candidates: Sequence[Sequence[int]] | None
) -> Iterator[SplitEntity]:
    """All ways to cut *length* into *outputs* parts, the first of which is what is left (-1)."""
    if policy == "candidate":
        yield from (SplitEntity(list(sizes)) for sizes in candidates or ())
        return
    powers = [1 << n for n in range(max(length, 1).bit_length())]
    parts = {"factors": _factors(length), "power2": powers, "verbose": sorted({*_factors(length), *powers})}
    if policy not in parts:
        raise ArgumentError(
            f"define_split knows no policy {policy!r}", hint=did_you_mean(policy, [*parts, "candidate"])
        )
    sizes = [size for size in parts[policy] if size <= most]
    for inner in itertools.product(sizes, repeat=outputs - 1):
        total = math.prod(inner)
        if total <= max(length, 1) and (not no_tail or policy != "factors" or length % total == 0):
            yield SplitEntity([-1, *inner])


def _orders(axes: list[Any], policy: str, kwargs: Mapping[str, Any]) -> Iterator[list[int]]:
    count = len(axes)
    if policy == "identity":
        yield list(range(count))
    elif policy == "all":
        yield from map(list, itertools.permutations(range(count)))
    elif policy == "interval":
        first, last = kwargs["interval"]
        for middle in itertools.permutations(range(first, last + 1)):
            yield [*range(first), *middle, *range(last + 1, count)]
    elif policy == "candidate":
        for order in kwargs["candidate"]:
            yield [_place(axes, axis) for axis in order]
    elif policy == "interleave":
        spatial, reduced = kwargs["spatial"], kwargs["reduce"]
        outer = [_place(axes, loops[0]) for loops in spatial]
        chains = [*(loops[1:] for loops in spatial), *reduced]
        rest = [[_place(axes, axis) for axis in chain] for chain in chains]
        yield from (outer + order for order in _merges(rest))
    else:
        known = ["identity", "all", "interval", "candidate", "interleave"]
        raise ArgumentError(f"define_reorder knows no policy {policy!r}", hint=did_you_mean(policy, known))


def _place(axes: Sequence[Any], axis: Any) -> int:
    for place, other in enumerate(axes):
        if other is axis or (isinstance(axis, LoopVar) and axis == other):
            return place
    raise ArgumentError(f"{axis!r} is not one of the axes that are put in order")


def _merges(chains: list[list[int]]) -> Iterator[list[int]]:
    """Every order that keeps each chain's own."""
    live = [chain for chain in chains if chain]
    if not live:
        yield []
    for chain in live:
        rest = [other[1:] if other is chain else other for other in live]
        yield from ([chain[0], *order] for order in _merges(rest))


def _annotations(count: int, policy: str, kwargs: Mapping[str, Any]) -> Iterator[list[str]]:
    if policy == "locate_cache":
        yield from map(list, itertools.combinations_with_replacement(range(count), kwargs["num_anchor"]))
        return
    fixed = {"none": ["none"], "unroll": ["unroll"], "vec": ["vec"]}
    if policy in fixed:
        yield fixed[policy] * count
    elif policy == "try_unroll":
        yield from ([*["none"] * (count - n), *["unroll"] * n] for n in range(count + 1))
    elif policy == "try_vec":
        yield from ([*["none"] * (count - 1), last] for last in ("none", "vec"))
    elif policy == "try_unroll_vec":
        for last in ("none", "unroll", "vec"):
            for n in range(count if last != "none" else 1):
                yield [*["none"] * (count - 1 - n), *["unroll"] * n, last]
    else:
        known = [*fixed, "try_unroll", "try_vec", "try_unroll_vec", "locate_cache"]
        raise ArgumentError(f"define_annotate knows no policy {policy!r} for a CPU", hint=did_you_mean(policy, known))
