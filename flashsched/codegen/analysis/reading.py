"""A scheduled nest read into sites: which block runs how often, and which memory each of its accesses touches.

What holds for every device is found here once; `gpu` and `cpu` beside it ask what it costs. Buffers are taken to be
where lowering will put them (`flashsched.codegen.passes.allocate`): around all their uses, as large as what is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import prod

from flashsched.codegen.analysis.arithmetic import count, is_index
from flashsched.codegen.analysis.forms import Extents, Form, fact_of, form_of, interval, rejoined, share
from flashsched.codegen.analysis.sites import Memory, Nest, Site, Touch, reach, turns
from flashsched.codegen.analysis.versions import versions_of
from flashsched.errors import LoweringError
from flashsched.schedule.accesses import held_for_all_lanes
from flashsched.schedule.facts import filled_together
from flashsched.schedule.ir import (
    Alloc,
    Block,
    Buffer,
    Extern,
    For,
    If,
    Let,
    Load,
    Seq,
    Stmt,
    Store,
)
from flashsched.schedule.layout import strides_of
from flashsched.schedule.state import State
from flashsched.schedule.threads import PREDICATE
from flashsched.te.expr import Compare, Expr, Var
from flashsched.te.sizes import numbers, sizes_in
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import conjuncts, loop_vars, walk

__all__ = ["Memory", "Nest", "Site", "Touch", "reach", "read_nests", "turns"]


@dataclass(slots=True, eq=False)
class _Raw:
    """An access before it is known where its buffer lies."""

    buffer: Buffer
    indices: tuple[Form, ...]
    path: tuple[For, ...]
    write: bool
    own: bool  # what a reduction reads of the sums that it began itself
    where: _Where


class _Where:
    """The *conditions* on what a block inside the loops *path* does."""

    def __init__(self, conditions: Sequence[Expr], path: Sequence[For], extents: Extents) -> None:
        self.path, self.extents = path, extents
        terms = (term for condition in conditions for term in conjuncts(condition))
        self._terms = [(term, loop_vars(term)) for term in terms]
        self._facts: dict[Expr, Form | None] = {}

    def facts(self, inside: Extents) -> list[Form]:
        """Forms of the loops *inside* that are at most 0 where it does something."""
        found = (self._fact(term) for term, spoken in self._terms if spoken <= inside.keys())
        return [fact for fact in found if fact is not None]

    def _fact(self, term: Expr) -> Form | None:
        if term not in self._facts:
            held = held_for_all_lanes(term, self.path)
            self._facts[term] = None if held is None else fact_of(held, self.extents)
        return self._facts[term]


def read_nests(state: State) -> list[Nest]:
    """The root nests of *state* that do anything, in order.

    Raises:
        LoweringError: a loop's length is not a number.
    """
    roots = state.body.stmts if isinstance(state.body, Seq) else (state.body,)
    speaks = sizes_in(
        size for b in (*state.params, *(b for s in state.stages.values() for b in s.buffers)) for size in b.shape
    )
    if speaks:
        raise LoweringError(
            f"the schedule holds for any {', '.join(size.name for size in speaks)}, and only numbers can be measured",
            hint=f"s.bind_sizes({{{speaks[0].name}: 512}}) is the schedule of the program for that size",
        )
    given = {*state.params, *(b for stage in state.stages.values() if stage.output for b in stage.buffers)}
    found: list[tuple[Stmt, dict[Var, int], list[tuple[Site, list[_Raw]]]]] = []
    users: dict[Buffer, set[int]] = {}
    for number, root in enumerate(roots):
        extents: dict[Var, int] = {}
        sites = [
            _site(block, path, conditions, extents)
            for block, path, conditions in _walk(root, (), (), extents)
            if all(turns(loop) for loop in path)
        ]
        found.append((root, extents, sites))
        for _, raws in sites:
            for raw in raws:
                users.setdefault(raw.buffer, set()).add(number)
    kept = given | {buffer for buffer, where in users.items() if len(where) > 1}
    together = filled_together(state.body)
    nests = []
    for root, extents, sites in found:
        if sites:
            nests.append(_nest(root, extents, sites, (kept, given, together)))
            versions = versions_of(state, root)
            for memory in nests[-1].memories:
                memory.versions = versions.get(memory.buffer.name, 1)
    return nests


def _walk(
    stmt: Stmt, path: tuple[For, ...], conditions: tuple[Expr, ...], extents: dict[Var, int]
) -> Iterator[tuple[Block, tuple[For, ...], tuple[Expr, ...]]]:
    match stmt:
        case For():
            extents[stmt.var] = turns(stmt)
            yield from _walk(stmt.body, (*path, stmt), conditions, extents)
        case Seq():
            for inner in stmt.stmts:
                yield from _walk(inner, path, conditions, extents)
        case If():
            yield from _walk(stmt.then, path, (*conditions, stmt.condition), extents)
            if stmt.otherwise is not None:
                yield from _walk(stmt.otherwise, path, conditions, extents)
        case Alloc() | Let():
            yield from _walk(stmt.body, path, conditions, extents)
        case Block(extern=Extern() as call):
            raise LoweringError(
                f"{call.name!r} is an extern stage, and what its function does can't be measured",
                hint="simulate the graphs before and after it",
            )
        case Block():
            yield stmt, path, (*conditions, *stmt.where)
        case _:
            pass  # a bare store belongs to lowered nests


def _site(
    block: Block, path: tuple[For, ...], conditions: Sequence[Expr], extents: Mapping[Var, int]
) -> tuple[Site, list[_Raw]]:
    bound = {item.var: form_of(item.value, {}, extents) for item in block.iters}
    raws: list[_Raw] = []
    begun = {store.buffer for store in block.init}
    where = _Where(conditions, path, extents)

    def touch(buffer: Buffer, indices: Sequence[Expr], write: bool) -> None:
        own = not write and buffer in begun
        raws.append(_Raw(buffer, tuple(form_of(i, bound, extents) for i in indices), path, write, own, where))

    def loads(store: Store) -> Iterator[Load]:
        for part in (*store.indices, store.value):
            yield from (node for node in walk(part) if isinstance(node, Load))

    seen: set[tuple[int, ...]] = set()
    for store in block.stores:
        touch(store.buffer, store.indices, True)
        for load in loads(store):
            key = (id(load.buffer), *map(id, load.indices))
            if key not in seen:
                seen.add(key)
                touch(load.buffer, load.indices, False)
    guards = [share(condition, {}, extents) for condition in conditions]
    reduces = frozenset(v for item in block.iters if item.kind is AxisKind.REDUCE for v in bound[item.var].vars)
    alone = {loop.kind for loop in path if PREDICATE in loop.notes}  # of whose threads the first is at work
    loops = tuple(loop for loop in path if turns(loop) > 1 and loop.kind not in alone)
    work = count(block.stores)
    domain = prod(numbers([item.extent for item in block.iters], block.name))
    known = [(loops_of, part) for loops_of, part in guards if part < 1.0]
    tests = [
        form_of(node.a, bound, extents).plus(form_of(node.b, bound, extents), -1)
        for store in block.stores
        for node in walk(store.value)
        if isinstance(node, Compare) and is_index(node.a)
    ]
    return Site(block.name, loops, [], work, known, reduces, domain, tests), raws


def _nest(
    root: Stmt,
    extents: dict[Var, int],
    sites: Sequence[tuple[Site, list[_Raw]]],
    sorts: tuple[Set[Buffer], Set[Buffer], Set[Buffer]],
) -> Nest:
    uses: dict[Buffer, list[_Raw]] = {}
    for _, raws in sites:
        for raw in raws:
            uses.setdefault(raw.buffer, []).append(raw)
    placed = {b: _placed(b, found, *(b in sort for sort in sorts), extents=extents) for b, found in uses.items()}
    for site, raws in sites:
        for raw in raws:
            memory, place = placed[raw.buffer]
            indices = place(raw.indices)
            offset = Form({})
            for index, stride in zip(indices, memory.strides, strict=True):
                offset = offset.plus(index, stride)
            offset = rejoined(offset, extents)
            needs = offset.vars | frozenset(loop.var for loop in memory.around)
            touch = Touch(memory, indices, offset, raw.write, needs)
            if raw.own and site.begins_outside(needs):
                continue  # the sums are begun in registers, and never read
            memory.touches.append(touch)
            site.touches.append(touch)
    return Nest(root, [site for site, _ in sites], [memory for memory, _ in placed.values()], extents)


class _Place:
    """From the indices that a nest speaks of to those of the memory."""

    def __init__(self, buffer: Buffer, gone: frozenset[Var], low: list[int], extents: Extents) -> None:
        self.buffer, self.gone, self.low, self.extents = buffer, gone, low, extents

    def __call__(self, indices: tuple[Form, ...]) -> tuple[Form, ...]:
        local = [index.without(self.gone).plus(Form({}, -low)) for index, low in zip(indices, self.low, strict=True)]
        layout = self.buffer.layout
        if layout is None:
            return tuple(local)
        known = dict(zip(layout.inputs, local, strict=True))
        return tuple(form_of(expr, known, self.extents) for expr in layout.outputs)


def _placed(
    buffer: Buffer, uses: Sequence[_Raw], kept: bool, given: bool, together: bool, *, extents: Mapping[Var, int]
) -> tuple[Memory, _Place]:
    around = () if kept else _common(uses)
    # shared memory that threads fill together lies outside the loops over them, and holds what all of them touch
    outside = [loop for loop in around if not (together and loop.kind.is_thread)]
    gone = frozenset(loop.var for loop in outside)
    low = [0] * len(buffer.shape)
    shape = list(buffer.shape)
    if not kept:
        inside = {var: n for var, n in extents.items() if var not in gone}
        facts = {raw.where: raw.where.facts(inside) for raw in uses}
        for dimension, size in enumerate(buffer.shape):
            ends = [interval(raw.indices[dimension].without(gone), inside, facts[raw.where]) for raw in uses]
            first, last = min(a for a, _ in ends), max(b for _, b in ends)
            extent = max(last - first, 0) + 1  # as in `flashsched.schedule.regions`
            if extent < size:
                low[dimension], shape[dimension] = int(first), int(extent)
    place = _Place(buffer, gone, low, extents)
    physical = buffer.layout.shape(shape) if buffer.layout is not None else tuple(shape)
    strides = buffer.strides if buffer.strides is not None and kept else strides_of(physical, buffer.aligned)
    return Memory(
        buffer, numbers(physical, buffer.name), numbers(strides, buffer.name), kept, given, tuple(outside)
    ), place


def _common(uses: Sequence[_Raw]) -> tuple[For, ...]:
    common = uses[0].path
    for raw in uses[1:]:
        same = 0
        while same < min(len(common), len(raw.path)) and common[same] is raw.path[same]:
            same += 1
        common = common[:same]
    return common
