"""Hardware instructions as te sees them: what one computes, declared as a small te program, and how, as LLVM text.

``tensorize`` matches loops against the *what* (`flashsched.schedule.match`); the back end links the *how* into the
kernel. Apart from the primitive because a trace names an intrinsic and never holds its code: the table here is where
the name is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

from flashsched.errors import ArgumentError, UnknownNameError, counted, did_you_mean
from flashsched.schedule.default import default_state
from flashsched.schedule.formal import Formal, require_statement
from flashsched.schedule.ir import Block, Buffer, For, Seq, Stmt, blocks
from flashsched.schedule.layout import IndexMap
from flashsched.schedule.match import Bound, Differs, Match, Piece, join, piece_of, unify
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Ranges
from flashsched.te.tensor import ComputeOp, Operation, PlaceholderOp, Tensor, graph

__all__ = ["INTRINSICS", "PARTS", "Intrinsic", "Operand", "Text", "find_intrinsic", "intrinsic"]

PARTS = ("body", "reset", "update")
"""What an intrinsic can do: all of it; set the elements of a reduction to the identity; combine into them."""


@dataclass(frozen=True, slots=True)
class Operand:
    """Where a tensor lies that a text takes: the scope of its buffer, ``"lanes"`` if a warp's lanes hold it in
    registers, its strides in elements where they are numbers, and what its first element is aligned to, in bytes."""

    scope: str
    strides: tuple[int | None, ...]
    alignment: int


Text: TypeAlias = str | Stmt | Callable[[Sequence[Operand]], str]
"""The code of a part: LLVM text, a statement, or what makes a text for operands that lie so, in the text's order."""


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """An instruction, or a few.

    Attributes:
        name: what traces call it.
        output: the tensor that it computes, of placeholders; its program is what the instruction means.
        inputs: the placeholders, in the order in which the code takes them.
        how: the code of each part that it can do: LLVM text, or a statement over *formals*. Each text defines one
            function, which takes for each of *inputs*, then for the output, a ``ptr`` to the first element and an
            ``i64`` for each dimension, the stride in elements; a ``reset`` takes those of the output only. Pointers are
            aligned to their elements, and no more.
        strides: the strides that the code needs, by tensor: a number, or None for any. What is not named may be any.
        features: LLVM's names of the CPU features that it needs, e.g. ``avx512vnni``.
        formals: what stands for the memory of its tensors where *how* is a statement.
        portable: parts in LLVM text for CPUs that lack *features*; without them, building is refused there.
        lanes: how many lanes of a warp run it as one, on a GPU; 1 where a thread does it alone.
        held: how these lanes can have the output among them: from its indices to the lane, and the element there. A
            text then takes a ``ptr`` to the lane's own elements, side by side.
    """

    name: str
    output: Tensor
    inputs: tuple[Tensor, ...]
    how: Mapping[str, Text]
    strides: Mapping[str, tuple[int | None, ...]] = field(default_factory=lambda: MappingProxyType({}))
    features: tuple[str, ...] = ()
    portable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    formals: tuple[Formal, ...] = ()
    lanes: int = 1
    held: IndexMap | None = None

    @cached_property
    def _nest(self) -> tuple[Stmt, tuple[Buffer, ...]]:
        state = default_state([self.output])
        names = {id(op.output(0)): n for n, op in enumerate(_placeholders(self.output))}
        inputs = tuple(state.params[names[id(tensor)]] for tensor in self.inputs)
        return state.body, (*inputs, *next(iter(state.stages.values())).buffers)

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What the code takes: inputs in order, then the output."""
        return self._nest[1]

    @cached_property
    def description(self) -> Piece:
        """What ``body`` (of no reduction) or ``update`` does."""
        return piece_of(self._nest[0])

    @cached_property
    def start(self) -> Piece | None:
        """What ``reset`` does; None where the description is no reduction."""
        block = next(blocks(self._nest[0]))
        if not block.init:
            return None
        loops: list[For] = []
        axes = {axis.name for axis in self.op.axis}
        node = self._nest[0]
        while isinstance(node, For):
            if node.var.name in axes and len(loops) < len(axes):
                loops.append(node)
            node = node.body
        bare = Block(block.name, tuple(i for i in block.iters if i.var in self.op.axis), block.init)
        nest: Stmt = bare
        for loop in reversed(loops):
            nest = For(loop.var, loop.extent, nest)
        return piece_of(nest)

    @property
    def op(self) -> ComputeOp:
        """The operation that the description is."""
        op = self.output.op
        assert isinstance(op, ComputeOp)
        return op

    def __str__(self) -> str:
        return nest_text(self._nest[0])

    def match(self, stmt: Stmt, part: str, outer: Ranges) -> Match:
        """What takes the place of each buffer where *part* does what *stmt* does.

        Raises:
            Differs: *stmt* does something else, or lies in memory as the code can't take it.
        """
        if part == "body" and self.start is not None:
            inner = stmt.body if isinstance(stmt, For) else stmt
            if not isinstance(inner, Seq) or len(inner.stmts) != 2:
                raise Differs("the statement", "an init and an update", "something else")
            start, rest = (self.match(each, p, outer) for each, p in zip(inner.stmts, PARTS[1:], strict=True))
            found, out = rest, self.buffers[-1]
            if start[out] != rest[out] and str(start[out]) != str(rest[out]):
                raise Differs("what is stored to", f"{rest[out]}, as by the update", f"{start[out]} by the init")
        elif part == "reset":
            assert self.start is not None
            found = unify(self.start, piece_of(stmt), outer)
        else:
            found = unify(self.description, piece_of(stmt), outer)
        for buffer, bound in found.items():
            self._require_strides(buffer, bound)
        self.stride_values(found)
        return found

    def stride_values(self, found: Match) -> dict[Var, int | Expr]:
        """What the strides of *formals* that are variables are.

        Raises:
            Differs: one stands for two strides, and they differ.
        """
        values: dict[Var, int | Expr] = {}
        for item, bound in self.bound_formals(found):
            for stride, have, extent in zip(item.strides, bound.strides, item.tensor.shape, strict=True):
                if not isinstance(stride, Var) or (extent == 1 and stride in values):
                    continue
                if join("-", values.setdefault(stride, have), have) != 0:
                    raise Differs(
                        f"the memory of {bound.buffer.name!r}",
                        f"elements {stride.name} = {values[stride]} apart, as elsewhere",
                        f"{have} apart",
                    )
        return values

    def bound_formals(self, found: Match) -> list[tuple[Formal, Bound]]:
        """Each of *formals* with what *found* puts in its place; a reset knows the output only."""
        buffers = {id(t): b for t, b in zip((*self.inputs, self.output), self.buffers, strict=True)}
        known = [(item, buffers[id(item.tensor)]) for item in self.formals]
        return [(item, found[buffer]) for item, buffer in known if buffer in found]

    def _require_strides(self, buffer: Buffer, bound: Bound) -> None:
        needed = self.strides.get(buffer.name, ())
        for number, (need, have, extent) in enumerate(zip(needed, bound.strides, buffer.shape, strict=False)):
            if need is not None and extent != 1 and join("-", have, need) != 0:
                raise Differs(
                    f"the memory of {bound.buffer.name!r}",
                    f"elements of {buffer.name} that lie {need} apart in dimension {number}",
                    f"{have} apart",
                )


INTRINSICS: dict[str, Intrinsic] = {}
"""All that are known, by name; those that come with flashsched are added when one is asked for."""


def find_intrinsic(name: str) -> Intrinsic:
    """The intrinsic called *name*.

    Raises:
        UnknownNameError: there is none.
    """
    _load_built_in()
    if name not in INTRINSICS:
        raise UnknownNameError(
            f"no intrinsic named {name!r}; {did_you_mean(name, INTRINSICS)}",
            hint="a trace holds the name of an intrinsic, not its code: declare it with fs.intrinsic(...) first",
        )
    return INTRINSICS[name]


def _load_built_in() -> None:
    """Declare those that come with flashsched, which are written with `intrinsic` themselves."""
    import flashsched.schedule.intrinsics  # noqa: F401


def intrinsic(
    name: str,
    output: Tensor,
    *,
    body: Text | None = None,
    update: Text | None = None,
    reset: Text | None = None,
    formals: Sequence[Formal] = (),
    inputs: Sequence[Tensor] | None = None,
    strides: Mapping[str, Sequence[int | None]] | None = None,
    features: Sequence[str] = (),
    portable: Mapping[str, str] | None = None,
    lanes: int = 1,
    held: str | None = None,
    replace: bool = False,
) -> Intrinsic:
    """Declare an instruction: what it computes as a te tensor, and how, as LLVM text.

    >>> from flashsched import te
    >>> A = te.placeholder((4,), name="A")
    >>> B = te.compute((4,), lambda i: A[i] + A[i], name="B")
    >>> text = '''
    ... define void @twice(ptr %a, i64 %sa, ptr %b, i64 %sb) {
    ...   %x = load <4 x float>, ptr %a, align 4
    ...   %y = fadd <4 x float> %x, %x
    ...   store <4 x float> %y, ptr %b, align 4
    ...   ret void
    ... }'''
    >>> twice = intrinsic("doc.twice", B, body=text, strides={"A": [1], "B": [1]}, replace=True)
    >>> X = te.placeholder((8,), name="X")
    >>> Y = te.compute((8,), lambda i: X[i] + X[i], name="Y")
    >>> s = te.create_schedule(Y)
    >>> outer, inner = s[Y].split("i", factor=4)
    >>> s[Y].tensorize(inner, twice)
    >>> print(s)
    for i.o in range(2):
      for i.i in range(4):  # tensorize, intrinsic=doc.twice
        Y(i=i.o * 4 + i.i):
          Y[i] = X[i] + X[i]

    Args:
        name: what traces call it, e.g. ``"x86.vnni.dot"``.
        output: a `te.compute` of placeholders.
        body: LLVM text of all of it, or a statement (`flashsched.schedule.formal`).
        update: of a reduction, what combines into what is there.
        reset: of a reduction, what sets the elements to the identity; plain loops do it where there is none.
        inputs: the placeholders in the order in which the texts take them; by default as they are first read.
        formals: what stands for the tensors in statements, at most one for each.
        strides: the strides in elements that the texts need, a tensor's name to a number or None (any) a dimension.
        features: LLVM's names of the CPU features that the texts need.
        portable: texts by part (``body``, ``update``, ``reset``) for CPUs without *features*.
        lanes: 32 for what all lanes of a GPU's warp do together: each runs the text, with its own part of the tensors;
            the loop then stands inside blocks and warps (``threadIdx.y``), and outside of ``threadIdx.x``.
        held: of the output, which lane can have which element: ``"i, j -> lane, number"``; none where it lies in memory
            only.
        replace: whether an intrinsic of that name may give way to this one.

    Raises:
        ArgumentError: the name is taken or no name, the tensor is no single compute of placeholders, no text is given,
            or one that the description has no use for.
    """
    if not re.fullmatch(r"[A-Za-z][\w.]*", name):
        raise ArgumentError(f"{name!r} is no name for an intrinsic", hint="letters, digits, '_' and '.'")
    _load_built_in()
    if name in INTRINSICS and not replace:
        raise ArgumentError(f"there is an intrinsic {name!r} already", hint="choose another name, or say replace=True")
    op: Operation | None = getattr(output, "op", None)
    if not isinstance(op, ComputeOp) or any(not isinstance(t.op, PlaceholderOp) for t in op.inputs):
        raise ArgumentError(
            f"an intrinsic is described by one te.compute of placeholders, not by {output!r}",
            hint="write all that it computes in one te.compute",
        )
    if len(op.outputs) != 1:
        raise ArgumentError(
            f"{op.name} has {len(op.outputs)} outputs, and an intrinsic has one", hint="declare one for each"
        )
    given = {part: text for part, text in zip(PARTS, (body, reset, update), strict=True) if text is not None}
    if op.reduction is None and set(given) != {"body"}:
        raise ArgumentError(f"{op.name} is no reduction, so the intrinsic has a body and nothing else: body=text")
    if not given.keys() & {"body", "update"}:
        raise ArgumentError("an intrinsic needs the LLVM text of its body, its update, or both", hint="update=text")
    tensors = tuple(op.inputs if inputs is None else inputs)
    if {id(t) for t in tensors} != {id(t) for t in op.inputs} or len(tensors) != len(op.inputs):
        raise ArgumentError(f"inputs must name what {op.name} reads: {', '.join(t.name for t in op.inputs)}")
    known = {tensor.name: tensor.ndim for tensor in (*tensors, output)}
    for tensor, needed in (strides or {}).items():
        if tensor not in known:
            raise ArgumentError(f"strides of {tensor!r}, which {op.name} has not", hint=did_you_mean(tensor, known))
        if len(needed) != known[tensor]:
            raise ArgumentError(
                f"{tensor} has {counted(known[tensor], 'dimension')}, and {len(needed)} strides are given"
            )
    known_ids = {id(tensor) for tensor in (*tensors, output)}
    if any(id(item.tensor) not in known_ids for item in formals):
        raise ArgumentError(f"a formal buffer stands for a tensor that {op.name} does not have", hint=f"it has {known}")
    for code in given.values():
        if isinstance(code, Stmt):
            require_statement(code, formals)
    needs = {item.tensor.name: [s if isinstance(s, int) else None for s in item.strides] for item in formals}
    wrong = [part for part in (portable or {}) if part not in given]
    if wrong:
        raise ArgumentError(f"a portable {wrong[0]!r} of an intrinsic without one", hint=f"it has {', '.join(given)}")
    made = Intrinsic(
        name,
        output,
        tensors,
        MappingProxyType(given),
        MappingProxyType({tensor: tuple(needed) for tensor, needed in {**needs, **(strides or {})}.items()}),
        tuple(features),
        MappingProxyType(dict(portable or {})),
        tuple(formals),
        lanes,
        None if held is None else IndexMap.parse(held),
    )
    INTRINSICS[name] = made
    return made


def _placeholders(output: Tensor) -> list[Operation]:
    return [op for op in graph([output]) if isinstance(op, PlaceholderOp)]
