"""Regions: never too small, and exact where indices are linear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.schedule.ir import Buffer, For, If, Let, Load, Seq, Stmt, Store
from flashsched.schedule.regions import Span, accesses, region
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Expr, Var, const
from flashsched.te.visit import free_vars
from flashsched.testing.programs import matmul

B, OUT = Buffer("B", (1000,), "float32"), Buffer("OUT", (1,), "float32")
o, i, j = Var("o"), Var("i"), Var("j")
OUTER = {o: (0.0, 6.0)}


def reads(*indices: Expr, i_turns: int = 4, j_turns: int = 3) -> Stmt:
    """Loops over i and j that read B at each of *indices*; o is outside."""
    stores = [Store(OUT, (const(0, "int64"),), Load(B, (index,))) for index in indices]
    return For(i, const(i_turns, "int64"), For(j, const(j_turns, "int64"), Seq(tuple(stores))))


def span(*indices: Expr, size: int = 1000, **turns: int) -> Span:
    (found,) = region(accesses(reads(*indices, **turns), B), (size,), OUTER)
    return found


@pytest.mark.parametrize(
    ("indices", "first", "extent"),
    [
        ((o * 8 + i,), "o * 8", 4),
        ((o * 8 + i * 2 + j,), "o * 8", 9),
        ((o * 8 + i - 1, o * 8 + i + 1), "o * 8 - 1", 6),
        ((o - i,), "o - 3", 4),
        ((i + j,), "0", 6),
        ((o * 8 + i // 2,), "o * 8", 2),
        (((o * 12 + i * 3 + j) // 3,), "o * 4", 4),
        (((o * 4 + i) % 8,), "o % 2 * 4", 4),
        ((o * 3,), "o * 3", 1),
    ],
)
def test_linear_indices_are_exact(indices: tuple[Expr, ...], first: str, extent: int) -> None:
    found = span(*indices)
    assert (str(found.first), found.extent) == (first, extent)
    assert found.exact


def test_what_is_not_known_is_all_of_it() -> None:
    table = Buffer("T", (1000,), "int64")
    for index in (Load(table, (i,)), Load(table, (o,)) + i, (i ^ 3) + o):
        found = span(index)
        assert (str(found.first), found.extent, found.exact) == ("0", 1000, False)


def test_a_product_and_what_is_clipped_are_bounded_by_numbers() -> None:
    table = Buffer("T", (1000,), "int64")
    for index, extent in ((i * j, 7), (te.clip(Load(table, (i,)), 0, 4), 5), (te.select(o > 2, i, j) + 0, 4)):
        found = span(index)
        assert (str(found.first), found.extent) == ("0", extent)


def test_a_clamped_window_is_a_window() -> None:
    def clamped(index: Expr) -> Expr:
        return te.clip(index, 0, 54)

    found = span(clamped(o * 8 + i - 2), clamped(o * 8 + i + 2), size=55)
    assert (str(found.first), found.extent) == ("max(o * 8 - 2, 0)", 8)
    mirrored = te.maximum(o * 8 + i - 2, 1 - (o * 8 + i))
    assert span(mirrored).extent == 4
    assert span(te.abs(o * 8 + i - 3)).extent == 4


def test_a_wrap_takes_all_of_the_remainder() -> None:
    found = span((o * 3 + i) % 8)
    assert (str(found.first), found.extent) == ("0", 8)


def test_a_part_as_large_as_the_whole_is_the_whole() -> None:
    found = span(o * 4 + i, o * 4 + i + 24, size=28)
    assert (str(found.first), found.extent) == ("0", 28)


def test_reads_of_every_place_and_writes_when_asked() -> None:
    t = Var("t", "float32")
    zero = const(0, "int64")
    nest = Seq(
        (
            If(
                Load(B, (const(1, "int64"),)) > 0,
                Store(B, (const(9, "int64"),), const(1.0)),
                Store(OUT, (zero,), const(1.0)),
            ),
            Let(t, Load(B, (const(5, "int64"),)), Store(OUT, (zero,), t)),
        )
    )
    assert sorted(str(a.indices[0]) for a in accesses(nest, B)) == ["1", "5", "9"]
    assert sorted(str(a.indices[0]) for a in accesses(nest, B, writes=False)) == ["1", "5"]
    *_, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    out = s.state.stages["C"].buffers[0]
    assert len(accesses(s.body, out)) == 3  # the init, the update, and what the update reads
    assert accesses(s.body, out, skip="C") == []


def test_nothing_touched_is_nothing() -> None:
    assert region([], (7,), {}) == [Span(const(0, "int64"), 0)] or region([], (7,), {})[0].extent == 0


INDEX: list[Callable[[Expr, Expr], Expr]] = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a + b * 2, lambda a, b: a * 3 - b, lambda a, b: (a + b) // 3,
    lambda a, b: (a + b) % 5, lambda a, b: te.minimum(a, b), lambda a, b: te.maximum(a - 2, b), lambda a, b: a // 2 * 4,
    lambda a, b: a % 4 + b, lambda a, b: a * b, lambda a, b: te.select(a < 2, a, b),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_region_holds_all_that_is_touched(data: st.DataObject) -> None:
    terms: list[Expr] = [o, i, j, o * 4, i * 3, const(2, "int64")]
    for _ in range(data.draw(st.integers(1, 3))):
        make = data.draw(st.sampled_from(INDEX))
        terms.append(make(data.draw(st.sampled_from(terms)), data.draw(st.sampled_from(terms))))
    indices = [terms[-1]] + ([data.draw(st.sampled_from(terms)) + 1] if data.draw(st.booleans()) else [])
    grid = np.meshgrid(np.arange(7), np.arange(4), np.arange(3), indexing="ij")
    env = dict(zip((o, i, j), grid, strict=True))
    values = [np.broadcast_to(evaluate(index, env, lambda *_: None), grid[0].shape) for index in indices]  # type: ignore[arg-type, return-value]
    size = int(max(v.max() for v in values)) + 1
    found = span(*indices, size=max(size, 1))
    assert free_vars(found.first) <= {o}
    first = np.broadcast_to(evaluate(found.first, env, lambda *_: None), grid[0].shape)  # type: ignore[arg-type, return-value]
    for value in values:
        inside = (value >= 0) & (value < size)  # what lies outside of the buffer is guarded, so never touched
        assert (value[inside] >= first[inside]).all()
        assert (value[inside] < first[inside] + found.extent).all()
