"""Expressions as text, with no more parentheses than Python needs."""

from __future__ import annotations

from collections.abc import Mapping

from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var

__all__ = ["const_text", "expr_text"]

_LEVEL = {
    "or": 1, "and": 2, "not": 3,
    "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "!=": 4,
    "|": 5, "^": 6, "&": 7, "<<": 8, ">>": 8,
    "+": 9, "-": 9, "*": 10, "/": 10, "//": 10, "%": 10,
}  # fmt: skip


def const_text(value: Const) -> str:
    """A literal, with its dtype unless that is the one it would have anyway."""
    plain = {"bool": True, dtypes.INDEX: True, "int32": True, "float32": True}
    text = repr(value.value)
    return text if value.dtype in plain else f"{value.dtype}({text})"


def expr_text(expr: Expr, names: Mapping[Var, str] | None = None) -> str:
    """*expr* as Python would write it; *names* renames variables."""
    return _text(expr, names or {}, 0)


def _text(expr: Expr, names: Mapping[Var, str], outer: int) -> str:
    if isinstance(expr, Const):
        return const_text(expr)
    if isinstance(expr, Var):
        return names.get(expr, expr.name)
    if isinstance(expr, Binary | Compare):
        if expr.op in ("min", "max"):
            return f"{expr.op}({_text(expr.a, names, 0)}, {_text(expr.b, names, 0)})"
        level = _LEVEL[expr.op]
        tight = isinstance(expr, Compare)
        text = f"{_text(expr.a, names, level + tight)} {expr.op} {_text(expr.b, names, level + 1)}"
        return f"({text})" if level < outer else text
    if isinstance(expr, Not):
        text = f"not {_text(expr.value, names, _LEVEL['not'])}"
        return f"({text})" if outer > _LEVEL["not"] else text
    inner = ", ".join(_text(child, names, 0) for child in expr.children)
    if isinstance(expr, Cast):
        return f"{expr.dtype}({inner})"
    if isinstance(expr, Select):
        return f"select({inner})"
    if isinstance(expr, Call):
        return f"{expr.func}({inner})"
    named = getattr(expr, "text", None)  # nodes of the loop IR bring their own form, around their children
    if named is not None:
        shown: str = named([_text(child, names, 0) for child in expr.children])
        return shown
    return f"{type(expr).__name__}({inner})"
