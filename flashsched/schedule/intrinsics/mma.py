"""Products of small matrices on NVIDIA's tensor cores (PTX ``mma.sync``, sm_80): the step of a product, by a warp.

Each lane brings its part of the operands and has its part of the sums; which is told by the PTX ISA manual, "Matrix
Fragments for mma.m16n8k16". Products of 16-bit floats are exact in float32, and are added in an order, and with a
rounding, of the tensor core's own: a sum may differ in its last bits from one that is added in turn.
"""

from __future__ import annotations

from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.te.declare import compute, placeholder, reduce_axis
from flashsched.te.expr import cast
from flashsched.te.functions import sum as te_sum
from flashsched.te.tensor import Tensor

__all__ = ["MMA"]

_ROWS, _COLUMNS, _DEPTH = 16, 8, 16
_LANE = """
declare i32 @llvm.nvvm.read.ptx.sreg.laneid()
"""
_HEAD = """  %lane32 = call range(i32 0, 32) i32 @llvm.nvvm.read.ptx.sreg.laneid()
  %lane = zext nneg i32 %lane32 to i64
  %g = lshr i64 %lane, 2
  %g8 = add nuw nsw i64 %g, 8
  %t = and i64 %lane, 3
  %t2 = shl nuw nsw i64 %t, 1
"""


def _what(dtype: str) -> Tensor:
    a, b = placeholder((_ROWS, _DEPTH), dtype, "A"), placeholder((_DEPTH, _COLUMNS), dtype, "B")
    k = reduce_axis((0, _DEPTH), "k")
    made: Tensor = compute(
        (_ROWS, _COLUMNS),
        lambda i, j: te_sum(cast(a[i, k], "float32") * cast(b[k, j], "float32"), axis=k),
        "C",
    )
    return made


class _Text:
    """Lines of LLVM text, with names of their own."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def make(self, instruction: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return name

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
        return self.make(f"insertelement <2 x {kind}> {one}, {kind} {halves[1]}, i64 1")


def _sums(text: _Text) -> list[str]:
    """Pointers to a lane's four sums."""
    places = []
    for row in ("%g", "%g8"):
        for n in (0, 1):
            column = text.make(f"add nuw nsw i64 %t2, {n}")
            places.append(text.place("float", "%c", row, "%c0", column, "%c1"))
    return places


def _update(kind: str, register: str, name: str) -> str:
    text = _Text()
    a = [text.pair(kind, "%a", row, "%a0", "%t2", shift, "%a1") for shift in (0, 8) for row in ("%g", "%g8")]
    b = [text.pair(kind, "%b", "%g", "%b1", "%t2", shift, "%b0") for shift in (0, 8)]
    operands = [value if register != "i32" else text.make(f"bitcast <2 x {kind}> {value} to i32") for value in (*a, *b)]
    places = _sums(text)
    old = [text.make(f"load float, ptr {place}, align 4") for place in places]
    passed = [f"{register} {value}" for value in operands] + [f"float {value}" for value in old]
    result = "{ float, float, float, float }"
    new = text.make(f"call {result} @{name}({', '.join(passed)})")
    for number, place in enumerate(places):
        value = text.make(f"extractvalue {result} {new}, {number}")
        text.lines.append(f"  store float {value}, ptr {place}, align 4")
    declared = ", ".join([register] * 6 + ["float"] * 4)
    lines = "\n".join(text.lines)
    return f"""{_LANE}declare {result} @{name}({declared})
define void @update(ptr %a, i64 %a0, i64 %a1, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0, i64 %c1) {{
{_HEAD}{lines}
  ret void
}}"""


def _reset() -> str:
    text = _Text()
    for place in _sums(text):
        text.lines.append(f"  store float 0.0, ptr {place}, align 4")
    lines = "\n".join(text.lines)
    return f"{_LANE}define void @reset(ptr %c, i64 %c0, i64 %c1) {{\n{_HEAD}{lines}\n  ret void\n}}"


def _declare(dtype: str, kind: str, register: str, name: str) -> Intrinsic:
    short = {"float16": "f16", "bfloat16": "bf16"}[dtype]
    return intrinsic(
        f"nvidia.mma.m16n8k16.{short}",
        _what(dtype),
        update=_update(kind, register, f"llvm.nvvm.mma.m16n8k16.row.col.{name}"),
        reset=_reset(),
        features=("sm_80",),
        lanes=32,
    )


MMA = (
    _declare("float16", "half", "<2 x half>", "f32.f32"),
    _declare("bfloat16", "i16", "i32", "bf16"),
)
"""One a dtype of the operands; the sums are float32."""
