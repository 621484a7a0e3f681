"""What te's operators mean on values of each dtype: Python's floor division, NumPy's minima, shifts and comparisons.

Everything here works on values that are there already, scalar or vector alike; memory and control flow are in the files
above. Nothing here can trap or give LLVM's poison, whatever the operands: lanes that are masked off hold anything.
"""

from __future__ import annotations

from typing import Final

from flashsched.codegen.emit_code import BITS, Code, Value, literal
from flashsched.codegen.emit_convert import is_small_float, rounded
from flashsched.errors import LoweringError
from flashsched.te import dtypes

__all__ = ["binary", "compare", "divide_by_positive", "negated"]

_INT_OPS: Final = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_FLOAT_OPS: Final = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
_PREDICATES: Final = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


def binary(code: Code, op: str, a: Value, b: Value, dtype: str) -> Value:
    """``a op b`` for operands of *dtype*; ``and`` and ``or`` take both sides (see `emit_expr` for the lazy form)."""
    if op in ("min", "max"):
        return _extreme(code, op, a, b, dtype)
    if dtypes.is_bool(dtype):
        return _bool(code, op, a, b)
    if dtypes.is_float(dtype):
        return rounded(code, _float(code, op, a, b, dtype), dtype)
    if op in _INT_OPS:
        return code.op(_INT_OPS[op], a, b)
    if op in ("//", "%"):
        return _divide(code, op, a, b, dtype)
    if op in ("<<", ">>"):
        return _shift(code, op, a, b, dtype)
    raise _unknown(op, dtype)


def compare(code: Code, op: str, a: Value, b: Value, dtype: str) -> Value:
    """``a op b`` for operands of *dtype*, as an i1; only ``!=`` holds for a NaN."""
    if dtypes.is_float(dtype):
        return code.compare(f"fcmp {'u' if op == '!=' else 'o'}{_PREDICATES[op]}", a, b)
    signed = "" if op in ("==", "!=") else "u" if dtypes.is_unsigned(dtype) or dtypes.is_bool(dtype) else "s"
    return code.compare(f"icmp {signed}{_PREDICATES[op]}", a, b)


def negated(code: Code, value: Value) -> Value:
    """The negation of an i1."""
    return code.op("xor", value, literal(True, "i1"))


def divide_by_positive(code: Code, op: str, a: Value, divisor: int, never_negative: bool) -> Value:
    """``a // divisor`` or ``a % divisor`` of a signed *a*, rounded down, for a constant of at least 1."""
    by = literal(divisor, a.kind)
    if divisor & (divisor - 1) == 0:
        if op == "%":
            return code.op("and", a, literal(divisor - 1, a.kind))
        return code.op("lshr" if never_negative else "ashr", a, literal(divisor.bit_length() - 1, a.kind))
    if never_negative:
        return code.op("udiv" if op == "//" else "urem", a, by)
    rest = code.op("srem", a, by)
    below = code.compare("icmp slt", rest, literal(0, a.kind))
    if op == "%":
        return code.op("add", rest, code.select(below, by, literal(0, a.kind)))
    return code.op("sub", code.op("sdiv", a, by), code.convert("zext", below, a.kind))


def _bool(code: Code, op: str, a: Value, b: Value) -> Value:
    if op not in ("and", "or", "&", "|", "^"):
        raise _unknown(op, "bool")
    return code.op({"and": "and", "&": "and", "or": "or", "|": "or", "^": "xor"}[op], a, b)


def _float(code: Code, op: str, a: Value, b: Value, dtype: str) -> Value:
    if op in _FLOAT_OPS:
        # `contract` lets LLVM join a product and a sum into one FMA. 16-bit floats round the product first.
        fused = op in ("+", "-", "*") and not is_small_float(dtype)
        return code.op(f"{_FLOAT_OPS[op]} contract" if fused else _FLOAT_OPS[op], a, b)
    if op in ("//", "%"):
        return _float_divide(code, op, a, b)
    raise _unknown(op, dtype)


def _float_divide(code: Code, op: str, a: Value, b: Value) -> Value:
    """Python's ``//`` and ``%`` of floats, step by step as NumPy's ``npy_divmod`` takes them."""
    zero = literal(0.0, a.kind)
    rest = code.op("frem", a, b)
    has_rest = code.compare("fcmp une", rest, zero)
    crossed = code.op(
        "xor", code.compare("fcmp olt", b, zero), code.compare("fcmp olt", rest, zero)
    )  # the rest has the sign of the dividend, and should have that of the divisor
    crossed = code.op("and", has_rest, crossed)
    if op == "%":
        moved = code.select(crossed, code.op("fadd", rest, b), rest)
        signed_zero = code.intrinsic("copysign", zero, code.broadcast(b, rest.lanes))
        return code.select(has_rest, moved, signed_zero)
    quotient = code.op("fdiv", code.op("fsub", a, rest), b)
    quotient = code.select(crossed, code.op("fsub", quotient, literal(1.0, a.kind)), quotient)
    floor = code.intrinsic("floor", quotient)
    off = code.compare("fcmp ogt", code.op("fsub", quotient, floor), literal(0.5, a.kind))
    floor = code.select(off, code.op("fadd", floor, literal(1.0, a.kind)), floor)
    plain = code.op("fdiv", a, b)
    signed_zero = code.intrinsic("copysign", zero, plain)
    result = code.select(code.compare("fcmp une", quotient, zero), floor, signed_zero)
    return code.select(code.compare("fcmp oeq", b, zero), plain, result)


def _divide(code: Code, op: str, a: Value, b: Value, dtype: str) -> Value:
    """Floor division; by zero it gives 0, as NumPy does, and the least integer by -1 wraps around."""
    zero, one = literal(0, a.kind), literal(1, a.kind)
    constant = int(b.text) if b.is_literal and b.lanes == 1 else None
    if constant is not None and constant > 0 and not dtypes.is_unsigned(dtype):
        return divide_by_positive(code, op, a, constant, never_negative=False)
    is_zero = code.compare("icmp eq", b, zero)
    if dtypes.is_unsigned(dtype):
        result = code.op("udiv" if op == "//" else "urem", a, code.select(is_zero, one, b))
        return code.select(is_zero, zero, result)
    is_minus = code.compare("icmp eq", b, literal(-1, a.kind))
    divisor = code.select(code.op("or", is_zero, is_minus), one, b)
    rest = code.op("srem", a, divisor)
    crossed = code.compare("icmp slt", code.op("xor", rest, divisor), zero)
    crossed = code.op("and", crossed, code.compare("icmp ne", rest, zero))
    if op == "%":
        return code.op("add", rest, code.select(crossed, divisor, zero))
    quotient = code.op("sub", code.op("sdiv", a, divisor), code.convert("zext", crossed, a.kind))
    quotient = code.select(is_minus, code.op("sub", zero, a), quotient)
    return code.select(is_zero, zero, quotient)


def _shift(code: Code, op: str, a: Value, b: Value, dtype: str) -> Value:
    """Shifts that also mean something for counts of the width and above: all bits leave."""
    last = literal(BITS[a.kind] - 1, a.kind)
    in_range = b.is_literal and b.lanes == 1 and 0 <= int(b.text) < BITS[a.kind]
    if op == ">>" and not dtypes.is_unsigned(dtype):
        return code.op("ashr", a, b if in_range else code.intrinsic("umin", b, last))
    opcode = "shl" if op == "<<" else "lshr"
    if in_range:
        return code.op(opcode, a, b)
    shifted = code.op(opcode, a, code.intrinsic("umin", b, last))
    return code.select(code.compare("icmp ugt", b, last), literal(0, a.kind), shifted)


def _extreme(code: Code, op: str, a: Value, b: Value, dtype: str) -> Value:
    """The smaller or larger of two; NaN where either is.

    The ``freeze`` keeps LLVM from making one choice of the two, which x86 has no instruction for: it has one for the
    first, and so it takes three instructions and not four, two of them on masks.
    """
    if dtypes.is_bool(dtype):
        return code.op("and" if op == "min" else "or", a, b)
    if not dtypes.is_float(dtype):
        return code.intrinsic(f"{'u' if dtypes.is_unsigned(dtype) else 's'}{op}", a, b)
    predicate = "fcmp olt" if op == "min" else "fcmp ogt"
    if _never_nan(a):
        return code.select(code.compare(predicate, a, b), a, b)  # gives b where either is NaN
    if _never_nan(b):
        return code.select(code.compare(predicate, b, a), b, a)
    chosen = code.select(code.compare(predicate, a, b), a, b)
    chosen = code.make(f"freeze {chosen.type} {chosen.text}", chosen.kind, chosen.lanes)
    return code.select(code.compare("fcmp uno", a, a), a, chosen)


def _never_nan(value: Value) -> bool:
    if not value.is_literal or value.lanes > 1:
        return False
    bits = int(value.text, 16) & 0x7FFF_FFFF_FFFF_FFFF
    return bits <= 0x7FF0_0000_0000_0000


def _unknown(op: str, dtype: str) -> LoweringError:
    return LoweringError(f"there is no {op!r} on {dtype}", hint="cast the operands first")
