"""The order in which the tiles of a matrix product read A and B, said of the copies that are made of them.

Either may be *turned*, that is lie transposed, A as (k, i) and B as (j, k); axes before these two count matrices. With
*parallel*, all threads copy.
"""

from __future__ import annotations

from flashsched.schedule import Schedule
from flashsched.te.tensor import Axis, Tensor

__all__ = ["LINE", "ROWS_ALONG", "pack_columns", "pack_rows"]

LINE = 16
"""Elements along k that lie together: a cache line of float32."""

ROWS_ALONG = 8
"""Rows of B that are copied at once, along all panels: as many pages are open."""


def pack_columns(s: Schedule, panel: Tensor, turned: bool, width: int, deep: int, parallel: bool) -> None:
    """*panel*, a copy of B, as panels of *width* columns, *deep* rows of a panel together, the next ones after."""
    *leading, k, j = _rows_first(s, panel, turned)
    outer, inner = s[panel].split(j, factor=width, tail="cut")
    shared = outer
    if turned:  # along k, as it lies
        k_block, k_inner = s[panel].split(k, factor=LINE, tail="cut")
        s[panel].reorder(*leading, outer, k_block, inner, k_inner)
        s[panel].vectorize(k_inner)
        s[panel].transform_layout(
            lambda *at: (*at[:-2], at[-2] // width, at[-1] // deep, at[-2] % width, at[-1] % deep)
        )
    else:  # a few rows at a time, along all panels
        shared, k_inner = s[panel].split(k, factor=ROWS_ALONG)
        s[panel].reorder(*leading, shared, outer, k_inner, inner)
        s[panel].vectorize(inner)
        s[panel].transform_layout(
            lambda *at: (*at[:-2], at[-1] // width, at[-2] // deep, at[-1] % width, at[-2] % deep)
        )
    if parallel:
        s[panel].parallel(shared)


def pack_rows(s: Schedule, panel: Tensor, turned: bool, rows: int, parallel: bool) -> None:
    """*panel*, a copy of A, as panels of *rows* rows: a cache line of each after another; of a turned A, a column."""
    *leading, i, k = _rows_first(s, panel, turned)
    i_outer, i_inner = s[panel].split(i, factor=rows, tail="cut" if turned else None)
    if turned:
        s[panel].reorder(*leading, i_outer, k, i_inner)
        s[panel].vectorize(i_inner)
        s[panel].transform_layout(lambda *at: (*at[:-2], at[-1] // rows, at[-2], at[-1] % rows))
    else:
        k_outer, k_inner = s[panel].split(k, factor=LINE, tail="cut")
        s[panel].reorder(*leading, i_outer, k_outer, i_inner, k_inner)
        s[panel].vectorize(k_inner)
        s[panel].transform_layout(lambda *at: (*at[:-2], at[-2] // rows, at[-1] // LINE, at[-2] % rows, at[-1] % LINE))
    if parallel:
        s[panel].parallel(i_outer)


def _rows_first(s: Schedule, panel: Tensor, turned: bool) -> list[Axis]:
    *leading, first, second = s[panel].op.axis
    return [*leading, second, first] if turned else [*leading, first, second]
