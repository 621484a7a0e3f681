"""Index expressions, and what they are worth at a point."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from flashsched.te.expr import Binary, Cast, Compare, Const, Expr, Not, Select, Var, const

I, J, K, N = (Var(name) for name in "ijkn")  # noqa: E741
OPERATORS = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "//": lambda a, b: a // b,
    "%": lambda a, b: a % b, "min": min, "max": max, "&": lambda a, b: a & b, "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b, "<<": lambda a, b: a << b, ">>": lambda a, b: a >> b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


def value_of(expr: Expr, env: Mapping[Var, int]) -> int:
    """What Python makes of an integer expression: the oracle here."""
    match expr:
        case Const():
            return int(expr.value)
        case Var():
            return env[expr]
        case Not():
            return not value_of(expr.value, env)
        case Select():
            return value_of(expr.a if value_of(expr.condition, env) else expr.b, env)
        case Cast():
            value = value_of(expr.value, env)
            return (value + 128) % 256 - 128 if expr.dtype == "int8" else value
        case Binary(op="and"):
            return bool(value_of(expr.a, env)) and bool(value_of(expr.b, env))
        case Binary(op="or"):
            return bool(value_of(expr.a, env)) or bool(value_of(expr.b, env))
        case Binary() | Compare():
            value = OPERATORS[expr.op](value_of(expr.a, env), value_of(expr.b, env))
            return (value + 128) % 256 - 128 if expr.dtype == "int8" else value
    raise AssertionError(expr)


def index(value: int) -> Const:
    return const(value, "int64")


sizes = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 14, 16, 20, 30])
variables = st.sampled_from([I, J, K, N])
