"""Rows of a small buffer to its columns: what lanes read that lie whole vectors apart, as vector loads and shuffles.

A tile of sums has vectors over one dimension, and its copy into an output may need them over another. Each lane of such
a read is in another vector. As many vectors as there are lanes hold as many columns as a vector has elements, so all
of them are turned together, once, and the reads of the columns beside it find theirs made.
"""

from __future__ import annotations

from flashsched.codegen.emit_code import BITS, Code, Value

__all__ = ["turned"]

_GROUP = 128  # bits within which shuffles cost least on x86; on other CPUs a whole vector


def turned(code: Code, rows: list[Value]) -> list[Value]:
    """The columns of a square matrix, given its *rows*: as many vectors as each has elements, a power of two.

    Two rounds of `_unzipped`: elements within groups of 128 bits, then whole groups. Each step is one instruction that
    needs no table of indices::

        a0 a1 a2 a3                      a0 b0 c0 d0
        b0 b1 b2 b3    a0 a2 b0 b2       a1 b1 c1 d1
        c0 c1 c2 c3    c0 c2 d0 d2  ->   a2 b2 c2 d2
        d0 d1 d2 d3    …                 a3 b3 c3 d3
    """
    size = len(rows)
    group = min(size, max(1, _GROUP // BITS[rows[0].kind]))
    parts = [_unzipped(code, rows[first : first + group], 1, group) for first in range(0, size, group)]
    columns: list[Value] = [rows[0]] * size
    for place in range(group):
        across = _unzipped(code, [part[place] for part in parts], group, size)
        for number, column in enumerate(across):
            columns[number * group + place] = column
    return columns


def _unzipped(code: Code, rows: list[Value], step: int, span: int) -> list[Value]:
    """Column *n* of *rows*, in each *span* of elements: their pieces of *step* elements that are the *n*-th there."""
    vectors = rows
    for _ in range((len(rows) - 1).bit_length()):
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        vectors = [_every_second(code, a, b, step, span, 0) for a, b in pairs]
        vectors += [_every_second(code, a, b, step, span, 1) for a, b in pairs]
    return vectors


def _every_second(code: Code, a: Value, b: Value, step: int, span: int, first: int) -> Value:
    """In each *span* of elements, every second piece of *step* elements of *a*, then of *b*."""
    picks: list[int] = []
    for start in range(0, a.lanes, span):
        for base in (start, start + a.lanes):
            for piece in range(first * step, span, 2 * step):
                picks += range(base + piece, base + piece + step)
    return code.shuffle(a, b, picks)
