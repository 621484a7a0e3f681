"""A te graph as mathematics: a line for each tensor, as text for a terminal or as LaTeX for a paper.

Apart from `flashsched.te.printing`, which writes what Python would read back; here a reader is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flashsched.errors import ExpressionError
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var
from flashsched.te.external import ExternOp, function_name
from flashsched.te.recurrence import ScanOp
from flashsched.te.tensor import Axis, ComputeOp, Operation, Read, Reduce, Reducer, Tensor, graph

__all__ = ["mathematics", "show"]

_LEVEL = {
    "or": 1, "and": 2, "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "!=": 4, "|": 5, "^": 6, "&": 7, "<<": 8, ">>": 8,
    "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip
_UNARY, _POWER = 11, 12


def mathematics(outputs: Tensor | Operation | Sequence[Tensor], latex: bool = False) -> str:
    """The program that computes *outputs*, a line for each tensor, as mathematics.

    >>> from flashsched import te
    >>> A, B = te.placeholder((512, 512), name="A"), te.placeholder((512, 512), name="B")
    >>> k = te.reduce_axis((0, 512), name="k")
    >>> C = te.compute((512, 512), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    >>> D = te.compute((512, 512), lambda i, j: te.select(i >= j, te.exp(C[i, j]), 0.0), name="D")
    >>> print(te.mathematics(D))
    A is given   (float32, 512×512)
    B is given   (float32, 512×512)
    C[i, j] = Σ_{k<512} A[i, k] · B[k, j]   (float32, 512×512)
    D[i, j] = { exp(C[i, j]) if i ≥ j; 0 otherwise }   (float32, 512×512)
    >>> print(te.mathematics(C, latex=True).splitlines()[3])
    C_{i, j} &= \\sum_{k < 512} A_{i, k} \\cdot B_{k, j} && (\\mathrm{float32},\\ 512 \\times 512)

    Args:
        outputs: a tensor, an operation, or several tensors.
        latex: LaTeX (an ``aligned`` environment, for amsmath) in place of text.

    Raises:
        ExpressionError: *outputs* are no tensors.
    """
    items = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    tensors: list[Any] = [t for item in items for t in (item.outputs if isinstance(item, Operation) else (item,))]
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise ExpressionError("te.mathematics takes the tensors to compute", hint="te.mathematics(C)")
    ops = graph(tensors)
    states = {id(op.state): op.name for op in ops if isinstance(op, ScanOp)}
    writer = _Latex(states) if latex else _Text(states)
    lines = [line for op in ops for line in writer.operation(op)]
    return writer.program([*lines, *writer.reducers()])


def show(outputs: Tensor | Operation | Sequence[Tensor]) -> None:
    """Print `mathematics` of *outputs*."""
    print(mathematics(outputs))


class _Text:
    """Writes text with the signs of Unicode; a dialect overrides the signs."""

    signs: Mapping[str, str] = {
        "*": "·", "/": "/", "%": "mod", "<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "and": "∧", "or": "∨", "not": "¬",
        "<<": "≪", ">>": "≫", "^": "⊕", "infinity": "∞", "times": "×", "+=": "Σ", "*=": "Π", "maps": "↦",
    }  # fmt: skip

    def __init__(self, states: Mapping[int, str]) -> None:
        self.states = states
        self.own: dict[int, Reducer] = {}  # reducers that need to be told

    # Lines

    def program(self, lines: Sequence[str]) -> str:
        return "\n".join(lines)

    def line(self, left: str, right: str | None, tensors: Sequence[Tensor]) -> str:
        types = " and ".join(dict.fromkeys(tensor.dtype for tensor in tensors))
        sizes = "×".join(map(str, tensors[0].shape))
        return f"{left} {'is given' if right is None else f'= {right}'}   ({types}{', ' if sizes else ''}{sizes})"

    def operation(self, op: Operation) -> list[str]:
        if isinstance(op, ExternOp):
            given = ", ".join(self.name(tensor.name) for tensor in op.arguments)
            left = [self.name(tensor.name) for tensor in op.outputs]
            right = f"{self.word(function_name(op.function))}({given})"
            return [self.line(self.several(left), right, op.outputs)]
        if not isinstance(op, ComputeOp):
            return [self.line(self.name(op.name), None, op.outputs)]
        places = [self.expr(axis) for axis in op.axis]
        heads = [self.element(tensor.name, places) for tensor in op.outputs]
        if isinstance(op, ScanOp):
            first = self.element(op.scan.init[op.index].name, places)
            test = f"{places[0]} < {op.scan.rows}"
            return [self.line(heads[0], self.cases([(first, test)], self.expr(op.body[0])), op.outputs)]
        if op.reduction is not None and len(op.body) > 1:
            return [self.line(self.several(heads), self.reduction(op.reduction), op.outputs)]
        return [self.line(h, self.expr(v), [t]) for h, v, t in zip(heads, op.body, op.outputs, strict=True)]

    def reducers(self) -> list[str]:
        """What the reducers do whose names do not tell."""
        lines = []
        for reducer in self.own.values():
            sides = [self.several([self.expr(v) for v in side]) for side in (reducer.lhs, reducer.rhs)]
            result, start = (self.several([self.expr(v) for v in part]) for part in (reducer.result, reducer.identity))
            said = f"{sides[0]}, {sides[1]} {self.signs['maps']} {result}"
            lines.append(self.told(self.word(reducer.name), said, start))
        return lines

    def told(self, name: str, said: str, start: str) -> str:
        return f"where {name} combines {said}, from {start}"

    # Parts

    def several(self, parts: Sequence[str]) -> str:
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    def name(self, name: str) -> str:
        return name

    def word(self, name: str) -> str:
        return name

    def element(self, tensor: str, places: Sequence[str]) -> str:
        return f"{tensor}[{', '.join(places)}]" if places else tensor

    def cases(self, sides: Sequence[tuple[str, str]], otherwise: str) -> str:
        return f"{{ {'; '.join(f'{value} if {test}' for value, test in sides)}; {otherwise} otherwise }}"

    def over(self, symbol: str, ranges: str, values: str) -> str:
        return f"{symbol}_{{{ranges}}} {values}"

    def span(self, axis: Axis) -> str:
        begin: Any = axis.begin
        end = axis.end
        shown = f"{self.expr(axis)}<{end}"
        return shown if isinstance(begin, int) and begin == 0 else f"{begin}{self.signs['<=']}{shown}"

    def call(self, func: str, args: Sequence[str]) -> str:
        return f"{func}({', '.join(args)})"

    def enclosed(self, kind: str, inner: str) -> str:
        left, right = {"abs": ("|", "|"), "floor": ("⌊", "⌋"), "ceil": ("⌈", "⌉")}[kind]
        return f"{left}{inner}{right}"

    def fraction(self, a: Expr, b: Expr) -> tuple[str, int]:
        return f"{self.expr(a, 10)} / {self.expr(b, 11)}", 10

    def power(self, a: str, b: str) -> str:
        return f"{a}^{b}"

    def number(self, value: float | int | bool) -> str:
        if isinstance(value, bool):
            return self.word(str(value).lower())
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return ("-" if value < 0 else "") + self.signs["infinity"]
        return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else repr(value)

    # Expressions

    def expr(self, value: Expr, outer: int = 0) -> str:
        """*value*, in parentheses where it binds less than *outer*."""
        text, level = self._expr(value)
        return self.bracketed(text) if level < outer else text

    def bracketed(self, text: str) -> str:
        return f"({text})"

    def _expr(self, value: Expr) -> tuple[str, int]:
        match value:
            case Const():
                return self.number(value.value), _POWER if isinstance(value.value, bool) or value.value >= 0 else 9
            case Var():
                return self.name(value.name), _POWER
            case Read():
                name = self.states.get(id(value.tensor), value.tensor.name)
                return self.element(self.name(name), [self.expr(i) for i in value.indices]), _POWER
            case Reduce():
                return self.reduction(value), 9
            case Select():
                return self._cases(value), _POWER
            case Not():
                return f"{self.signs['not']}{self.expr(value.value, _UNARY)}", _UNARY
            case Cast():
                return f"{self.word(value.dtype)}({self.expr(value.value)})", _POWER
            case Call(func="abs" | "floor" | "ceil"):
                return self.enclosed(value.func, self.expr(value.args[0])), _POWER
            case Call(func="pow"):
                return self.power(self.expr(value.args[0], _POWER), self.expr(value.args[1], _POWER)), _UNARY
            case Call():
                return self.call(value.func, [self.expr(arg) for arg in value.args]), _POWER
            case Binary() | Compare():
                return self._pair(value)
            case _:
                return str(value), _POWER

    def _pair(self, value: Binary | Compare) -> tuple[str, int]:
        if value.op in ("min", "max"):
            return self.call(value.op, [self.expr(value.a), self.expr(value.b)]), _POWER
        if value.op == "//":
            return self.enclosed("floor", self.fraction(value.a, value.b)[0]), _POWER
        if value.op == "*" and isinstance(value.b, Const) and value.b.value == -1:
            return f"-{self.expr(value.a, 10)}", 9  # how te writes -x
        if value.op == "-" and isinstance(value.a, Const) and value.a.value == 0:
            return f"-{self.expr(value.b, 10)}", 9
        if value.op == "/":
            return self.fraction(value.a, value.b)
        level = _LEVEL[value.op]
        left, right = self.expr(value.a, level + isinstance(value, Compare)), self.expr(value.b, level + 1)
        return f"{left} {self.signs.get(value.op, value.op)} {right}", level

    def _cases(self, value: Select) -> str:
        sides: list[tuple[str, str]] = []
        rest: Expr = value
        while isinstance(rest, Select):
            sides.append((self.expr(rest.a), self.expr(rest.condition)))
            rest = rest.b
        return self.cases(sides, self.expr(rest))

    def reduction(self, value: Reduce) -> str:
        """A reduction, by the sign of its reducer."""
        ranges = ", ".join(self.span(axis) for axis in value.axes)
        values = self.several([self.expr(v, 10 if len(value.values) == 1 else 0) for v in value.values])
        return self.over(self.symbol(value.reducer), ranges, values)

    def symbol(self, reducer: Reducer) -> str:
        result = reducer.result[0]
        if len(reducer.result) == 1 and isinstance(result, Binary) and {result.a, result.b} == {
            reducer.lhs[0], reducer.rhs[0]
        }:  # fmt: skip
            if result.op in ("+", "*"):
                return self.signs[f"{result.op}="]
            if result.op in ("min", "max"):
                return self.word(result.op)
        if reducer.name not in ("argmax", "argmin"):
            self.own[id(reducer)] = reducer
        return self.word(reducer.name)


_WORDS = {"min", "max", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh"}
_ESCAPED = {"_": "\\_", "#": "\\#", "%": "\\%", "&": "\\&", "$": "\\$"}


class _Latex(_Text):
    """Writes LaTeX for amsmath."""

    signs: Mapping[str, str] = {
        "*": "\\cdot", "%": "\\bmod", "<=": "\\le", ">=": "\\ge", "==": "=", "!=": "\\ne", "and": "\\land",
        "or": "\\lor", "not": "\\lnot ",
        "<<": "\\ll", ">>": "\\gg", "^": "\\oplus", "&": "\\mathbin{\\&}", "|": "\\mid",
        "infinity": "\\infty", "+=": "\\sum", "*=": "\\prod", "maps": "\\mapsto",
    }  # fmt: skip

    def program(self, lines: Sequence[str]) -> str:
        return "\n".join(["\\begin{aligned}", " \\\\\n".join(lines), "\\end{aligned}"])

    def line(self, left: str, right: str | None, tensors: Sequence[Tensor]) -> str:
        types = "\\text{ and }".join(dict.fromkeys(self.word(tensor.dtype) for tensor in tensors))
        sizes = " \\times ".join(map(str, tensors[0].shape))
        middle = "&\\text{ is given}" if right is None else f"&= {right}"
        shape = f",\\ {sizes}" if sizes else ""
        return f"{left} {middle} && ({types}{shape})"

    def told(self, name: str, said: str, start: str) -> str:
        return f"{name} &\\text{{ combines }} {said} && \\text{{from }} {start}"

    def name(self, name: str) -> str:
        shown = "".join(_ESCAPED.get(letter, letter) for letter in name)
        return shown if len(name) == 1 else f"\\mathit{{{shown}}}"

    def word(self, name: str) -> str:
        shown = "".join(_ESCAPED.get(letter, letter) for letter in name)
        return f"\\{name}" if name in _WORDS else f"\\mathrm{{{shown}}}"

    def element(self, tensor: str, places: Sequence[str]) -> str:
        shown = tensor if tensor.startswith("\\") or len(tensor) == 1 else self.name(tensor)
        return f"{shown}_{{{', '.join(places)}}}" if places else shown

    def cases(self, sides: Sequence[tuple[str, str]], otherwise: str) -> str:
        rows = [f"{value} & \\text{{if }} {test}" for value, test in sides]
        return "\\begin{cases} " + " \\\\ ".join([*rows, f"{otherwise} & \\text{{otherwise}}"]) + " \\end{cases}"

    def over(self, symbol: str, ranges: str, values: str) -> str:
        if symbol.startswith("\\mathrm"):
            symbol = "\\operatorname*" + symbol.removeprefix("\\mathrm")
        return f"{symbol}_{{{ranges}}} {values}"

    def span(self, axis: Axis) -> str:
        begin: Any = axis.begin
        shown = f"{self.expr(axis)} < {axis.end}"
        return shown if isinstance(begin, int) and begin == 0 else f"{begin} \\le {shown}"

    def call(self, func: str, args: Sequence[str]) -> str:
        if func == "sqrt":
            return f"\\sqrt{{{args[0]}}}"
        return f"{self.word(func)}\\left({', '.join(args)}\\right)"

    def enclosed(self, kind: str, inner: str) -> str:
        left, right = {"abs": ("|", "|"), "floor": ("\\lfloor ", "\\rfloor"), "ceil": ("\\lceil ", "\\rceil")}[kind]
        return f"\\left{left}{inner} \\right{right}" if kind != "abs" else f"\\left|{inner}\\right|"

    def fraction(self, a: Expr, b: Expr) -> tuple[str, int]:
        return f"\\frac{{{self.expr(a)}}}{{{self.expr(b)}}}", _POWER

    def power(self, a: str, b: str) -> str:
        return f"{{{a}}}^{{{b}}}"

    def bracketed(self, text: str) -> str:
        return f"\\left({text}\\right)"
