"""Expressions of te as arrays: each node for all points of the axes that it depends on at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from flashsched.codegen.stablehlo.writer import Array, Writer, tensor_type
from flashsched.errors import LoweringError
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var
from flashsched.te.simplify import linear
from flashsched.te.tensor import Axis, Read, Reduce, Tensor

__all__ = ["Values"]

_BINARY: Final = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "min": "minimum", "max": "maximum", "and": "and",
    "or": "or", "&": "and", "|": "or", "^": "xor", "<<": "shift_left",
}  # fmt: skip
_CALLS: Final = {
    "exp": "exponential", "expm1": "exponential_minus_one", "log": "log", "log1p": "log_plus_one", "tanh": "tanh",
    "sqrt": "sqrt", "abs": "abs", "floor": "floor", "ceil": "ceil", "round": "round_nearest_even", "sin": "sine",
    "cos": "cosine", "pow": "power", "atan2": "atan2", "tan": "tan",
}  # fmt: skip
_ORDERS: Final = {"<": "LT", "<=": "LE", ">": "GT", ">=": "GE", "==": "EQ", "!=": "NE"}


class Values:
    """Makes arrays of expressions.

    Args:
        writer: where the text is written.
        tensors: the array of each tensor that may be read, by its id; its axes are of no meaning.
        known: values of variables that are no axes.
    """

    def __init__(self, writer: Writer, tensors: Mapping[int, Array], known: Mapping[Var, Array] | None = None) -> None:
        self._writer = writer
        self._tensors = tensors
        self._known = dict(known or {})

    def value(self, expr: Expr) -> Array:
        """The value of *expr* along the axes that it depends on.

        Raises:
            LoweringError: StableHLO has no such operation.
        """
        w = self._writer
        match expr:
            case Const():
                return w.constant(expr.value, expr.dtype)
            case Var() if expr in self._known:
                return self._known[expr]
            case Axis():
                return w.convert(w.iota(expr), expr.dtype)
            case Binary():
                return self._binary(expr)
            case Compare():
                return w.compare(_ORDERS[expr.op], self.value(expr.a), self.value(expr.b))
            case Not():
                return w.op("not", self.value(expr.value))
            case Select():
                return w.select(self.value(expr.condition), self.value(expr.a), self.value(expr.b))
            case Cast():
                return self._cast(expr)
            case Call() if expr.func in _CALLS:
                return w.op(_CALLS[expr.func], *(self.value(arg) for arg in expr.args))
            case Call(func="exp2"):
                (base, power) = w.constant(2.0, expr.dtype), self.value(expr.args[0])
                return w.op("power", base, power)
            case Read():
                return self.read(expr)
            case _:
                what = f"{expr.func}()" if isinstance(expr, Call) else type(expr).__name__
                where = ": it is computed elsewhere" if isinstance(expr, Reduce) else ""
                raise LoweringError(f"{what} has no operation in StableHLO{where}", shown=str(expr))

    def _binary(self, expr: Binary) -> Array:
        w, (a, b) = self._writer, (self.value(expr.a), self.value(expr.b))
        if expr.op in _BINARY:
            return w.op(_BINARY[expr.op], a, b)
        if expr.op == ">>":
            return w.op("shift_right_logical" if dtypes.is_unsigned(expr.dtype) else "shift_right_arithmetic", a, b)
        if expr.op not in ("//", "%") or dtypes.is_float(expr.dtype):
            raise LoweringError(f"{expr.op!r} of {expr.dtype} has no operation in StableHLO", shown=str(expr))
        rest = w.op("remainder", a, b)
        if dtypes.is_unsigned(expr.dtype):
            return rest if expr.op == "%" else w.op("divide", a, b)
        zero = w.constant(0, expr.dtype)  # Python rounds down, StableHLO towards zero
        crossed = w.compare("NE", w.compare("LT", rest, zero), w.compare("LT", b, zero))
        crossed = w.op("and", crossed, w.compare("NE", rest, zero))
        if expr.op == "%":
            return w.select(crossed, w.op("add", rest, b), rest)
        quotient = w.op("divide", a, b)
        return w.select(crossed, w.op("subtract", quotient, w.constant(1, expr.dtype)), quotient)

    def _cast(self, expr: Cast) -> Array:
        value = self.value(expr.value)
        if dtypes.is_bool(expr.dtype):
            return self._writer.compare("NE", value, self._writer.constant(0, value.dtype))
        return self._writer.convert(value, expr.dtype)

    # -- reads

    def read(self, expr: Read) -> Array:
        """Elements of a tensor: a slice where each index is an axis of its own, else a gather."""
        source = self._source(expr.tensor)
        parts = [self._strip(index, size) for index, size in zip(expr.indices, expr.tensor.known_shape, strict=True)]
        axes = [axis for part in parts if part is not None for axis in part[1]]
        if any(part is None for part in parts) or len(set(axes)) < len(axes):
            return self._gather(expr, source)
        spans = [part[0] for part in parts if part is not None]
        return self._sliced(source, expr.tensor, spans, axes)

    def _source(self, tensor: Tensor) -> Array:
        return self._tensors[id(tensor)]

    def _strip(self, index: Expr, size: int) -> tuple[tuple[int, int, int], tuple[Axis, ...]] | None:
        """First, end and step of a slice that *index* runs over, and its axis; None where it is no such thing."""
        form = linear(index)
        if form.is_constant():
            at = form.constant
            return ((at, at + 1, 1), ()) if 0 <= at < size else None
        terms = list(form.terms.values())
        axis, step = terms[0]
        if len(terms) != 1 or not isinstance(axis, Axis) or not isinstance(axis.begin, int):
            return None
        first = form.constant + step * axis.begin
        last = first + step * (axis.count - 1)
        inside = step >= 1 and axis.count >= 1 and first >= 0 and last < size
        return ((first, last + 1, step), (axis,)) if inside else None

    def _sliced(
        self, source: Array, tensor: Tensor, spans: Sequence[tuple[int, int, int]], axes: Sequence[Axis]
    ) -> Array:
        w, shape = self._writer, tensor.known_shape
        name, kind = source.name, tensor_type(shape, tensor.dtype)
        if any(span != (0, size, 1) for span, size in zip(spans, shape, strict=True)):
            within = ", ".join(f"{first}:{end}:{step}" for first, end, step in spans)
            cut = [-(-(end - first) // step) for first, end, step in spans]
            to = tensor_type(cut, tensor.dtype)
            name, kind = w.make(f"stablehlo.slice {name} [{within}] : ({kind}) -> {to}", tensor.dtype, ()).name, to
        if len(axes) == len(spans):
            return Array(name, tensor.dtype, tuple(axes))
        to = tensor_type([axis.count for axis in axes], tensor.dtype)
        return w.make(f"stablehlo.reshape {name} : ({kind}) -> {to}", tensor.dtype, axes)

    def _gather(self, expr: Read, source: Array) -> Array:
        """Any elements; an index outside is moved to the border, which counts only where nobody asks for it."""
        w, tensor = self._writer, expr.tensor
        indices = w.level([self.value(index) for index in expr.indices])
        axes = indices[0].axes
        counts, rank = [axis.count for axis in axes], len(indices)
        columns = []
        for index in indices:
            kind = tensor_type([*counts, 1], dtypes.INDEX)
            columns.append(w.make(f"stablehlo.reshape {index.name} : ({index.type}) -> {kind}", dtypes.INDEX, ()).name)
        one, all_of = tensor_type([*counts, 1], dtypes.INDEX), tensor_type([*counts, rank], dtypes.INDEX)
        joined = w.make(
            f"stablehlo.concatenate {', '.join(columns)}, dim = {len(counts)} : "
            f"({', '.join([one] * rank)}) -> {all_of}",
            dtypes.INDEX,
            (),
        ).name
        dims = ", ".join(map(str, range(rank)))
        of, to = tensor_type(tensor.known_shape, tensor.dtype), tensor_type(counts, tensor.dtype)
        numbers = f"collapsed_slice_dims = [{dims}], start_index_map = [{dims}], index_vector_dim = {len(counts)}"
        text = (
            f'"stablehlo.gather"({source.name}, {joined}) <{{dimension_numbers = #stablehlo.gather<{numbers}>, '
            f"slice_sizes = array<i64: {', '.join(['1'] * rank)}>}}> : ({of}, {all_of}) -> {to}"
        )
        return w.make(text, tensor.dtype, axes)
