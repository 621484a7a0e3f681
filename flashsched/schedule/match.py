"""Matching a piece of a nest against what an intrinsic computes: unification, up to names, strides and first elements.

Both sides are brought into one form, a `Piece`: loops around a single store. A match maps each buffer of the
description to the part of the nest's buffer that takes its place: its first element, and how far apart the elements of
each dimension lie. Where there is none, `Differs` says what differs first. It serves the primitive, which asks about
scheduled nests, and lowering, which asks again about what is to be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import inf

from flashsched.schedule.ir import Block, Buffer, For, Load, Stmt, Store
from flashsched.schedule.layout import strides_of
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Var, binary, is_const
from flashsched.te.simplify import Ranges, linear, simplify
from flashsched.te.sizes import Shape
from flashsched.te.visit import free_vars, substitute

__all__ = ["Bound", "Differs", "Match", "Piece", "join", "opened", "piece_of", "unify"]

_MOST_ORDERS = 120  # orders of loops that are tried: five loops


class Differs(Exception):  # noqa: N818  (it is an answer, which the primitive makes a MatchError of)
    """The first difference between a description and a nest."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Piece:
    """Loops (those of one turn left out), outermost first, around one *store* in their variables."""

    loops: tuple[For, ...]
    store: Store


@dataclass(frozen=True, slots=True)
class Bound:
    """What takes the place of a buffer: the part of *buffer* that begins at *indices*, its elements *strides* apart."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    strides: tuple[int | Expr, ...]


Match = Mapping[Buffer, Bound]


def piece_of(stmt: Stmt) -> Piece:
    """*stmt*, loops around a block or a store, as a piece. A block's conditions and its init are left aside.

    Raises:
        Differs: it is something else.
    """
    loops: list[For] = []
    gone: dict[Var, Expr] = {}
    while isinstance(stmt, For):
        if stmt.turns == 1:
            gone[stmt.var] = Const(0, dtypes.INDEX)
        else:
            loops.append(stmt)
        stmt = stmt.body
    if isinstance(stmt, Block):
        stores = opened(stmt, stmt.stores)
        if len(stores) != 1:
            raise Differs("the statement", "one store", f"{len(stores)} stores at once")
        stmt = stores[0]
    if not isinstance(stmt, Store):
        names = {"Seq": "several statements", "If": "a condition", "Alloc": "an allocation", "Let": "a let"}
        raise Differs("the statement", "loops around one store", names.get(type(stmt).__name__, type(stmt).__name__))
    store = _map_store(stmt, lambda expr: substitute(expr, gone))
    return Piece(tuple(loops), store)


def opened(block: Block, stores: Sequence[Store]) -> list[Store]:
    """*stores* of *block* in the variables of the loops around it."""
    bindings = block.bindings
    return [_map_store(store, lambda expr: substitute(expr, bindings)) for store in stores]


def _map_store(store: Store, change: Callable[[Expr], Expr]) -> Store:
    return Store(store.buffer, tuple(change(i) for i in store.indices), change(store.value))


def unify(description: Piece, piece: Piece, outer: Ranges) -> Match:
    """What takes the place of each buffer of *description*, so that it computes what *piece* does.

    The loops may stand in another order. *outer* bounds the variables of the loops around the piece.

    Raises:
        Differs: there is no such match.
    """
    first: Differs | None = None
    for loops in _orders(piece.loops, [loop.turns for loop in description.loops]):
        try:
            return _Unifier(description, replace(piece, loops=loops), outer).match()
        except Differs as differs:
            first = first or differs
    raise first or _other_loops(description.loops, piece.loops)


def _orders(loops: tuple[For, ...], wanted: list[int | None]) -> Iterator[tuple[For, ...]]:
    """The orders of *loops* in which they have the turns *wanted*, their own order first."""
    if sorted(turns or 0 for turns in wanted) != sorted(loop.turns or 0 for loop in loops):
        return
    for number, order in enumerate(permutations(loops)):
        if number < _MOST_ORDERS and [loop.turns for loop in order] == wanted:
            yield order


def _other_loops(description: tuple[For, ...], loops: tuple[For, ...]) -> Differs:
    def text(items: Sequence[For]) -> str:
        return ", ".join(f"{loop.var.name} in range({loop.extent})" for loop in items) or "no loop"

    for number, (ours, theirs) in enumerate(zip(description, loops, strict=False)):
        if ours.turns != theirs.turns and len(description) == len(loops):
            return Differs(f"loop {number + 1} of {len(loops)}", text([ours]), text([theirs]))
    return Differs("the loops of more than one turn", text(description), text(loops))


class _Unifier:
    """One attempt, with the loops of both sides paired off."""

    def __init__(self, description: Piece, piece: Piece, outer: Ranges) -> None:
        self.vars = {ours.var: theirs.var for ours, theirs in zip(description.loops, piece.loops, strict=True)}
        spans = {loop.var: (0.0, inf if loop.turns is None else loop.turns - 1.0) for loop in piece.loops}
        self.ranges: Ranges = {**outer, **spans}
        self.ours: Ranges = {loop.var: (0.0, (loop.turns or 1) - 1.0) for loop in description.loops}
        self.description, self.piece = description, piece
        self.bound: dict[Buffer, Bound] = {}
        self.pending: list[tuple[Buffer, tuple[Expr, ...], Buffer, tuple[Expr, ...], str]] = []

    def match(self) -> Match:
        ours, theirs = self.description.store, self.piece.store
        self.access(ours.buffer, ours.indices, theirs.buffer, theirs.indices, "what is stored to")
        self.expr(simplify(ours.value, self.ours), simplify(theirs.value, self.ranges), "the value")
        for pending in sorted(self.pending, key=lambda item: _constant_part(item[1]) != 0):
            self.bind(*pending)
        self.require_output(ours)
        return self.bound

    # -- expressions

    def expr(self, ours: Expr, theirs: Expr, path: str) -> None:
        if isinstance(ours, Load) and isinstance(theirs, Load):
            self.access(ours.buffer, ours.indices, theirs.buffer, theirs.indices, path)
            return
        if isinstance(ours, Var) and isinstance(theirs, Var) and self.vars.get(ours) is theirs:
            return
        alike = type(ours) is type(theirs) and ours.dtype == theirs.dtype
        if not alike or isinstance(ours, Load | Var) or ours.key() != theirs.key():
            raise Differs(path, f"{_kind(ours)} ({ours})", f"{_kind(theirs)} ({theirs})")
        if isinstance(ours, Binary) and ours.op in ("+", "*", "min", "max", "and", "or", "&", "|", "^"):
            self.either_way(ours, theirs, path)
            return
        for number, (a, b) in enumerate(zip(ours.children, theirs.children, strict=True)):
            self.expr(a, b, f"{path}, {_part(ours, number)}")

    def either_way(self, ours: Binary, theirs: Expr, path: str) -> None:
        """Both sides of an operation that may be swapped: as they stand, unless only swapped they move alike."""
        before, (a, b) = list(self.pending), theirs.children
        differs: Differs | None = None
        try:
            self.expr(ours.a, a, f"{path}, left of '{ours.op}'")
            self.expr(ours.b, b, f"{path}, right of '{ours.op}'")
            if self.moves_alike(len(before)):
                return
        except Differs as found:
            differs = found
        as_they_stand, self.pending = self.pending, before
        try:
            self.expr(ours.a, b, path)
            self.expr(ours.b, a, path)
            if differs is None and not self.moves_alike(len(before)):
                self.pending = as_they_stand
        except Differs:
            self.pending = as_they_stand
            if differs is not None:
                raise differs from None

    def moves_alike(self, since: int) -> bool:
        """Whether of the accesses from number *since* on none moves with a loop that ours does not move with."""
        for _, indices, _, at, _ in self.pending[since:]:
            used = {self.vars[var] for index in indices for var in free_vars(index) if var in self.vars}
            if any(var in self.vars.values() and var not in used for index in at for var in free_vars(index)):
                return False
        return True

    def access(self, ours: Buffer, indices: tuple[Expr, ...], theirs: Buffer, at: tuple[Expr, ...], path: str) -> None:
        if ours.dtype != theirs.dtype:
            raise Differs(path, f"{ours.name} of {ours.dtype}", f"{theirs.name} of {theirs.dtype}")
        known = [item[2] for item in self.pending if item[0] is ours]
        if known and known[0] is not theirs:
            raise Differs(path, f"{ours.name}, which is {known[0].name} elsewhere", theirs.name)
        self.pending.append((ours, indices, theirs, at, path))

    # -- buffers

    def bind(self, ours: Buffer, indices: tuple[Expr, ...], theirs: Buffer, at: tuple[Expr, ...], path: str) -> None:
        """Find the strides that make *indices* the same place as *at*, and where the first element lies."""
        places, apart = physical(theirs, at, self.ranges)
        what = f"{theirs.name}[{', '.join(str(i) for i in at)}]"
        inner = set(self.vars.values())
        moves: dict[Var, int | Expr] = {}
        for place, stride in zip(places, apart, strict=True):
            form = linear(place, self.ranges)
            for atom, factor in form.terms.values():
                if isinstance(atom, Var) and atom in inner:
                    moves[atom] = join("+", moves.get(atom, 0), join("*", factor, stride))
                elif free_vars(atom) & inner:
                    raise Differs(path, f"{ours.name} at evenly spaced places", f"{what}, which holds {atom}")
        forms = [linear(index, self.ours) for index in indices]
        wanted: dict[Var, int | Expr] = {our: moves.get(their, 0) for our, their in self.vars.items()}
        bound = self.bound.get(ours)
        factors = {var: [form.coefficient(var) for form in forms] for var in wanted}
        strides: list[int | Expr] = list(bound.strides) if bound else _solve(factors, wanted, len(forms))
        for var, parts in factors.items():
            total: int | Expr = 0
            for part, own in zip(parts, strides, strict=True):
                total = join("+", total, join("*", part, own))
            if not _equal(total, wanted[var]):
                raise Differs(
                    path,
                    f"{ours.name}[{', '.join(str(i) for i in indices)}], which moves by {total} elements with "
                    f"{var.name}",
                    f"{what}, which moves by {wanted[var]} with {self.vars[var].name}",
                )
        zero: dict[Var, Expr] = dict.fromkeys(inner, Const(0, dtypes.INDEX))
        start = tuple(simplify(substitute(index, zero), self.ranges) for index in at)
        if bound is None:
            if any(form.constant for form in forms):
                raise Differs(path, f"{ours.name} at its first element somewhere", what)
            self.bound[ours] = Bound(theirs, start, tuple(strides))
            return
        here, _ = physical(theirs, start, self.ranges)
        there, _ = physical(theirs, bound.indices, self.ranges)
        shift: int | Expr = 0
        for x, y, stride in zip(here, there, apart, strict=True):
            shift = join("+", shift, join("*", simplify(x - y, self.ranges), stride))
        asked: int | Expr = 0
        for form, own in zip(forms, strides, strict=True):
            asked = join("+", asked, join("*", form.constant, own))
        if not _equal(shift, asked):
            raise Differs(path, f"{ours.name}, {asked} elements from where it begins", f"{what}, {shift} from there")

    def require_output(self, ours: Store) -> None:
        """What is written must be another element in each turn of the description's output loops, and no input."""
        out = self.bound[ours.buffer]
        for other, bound in self.bound.items():
            if other is not ours.buffer and bound.buffer is out.buffer:
                raise Differs("what is read", f"{other.name}, apart from what is stored to", bound.buffer.name)
        for index, stride in zip(ours.indices, out.strides, strict=True):
            if free_vars(index) & self.vars.keys() and _equal(stride, 0):
                raise Differs(
                    "what is stored to",
                    f"another element of {ours.buffer.name} in each turn of {index}",
                    f"{out.buffer.name}[{', '.join(str(i) for i in out.indices)}] in all of them",
                )


def physical(buffer: Buffer, indices: Sequence[Expr], ranges: Ranges) -> tuple[tuple[Expr, ...], Shape]:
    """*indices* in the order of memory, and how far apart the elements of each of these dimensions lie."""
    shape = buffer.shape if buffer.layout is None else buffer.layout.shape(buffer.shape)
    places = tuple(indices) if buffer.layout is None else buffer.layout.apply(indices, ranges)
    return places, strides_of(shape, buffer.aligned) if buffer.strides is None else buffer.strides


def join(op: str, a: int | Expr, b: int | Expr) -> int | Expr:
    """``a + b``, ``a - b`` or ``a * b`` of numbers, or of sizes that are expressions."""
    if isinstance(a, Const):
        a = int(a.value)
    if isinstance(b, Const):
        b = int(b.value)
    if isinstance(a, int) and isinstance(b, int):
        return a + b if op == "+" else a - b if op == "-" else a * b
    value = simplify(binary(op, a, b))
    return int(value.value) if isinstance(value, Const) else value


def _equal(a: int | Expr, b: int | Expr) -> bool:
    rest = join("-", a, b)
    return rest == 0 if isinstance(rest, int) else is_const(rest, 0)


def _solve(factors: Mapping[Var, list[int]], wanted: Mapping[Var, int | Expr], rank: int) -> list[int | Expr]:
    """Strides with ``sum(factor * stride) == wanted`` for each variable, as far as one equation gives one of them."""
    strides: list[int | Expr | None] = [None] * rank
    for _ in range(rank):
        for var, parts in factors.items():
            open_ = [n for n, part in enumerate(parts) if part and strides[n] is None]
            if len(open_) != 1:
                continue
            rest = wanted[var]
            for part, stride in zip(parts, strides, strict=True):
                if part and stride is not None:
                    rest = join("-", rest, join("*", part, stride))
            part = parts[open_[0]]
            if part == 1 or (isinstance(rest, int) and rest % part == 0):
                strides[open_[0]] = rest if part == 1 or not isinstance(rest, int) else rest // part
    return [0 if stride is None else stride for stride in strides]


def _constant_part(indices: Sequence[Expr]) -> int:
    return sum(abs(linear(index).constant) for index in indices)


_WORDS: dict[type[Expr], Callable[[Expr], str]] = {
    Const: lambda node: f"a constant of {node.dtype}",
    Load: lambda node: f"a load of {node.dtype}",
    Cast: lambda node: f"a cast to {node.dtype}",
}


def _kind(node: Expr) -> str:
    if isinstance(node, Binary | Compare):
        return f"'{node.op}' of {node.a.dtype}"
    if isinstance(node, Call):
        return f"{node.func}() of {node.dtype}"
    word = _WORDS.get(type(node))
    return word(node) if word else f"{type(node).__name__.lower()} of {node.dtype}"


def _part(node: Expr, number: int) -> str:
    if isinstance(node, Binary | Compare):
        return f"{'left' if number == 0 else 'right'} of '{node.op}'"
    if isinstance(node, Cast):
        return f"inside the cast to {node.dtype}"
    return f"part {number + 1} of {_kind(node)}"
