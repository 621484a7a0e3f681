"""Conversions to and from float16 and bfloat16 that LLVM leaves to a library on CPUs without instructions for them.

A C compiler's own support library has these functions, but a Python process does not export it. So they are written
here, in LLVM text, and compiled when an object first calls one. They are correct (to nearest, ties to even; subnormals,
infinities and NaN), one element a call, and therefore slow; code that is to be fast says in vectors what it means.

To round a binary number ``a >= 0`` off to fewer bits, normal results add half of the last place kept, less one unless
that place is odd, and shift. Subnormal results add a power of two whose last place is theirs, and let the hardware's
addition round (after Fabian Giesen's public-domain ``float_to_half_fast3_rtne``).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from flashsched.codegen import llvm, object_cache
from flashsched.codegen.target import Target, host_target

__all__ = ["symbols"]


@dataclass(frozen=True, slots=True)
class _Format:
    """A binary floating-point format: LLVM's name, the library's, and its fields' widths in bits."""

    llvm: str
    library: str
    exponent: int
    mantissa: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def infinity(self) -> int:
        return ((1 << self.exponent) - 1) << self.mantissa


_HALF = _Format("half", "hf", 5, 10)
_BRAIN = _Format("bfloat", "bf", 8, 7)
_SINGLE = _Format("float", "sf", 8, 23)
_DOUBLE = _Format("double", "df", 11, 52)
_NARROWED = ((_SINGLE, _BRAIN), (_DOUBLE, _BRAIN), (_SINGLE, _HALF), (_DOUBLE, _HALF))

_lock = threading.Lock()


def symbols(code: bytes) -> Mapping[str, int]:
    """The conversions that object *code* calls, by address."""
    wanted = [name for name in _names() if name.encode() in code]
    if not wanted:
        return {}
    with _lock:
        loaded = _loaded(host_target())
    return {name: loaded.addresses[name] for name in wanted}


def _names() -> tuple[str, ...]:
    return (*(f"__trunc{wide.library}{narrow.library}2" for wide, narrow in _NARROWED), "__extendhfsf2")


@functools.cache
def _loaded(target: Target) -> llvm.LoadedObject:
    text = "\n".join([*(_narrowing(wide, narrow) for wide, narrow in _NARROWED), _WIDEN_HALF])
    code, _ = object_cache.object_code(text, target)
    return llvm.load_object(code, text, {})


def _narrowing(wide: _Format, narrow: _Format) -> str:
    """LLVM text of the function that rounds *wide* to *narrow*."""
    w = f"i{wide.bits}"
    drop = wide.mantissa - narrow.mantissa
    sign = 1 << (wide.bits - 1)
    rebias = (wide.bias - narrow.bias) << wide.mantissa
    least_normal = (wide.bias - narrow.bias + 1) << wide.mantissa
    # halfway from the largest finite number to the next power of two, which is where rounding reaches infinity
    overflow = ((wide.bias + narrow.bias) << wide.mantissa) | (((2 << narrow.mantissa) - 1) << (drop - 1))
    # the power of two whose last place in the wide format is the narrow format's smallest subnormal
    magic = (wide.bias + 1 - narrow.bias - narrow.mantissa + wide.mantissa) << wide.mantissa
    quiet = narrow.infinity | (1 << (narrow.mantissa - 1))
    return f"""
define {narrow.llvm} @__trunc{wide.library}{narrow.library}2({wide.llvm} %x) {{
  %bits = bitcast {wide.llvm} %x to {w}
  %a = and {w} %bits, {sign - 1}
  %kept = lshr {w} %a, {drop}
  %odd = and {w} %kept, 1
  %nudge = add {w} %odd, {(1 << (drop - 1)) - 1}
  %up = add {w} %a, %nudge
  %rebiased = sub {w} %up, {rebias}
  %normal = lshr {w} %rebiased, {drop}
  %magic = bitcast {w} {magic} to {wide.llvm}
  %magnitude = bitcast {w} %a to {wide.llvm}
  %sum = fadd {wide.llvm} %magnitude, %magic
  %sum.bits = bitcast {wide.llvm} %sum to {w}
  %subnormal = sub {w} %sum.bits, {magic}
  %is.small = icmp ult {w} %a, {least_normal}
  %finite = select i1 %is.small, {w} %subnormal, {w} %normal
  %is.large = icmp uge {w} %a, {overflow}
  %number = select i1 %is.large, {w} {narrow.infinity}, {w} %finite
  %is.nan = icmp ugt {w} %a, {wide.infinity}
  %value = select i1 %is.nan, {w} {quiet}, {w} %number
  %top = lshr {w} %bits, {wide.bits - narrow.bits}
  %sign = and {w} %top, {1 << (narrow.bits - 1)}
  %signed = or {w} %value, %sign
  %short = trunc {w} %signed to i{narrow.bits}
  %result = bitcast i{narrow.bits} %short to {narrow.llvm}
  ret {narrow.llvm} %result
}}"""


_WIDEN_HALF = f"""
define float @__extendhfsf2(half %x) {{
  %short = bitcast half %x to i16
  %bits = zext i16 %short to i32
  %a = and i32 %bits, 32767
  %shifted = shl i32 %a, 13
  %normal = add i32 %shifted, {(127 - 15) << 23}
  %extreme = add i32 %normal, {(128 - 16) << 23}
  %above = add i32 %normal, {1 << 23}
  %above.float = bitcast i32 %above to float
  %least = bitcast i32 {113 << 23} to float
  %small = fsub float %above.float, %least
  %small.bits = bitcast float %small to i32
  %is.small = icmp ult i32 %a, 1024
  %is.extreme = icmp uge i32 %a, {_HALF.infinity}
  %finite = select i1 %is.small, i32 %small.bits, i32 %normal
  %value = select i1 %is.extreme, i32 %extreme, i32 %finite
  %top = shl i32 %bits, 16
  %sign = and i32 %top, -2147483648
  %signed = or i32 %value, %sign
  %result = bitcast i32 %signed to float
  ret float %result
}}"""
