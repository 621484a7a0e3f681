"""What a GPU has no C library for: functions of float32 computed in float64, with arithmetic alone.

In so much more precision the plain formulas are enough, so each result is the function's rounded to float32, but for
rare cases within a hair of the middle between two of them. Zeros, infinities and NaNs are as the C standard has them.
Functions of float64 itself have no code: they would need formulas in more digits than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from flashsched.codegen.emit_code import Code, Value

__all__ = ["WIDE", "Arithmetic", "wide"]

MOST_TURNS = 2.0**51
"""sin, cos and tan are NaN from this number of quarter turns on: floats there lie further apart than whole turns."""

_QUARTER = (math.pi / 2, 6.123233995736766e-17, -1.4973849048591833e-33)  # pi / 2, the rest of it, and the rest of that
_TAN_EIGHTH = math.sqrt(2.0) - 1.0


class Arithmetic(Protocol):
    """What the functions are made of: values of float64, and functions of them."""

    code: Code

    def number(self, value: float) -> Value: ...
    def integer(self, value: int) -> Value: ...
    def bits(self, x: Value) -> Value: ...
    def add(self, a: Value, b: Value) -> Value: ...
    def subtract(self, a: Value, b: Value) -> Value: ...
    def multiply(self, a: Value, b: Value) -> Value: ...
    def multiply_add(self, a: Value, b: Value, c: Value) -> Value: ...
    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value: ...
    def nearest_integer(self, x: Value, factor: float = 1.0) -> tuple[Value, Value]: ...
    def exp(self, x: Value) -> Value: ...
    def expm1(self, x: Value) -> Value: ...
    def log(self, x: Value) -> Value: ...


def wide(function: str, on: Arithmetic, args: Sequence[Value]) -> Value:
    """*function* of *args*, which are float32, as float32; *on* is the arithmetic of float64."""
    code = on.code
    return code.convert(
        "fptrunc", WIDE[function](_Wide(on), *(code.convert("fpext", x, "double") for x in args)), "float"
    )


class _Wide:
    """The functions, of float64 values that are float32 numbers."""

    def __init__(self, on: Arithmetic) -> None:
        self.on, self.code = on, on.code

    # -- what they share

    def size(self, x: Value) -> Value:
        return self.code.intrinsic("fabs", x)

    def divide(self, a: Value, b: Value) -> Value:
        return self.code.op("fdiv", a, b)

    def where(self, a: Value, how: str, b: float | Value, yes: Value | float, no: Value) -> Value:
        """*yes* where the comparison *how* of *a* and *b* holds, else *no*."""
        other = self.on.number(b) if isinstance(b, float) else b
        chosen = self.on.number(yes) if isinstance(yes, float) else yes
        return self.code.select(self.code.compare(f"fcmp {how}", a, other), chosen, no)

    def is_negative(self, x: Value) -> Value:
        """Whether the sign of *x*, which may be a zero, is minus."""
        return self.code.compare("icmp slt", self.on.bits(x), self.on.integer(0))

    def negated(self, x: Value) -> Value:
        return self.on.multiply(x, self.on.number(-1.0))

    def root_of_rest(self, x: Value) -> Value:
        """sqrt(1 - x**2); NaN outside of [-1, 1]."""
        one = self.on.number(1.0)
        return self.code.intrinsic("sqrt", self.on.multiply(self.on.subtract(one, x), self.on.add(one, x)))

    # -- logarithms and powers

    def log2(self, x: Value) -> Value:
        return self.on.multiply(self.on.log(x), self.on.number(1.0 / math.log(2.0)))

    def log10(self, x: Value) -> Value:
        return self.on.multiply(self.on.log(x), self.on.number(1.0 / math.log(10.0)))

    def log1p(self, x: Value) -> Value:
        near = self.on.multiply(x, self.on.polynomial(x, [1.0, -1 / 2, 1 / 3, -1 / 4]))
        return self.where(self.size(x), "olt", 1e-4, near, self.on.log(self.on.add(x, self.on.number(1.0))))

    def pow(self, x: Value, y: Value) -> Value:
        """|x|**y, negative where x is and y is odd; NaN where x is negative and y no integer."""
        code, on = self.code, self.on
        size = self.size(x)
        result = on.exp(on.multiply(y, on.log(size)))
        half = on.multiply(y, on.number(0.5))
        whole = code.compare("fcmp oeq", code.intrinsic("trunc", y), y)
        odd = code.op("and", whole, code.compare("fcmp one", code.intrinsic("trunc", half), half))
        negative = self.is_negative(x)
        result = code.select(code.op("and", negative, odd), self.negated(result), result)
        below = code.compare("fcmp olt", x, on.number(0.0))
        finite = code.compare("fcmp one", size, on.number(math.inf))
        broken = code.op("and", code.compare("fcmp une", code.intrinsic("trunc", y), y), code.op("and", below, finite))
        result = code.select(broken, on.number(math.nan), result)
        at_one = code.op("and", code.compare("fcmp oeq", x, on.number(-1.0)), whole)
        endless = code.compare("fcmp oeq", self.size(y), on.number(math.inf))
        result = code.select(code.op("and", at_one, endless), on.number(1.0), result)
        result = self.where(x, "oeq", 1.0, 1.0, result)
        return self.where(y, "oeq", 0.0, 1.0, result)

    def sinh(self, x: Value) -> Value:
        size = self.size(x)
        less = self.on.expm1(
            self.code.select(self.code.compare("fcmp olt", size, self.on.number(1.0)), size, self.on.number(1.0))
        )
        near = self.on.add(less, self.divide(less, self.on.add(less, self.on.number(1.0))))
        power = self.on.exp(size)
        far = self.on.subtract(power, self.divide(self.on.number(1.0), power))
        double = self.where(size, "olt", 1.0, near, far)
        return self.code.intrinsic("copysign", self.on.multiply(double, self.on.number(0.5)), x)

    def cosh(self, x: Value) -> Value:
        power = self.on.exp(self.size(x))
        return self.on.multiply(self.on.add(power, self.divide(self.on.number(1.0), power)), self.on.number(0.5))

    # -- angles

    def turned(self, x: Value) -> tuple[Value, Value, Value]:
        """sin and cos of what is left of x beyond n quarter turns, and n."""
        on = self.on
        whole, n = on.nearest_integer(x, 2 / math.pi)
        r = x
        for part in _QUARTER:
            r = on.multiply_add(whole, on.number(-part), r)
        r = self.where(self.size(whole), "olt", MOST_TURNS, r, on.number(math.nan))
        square = on.multiply(r, r)
        sine = on.polynomial(square, [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)])
        cosine = on.polynomial(square, [(-1) ** k / math.factorial(2 * k) for k in range(8)])
        return on.multiply(sine, r), cosine, n

    def quarter(self, sine: Value, cosine: Value, n: Value) -> Value:
        """The sine, *n* quarter turns further."""
        code, on = self.code, self.on
        odd = code.compare("icmp ne", code.op("and", n, on.integer(1)), on.integer(0))
        back = code.compare("icmp ne", code.op("and", n, on.integer(2)), on.integer(0))
        value = code.select(odd, cosine, sine)
        return code.select(back, self.negated(value), value)

    def sin(self, x: Value) -> Value:
        sine, cosine, n = self.turned(x)
        return self.where(x, "oeq", 0.0, x, self.quarter(sine, cosine, n))

    def cos(self, x: Value) -> Value:
        sine, cosine, n = self.turned(x)
        return self.quarter(sine, cosine, self.code.op("add", n, self.on.integer(1)))

    def tan(self, x: Value) -> Value:
        sine, cosine, n = self.turned(x)
        further = self.quarter(sine, cosine, self.code.op("add", n, self.on.integer(1)))
        return self.where(x, "oeq", 0.0, x, self.divide(self.quarter(sine, cosine, n), further))

    def atan_small(self, t: Value) -> Value:
        """atan(t) for 0 <= t <= 1, by way of the eighth of a turn that is nearest."""
        on = self.on
        far = self.divide(on.subtract(t, on.number(1.0)), on.add(t, on.number(1.0)))
        near = self.where(t, "ogt", _TAN_EIGHTH, far, t)
        square = on.multiply(near, near)
        series = on.multiply(near, on.polynomial(square, [(-1) ** k / (2 * k + 1) for k in range(16)]))
        return self.where(t, "ogt", _TAN_EIGHTH, on.add(series, on.number(math.pi / 4)), series)

    def atan2(self, y: Value, x: Value) -> Value:
        code, on = self.code, self.on
        a, b = self.size(y), self.size(x)
        steep = code.compare("fcmp ogt", a, b)
        ratio = self.divide(code.select(steep, b, a), code.select(steep, a, b))
        ratio = self.where(a, "oeq", b, 1.0, ratio)  # infinite both, perhaps
        ratio = self.where(a, "oeq", 0.0, 0.0, ratio)
        angle = self.atan_small(ratio)
        angle = code.select(steep, on.subtract(on.number(math.pi / 2), angle), angle)
        angle = code.select(self.is_negative(x), on.subtract(on.number(math.pi), angle), angle)
        result = code.intrinsic("copysign", angle, y)
        return code.select(code.compare("fcmp uno", x, y), on.number(math.nan), result)

    def atan(self, x: Value) -> Value:
        return self.atan2(x, self.on.number(1.0))

    def asin(self, x: Value) -> Value:
        return self.atan2(x, self.root_of_rest(x))

    def acos(self, x: Value) -> Value:
        return self.atan2(self.root_of_rest(x), x)


WIDE: Final[dict[str, Callable[..., Value]]] = {
    "log2": _Wide.log2, "log10": _Wide.log10, "log1p": _Wide.log1p, "pow": _Wide.pow, "sinh": _Wide.sinh,
    "cosh": _Wide.cosh, "sin": _Wide.sin, "cos": _Wide.cos, "tan": _Wide.tan, "asin": _Wide.asin, "acos": _Wide.acos,
    "atan": _Wide.atan, "atan2": _Wide.atan2,
}  # fmt: skip
"""The functions, by their names in `flashsched.te`."""
