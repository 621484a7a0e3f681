"""A nest as checked Python source, which the interpreter runs.

Apart from the interpreter because it only writes text: one flat function a statement (so no limit of Python on nested
blocks is met), one an access. Names in the text: ``v`` values of variables, ``m`` memory by buffer (None where nothing
was written), ``T`` and ``B`` the present and the first turn of each concurrent loop, counted up for ever, ``W`` and
``R`` what is remembered of accesses (`flashsched.codegen.nest_races`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flashsched.codegen.expr_python import ExprWriter, Scope
from flashsched.codegen.nest_buffers import stored_in, touched, with_own_memory
from flashsched.codegen.nest_races import Loop, Path, Races
from flashsched.errors import LoweringError
from flashsched.schedule.ir import (
    Alloc,
    Block,
    Break,
    Buffer,
    Extern,
    For,
    If,
    Let,
    Prefetch,
    Seq,
    Stmt,
    Store,
    walk_stmt,
)
from flashsched.schedule.threads import combined_across
from flashsched.te import dtypes
from flashsched.te.expr import const
from flashsched.te.sizes import numbers
from flashsched.te.tensor import AxisKind

__all__ = ["Leaf", "Translation", "translate"]


@dataclass(frozen=True)
class Leaf:
    """A statement that computes: its name for errors, and the loops around it with the places of their values."""

    name: str
    stmt: Stmt
    loops: tuple[tuple[str, int], ...]


@dataclass
class Translation:
    """The source with the tables that its numbers point to; ``main()`` runs the nest."""

    source: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    roots: list[Buffer] = field(default_factory=list)
    loops: list[For] = field(default_factory=list)
    loop_slots: list[int] = field(default_factory=list)
    tags: list[tuple[Buffer, int]] = field(default_factory=list)
    externs: list[Extern] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    var_count: int = 0

    def slot(self, buffer: Buffer) -> int:
        """The number of *buffer*."""
        if buffer not in self.buffers:
            self.buffers.append(buffer)
        return self.buffers.index(buffer)

    def size(self, buffer: Buffer) -> int:
        """How many elements *buffer* has."""
        return math.prod(numbers(buffer.shape, buffer.name))


def translate(body: Stmt, given: Sequence[Buffer], check_races: bool) -> Translation:
    """*body* as source, with the buffers *given* by the caller and those that nothing allocates as its roots."""
    body = with_own_memory(body, set(given))
    writer = _Writer(check_races)
    writer.races.stored = {node.var: stored_in(node.body) for node in walk_stmt(body) if isinstance(node, For)}
    allocated = {node.buffer for node in walk_stmt(body) if isinstance(node, Alloc)}
    out = writer.out
    for buffer in (*given, *touched(body)):
        if buffer not in allocated and buffer not in out.roots:
            out.roots.append(buffer)
            writer.races.depth[buffer] = 0
            out.slot(buffer)
    main = writer.stmt(body, {}, ())
    out.source = "\n".join([*writer.lines, f"main = {main}"])
    out.var_count = writer.vars
    return out


class _Writer(ExprWriter):
    """Writes the functions; `stmt` returns the name of a statement's own."""

    def __init__(self, check_races: bool) -> None:
        super().__init__()
        self.out = Translation(names=self.names)
        self.check_races = check_races
        self.races = Races(self.out.tags)
        self.vars = 0
        self.accesses: dict[tuple[Any, ...], str] = {}

    def new_var(self) -> int:
        self.vars += 1
        return self.vars - 1

    # Statements

    def stmt(self, stmt: Stmt, scope: Scope, path: Path) -> str:
        self.scope, self.races.path = scope, path
        match stmt:
            case Seq():
                names = [self.stmt(inner, scope, path) for inner in stmt.stmts]
                return self.define("seq", [*(f"{name}()" for name in names), "pass"])
            case If():
                condition = self.guarded(f"return {self.condition(stmt.condition)}", stmt, "if")
                then = self.stmt(stmt.then, scope, path)
                lines = [f"if {condition}(): {then}()"]
                if stmt.otherwise is not None:
                    lines.append(f"else: {self.stmt(stmt.otherwise, scope, path)}()")
                return self.define("if_", lines)
            case Alloc():
                self.races.depth[stmt.buffer] = len(path)
                inner = self.stmt(stmt.body, scope, path)
                del self.races.depth[stmt.buffer]
                return self.define("alloc", [*self.fresh(stmt.buffer), f"{inner}()"])
            case Let():
                slot = self.new_var()
                value = self.index(stmt.value) if stmt.var.dtype == dtypes.INDEX else self.value(stmt.value)
                bind = self.guarded(f"v[{slot}] = {value}", stmt, f"{stmt.var.name} =")
                inner = self.stmt(stmt.body, {**scope, stmt.var: slot}, path)
                return self.define("let", [f"{bind}()", f"{inner}()"])
            case For():
                return self.loop(stmt, scope, path)
            case Store():
                return self.guarded(self.stores((stmt,)), stmt, f"{stmt.buffer.name}[...] =")
            case Break():
                return self.define("break_", ["raise StopIteration"])
            case Extern():
                self.out.externs.append(stmt)
                return self.guarded(f"extern({len(self.out.externs) - 1})", stmt, stmt.name)
            case Block(extern=Extern() as call):
                return self.stmt(call, scope, path)
            case Block():
                return self.block(stmt)
            case Prefetch():
                at, lines = self.place(stmt.buffer, "prefetches")
                known = self.define("prefetch", lines, at)
                place = ", ".join(self.index(i) for i in stmt.indices)
                return self.guarded(f"{known}({place})", stmt, f"prefetch {stmt.buffer.name}")
            case _:
                raise LoweringError(f"the interpreter does not know the statement {type(stmt).__name__}")

    def fresh(self, buffer: Buffer) -> list[str]:
        size, slot = self.out.size(buffer), self.out.slot(buffer)
        tags = [number for number, (owner, _) in enumerate(self.out.tags) if owner is buffer]
        return [f"m[{slot}] = [None] * {size}", *(f"W[{n}], R[{n}] = [-1] * {size}, [-1] * {size}" for n in tags)]

    def loop(self, node: For, scope: Scope, path: Path) -> str:
        if node.var in scope:
            raise LoweringError(f"loop {node.var.name!r} stands inside a loop over the same variable")
        extent = self.guarded(f"return {self.index(node.extent)}", node, f"for {node.var.name}")
        slot, number, lines = self.new_var(), -1, []
        outer = [loop for loop in path if loop.node.kind is node.kind]
        cooperative = node.kind.is_thread and bool(outer)
        if self.check_races and node.kind.is_concurrent:
            number = len(self.out.loops)
            self.out.loops.append(node)
            self.out.loop_slots.append(slot)
        inner = Loop(node, slot, number, cooperative, combined_across(node))
        body = self.stmt(node.body, {**scope, node.var: slot}, (*path, inner))
        if number < 0:
            turns = [f"    for v[{slot}] in range({extent}()):", f"        {body}()"]
            return self.define("for_", ["try:", *turns, "except StopIteration: pass"])  # a break in it
        lines = [f"B[{number}] = T[{number}] + 1", f"for v[{slot}] in range({extent}()):", f"    T[{number}] += 1"]
        if node.kind.is_thread and not cooperative:  # what cooperative loops inside store must not depend on the thread
            lines += [f"    H[{number}] = 0", f"    {body}()", f"    if v[{slot}] == 0: first = H[{number}]"]
            lines += [f"    if H[{number}] != first: uneven({number})"]
        else:
            lines.append(f"    {body}()")
        return self.define("for_", lines)

    def guarded(self, lines: str | list[str], stmt: Stmt, name: str) -> str:
        """A function of *lines* whose faults are told with *stmt* and the loops around it."""
        number = len(self.out.leaves)
        self.out.leaves.append(Leaf(name, stmt, tuple((loop.node.var.name, loop.slot) for loop in self.races.path)))
        body = [lines] if isinstance(lines, str) else lines
        handler = f"except FAULTS as fault: explain({number}, fault)"
        return self.define("do", ["try:", *(f"    {line}" for line in body), handler])

    def block(self, block: Block) -> str:
        lines, inner = [], {}
        if block.where:
            lines.append(f"if not ({' and '.join(self.condition(w) for w in block.where)}): return")
        if block.within:
            lines.append(f"real = {' and '.join(self.condition(w) for w in block.within)}")
        for item in block.iters:
            inner[item.var] = slot = self.new_var()
            end = item.begin + item.extent
            lines.append(f"v[{slot}] = x = {self.index(item.value)}")
            lines.append(f"if not {item.begin} <= x < {end}: astray({item.var.name!r}, x, {item.begin}, {end})")
        self.scope = inner
        if block.init:
            reduced = [item for item in block.iters if item.kind is AxisKind.REDUCE]
            first = " and ".join(f"v[{inner[item.var]}] == {item.begin}" for item in reduced) or "True"
            lines += [f"if {first}:", *(f"    {line}" for line in self.stores(block.init))]
        if block.within:
            padding = () if block.reduces else [replace(s, value=const(0, s.buffer.dtype)) for s in block.stores]
            lines += ["if not real:", *(f"    {line}" for line in (*self.stores(padding), "return"))]
        return self.guarded([*lines, *self.stores(block.stores), "pass"], block, block.name)

    def stores(self, stores: Sequence[Store]) -> list[str]:
        """Lines that compute everything, then store it."""
        arguments, writes = [], []
        for store in stores:
            if store.value.dtype != store.buffer.dtype:
                raise LoweringError(
                    f"{store.buffer.name} holds {store.buffer.dtype}, and {store.value.dtype} is stored: {store.value}"
                )
            arguments.append(", ".join([*(self.index(i) for i in store.indices), self.value(store.value)]))
            writes.append(self.write(store.buffer))
        if len(stores) == 1:
            return [f"{writes[0]}({arguments[0]})"]
        lines = [f"a{n} = ({argument},)" for n, argument in enumerate(arguments)]
        return lines + [f"{write}(*a{n})" for n, write in enumerate(writes)]

    # Accesses

    def place(self, buffer: Buffer, verb: str) -> tuple[str, list[str]]:
        """The parameters of an access, and the lines that check them and leave the element's number in ``e``."""
        slot = self.out.slot(buffer)
        at = [f"i{n}" for n in range(len(buffer.shape))]
        lines = []
        if at:
            inside = " and ".join(f"0 <= {i} < {extent}" for i, extent in zip(at, buffer.shape, strict=True))
            lines.append(f"if not ({inside}): outside({slot}, {verb!r}, {', '.join(at)})")
        element, step = [], 1
        for i, extent in zip(reversed(at), reversed(numbers(buffer.shape, buffer.name)), strict=True):
            element.append(i if step == 1 else f"{i} * {step}")
            step *= extent
        return ", ".join(at), [*lines, f"e = {' + '.join(reversed(element)) or 0}"]

    def read(self, buffer: Buffer) -> str:
        tags = self.races.tracked(buffer, False)
        key = ("read", buffer, *tags)
        if key not in self.accesses:
            slot = self.out.slot(buffer)
            at, lines = self.place(buffer, "reads")
            rest = f", {at}" if at else ""
            lines += [f"x = m[{slot}][e]", f"if x is None: poison({slot}{rest})"]
            lines += self.races.reading(tags, rest)
            self.accesses[key] = self.define("read", [*lines, "return x"], at)
        return self.accesses[key]

    def write(self, buffer: Buffer) -> str:
        tags = self.races.tracked(buffer, True)
        threads = self.races.sharing(buffer)
        key = ("write", buffer, *tags, None, *threads)
        if key not in self.accesses:
            at, lines = self.place(buffer, "writes")
            rest = f", {at}" if at else ""
            lines += self.races.writing(tags, rest)
            slot = self.out.slot(buffer)
            lines += [f"H[{n}] = hash((H[{n}], {slot}, e, x if x == x else None))" for n in threads]
            parameters = f"{at}, x" if at else "x"
            self.accesses[key] = self.define("write", [*lines, f"m[{slot}][e] = x"], parameters)
        return self.accesses[key]
