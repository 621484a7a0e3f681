"""Conditions on sizes, and sizes themselves, as text: ``n % 16 == 0 and m >= 64``, ``max(n - 2, 0)``.

A trace holds conditions so, and the record of a saved kernel its shapes.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from flashsched.errors import ArgumentError, ExpressionError, UnknownNameError, did_you_mean
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, SizeVar, binary, compare, logical_and, logical_or
from flashsched.te.simplify import prove, simplify

__all__ = ["names_in", "parse_condition", "parse_size"]

_LONGEST = 240  # characters; Python's own parser fails on what is nested too deeply
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_ORDERS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def parse_condition(text: str, sizes: Mapping[str, SizeVar]) -> Expr:
    """The condition that prints as *text*: only *sizes*, integers, arithmetic, comparisons, ``and``, ``or`` are read.

    Raises:
        UnknownNameError: it names something else than one of *sizes*.
        ArgumentError: it is no such condition, or holds for all sizes, or for none.
    """
    hint = "write it like 'n % 16 == 0' or 'n == 512 and m == 512'"
    if len(text) > _LONGEST:
        raise ArgumentError(f"{text[:40] + '…'!r} is no condition: it has {len(text)} characters", hint=hint)
    for name in names_in(text):
        if name not in sizes:
            known = did_you_mean(name, sizes) if sizes else 'it has none; a size is made by te.var("n")'
            raise UnknownNameError(f"no size named {name!r} in this program", hint=known)
    try:
        condition = _read(ast.parse(text.strip(), mode="eval").body, sizes)
    except (ValueError, SyntaxError, ExpressionError) as error:
        raise ArgumentError(f"{text!r} is no condition on sizes: {error}", hint=hint) from None
    if not dtypes.is_bool(condition.dtype):
        raise ArgumentError(f"{text!r} is no condition: it is a number", hint=hint)
    certain = prove(simplify(condition), {})
    if certain is not None:
        raise ArgumentError(f"{text!r} holds for {'all sizes' if certain else 'no size'}", hint=hint)
    return condition


def parse_size(text: str, sizes: Mapping[str, SizeVar]) -> Expr:
    """The expression of *sizes* that prints as *text*: integers, arithmetic, ``min`` and ``max`` of two are read.

    Raises:
        ArgumentError: it is no such expression, or names something else than one of *sizes*.
    """
    try:
        return _read(ast.parse(text.strip(), mode="eval").body, sizes)
    except (ValueError, SyntaxError, KeyError, RecursionError, ExpressionError) as error:
        raise ArgumentError(f"{text!r} is no expression of sizes: {error}", hint="write it like 'n + 2'") from None


def names_in(text: str) -> list[str]:
    """The names that a condition speaks of; none where it can't be read."""
    try:
        return [node.id for node in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(node, ast.Name)]
    except SyntaxError:
        return []


def _read(node: ast.expr, names: Mapping[str, SizeVar]) -> Expr:
    match node:
        case ast.Name():
            return names[node.id]
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return Const(value, dtypes.INDEX)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return binary(_OPERATORS[type(node.op)], _read(node.left, names), _read(node.right, names))
        case ast.UnaryOp(op=ast.USub()):
            return -_read(node.operand, names)
        case ast.Call(func=ast.Name(id="min" | "max" as op), args=[a, b], keywords=[]):
            return binary(op, _read(a, names), _read(b, names))
        case ast.Compare(ops=[order], comparators=[right]) if type(order) in _ORDERS:
            return compare(_ORDERS[type(order)], _read(node.left, names), _read(right, names))
        case ast.BoolOp():
            terms = [_read(value, names) for value in node.values]
            return logical_and(*terms) if isinstance(node.op, ast.And) else logical_or(*terms)
        case _:
            pass
    raise ValueError(f"{ast.unparse(node)!r} may not stand in it")
