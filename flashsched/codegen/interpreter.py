"""The second oracle: what a nest *means*, found by running it turn by turn with every promise checked.

It runs scheduled nests (with blocks) and lowered ones, slowly and strictly: each access must lie inside its buffer,
memory that was never written holds nothing and can't be read, each iteration variable stays in its range, and two
turns of a concurrent loop may not touch the same element unless both only read it. Values are computed in their exact
dtype, as `flashsched.te.evaluate` (the first oracle) does. The nest is turned into Python by its neighbour
`flashsched.codegen.nest_python`; here are the memory, the faults and the door.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from flashsched.codegen.nest_buffers import touched
from flashsched.codegen.nest_python import Leaf, Translation, translate
from flashsched.codegen.passes.place_init import place_init
from flashsched.errors import ExpressionError, LoweringError, ShapeError, counted
from flashsched.schedule.barrier import Barrier
from flashsched.schedule.bound import Bound
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    Iter,
    Let,
    Seq,
    Stmt,
    blocks,
    rewrite_stmt,
    stmt_exprs,
    walk_stmt,
)
from flashsched.schedule.printer import nest_text
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.evaluate import Array
from flashsched.te.expr import Const, SizeVar
from flashsched.te.external import call_extern
from flashsched.te.scalars import taken
from flashsched.te.sizes import Sizes, infer_sizes, numbers, size_value, sizes_in
from flashsched.te.tensor import AxisKind

__all__ = ["InterpreterError", "interpret", "interpret_nest"]


class InterpreterError(LoweringError):
    """A nest that breaks a promise: an access out of bounds, a read of nothing, a race, an axis out of its range."""


def interpret(program: Program, inputs: Sequence[Array], *, check_races: bool = True) -> list[Array]:
    """The outputs that *program* computes.

    Args:
        program: a lowered (or scheduled) nest with its parameters.
        inputs: one array for each parameter that is no output, in order, a number for one that is passed by value or
            for a size; they are not changed.
        check_races: whether concurrent turns are compared with each other.

    Raises:
        InterpreterError: an input does not fit, the nest breaks a promise, or an output is not written everywhere.
    """
    outputs = tuple(program.outputs)
    params = [buffer for buffer in program.params if buffer not in outputs]
    if len(inputs) != len(params) + len(program.passed):
        names = ", ".join([b.name for b in params] + [size.name for _, size in program.passed]) or "nothing"
        raise InterpreterError(
            f"{program.name} takes {counted(len(params), 'array')} ({names}), and {len(inputs)} are given"
        )
    try:
        inputs, told = taken(params, program.passed, inputs)
    except ExpressionError as error:
        raise InterpreterError(error.reason, hint=error.hint) from None
    given = [(b.name, b.shape, array.shape) for b, array in zip(params, inputs, strict=True)]
    for need in program.needs:
        if size_value(need, infer_sizes(given, told=told)) < 0:
            raise InterpreterError(f"a dimension of {program.name} is {need}, which is below 0 for these arrays")
    made = set(params) | set(outputs) | {node.buffer for node in walk_stmt(program.body) if isinstance(node, Alloc)}
    for buffer in touched(program.body) if next(blocks(program.body), None) is None else ():
        if buffer not in made:
            raise InterpreterError(f"{program.name} uses {buffer.name}, which is no parameter and never allocated")
    arrays = dict(zip(params, inputs, strict=True))
    return interpret_nest(program.body, arrays, outputs, check_races=check_races, told=told)


def interpret_nest(
    body: Stmt,
    arrays: Mapping[Buffer, Array],
    outputs: Sequence[Buffer],
    *,
    check_races: bool = True,
    told: Sizes = MappingProxyType({}),
) -> list[Array]:
    """Run *body* and return what lies in *outputs* afterwards.

    A buffer of a scheduled nest that is neither in *arrays* nor allocated is made where the lowering would make it at
    the latest: inside the innermost concurrent loop around all its uses, else before the nest. A reduction over
    nothing has no point at which it could begin, so a nest with one gets the nests that lowering gives to the inits.

    Args:
        body: a scheduled or a lowered nest.
        arrays: what the buffers hold at first; copied, so the arrays themselves do not change.
        outputs: the buffers wanted.
        check_races: whether concurrent turns are compared with each other.
        told: sizes that the arrays need not tell.

    Raises:
        InterpreterError: an array does not fit its buffer, the nest breaks a promise, or one of *outputs* is not
            written everywhere.
    """
    sizes = _sizes_of(body, arrays, outputs, told)
    if sizes:
        bound = Bound({var: Const(number, dtypes.INDEX) for var, number in sizes.items()})
        known = {bound.buffer(buffer): array for buffer, array in arrays.items()}
        return interpret_nest(bound.stmt(body), known, [bound.buffer(b) for b in outputs], check_races=check_races)
    for buffer, array in arrays.items():
        if array.shape != buffer.shape or array.dtype != numpy_dtype(buffer.dtype):
            raise InterpreterError(
                f"{buffer.name} is {buffer.dtype}{list(buffer.shape)}, and the array given is "
                f"{array.dtype}{list(array.shape)}"
            )
    body = rewrite_stmt(body, lambda node: Seq(()) if isinstance(node, Barrier) else None)  # turn by turn nobody waits
    if any(block.init and any(_is_empty(item) for item in block.iters) for block in blocks(body)):
        body = place_init(body)
    code = translate(body, (*arrays, *outputs), check_races)
    machine = _Machine(code)
    for buffer in code.roots:
        machine.clear(buffer)
        if buffer in arrays:
            machine.memory[code.slot(buffer)] = list(arrays[buffer].reshape(-1))
    with np.errstate(all="ignore"):
        machine.run()
    return [machine.contents(buffer) for buffer in outputs]


def _sizes_of(body: Stmt, arrays: Mapping[Buffer, Array], outputs: Sequence[Buffer], told: Sizes) -> dict[SizeVar, int]:
    """The sizes that the nest speaks of, as they are *told* or the *arrays* tell them."""
    held = (*arrays, *outputs, *touched(body), *(node.buffer for node in walk_stmt(body) if isinstance(node, Alloc)))
    shapes = (size for buffer in held for size in (*buffer.shape, *(buffer.strides or ())))
    wanted = sizes_in((*shapes, *stmt_exprs(body)))
    let = {node.var for node in walk_stmt(body) if isinstance(node, Let)}
    needed = [size for size in wanted if size not in let]
    try:
        found = infer_sizes([(b.name, b.shape, a.shape) for b, a in arrays.items()], needed, told) if wanted else {}
    except ShapeError as error:
        raise InterpreterError(error.reason, hint=error.hint) from None
    for node in walk_stmt(body):  # the parts of sizes that specialized nests speak of
        if isinstance(node, Let) and isinstance(node.var, SizeVar) and node.var not in found:
            found[node.var] = size_value(node.value, found)
    return found


def _is_empty(item: Iter) -> bool:
    return item.kind is AxisKind.REDUCE and item.extent == 0


class _Fault(Exception):  # noqa: N818  (becomes an InterpreterError as soon as its statement is known)
    """A broken promise, before it is known which statement broke it."""


class _Machine:
    """The memory that a translated nest runs on, and the faults that it may raise."""

    def __init__(self, code: Translation) -> None:
        self.code = code
        self.vars: list[int] = [0] * code.var_count
        self.memory: list[list[Any]] = [[]] * len(code.buffers)
        self.writers: list[list[int]] = [[]] * len(code.tags)
        self.readers: list[list[int]] = [[]] * len(code.tags)
        self.turn = [0] * len(code.loops)
        self.first = [0] * len(code.loops)

    def run(self) -> None:
        names = {
            "v": self.vars, "m": self.memory, "W": self.writers, "R": self.readers, "T": self.turn, "B": self.first,
            "H": [0] * len(self.code.loops),
            "outside": self.outside, "poison": self.poison, "race": self.race, "astray": self.astray,
            "uneven": self.uneven, "explain": self.explain, "extern": self.extern,
            "FAULTS": (_Fault, ZeroDivisionError, OverflowError),
            **self.code.names,
        }  # fmt: skip
        exec(compile(self.code.source, f"{__file__}, interpreted nest", "exec"), names)
        names["main"]()

    def clear(self, buffer: Buffer) -> None:
        """Give *buffer* fresh memory that holds nothing."""
        self.memory[self.code.slot(buffer)] = [None] * self.code.size(buffer)
        for number, (owner, _) in enumerate(self.code.tags):
            if owner is buffer:
                self.writers[number] = [-1] * self.code.size(buffer)
                self.readers[number] = [-1] * self.code.size(buffer)

    def contents(self, buffer: Buffer) -> Array:
        """What lies in *buffer*."""
        values = self.memory[self.code.slot(buffer)]
        missing = [n for n, value in enumerate(values) if value is None]
        if missing:
            at = [int(i) for i in np.unravel_index(missing[0], numbers(buffer.shape, buffer.name))]
            more = f", nor are {len(missing) - 1} other elements of it" if len(missing) > 1 else ""
            raise InterpreterError(f"{buffer.name}{at} is never written{more}")
        return np.array(values, dtype=numpy_dtype(buffer.dtype)).reshape(numbers(buffer.shape, buffer.name))

    def extern(self, number: int) -> None:
        """Call a function with what lies in its buffers, and store what it makes of them."""
        call = self.code.externs[number]
        inputs = [self.contents(buffer) for buffer in call.inputs]
        outputs = [np.zeros(numbers(buffer.shape, buffer.name), numpy_dtype(buffer.dtype)) for buffer in call.outputs]
        call_extern(call.name, call.function, inputs, outputs)
        for buffer, array in zip(call.outputs, outputs, strict=True):
            self.memory[self.code.slot(buffer)] = list(array.reshape(-1))

    def outside(self, slot: int, verb: str, *at: int) -> NoReturn:
        buffer = self.code.buffers[slot]
        raise _Fault(f"{verb} {buffer.name}{list(at)}, outside its shape {list(buffer.shape)}")

    def poison(self, slot: int, *at: int) -> NoReturn:
        raise _Fault(f"reads {self.code.buffers[slot].name}{list(at)}, which was never written")

    def race(self, tag: int, verb: str, other: str, turn: int, *at: int) -> NoReturn:
        buffer, loop = self.code.tags[tag]
        node, first = self.code.loops[loop], self.first[loop]
        raise _Fault(
            f"race in the {node.kind.value} loop {node.var.name!r}: turn {self.turn[loop] - first} {verb} "
            f"{buffer.name}{list(at)}, which turn {turn - first} {other}"
        )

    def astray(self, name: str, value: int, begin: int, end: int) -> NoReturn:
        raise _Fault(f"iteration variable {name!r} is {value}, outside {begin}..{end}")

    def uneven(self, loop: int) -> NoReturn:
        node = self.code.loops[loop]
        raise InterpreterError(
            f"turn {self.vars[self.code.loop_slots[loop]]} of the {node.kind.value} loop {node.var.name!r} makes a "
            f"cooperative loop store something else than turn 0 does: the threads must share one piece of work"
        )

    def explain(self, number: int, fault: Exception) -> NoReturn:
        leaf: Leaf = self.code.leaves[number]
        if isinstance(fault, ZeroDivisionError):
            reason = "divides an index by zero"
        elif isinstance(fault, OverflowError):
            reason = "computes an index that does not fit int64"
        else:
            reason = str(fault)
        values = ", ".join(f"{name}={self.vars[slot]}" for name, slot in leaf.loops)
        raise InterpreterError(
            reason + (f" (at {values})" if values else ""), step=leaf.name, shown=nest_text(leaf.stmt)
        ) from None
