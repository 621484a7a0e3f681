"""A te graph as the Python program that declares it: how a program that a machine drew is shown and kept.

The program builds the same graph, dtype by dtype and node by node, so what failed once fails again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flashsched.te import dtypes
from flashsched.te.binding import graph_sizes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var
from flashsched.te.recurrence import ScanOp
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Read, Reduce, Tensor, graph

__all__ = ["graph_python", "identifier"]

_FUNCTIONS = {"min": "minimum", "max": "maximum", "and": "all", "or": "any"}


def identifier(name: str) -> str:
    """The variable that holds the tensor of that name, here and in ``Schedule.to_python``.

    >>> identifier("S3.v0"), identifier("A")
    ('S3_v0', 'A')
    """
    return re.sub(r"\W", "_", name)


def graph_python(
    outputs: Sequence[Tensor], reducers: Mapping[str, str] | None = None, inputs: Sequence[Tensor] = ()
) -> str:
    """The lines that declare *outputs* and all that they are made of; ``te`` must be imported.

    Args:
        outputs: the tensors.
        reducers: what to write for a reducer that is none of te's own, by its name.
        inputs: placeholders that are declared even if nothing reads them.
    """
    sizes = graph_sizes([*inputs, *outputs])
    lines = [f"{identifier(size.name)} = te.var({size.name!r})" for size in sizes]
    ops = graph([*inputs, *outputs])
    for part in (op for op in ops if isinstance(op, ScanOp)):
        state = part.state
        lines.append(f"{identifier(state.name)} = te.placeholder({state.shape}, {state.dtype!r}, {state.name!r})")
    for op in ops:
        if isinstance(op, ScanOp):
            lines += _scan(op) if op.index == 0 else []
        elif isinstance(op, PlaceholderOp) and op.by_value:
            lines.append(f"{identifier(op.name)} = te.scalar({op.name!r}, {op.dtype!r})")
        elif isinstance(op, PlaceholderOp):
            tensor = op.output(0)
            lines.append(f"{identifier(op.name)} = te.placeholder({op.shape}, {tensor.dtype!r}, {op.name!r})")
        elif isinstance(op, ComputeOp):
            lines += _compute(op, {size: identifier(size.name) for size in sizes}, reducers or {})
        else:
            raise NotImplementedError(f"{type(op).__name__} {op.name} has no Python text")
    return "\n".join(lines) + "\n"


def _compute(op: ComputeOp, sizes: Mapping[Var, str], reducers: Mapping[str, str]) -> list[str]:
    names: dict[Var, str] = {**sizes, **{axis: identifier(axis.name) for axis in op.axis}}
    lines = []
    for number, axis in enumerate(op.reduce_axis):
        names[axis] = f"{identifier(op.name)}_k{number}"
        lines.append(f"{names[axis]} = te.reduce_axis(({axis.begin}, {axis.end}), {axis.name!r})")
    body = _reduction(op, names, reducers) if op.reduction is not None else [_text(value, names) for value in op.body]
    several = len(op.outputs) > 1
    result = f"({', '.join(body)})" if several and op.reduction is None else body[0]
    targets = ", ".join(identifier(tensor.name) for tensor in op.outputs)
    parameters = "".join(f" {names[axis]}," for axis in op.axis).rstrip(",")
    shape = tuple(axis.extent for axis in op.axis)
    lines.append(f"{targets} = te.compute({shape}, lambda{parameters}: {result}, {op.name!r})")
    return lines


def _scan(op: ScanOp) -> list[str]:
    """The call that made the states of a recurrence, from its first."""
    made = op.scan
    init, update, states, outputs = (
        ", ".join(identifier(tensor.name) for tensor in part)
        for part in (made.init, made.update, made.states, [part.output(0) for part in made.parts])
    )
    comma = "," if len(made.parts) == 1 else ""
    return [f"{outputs}{comma} = te.scan([{init}], [{update}], [{states}], name={made.name!r})"]


def _reduction(op: ComputeOp, names: Mapping[Var, str], reducers: Mapping[str, str]) -> list[str]:
    node = op.reduction
    assert isinstance(node, Reduce)
    values = [_text(value, names) for value in node.values]
    shown = values[0] if len(values) == 1 else f"({', '.join(values)})"
    axes = ", ".join(names[axis] for axis in node.axes)
    return [f"{reducers.get(node.reducer.name, f'te.{node.reducer.name}')}({shown}, axis=[{axes}])"]


def _const(value: Const, plain: bool) -> str:
    """A literal; *plain* where the other side of an operation gives it its dtype."""
    number = value.value
    finite = number == number and abs(number) != float("inf")
    if plain and finite:
        return repr(number)
    return f"te.const({number!r}, {value.dtype!r})" if finite else f"te.const(float('{number}'), {value.dtype!r})"


def _text(expr: Expr, names: Mapping[Var, str]) -> str:
    def of(child: Expr) -> str:
        return _text(child, names)

    match expr:
        case Const():
            return _const(expr, plain=False)
        case Axis() | Var():
            return names[expr]
        case Binary() | Compare():
            sides = [expr.a, expr.b]
            literal = [isinstance(side, Const) for side in sides]
            # of two literals the second is a bare number, too: two constants of te would be folded
            plain = [literal == [True, False], literal[1]]
            a, b = (_const(s, plain=p) if isinstance(s, Const) else of(s) for s, p in zip(sides, plain, strict=True))
            if expr.op in _FUNCTIONS:
                return f"te.{_FUNCTIONS[expr.op]}({a}, {b})"
            return f"({a} {expr.op} {b})"
        case Not():
            return f"~{of(expr.value)}"
        case Cast():
            return f"{of(expr.value)}.astype({expr.dtype!r})"
        case Select():
            return f"te.select({of(expr.condition)}, {of(expr.a)}, {of(expr.b)})"
        case Call():
            return f"te.{expr.func}({', '.join(map(of, expr.args))})"
        case Read():
            indices = [_index(index, names) for index in expr.indices]
            name = identifier(expr.tensor.name)
            if isinstance(expr.tensor.op, PlaceholderOp) and expr.tensor.op.by_value:
                return name
            return f"{name}[{', '.join(indices)}]" if indices else f"{name}()"
        case _:
            raise NotImplementedError(f"{type(expr).__name__} has no Python text: {expr}")


def _index(index: Expr, names: Mapping[Var, str]) -> str:
    if isinstance(index, Const):
        return _const(index, plain=True)
    if isinstance(index, Cast) and index.dtype == dtypes.INDEX and dtypes.is_int(index.value.dtype):
        return _text(index.value, names)  # an index is converted anyway
    return _text(index, names)
