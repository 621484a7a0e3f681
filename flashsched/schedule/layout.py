"""Maps from a tensor's indices to where its elements lie: what ``transform_layout`` takes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from flashsched.errors import ArgumentError, ExpressionError, LayoutError, ShapeError, counted
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, as_expr, binary
from flashsched.te.limits import greatest
from flashsched.te.parameters import axis_names
from flashsched.te.printing import expr_text
from flashsched.te.simplify import Linear, Ranges, bounds, linear, simplify, within_loop
from flashsched.te.sizes import Shape, Size, as_size, extent_expr
from flashsched.te.visit import substitute

__all__ = ["IndexMap", "strides_of"]

_LONGEST = 240  # characters of a layout's text; Python's own parser fails on what is nested too deeply
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class IndexMap:
    """``inputs -> outputs``: logical indices to physical ones, e.g. ``k, j -> j // 32, k, j % 32``."""

    inputs: tuple[Var, ...]
    outputs: tuple[Expr, ...]

    def __str__(self) -> str:
        return f"{', '.join(v.name for v in self.inputs)} -> {', '.join(expr_text(e) for e in self.outputs)}"

    def apply(self, indices: Sequence[Expr], ranges: Ranges) -> tuple[Expr, ...]:
        """The physical indices of the element at the logical *indices*."""
        values = dict(zip(self.inputs, indices, strict=True))
        return tuple(simplify(substitute(e, values), ranges) for e in self.outputs)

    def shape(self, shape: Sequence[Size]) -> Shape:
        """The physical shape that holds a tensor of logical *shape*."""
        ranges: dict[Var, tuple[float, float]] = {}
        for var, size in zip(self.inputs, shape, strict=True):
            ranges = within_loop(ranges, var, extent_expr(max(size, 1) if isinstance(size, int) else size))
        return tuple(_reach(simplify(e, ranges), ranges) for e in self.outputs)

    @classmethod
    def of(cls, function: Callable[..., Any], rank: int) -> IndexMap:
        """The map that *function* of *rank* indices describes, e.g. ``lambda k, j: (j // 32, k, j % 32)``.

        Raises:
            ScheduleError: the function takes another number of indices, or gives no indices.
        """
        try:
            names = axis_names(function, rank)
        except ShapeError:
            names = list(inspect.signature(function).parameters)
            raise ArgumentError(
                f"the layout takes {counted(len(names), 'index', 'indices')}, and the tensor has rank {rank}",
                hint="give the function one parameter for each dimension, or *indices",
            ) from None
        inputs = tuple(Var(name) for name in names)
        result = function(*inputs)
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        if not outputs and rank:
            raise LayoutError(
                "the layout gives no index", hint="return one expression for each dimension of the memory"
            )
        return cls(inputs, tuple(simplify(as_expr(e, dtypes.INDEX)) for e in outputs))

    @classmethod
    def parse(cls, text: str) -> IndexMap:
        """The map that prints as *text*; only names, integers and ``+ - * // %`` are read.

        Raises:
            ScheduleError: *text* is no such map.
        """
        if len(text) > _LONGEST:
            raise ArgumentError(
                f"{text[:40] + '…'!r} is no layout: it has {len(text)} characters",
                hint=f"write it in {_LONGEST} at the most",
            )
        try:
            left, right = text.split("->")
            named = [name.strip() for name in left.split(",") if name.strip()]
            inputs = {name: Var(name) for name in named}
            if len(inputs) < len(named):
                raise ValueError(f"it names an index twice: {left.strip()}")
            tree = ast.parse(right.strip(), mode="eval").body
            parts = tree.elts if isinstance(tree, ast.Tuple) else [tree]
            return cls(tuple(inputs.values()), tuple(_read(part, inputs) for part in parts))
        except (ValueError, SyntaxError, KeyError, ExpressionError) as error:
            raise ArgumentError(
                f"{text!r} is no layout: {error}", hint="write it like 'k, j -> j // 32, k, j % 32'"
            ) from None


def _reach(expr: Expr, ranges: Ranges) -> Size:
    """The elements of a dimension whose greatest index is *expr*'s greatest value."""
    high = bounds(expr, ranges)[1]
    if high < inf:
        return int(high) + 1
    last = greatest(linear(expr, ranges), ranges)
    if last is None:
        raise LayoutError(f"the memory's index {expr} has no bound", hint="use i, i // 8, i % 8 for an index i")
    return as_size((last + Linear({}, 1)).expr())


def strides_of(shape: Sequence[Size], aligned: Iterable[tuple[int, int, int]] = ()) -> Shape:
    """Row-major strides of *shape*, in elements, with the least gaps for which *aligned* holds.

    Each ``(dimension, factor, offset)`` of *aligned* asks that the dimension's stride be *offset* modulo *factor*.

    >>> strides_of((4, 8)), strides_of((4, 8), [(0, 8, 1)])
    ((8, 1), (9, 1))
    """
    wanted = {dimension: (factor, offset) for dimension, factor, offset in aligned}
    strides: list[Size] = []
    step: Size = 1
    for dimension in reversed(range(len(shape))):
        factor, offset = wanted.get(dimension, (1, 0))
        stride = step + (offset - step) % factor if factor > 1 else step
        strides.append(stride)
        size = shape[dimension]
        step = as_size(stride * (max(size, 1) if isinstance(size, int) else size))
    return tuple(reversed(strides))


def _read(node: ast.expr, names: dict[str, Var]) -> Expr:
    match node:
        case ast.Name():
            return names[node.id]
        case ast.Constant(value=int() as value):
            return Const(value, dtypes.INDEX)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return binary(_OPERATORS[type(node.op)], _read(node.left, names), _read(node.right, names))
        case ast.UnaryOp(op=ast.USub()):
            return -_read(node.operand, names)
        case _:
            pass
    raise ValueError(f"{ast.unparse(node)!r} may not stand in a layout")
