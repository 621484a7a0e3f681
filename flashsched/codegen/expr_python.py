"""Expressions as Python source, for the interpreter.

Apart from `flashsched.codegen.nest_python` because an expression can be written in three ways: as an index (a Python
int, fast, and checked rather than wrapped), as a condition (anything with a truth), or as a value (a NumPy scalar of
its exact dtype).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flashsched.errors import LoweringError
from flashsched.schedule.ir import Buffer, Load
from flashsched.te import dtypes
from flashsched.te.evaluate import call_function
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var
from flashsched.te.foreign import Foreign

__all__ = ["ExprWriter", "Scope"]

Scope = Mapping[Var, int]
"""The variables that are known, with the place of each in ``v``."""

_DEEPEST = 60  # parentheses in one expression, before a part of it becomes a function (Python's parser allows 200)


class ExprWriter:
    """Writes expressions into `lines` and `names`; a subclass says how a buffer is read."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "int64": np.int64,
            "bool_": np.bool_,
            "minimum": np.minimum,
            "maximum": np.maximum,
        }
        self.scope: Scope = {}
        self._functions = 0
        self._named: dict[tuple[Any, ...], str] = {}

    def read(self, buffer: Buffer) -> str:
        """The name of a function that reads an element of *buffer* from here."""
        raise NotImplementedError

    def define(self, prefix: str, lines: Sequence[str], parameters: str = "") -> str:
        """A new function of *lines*; returns its name."""
        self._functions += 1
        name = f"{prefix}{self._functions}"
        self.lines += [f"def {name}({parameters}):", *(f"    {line}" for line in lines)]
        return name

    def index(self, expr: Expr) -> str:
        """*expr*, an integer, as a Python int."""
        return self._index(expr)[0]

    def condition(self, expr: Expr) -> str:
        """*expr*, a bool, as something with a truth."""
        return self._condition(expr)[0]

    def value(self, expr: Expr) -> str:
        """*expr* as a NumPy scalar."""
        return self._value(expr)[0]

    # Each returns the text and how deep its parentheses are.

    def _join(self, form: str, *parts: tuple[str, int]) -> tuple[str, int]:
        depth = 1 + max((part[1] for part in parts), default=0)
        text = form.format(*(part[0] for part in parts))
        return (text, depth) if depth < _DEEPEST else (f"{self.define('part', [f'return {text}'])}()", 1)

    def _index(self, expr: Expr) -> tuple[str, int]:
        if expr.dtype != dtypes.INDEX:
            return self._join("int({})", self._value(expr))
        match expr:
            case Const():
                return f"({expr.value})", 1
            case Var():
                return self._place(expr), 1
            case Binary(op="min" | "max"):
                return self._join(f"{expr.op}({{}}, {{}})", self._index(expr.a), self._index(expr.b))
            case Binary():
                return self._join(f"({{}} {expr.op} {{}})", self._index(expr.a), self._index(expr.b))
            case Select():
                parts = self._index(expr.a), self._condition(expr.condition), self._index(expr.b)
                return self._join("({} if {} else {})", *parts)
            case _:
                return self._join("int({})", self._value(expr))

    def _condition(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Const():
                return repr(bool(expr.value)), 0
            case Compare() if expr.a.dtype == dtypes.INDEX:
                return self._join(f"({{}} {expr.op} {{}})", self._index(expr.a), self._index(expr.b))
            case Compare():
                return self._join(f"({{}} {expr.op} {{}})", self._value(expr.a), self._value(expr.b))
            case Binary(op="and" | "or"):
                return self._join(f"({{}} {expr.op} {{}})", self._condition(expr.a), self._condition(expr.b))
            case Not():
                return self._join("(not {})", self._condition(expr.value))
            case _:
                return self._value(expr)

    def _value(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Const():
                scalar = np.asarray(expr.value, dtype=dtypes.numpy_dtype(expr.dtype))[()]
                return self._name("c", expr.key(), scalar), 0
            case Var():
                if expr.dtype != dtypes.INDEX:  # bound by a Let
                    return self._place(expr), 0
                return self._join("int64({})", (self._place(expr), 0))
            case Binary(op="and" | "or") | Compare() | Not():
                return self._join("bool_({})", self._condition(expr))
            case Binary(op="min" | "max"):
                return self._join(f"{expr.op}imum({{}}, {{}})", self._value(expr.a), self._value(expr.b))
            case Binary():
                return self._join(f"({{}} {expr.op} {{}})", self._value(expr.a), self._value(expr.b))
            case Select():
                parts = self._value(expr.a), self._condition(expr.condition), self._value(expr.b)
                return self._join("({} if {} else {})", *parts)
            case Cast():
                dtype = self._name("t", (expr.dtype,), dtypes.numpy_dtype(expr.dtype))
                return self._join(f"{{}}.astype({dtype})", self._value(expr.value))
            case Call():
                function = self._name("f", expr.key(), call_function(expr.func))
                dtype = self._name("t", (expr.dtype,), dtypes.numpy_dtype(expr.dtype))
                holes = ", ".join(["{}"] * len(expr.args))
                return self._join(f"{function}({holes}).astype({dtype})[()]", *(self._value(a) for a in expr.args))
            case Foreign():
                function = self._name("f", expr.key(), expr.meaning())
                dtype = self._name("t", (expr.dtype,), dtypes.numpy_dtype(expr.dtype))
                holes = ", ".join(["{}"] * len(expr.args))
                return self._join(f"{function}({holes}).astype({dtype})[()]", *(self._value(a) for a in expr.args))
            case Load():
                if len(expr.indices) != len(expr.buffer.shape):
                    raise LoweringError(f"{expr} has {len(expr.indices)} indices, and {expr.buffer} another rank")
                holes = ", ".join(["{}"] * len(expr.indices))
                return self._join(f"{self.read(expr.buffer)}({holes})", *(self._index(i) for i in expr.indices))
            case _:
                raise LoweringError(f"{expr} means nothing in a nest", hint="only Load reads memory there")

    def _place(self, var: Var) -> str:
        if var not in self.scope:
            known = ", ".join(v.name for v in self.scope) or "none"
            raise LoweringError(f"variable {var.name!r} has no value here; known: {known}")
        return f"v[{self.scope[var]}]"

    def _name(self, prefix: str, key: tuple[Any, ...], value: Any) -> str:
        """A global name for *value*."""
        name = self._named.setdefault((prefix, *key), f"{prefix}_{len(self._named)}")
        self.names[name] = value
        return name
