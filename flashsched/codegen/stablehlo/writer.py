"""StableHLO's text as it is being written: arrays along axes, and the operations on them.

An `Array` knows which axes of the computation its dimensions run along, so that two of them are brought to one shape
only where they meet: what does not depend on an axis is computed once for it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from flashsched.errors import LoweringError
from flashsched.te import dtypes
from flashsched.te.tensor import Axis

__all__ = ["Array", "Writer", "constant_text", "tensor_type"]

_ELEMENTS: Final = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int64": "i64", "int32": "i32",
    "int16": "i16", "int8": "i8", "uint64": "ui64", "uint32": "ui32", "uint16": "ui16", "uint8": "ui8", "bool": "i1",
}  # fmt: skip


def tensor_type(shape: Sequence[int], dtype: str) -> str:
    """``tensor<4x8xf32>``."""
    return f"tensor<{''.join(f'{size}x' for size in shape)}{_ELEMENTS[dtype]}>"


def constant_text(value: float | int | bool, dtype: str) -> str:
    """A number as MLIR reads it; what has no decimal form, by its bits."""
    if dtypes.is_bool(dtype):
        return "true" if value else "false"
    if not dtypes.is_float(dtype):
        return str(int(value))
    number = float(value)
    if np.isfinite(number):
        return f"{number:.17e}"
    bits = dtypes.bits(dtype)
    if dtype == "bfloat16":
        word = struct.unpack("<I", struct.pack("<f", number))[0] >> 16
    else:
        code = {16: ("<H", "<e"), 32: ("<I", "<f"), 64: ("<Q", "<d")}[bits]
        word = struct.unpack(code[0], struct.pack(code[1], number))[0]
    return f"0x{word:0{bits // 4}X}"


class Array(NamedTuple):
    """A value of the text: its name, its dtype, and the axes that its dimensions run along."""

    name: str
    dtype: str
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.count for axis in self.axes)

    @property
    def type(self) -> str:
        return tensor_type(self.shape, self.dtype)


class Writer:
    """The body of one function, or of a region in it."""

    def __init__(self, depth: int = 2, first: int = 0) -> None:
        self.lines: list[str] = []
        self._pad = "  " * depth
        self._count = first

    def fresh(self) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"%v{self._count}"

    def line(self, text: str) -> None:
        """Write a line."""
        self.lines.append(self._pad + text)

    def make(self, text: str, dtype: str, axes: Sequence[Axis]) -> Array:
        """Write an operation and return what it gives."""
        made = Array(self.fresh(), dtype, tuple(axes))
        self.line(f"{made.name} = {text}")
        return made

    def constant(self, value: float | int | bool, dtype: str, axes: Sequence[Axis] = ()) -> Array:
        """The same number everywhere."""
        kind = tensor_type([axis.count for axis in axes], dtype)
        return self.make(f"stablehlo.constant dense<{constant_text(value, dtype)}> : {kind}", dtype, axes)

    def broadcast(self, value: Array, axes: Sequence[Axis]) -> Array:
        """*value* along *axes*, which are its own and more, in any order."""
        axes = tuple(axes)
        if value.axes == axes:
            return value
        places = ", ".join(str(axes.index(axis)) for axis in value.axes)
        kind = tensor_type([axis.count for axis in axes], value.dtype)
        text = f"stablehlo.broadcast_in_dim {value.name}, dims = [{places}] : ({value.type}) -> {kind}"
        return self.make(text, value.dtype, axes)

    def level(self, values: Sequence[Array]) -> list[Array]:
        """*values* along the axes of all of them."""
        axes = tuple(dict.fromkeys(axis for value in values for axis in value.axes))
        return [self.broadcast(value, axes) for value in values]

    def op(self, name: str, *values: Array) -> Array:
        """An operation whose operands and result are of one type."""
        same = self.level(values)
        names = ", ".join(value.name for value in same)
        return self.make(f"stablehlo.{name} {names} : {same[0].type}", same[0].dtype, same[0].axes)

    def compare(self, direction: str, a: Array, b: Array) -> Array:
        """``LT``, ``LE``, ``GT``, ``GE``, ``EQ`` or ``NE``: a bool."""
        a, b = self.level((a, b))
        unsigned = dtypes.is_unsigned(a.dtype) or dtypes.is_bool(a.dtype)
        sort = "FLOAT" if dtypes.is_float(a.dtype) else "UNSIGNED" if unsigned else "SIGNED"
        kind = tensor_type(a.shape, "bool")
        text = f"stablehlo.compare {direction}, {a.name}, {b.name}, {sort} : ({a.type}, {b.type}) -> {kind}"
        return self.make(text, "bool", a.axes)

    def select(self, test: Array, a: Array, b: Array) -> Array:
        """*a* where *test* holds, else *b*."""
        test, a, b = self.level((test, a, b))
        return self.make(f"stablehlo.select {test.name}, {a.name}, {b.name} : {test.type}, {a.type}", a.dtype, a.axes)

    def convert(self, value: Array, dtype: str) -> Array:
        """*value* as *dtype*."""
        if value.dtype == dtype:
            return value
        kind = tensor_type(value.shape, dtype)
        return self.make(f"stablehlo.convert {value.name} : ({value.type}) -> {kind}", dtype, value.axes)

    def iota(self, axis: Axis) -> Array:
        """The numbers of *axis*, from its first."""
        kind = tensor_type([axis.count], dtypes.INDEX)
        made = self.make(f"stablehlo.iota dim = 0 : {kind}", dtypes.INDEX, [axis])
        begin = axis.begin
        if not isinstance(begin, int):
            raise LoweringError(f"axis {axis.name} begins at {begin}, and StableHLO needs a number")
        return made if begin == 0 else self.op("add", made, self.constant(begin, dtypes.INDEX))
