"""Element types in LLVM: how a dtype looks in memory and in registers, and the conversions between all of them.

A float16 or bfloat16 is held in registers as the float32 of the same value, and `rounded` is applied after each
operation that may leave its grid: that is the arithmetic of NumPy and ml_dtypes, on every CPU. Conversions that a CPU
lacks are written out here, since the helpers that LLVM would call (``__truncsfhf2``, …) are not in a Python process.

The conversions of float16 by integer arithmetic are those of M. Dukhan's FP16 library.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from flashsched.codegen.emit_code import Code, Value, literal
from flashsched.codegen.target import Target
from flashsched.te import dtypes

__all__ = ["constant", "convert", "from_memory", "has_half", "is_small_float", "memory_type", "register_type"]
__all__ += ["rounded", "to_memory"]

_REGISTER: Final = {
    "float64": "double", "float32": "float", "float16": "float", "bfloat16": "float", "int64": "i64", "int32": "i32",
    "int16": "i16", "int8": "i8", "uint64": "i64", "uint32": "i32", "uint16": "i16", "uint8": "i8", "bool": "i1",
}  # fmt: skip


def register_type(dtype: str) -> str:
    """The LLVM type in which a value of *dtype* is computed with."""
    return _REGISTER[dtype]


def memory_type(dtype: str, target: Target) -> str:
    """The LLVM type in which a value of *dtype* is stored."""
    if dtype == "float16":
        return "half" if has_half(target) else "i16"
    return {"bfloat16": "i16", "bool": "i8"}.get(dtype) or _REGISTER[dtype]


def has_half(target: Target) -> bool:
    """Whether the CPU converts between float16 and float32 itself (F16C on x86); false where that is not certain."""
    if target.arch in ("aarch64", "arm64", "nvptx64", "amdgcn"):
        return True
    features = target.features.split(",")
    if "-f16c" in features or target.arch != "x86_64":
        return False
    return "+f16c" in features or target.vector_bits == 512 or target.cpu == "x86-64-v3"


def is_small_float(dtype: str) -> bool:
    """Whether *dtype* is computed with in float32."""
    return dtype in ("float16", "bfloat16")


def constant(value: float | int | bool, dtype: str) -> Value:
    """A literal of *dtype*, rounded to it."""
    if dtypes.is_float(dtype):
        with np.errstate(over="ignore"):
            value = float(np.asarray(value, np.float64).astype(dtypes.numpy_dtype(dtype)))
    return literal(value, _REGISTER[dtype])


def from_memory(code: Code, value: Value, dtype: str) -> Value:
    """What was loaded as `memory_type`, as a register holds it."""
    if dtype == "bool":
        return code.compare("icmp ne", value, literal(0, "i8"))
    if dtype == "bfloat16":
        return _bits_float(code, code.op("shl", code.convert("zext", value, "i32"), literal(16, "i32")))
    if dtype == "float16":
        return code.convert("fpext", value, "float") if value.kind == "half" else _half_to_float(code, value)
    return value


def to_memory(code: Code, value: Value, dtype: str) -> Value:
    """A register's value (on the grid of *dtype*), as it is stored."""
    if dtype == "bool":
        return code.convert("zext", value, "i8")
    if dtype == "bfloat16":
        high = code.op("lshr", code.convert("bitcast", value, "i32"), literal(16, "i32"))
        return code.convert("trunc", high, "i16")
    if dtype == "float16":
        native = has_half(code.module.target)
        return code.convert("fptrunc", value, "half") if native else _float_to_half(code, value)
    return value


def rounded(code: Code, value: Value, dtype: str) -> Value:
    """A float32 *value* rounded to the nearest of *dtype*, ties to even; other dtypes are exact as they are."""
    if dtype == "float16":
        return from_memory(code, to_memory(code, value, dtype), dtype)
    if dtype != "bfloat16":
        return value
    bits = code.convert("bitcast", value, "i32")
    odd = code.op("and", code.op("lshr", bits, literal(16, "i32")), literal(1, "i32"))
    near = code.op("add", code.op("add", bits, literal(0x7FFF, "i32")), odd)
    whole = code.compare("fcmp ord", value, literal(0.0, "float"))
    kept = code.select(whole, near, literal(0x7FC00000, "i32"))  # the addition could turn a NaN into something else
    return _bits_float(code, code.op("and", kept, literal(-0x10000, "i32")))


def convert(code: Code, value: Value, source: str, dtype: str) -> Value:
    """*value* of dtype *source* converted to *dtype*, as `flashsched.te.expr.Cast` says.

    A float outside the range of an integer *dtype* gives some integer.
    """
    if source == dtype:
        return value
    if dtypes.is_bool(dtype):
        is_float = dtypes.is_float(source)
        return code.compare("fcmp une" if is_float else "icmp ne", value, literal(0, value.kind))
    kind = _REGISTER[dtype]
    if dtypes.is_float(source):
        return _from_float(code, value, source, dtype, kind)
    unsigned = dtypes.is_unsigned(source) or dtypes.is_bool(source)
    if dtypes.is_float(dtype):
        return rounded(code, code.convert("uitofp" if unsigned else "sitofp", value, kind), dtype)
    if dtypes.is_bool(source) or dtypes.bits(dtype) > dtypes.bits(source):
        return code.convert("zext" if unsigned else "sext", value, kind)
    return value if dtypes.bits(dtype) == dtypes.bits(source) else code.convert("trunc", value, kind)


def _from_float(code: Code, value: Value, source: str, dtype: str, kind: str) -> Value:
    if dtypes.is_float(dtype):
        if dtype == "float16" and value.kind == "double":
            value = _to_odd(code, value)
        elif value.kind != kind:
            value = code.convert("fpext" if kind == "double" else "fptrunc", value, kind)
        exact = dtypes.bits(source) <= dtypes.bits(dtype) and source != "bfloat16" and dtype != "bfloat16"
        return value if exact else rounded(code, value, dtype)
    wide = (
        "i64" if kind == "i64" or dtype == "uint32" else "i32"
    )  # as C: a small integer is what is left of a larger one
    whole = code.convert("fptoui" if dtype == "uint64" else "fptosi", value, wide)
    whole = code.make(f"freeze {whole.type} {whole.text}", wide, whole.lanes)
    return whole if kind == wide else code.convert("trunc", whole, kind)


def _bits_float(code: Code, bits: Value) -> Value:
    return code.convert("bitcast", bits, "float")


def _to_odd(code: Code, value: Value) -> Value:
    """A double as a float, rounded so that rounding that one again gives what rounding once would have given.

    The float is cut off, and made odd where something was lost (S. Boldo and G. Melquiond, "When double rounding is
    odd", 2005).
    """
    near = code.convert("fptrunc", value, "float")
    back = code.convert("fpext", near, "double")
    bits = code.convert("bitcast", near, "i32")
    even = code.compare("icmp eq", code.op("and", bits, literal(1, "i32")), literal(0, "i32"))
    lost = code.op("and", code.compare("fcmp one", back, value), even)
    too_small = code.compare("fcmp olt", code.intrinsic("fabs", back), code.intrinsic("fabs", value))
    step = code.select(too_small, literal(1, "i32"), literal(-1, "i32"))
    return _bits_float(code, code.select(lost, code.op("add", bits, step), bits))


def _half_to_float(code: Code, half: Value) -> Value:
    def i32(number: int) -> Value:
        return literal(number, "i32")

    bits = code.op("shl", code.convert("zext", half, "i32"), i32(16))
    sign = code.op("and", bits, i32(-0x80000000))
    twice = code.op("shl", bits, i32(1))
    shifted = code.op("add", code.op("lshr", twice, i32(4)), i32(0xE0 << 23))
    normal = code.op("fmul", _bits_float(code, shifted), literal(2.0**-112, "float"))
    magic = _bits_float(code, code.op("or", code.op("lshr", twice, i32(17)), i32(126 << 23)))
    tiny = code.op("fsub", magic, literal(0.5, "float"))
    chosen = code.select(code.compare("icmp ult", twice, i32(1 << 27)), tiny, normal)
    return _bits_float(code, code.op("or", sign, code.convert("bitcast", chosen, "i32")))


def _float_to_half(code: Code, value: Value) -> Value:
    def i32(number: int) -> Value:
        return literal(number, "i32")

    scaled = code.op("fmul", code.intrinsic("fabs", value), literal(2.0**112, "float"))
    base = code.op("fmul", scaled, literal(2.0**-110, "float"))
    bits = code.convert("bitcast", value, "i32")
    twice = code.op("shl", bits, i32(1))
    sign = code.op("lshr", code.op("and", bits, i32(-0x80000000)), i32(16))
    bias = code.intrinsic("umax", code.op("and", twice, i32(-0x1000000)), i32(0x71000000))
    moved = _bits_float(code, code.op("add", code.op("lshr", bias, i32(1)), i32(0x07800000)))
    summed = code.convert("bitcast", code.op("fadd", moved, base), "i32")
    exponent = code.op("and", code.op("lshr", summed, i32(13)), i32(0x7C00))
    number = code.op("add", exponent, code.op("and", summed, i32(0x0FFF)))
    is_nan = code.compare("icmp ugt", twice, i32(-0x1000000))
    result = code.op("or", sign, code.select(is_nan, i32(0x7E00), number))
    return code.convert("trunc", result, "i16")
