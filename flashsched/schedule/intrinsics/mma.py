"""Products of small matrices on NVIDIA's tensor cores (PTX ``mma.sync``, sm_80): the step of a product, by a warp.

Each lane brings its part of the operands and has its part of the sums; which is told by the PTX ISA manual, "Matrix
Fragments for mma.m16n8k16" and ``.m16n8k8``. Operands that lie in shared memory in rows of aligned 16 bytes are fetched
by ``ldmatrix``, whichever way their rows run if they are of 16 bits. The lanes hold the sums in registers, where
nothing else reads them in between.

Products of 16-bit floats are exact in float32, and are added in an order, and with a rounding, of the tensor core's
own: a sum may differ in its last bits from one that is added in turn. float32 is multiplied only if the program itself
rounds it to tf32, by `te.tf32`: that is what the instruction means, and what it does to its operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flashsched.schedule.intrinsic import Intrinsic, Operand, intrinsic
from flashsched.te.declare import compute, placeholder, reduce_axis
from flashsched.te.expr import Expr, cast
from flashsched.te.functions import sum as te_sum
from flashsched.te.functions import tf32
from flashsched.te.tensor import Tensor

__all__ = ["MMA"]

_ROWS, _COLUMNS = 16, 8
_HELD = "i, j -> i % 8 * 4 + j // 2, i // 8 * 2 + j % 2"
_ROW_BYTES = 16  # of a row of the matrices of 8 by 8 that ldmatrix fetches
_BYTES = {"half": 2, "i16": 2, "i32": 4}  # of an element, by the type that it is loaded in
_HEAD = """  %lane32 = call range(i32 0, 32) i32 @llvm.nvvm.read.ptx.sreg.laneid()
  %lane = zext nneg i32 %lane32 to i64
  %g = lshr i64 %lane, 2
  %g8 = add nuw nsw i64 %g, 8
  %t = and i64 %lane, 3
  %t2 = shl nuw nsw i64 %t, 1
"""


def _what(dtype: str, depth: int) -> Tensor:
    a, b = placeholder((_ROWS, depth), dtype, "A"), placeholder((depth, _COLUMNS), dtype, "B")
    k = reduce_axis((0, depth), "k")

    def factor(x: Expr) -> Expr:
        return tf32(x) if dtype == "float32" else cast(x, "float32")

    made: Tensor = compute((_ROWS, _COLUMNS), lambda i, j: te_sum(factor(a[i, k]) * factor(b[k, j]), axis=k), "C")
    return made


class _Text:
    """Lines of LLVM text, with names of their own, and what they call."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared = {"declare i32 @llvm.nvvm.read.ptx.sreg.laneid()"}

    def make(self, instruction: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def call(self, result: str, name: str, arguments: Sequence[tuple[str, str]]) -> str:
        self.declared.add(f"declare {result} @{name}({', '.join(kind for kind, _ in arguments)})")
        return self.make(f"call {result} @{name}({', '.join(f'{kind} {value}' for kind, value in arguments)})")

    def place(self, kind: str, base: str, row: str, row_stride: str, column: str, column_stride: str) -> str:
        """A pointer to an element of a matrix."""
        down = self.make(f"mul nsw i64 {row}, {row_stride}")
        across = self.make(f"mul nsw i64 {column}, {column_stride}")
        offset = self.make(f"add nsw i64 {down}, {across}")
        return self.make(f"getelementptr {kind}, ptr {base}, i64 {offset}")

    def pair(self, kind: str, base: str, row: str, row_stride: str, first: str, shift: int, stride: str) -> str:
        """Two elements side by side along the reduction, as a register."""
        halves = []
        for n in (shift, shift + 1):
            at = self.make(f"add nuw nsw i64 {first}, {n}")
            pointer = self.place(kind, base, row, row_stride, at, stride)
            halves.append(self.make(f"load {kind}, ptr {pointer}, align 2"))
        one = self.make(f"insertelement <2 x {kind}> poison, {kind} {halves[0]}, i64 0")
        both = self.make(f"insertelement <2 x {kind}> {one}, {kind} {halves[1]}, i64 1")
        return self.make(f"bitcast <2 x {kind}> {both} to i32")

    def one(self, base: str, row: str, row_stride: str, column: str, shift: int, stride: str) -> str:
        """An element of 32 bits, as a register."""
        at = self.make(f"add nuw nsw i64 {column}, {shift}")
        return self.make(f"load i32, ptr {self.place('i32', base, row, row_stride, at, stride)}, align 4")

    def fetched(
        self, kind: str, base: str, row: str, row_stride: str, column: str, count: int, turned: bool
    ) -> list[str]:
        """*count* registers by ``ldmatrix``, each lane giving the row of a matrix that begins at *row* and *column*."""
        pointer = self.place(kind, base, row, row_stride, column, "1")
        near = self.make(f"addrspacecast ptr {pointer} to ptr addrspace(3)")
        name = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x{count}{'.trans' if turned else ''}.b16.p3"
        result = f"{{ {', '.join(['i32'] * count)} }}"
        found = self.call(result, name, [("ptr addrspace(3)", near)])
        return [self.make(f"extractvalue {result} {found}, {n}") for n in range(count)]

    def function(self, name: str, params: str) -> str:
        declared, lines = "\n".join(sorted(self.declared)), "\n".join(self.lines)
        return f"{declared}\ndefine void @{name}({params}) convergent {{\n{_HEAD}{lines}\n  ret void\n}}"


def _row_stride(operand: Operand, kind: str) -> tuple[int, int] | None:
    """Along which dimension the rows of *operand* run that ldmatrix can fetch, and how far apart they lie."""
    for along, stride in ((1, operand.strides[0]), (0, operand.strides[1])):
        near = operand.strides[along] == 1 and stride is not None and _BYTES[kind] * stride % _ROW_BYTES == 0
        if operand.scope == "shared" and near and operand.alignment % _ROW_BYTES == 0:
            assert stride is not None
            return along, stride
    return None


def _left(text: _Text, operand: Operand, kind: str) -> list[str]:
    """A lane's four registers of A."""
    rows = _row_stride(operand, kind)
    if rows is None or (kind == "i32" and rows[0] == 0):  # only pairs of 16 bits are turned
        if kind == "i32":
            return [text.one("%a", row, "%a0", "%t", shift, "%a1") for shift in (0, 4) for row in ("%g", "%g8")]
        return [text.pair(kind, "%a", row, "%a0", "%t2", shift, "%a1") for shift in (0, 8) for row in ("%g", "%g8")]
    along, stride = rows
    low, high = text.make("and i64 %lane, 15"), text.make("lshr i64 %lane, 4")
    second = text.make(f"mul nuw nsw i64 {high}, {_ROW_BYTES // _BYTES[kind]}")
    if along == 1:  # lanes 0 to 15 give the rows, for the left and for the right half
        return text.fetched(kind, "%a", low, str(stride), second, 4, turned=False)
    row = text.make("and i64 %lane, 7")
    k = text.make(f"add nuw nsw i64 {row}, {second}")
    i = text.make("and i64 %lane, 8")
    return text.fetched(kind, "%a", k, str(stride), i, 4, turned=True)


def _right(text: _Text, operand: Operand, kind: str) -> list[str]:
    """A lane's two registers of B."""
    rows = _row_stride(operand, kind)
    if rows is None or (kind == "i32" and rows[0] == 1):
        if kind == "i32":
            return [text.one("%b", "%g", "%b1", "%t", shift, "%b0") for shift in (0, 4)]
        return [text.pair(kind, "%b", "%g", "%b1", "%t2", shift, "%b0") for shift in (0, 8)]
    along, stride = rows
    if along == 1:  # rows of the reduction, which the fetch turns
        low = text.make("and i64 %lane, 15")
        return text.fetched(kind, "%b", low, str(stride), "0", 2, turned=True)
    row, eight = text.make("and i64 %lane, 7"), text.make("and i64 %lane, 8")
    k = eight if _BYTES[kind] == 2 else text.make(f"lshr i64 {eight}, 1")
    return text.fetched(kind, "%b", row, str(stride), k, 2, turned=False)


def _sums(text: _Text, operand: Operand) -> list[str]:
    """Pointers to a lane's four sums."""
    if operand.scope == "lanes":
        return [text.make(f"getelementptr float, ptr %c, i64 {n}") for n in range(4)]
    places = []
    for row in ("%g", "%g8"):
        for n in (0, 1):
            column = text.make(f"add nuw nsw i64 %t2, {n}")
            places.append(text.place("float", "%c", row, "%c0", column, "%c1"))
    return places


def _update(kind: str, register: str, name: str) -> Callable[[Sequence[Operand]], str]:
    def made(operands: Sequence[Operand]) -> str:
        text = _Text()
        parts = [*_left(text, operands[0], kind), *_right(text, operands[1], kind)]
        if kind == "i32":
            floats = [text.make(f"bitcast i32 {part} to float") for part in parts]
            parts = [text.call("i32", "llvm.nvvm.f2tf32.rna", [("float", value)]) for value in floats]
        elif register != "i32":
            parts = [text.make(f"bitcast i32 {part} to {register}") for part in parts]
        places = _sums(text, operands[2])
        old = [text.make(f"load float, ptr {place}, align 4") for place in places]
        result = "{ float, float, float, float }"
        new = text.call(result, name, [*((register, part) for part in parts), *(("float", value) for value in old)])
        for number, place in enumerate(places):
            value = text.make(f"extractvalue {result} {new}, {number}")
            text.lines.append(f"  store float {value}, ptr {place}, align 4")
        params = ", ".join(f"ptr %{x}, i64 %{x}0, i64 %{x}1" for x in "abc")
        return text.function("update", params)

    return made


def _reset(operands: Sequence[Operand]) -> str:
    text = _Text()
    for place in _sums(text, operands[0]):
        text.lines.append(f"  store float 0.0, ptr {place}, align 4")
    return text.function("reset", "ptr %c, i64 %c0, i64 %c1")


def _declare(dtype: str, kind: str, register: str, name: str) -> Intrinsic:
    short = {"float16": "f16", "bfloat16": "bf16", "float32": "tf32"}[dtype]
    depth = 32 // _BYTES[kind]
    shape = f"m{_ROWS}n{_COLUMNS}k{depth}"
    return intrinsic(
        f"nvidia.mma.{shape}.{short}",
        _what(dtype, depth),
        update=_update(kind, register, f"llvm.nvvm.mma.{shape}.row.col.{name}"),
        reset=_reset,
        features=("sm_80",),
        lanes=32,
        held=_HELD,
    )


MMA = (
    _declare("float16", "half", "<2 x half>", "f32.f32"),
    _declare("bfloat16", "i16", "i32", "bf16"),
    _declare("float32", "i32", "i32", "tf32"),
)
"""One a dtype of the operands, of which 32 bytes are a row; the sums are float32."""
