"""conv2d of 3 x 3 windows by Winograd's minimal filtering: fewer multiplications, for a little more rounding.

``F(m, 3)`` computes m x m pixels of the output from (m + 2) x (m + 2) of the image with (m + 2)**2 multiplications a
channel, where the sum itself takes 9 m**2: 2.25 times as many for m = 2, and 4 times for m = 4. Image and weights are
transformed, multiplied and summed over channels as (m + 2)**2 matrix products, and the sums transformed back::

    Y = A^T ((G w G^T) * (B^T x B)) A

S. Winograd, "Arithmetic Complexity of Computations", 1980; the matrices, for the points 0, 1, -1 (and 2, -2), are those
of A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.

Rounding errors grow with m. `tests/ops/test_winograd.py` holds what is said of them in `conv2d`'s documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from flashsched import te
from flashsched.errors import TuneError
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor

__all__ = ["TRANSFORMS", "Transform", "transformed", "winograd"]

_Element = Callable[[Expr, Expr, Expr, Expr], Expr]
_Matrix = tuple[tuple[Fraction, ...], ...]


class Transform(NamedTuple):
    """The matrices of F(m, 3): of the image, of the weights, and of the sums."""

    image: _Matrix
    weights: _Matrix
    sums: _Matrix


def _matrix(text: str) -> _Matrix:
    return tuple(tuple(Fraction(number) for number in row.split()) for row in text.split(","))


TRANSFORMS = {
    2: Transform(
        _matrix("1 0 -1 0, 0 1 1 0, 0 -1 1 0, 0 1 0 -1"),
        _matrix("1 0 0, 1/2 1/2 1/2, 1/2 -1/2 1/2, 0 0 1"),
        _matrix("1 1 1 0, 0 1 -1 -1"),
    ),
    4: Transform(
        _matrix("4 0 -5 0 1 0, 0 -4 -4 1 1 0, 0 4 -4 -1 1 0, 0 -2 -1 2 1 0, 0 2 -1 -2 1 0, 0 4 0 -5 0 1"),
        _matrix("1/4 0 0, -1/6 -1/6 -1/6, -1/6 1/6 -1/6, 1/24 1/12 1/6, 1/24 -1/12 1/6, 0 0 1"),
        _matrix("1 1 1 1 1 0, 0 1 -1 2 -2 0, 0 1 1 4 4 0, 0 1 -1 8 -8 1"),
    ),
}
"""F(2, 3) and F(4, 3), by m."""


def transformed(weight: Tensor, m: int) -> Tensor:
    """``G w G^T`` of each channel and filter: [m + 2, m + 2, C, O] from *weight* [O, C, 3, 3].

    Raises:
        TuneError: the window is not 3 x 3.
    """
    filters, channels, *window = weight.known_shape
    if window != [3, 3]:
        raise TuneError(f"winograd: a window of {window[0]} x {window[1]} is not 3 x 3")
    weights, t = TRANSFORMS[m].weights, m + 2
    half = te.compute(
        (t, 3, channels, filters), lambda a, j, c, o: _row(weights, a, lambda i: weight[o, c, i, j]), name="GW"
    )
    made: Tensor = te.compute(
        (t, t, channels, filters), lambda a, b, c, o: _row(weights, b, lambda j: half[a, j, c, o]), name="U"
    )
    return made


def winograd(padded: Tensor, u: _Element, filters: int, height: int, width: int, m: int) -> _Element:
    """The sums of a convolution, element by element: a function of n, o, h and w.

    *padded* is the image [N, C, H, W] with zeros around, as many after its last row and column as the last tile needs;
    ``u(a, b, c, o)`` are the transformed weights of as many *filters*; the output has *height* x *width* pixels.
    """
    image, _, sums = TRANSFORMS[m]
    t = m + 2
    batch, channels = padded.known_shape[:2]
    rows, columns = -(-height // m), -(-width // m)
    part = te.compute(
        (batch, rows, t, t, columns, channels),
        lambda n, y, a, j, x, c: _row(image, a, lambda i: padded[n, c, y * m + i, x * m + j]),
        name="BX",
    )
    v = te.compute(
        (batch, rows, t, t, columns, channels),
        lambda n, y, a, b, x, c: _row(image, b, lambda j: part[n, y, a, j, x, c]),
        name="V",
    )
    c = te.reduce_axis((0, channels), name="c")
    product = te.compute(
        (batch, rows, t, t, columns, filters),
        lambda n, y, a, b, x, o: te.sum(v[n, y, a, b, x, c] * u(a, b, c, o), axis=c),
        name="M",
    )
    back = te.compute(
        (batch, rows, m, t, columns, filters),
        lambda n, y, i, b, x, o: _row(sums, i, lambda a: product[n, y, a, b, x, o]),
        name="AM",
    )

    def element(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
        return _row(sums, w % m, lambda b: back[n, h // m, h % m, b, w // m, o])

    return element


def _row(matrix: _Matrix, row: Expr, vector: Callable[[int], Expr]) -> Expr:
    """Element *row* of *matrix* times a vector; which row it is becomes certain once its loop is written out."""
    lines = [_combined(line, vector) for line in matrix]
    result = lines[-1]
    for number in reversed(range(len(lines) - 1)):
        result = te.select(row == number, lines[number], result)
    return result


def _combined(factors: Sequence[Fraction], vector: Callable[[int], Expr]) -> Expr:
    total: Expr | None = None
    for number, factor in enumerate(factors):
        if factor:
            value = vector(number)
            size = abs(factor)
            term = value if size == 1 else value * te.const(float(size), value.dtype)
            if total is None:
                total = term if factor > 0 else -term
            else:
                total = total + term if factor > 0 else total - term
    assert total is not None
    return total
