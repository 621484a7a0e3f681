"""Mathematical functions on values, scalar or vector, float32 or float64.

exp, exp2, expm1, log, tanh and erf are written here with arithmetic alone, so that they fill vector registers and give
the same bits however a loop is scheduled; square roots, roundings and the like are instructions; the rest is called
from the C library lane by lane, or on a GPU, which has none, computed in more precision (`emit_math_wide`). Errors,
infinities, NaNs and subnormal results are as stated at each function; the unit is one in the last place (ulp).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from flashsched.codegen.emit_code import Code, Value, literal
from flashsched.codegen.emit_math_wide import wide
from flashsched.codegen.emit_tables import has_tables, looked_up
from flashsched.errors import LoweringError, did_you_mean

__all__ = ["call", "known_functions"]


class _Format(NamedTuple):
    """A floating-point format, and what the functions below need to know for it.

    ``ln2_high + ln2_low`` is ln 2, the high part so short that its product with any exponent is exact.
    """

    integer: str  # the integer type of the same width
    mantissa: int
    bias: int
    round_magic: float  # adding and taking away 1.5 * 2**mantissa rounds to an integer
    ln2_high: float
    ln2_low: float
    expm1_terms: int  # of the Taylor series of expm1 on |r| <= ln(2) / 2
    log_terms: int  # of the series of 2 artanh(s) on |s| <= 3 - sqrt(8)
    exp_low: float  # exp is 0 below, infinite above
    exp_high: float
    expm1_low: float  # expm1 is -1 below
    tanh_high: float  # tanh is 1 above
    erf_high: float  # erf is 1 above
    least_normal: float
    exp_near: tuple[float, ...]
    tanh_near: tuple[float, ...]
    erf_near: tuple[float, ...]
    erf_far: tuple[float, ...]


_FORMATS: Final = {
    "float": _Format(
        "i32", 23, 127, 1.5 * 2.0**23, 0.693359375, -2.12194440e-4, 8, 4, -104.0, 89.0, -18.0, 9.1, 4.0, 2.0**-126,
        (1.0, 1.0, 0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.008368724025785923,
         0.0013814583653584123),
        (0.9999999998587566, -0.33333329727072825, 0.1333318348206116, -0.05394476443423899, 0.021692117286787656,
         -0.008159732187779552, 0.002129004078816575),
        (1.128379165754646, -0.3761262593186315, 0.11283586292700871, -0.026853860394790586, 0.00518842104561112,
         -0.0008011025260096825, 7.856652181049394e-05),
        (0.00034281264121989094, 1.1270839225494715, 0.6381537464973586, 0.10309876002379897, -0.021834061508271052,
         0.0029465998323582013, -0.0001862638860974883),
    ),
    "double": _Format(
        "i64", 52, 1023, 1.5 * 2.0**52, float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33"), 14,
        10, -746.0, 710.0, -38.0, 20.0, 6.0, 2.0**-1022,
        (1.0, 1.0, 0.5000000000000011, 0.16666666666666413, 0.04166666666652972, 0.008333333333493684,
         0.0013888888943737177, 0.00019841269508454883, 2.480149299330163e-05, 2.7557584559022143e-06,
         2.7630284878012286e-07, 2.500067462796063e-08),
        (1.0, -0.33333333333332626, 0.13333333333246564, -0.05396825392644737, 0.021869487493185708,
         -0.008863220132355026, 0.0035919833122305123, -0.0014549330212864533, 0.0005862422363036702,
         -0.00022843023853804292, 7.700676910932783e-05, -1.60111612579052e-05),
        (1.1283791670955126, -0.3761263890318352, 0.11283791670944267, -0.026866170643123303, 0.005223977606205253,
         -0.0008548325932995046, 0.00012055293673970754, -1.492471394794161e-05, 1.6447149556853962e-06,
         -1.6206436336461328e-07, 1.3711454965306444e-08, -7.780266456728555e-10),
        (5.051753464525211e-07, 1.1283740673166085, 0.6366437261145917, 0.10270317221820949, -0.018989675772699496,
         -0.0004113212985240562, 0.0019166679478290953, -0.0007712295330041566, 0.00013542220300888957,
         2.00808252160169e-05, -2.2749320529337578e-05, 8.644587265365225e-06, -2.1302878848459346e-06,
         3.72328155872258e-07, -4.629391119516361e-08, 3.922494178111852e-09, -2.0383560396279795e-10,
         4.91142667356628e-12),
    ),
}  # fmt: skip
"""The last four are polynomials' coefficients: in x for exp(x) on |x| <= ln(2) / 2, in x**2 for tanh(x) / x on [0, 5/8]
and erf(x) / x on [0, 1], in x for -ln(1 - erf(x)) from 1 to `erf_high`. They are least squares fits in more digits than
their own, reweighted until the largest relative error of the function was about least. It is at most 2**-29.6 for
float32 and 2**-56.5 for float64 with tanh and erf, 2**-28 and 2**-56.4 with exp, whose first two are held at 1."""


class _Scalef(NamedTuple):
    """An LLVM intrinsic that multiplies by powers of two."""

    name: str
    feature: str
    mask: str
    rounding_type: tuple[str, ...]
    rounding: str  # as the CPU is set


_SCALEF: Final = {
    (kind, bits // width): _Scalef(
        f"llvm.x86.avx512.mask.scalef.{short}.{bits}",
        "avx512f" if bits == 512 else "avx512vl",
        f"i{max(8, bits // width)}",
        ("i32",) if bits == 512 else (),
        ", i32 4" if bits == 512 else "",
    )
    for kind, short, width in (("float", "ps", 32), ("double", "pd", 64))
    for bits in (128, 256, 512)
}


class _Math:
    """The functions for values of one format."""

    def __init__(self, code: Code, kind: str) -> None:
        self.code, self.kind, self.format = code, kind, _FORMATS[kind]

    def number(self, value: float) -> Value:
        if self.kind == "float" and math.isfinite(value):
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        return literal(value, self.kind)

    def integer(self, value: int) -> Value:
        return literal(value, self.format.integer)

    def bits(self, x: Value) -> Value:
        return self.code.convert("bitcast", x, self.format.integer)

    def from_bits(self, x: Value) -> Value:
        return self.code.convert("bitcast", x, self.kind)

    def add(self, a: Value, b: Value) -> Value:
        return self.code.op("fadd", a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        return self.code.op("fsub", a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        return self.code.op("fmul", a, b)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, in one step where the CPU has one."""
        return self.code.intrinsic("fmuladd", a, b, c)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """coefficients[0] + coefficients[1] * x + …, by Horner's rule."""
        result = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.multiply_add(result, x, self.number(coefficient))
        return result

    def held(self, x: Value, low: float | None, high: float | None) -> Value:
        """*x* between *low* and *high*; a NaN stays one."""
        code = self.code
        if low is not None:
            x = code.select(code.compare("fcmp olt", x, self.number(low)), self.number(low), x)
        if high is not None:
            x = code.select(code.compare("fcmp ogt", x, self.number(high)), self.number(high), x)
        return x

    def nearest_integer(self, x: Value, factor: float = 1.0) -> tuple[Value, Value]:
        """*x* times *factor*, rounded, as a float and as an integer; for a NaN the integer is anything."""
        magic = self.number(self.format.round_magic)
        moved = self.add(x, magic) if factor == 1 else self.multiply_add(x, self.number(factor), magic)
        integer = self.code.op("sub", self.bits(moved), self.bits_of(self.format.round_magic))
        return self.subtract(moved, magic), integer

    def bits_of(self, number: float) -> Value:
        """The bits of a number, which *round_magic* is exact for, as an integer literal."""
        exponent = self.format.mantissa + self.format.bias
        assert number == 1.5 * 2.0**self.format.mantissa
        return self.integer((exponent << self.format.mantissa) | (1 << (self.format.mantissa - 1)))

    def power_of_two(self, exponent: Value) -> Value:
        """2**exponent, for exponents of normal numbers."""
        biased = self.code.op("add", exponent, self.integer(self.format.bias))
        return self.from_bits(self.code.op("shl", biased, self.integer(self.format.mantissa)))

    def scaled(self, x: Value, whole: Value, exponent: Value) -> Value:
        """x * 2**exponent, rounded once, however small or large; *whole* is the exponent as a float.

        One instruction on whole vectors of AVX-512. Elsewhere two steps, the first of which is exact.
        """
        own = _SCALEF.get((self.kind, x.lanes))
        if own is not None and self.code.module.target.has(own.feature):
            self.code.module.declare(own.name, x.type, [x.type, x.type, x.type, own.mask, *own.rounding_type])
            values = ", ".join(f"{x.type} {value.text}" for value in (x, whole, x))
            text = f"call {x.type} @{own.name}({values}, {own.mask} -1{own.rounding})"
            return self.code.make(text, x.kind, x.lanes)
        half = self.code.op("ashr", exponent, self.integer(1))
        rest = self.code.op("sub", exponent, half)
        return self.multiply(self.multiply(x, self.power_of_two(half)), self.power_of_two(rest))

    def without_ln2(self, x: Value) -> tuple[Value, Value, Value]:
        """r and n with x = r + n ln 2 and \\|r\\| <= ln(2) / 2; n as a float and as an integer."""
        whole, n = self.nearest_integer(x, 1 / math.log(2))
        r = self.multiply_add(whole, self.number(-self.format.ln2_high), x)
        return self.multiply_add(whole, self.number(-self.format.ln2_low), r), whole, n

    def exp_small(self, r: Value) -> Value:
        """exp(r) for \\|r\\| <= ln(2) / 2."""
        return self.polynomial(r, self.format.exp_near)

    def expm1_small(self, r: Value) -> Value:
        """exp(r) - 1 for \\|r\\| <= ln(2) / 2, accurate down to the least r."""
        tail = self.polynomial(r, [1 / math.factorial(k) for k in range(2, self.format.expm1_terms + 1)])
        return self.multiply_add(self.multiply(r, r), tail, r)

    def exp(self, x: Value) -> Value:
        """Within 1 ulp, subnormal results as well; 1.25 on a CPU without fused multiply-add."""
        r, whole, n = self.without_ln2(self.held(x, self.format.exp_low, self.format.exp_high))
        return self.scaled(self.exp_small(r), whole, n)

    def exp2(self, x: Value) -> Value:
        """Within 1 ulp, or 1.25 as `exp`."""
        limit = self.format.bias + 1.0
        x = self.held(x, -limit - self.format.mantissa - 2, limit)
        whole, n = self.nearest_integer(x)
        r = self.multiply(self.subtract(x, whole), self.number(math.log(2)))
        return self.scaled(self.exp_small(r), whole, n)

    def expm1(self, x: Value) -> Value:
        """Within 2 ulp, near 0 as well."""
        x = self.held(x, self.format.expm1_low, self.format.exp_high)
        r, _, n = self.without_ln2(x)
        # 2**n (p + 1) - 1 by way of half of it, since 2**n itself may overflow where the result does not
        half = self.power_of_two(self.code.op("sub", n, self.integer(1)))
        small = self.expm1_small(r)
        result = self.multiply_add(small, half, self.subtract(half, self.number(0.5)))
        result = self.multiply(result, self.number(2.0))
        is_small = self.code.compare("icmp eq", n, self.integer(0))
        return self.code.select(is_small, self.code.intrinsic("copysign", small, x), result)

    def near_zero(self, size: Value, coefficients: Sequence[float]) -> Value:
        """size * P(size**2), as size + (P - 1) size, which rounds less."""
        first, *others = coefficients
        return self.multiply_add(self.polynomial(self.multiply(size, size), [first - 1, *others]), size, size)

    def tanh(self, x: Value) -> Value:
        """Within 1.5 ulp."""
        code = self.code
        if has_tables(code, self.kind):
            return looked_up(code, "tanh", x)
        size = self.held(code.intrinsic("fabs", x), None, self.format.tanh_high)
        r, _, n = self.without_ln2(self.add(size, size))
        power = self.multiply(self.exp_small(r), self.power_of_two(n))
        far = code.op("fdiv", self.number(2.0), self.add(power, self.number(1.0)))
        near = self.near_zero(size, self.format.tanh_near)
        is_near = code.compare("fcmp olt", size, self.number(0.625))
        return code.intrinsic("copysign", code.select(is_near, near, self.subtract(self.number(1.0), far)), x)

    def erf(self, x: Value) -> Value:
        """Within 1.5 ulp."""
        code, format = self.code, self.format
        if has_tables(code, self.kind):
            return looked_up(code, "erf", x)
        size = self.held(code.intrinsic("fabs", x), None, format.erf_high)
        near = self.near_zero(size, format.erf_near)
        minus = self.polynomial(size, [-c for c in format.erf_far])
        r, _, n = self.without_ln2(minus)
        far = self.subtract(self.number(1.0), self.multiply(self.exp_small(r), self.power_of_two(n)))
        result = code.select(code.compare("fcmp olt", size, self.number(1.0)), near, far)
        return code.intrinsic("copysign", result, x)

    def log(self, x: Value) -> Value:
        """Within 1 ulp; minus infinity for 0, NaN below.

        The steps are those of FreeBSD's ``e_log.c``, with the series of artanh itself for its polynomial.
        """
        code, format = self.code, self.format
        shift = format.mantissa + 2
        is_tiny = code.compare("fcmp olt", x, self.number(format.least_normal))
        bits = self.bits(code.select(is_tiny, self.multiply(x, self.number(2.0**shift)), x))
        one = format.bias << format.mantissa
        low = int.from_bytes(_root_half_bytes(self.kind), "little")  # a mantissa starts at sqrt(1/2)
        bits = code.op("add", bits, self.integer(one - low))
        exponent = code.op("sub", code.op("lshr", bits, self.integer(format.mantissa)), self.integer(format.bias))
        exponent = code.op("sub", exponent, code.select(is_tiny, self.integer(shift), self.integer(0)))
        e = code.convert("sitofp", exponent, self.kind)
        mantissa = code.op("and", bits, self.integer((1 << format.mantissa) - 1))
        f = self.subtract(self.from_bits(code.op("add", mantissa, self.integer(low))), self.number(1.0))
        s = code.op("fdiv", f, self.add(f, self.number(2.0)))
        z = self.multiply(s, s)
        series = self.polynomial(z, [2 / (2 * k + 1) for k in range(1, format.log_terms + 1)])
        half_square = self.multiply(self.multiply(f, self.number(0.5)), f)
        correction = self.multiply_add(z, series, half_square)
        correction = self.multiply_add(s, correction, self.multiply(e, self.number(format.ln2_low)))
        result = self.subtract(f, self.subtract(half_square, correction))
        result = self.multiply_add(e, self.number(format.ln2_high), result)
        zero, infinity = self.number(0.0), self.number(math.inf)
        at_zero = code.compare("fcmp oeq", x, zero)
        result = code.select(code.compare("fcmp olt", x, infinity), result, x)  # infinity and NaN stay
        result = code.select(code.compare("fcmp olt", x, zero), self.number(math.nan), result)
        return code.select(at_zero, self.number(-math.inf), result)


def _tf32(m: _Math, x: Value) -> Value:
    """*x* rounded to 10 bits of mantissa, halves away from zero."""
    code, gone = m.code, m.format.mantissa - 10
    bits = code.op("add", m.bits(x), m.integer(1 << (gone - 1)))
    rounded = m.from_bits(code.op("and", bits, m.integer(-1 << gone)))
    finite = code.compare("fcmp one", code.intrinsic("fabs", x), m.number(math.inf))
    return code.select(finite, rounded, x)


def _root_half_bytes(kind: str) -> bytes:
    return struct.pack("<f" if kind == "float" else "<d", math.sqrt(0.5))


_OWN: Final[dict[str, Callable[[_Math, Value], Value]]] = {
    "exp": _Math.exp, "exp2": _Math.exp2, "expm1": _Math.expm1, "log": _Math.log, "tanh": _Math.tanh,
    "erf": _Math.erf, "tf32": _tf32,
}  # fmt: skip
_INSTRUCTIONS: Final = {
    "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "abs": "fabs", "fma": "fma",
    "round": "rint",  # halves to even, which is the rounding mode that everybody leaves set
}  # fmt: skip
_LIBRARY: Final = {
    "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "pow", "atan2",
}  # fmt: skip


_WITHOUT_LIBRARY: Final = ("nvptx64", "amdgcn")


def known_functions() -> list[str]:
    """The functions that can be compiled."""
    return sorted({*_OWN, *_INSTRUCTIONS, *_LIBRARY})


def call(code: Code, function: str, args: Sequence[Value]) -> Value:
    """*function*, by its name in `flashsched.te`, of floats of one type.

    Raises:
        LoweringError: there is no such function.
    """
    kind = args[0].kind
    if function in _OWN:
        return _OWN[function](_Math(code, kind), args[0])
    if function in _INSTRUCTIONS:
        return code.intrinsic(_INSTRUCTIONS[function], *args)
    if function in _LIBRARY and code.module.target.arch in _WITHOUT_LIBRARY:
        if kind == "double":
            raise LoweringError(
                f"{function}() of float64 has no code on a GPU",
                hint="cast to float32 around it; exp, exp2, expm1, log, tanh, erf, sqrt and roundings have code",
            )
        return wide(function, _Math(code, "double"), args)
    if function in _LIBRARY:
        return code.each_lane(function if kind == "double" else f"{function}f", *args)
    raise LoweringError(f"no function {function!r} can be compiled", hint=did_you_mean(function, known_functions()))
