"""Regions: never too small, and exact where indices are linear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.schedule.accesses import accesses
from flashsched.schedule.ir import Buffer, For, If, Let, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.regions import Span, region
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Expr, Var, compare, const
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


def guarded(
    condition: Expr, index: Expr, *, i_kind: LoopKind = LoopKind.SERIAL, j_kind: LoopKind = LoopKind.SERIAL
) -> Span:
    """What is touched of B where a turn of i (8) and j (3) reads it at *index* if *condition* holds."""
    read = Store(OUT, (const(0, "int64"),), Load(B, (index,)))
    nest = For(i, const(8, "int64"), For(j, const(3, "int64"), If(condition, read), j_kind), i_kind)
    (found,) = region(accesses(nest, B), (1000,), OUTER)
    return found


@pytest.mark.parametrize(
    ("condition", "index", "first", "extent"),
    [
        (i * 3 + j < 7, i * 3 + j, "0", 7),
        (i * 3 + j < 7, (i * 3 + j) // 2, "0", 4),
        (i * 3 + j < 7, 20 - i * 3 - j, "14", 7),
        (i * 3 + j < 7, o * 8 + i, "o * 8", 3),
        (i * 3 + j >= 7, i * 2, "4", 11),
        (i * 3 + j < 7, o * 8 + i * 6 + j * 2 + 1, "o * 8 + 1", 13),
        (i * 3 < 7, i * 3 + j, "0", 9),
        (i - 2 >= 0, i + j, "2", 8),
        ((i - 2 >= 0) & (i < 5), o * 8 + i, "o * 8 + 2", 3),
        (i + j >= 7, i - j, "3", 5),
        (i < 2, i, "0", 2),
        (o * 8 + i < 12, o * 8 + i, "o * 8", 8),  # the first turn of o touches all of them
        (o + i < 3, i, "0", 8),
        (te.any(i < 2, j < 1), i, "0", 8),
        (compare("==", i, 2), i, "0", 8),
        (Load(B, (i,)) > 0, i, "0", 8),
        (i < Load(Buffer("T", (8,), "int64"), (i,)), i, "0", 8),
        (i < 0, i, "0", 1),  # an element that nothing touches
    ],
)
def test_conditions_bound_what_they_speak_of(condition: Expr, index: Expr, first: str, extent: int) -> None:
    found = guarded(condition, index)
    assert (str(found.first), found.extent) == (first, extent)


def test_a_vector_is_touched_whole_or_not_at_all() -> None:
    assert guarded(i * 3 + j < 7, i * 3 + j, j_kind=LoopKind.VECTORIZE).extent == 9
    assert guarded(j < 2, j, j_kind=LoopKind.VECTORIZE).extent == 3
    assert guarded((i < 2) & (j < 1), i * 3 + j, j_kind=LoopKind.VECTORIZE).extent == 6
    assert (
        guarded(i < 2, i, i_kind=LoopKind.TENSORIZE).extent == guarded(j < 1, i, i_kind=LoopKind.TENSORIZE).extent == 8
    )
    assert guarded(j < 2, j, i_kind=LoopKind.TENSORIZE).extent == 3  # all loops inside are the instruction's
    assert guarded(i // (j + 1) < 2, i, j_kind=LoopKind.VECTORIZE).extent == 8  # which lane is not clear


def test_the_other_side_of_a_condition_is_not_bounded_by_it() -> None:
    zero = const(0, "int64")
    nest = For(i, const(8, "int64"), If(i < 3, Store(B, (zero,), const(1.0)), Store(B, (i,), const(1.0))))
    (found,) = region(accesses(nest, B), (1000,), OUTER)
    assert found.extent == 8


def test_what_only_the_piece_has_a_name_for_bounds_nothing() -> None:
    t = Var("t", "int64")
    read = Store(OUT, (const(0, "int64"),), Load(B, (i,)))
    nest = For(i, const(8, "int64"), Let(t, i + 1, If(i < t - 4, read)))
    (found,) = region(accesses(nest, B), (1000,), OUTER)
    assert found.extent == 8


def test_a_condition_bounds_a_size_that_is_not_known() -> None:
    n = te.var("n")
    read = Store(OUT, (const(0, "int64"),), Load(B, (i * 4 + j,)))
    nest = For(i, (n + 3) // 4, For(j, const(4, "int64"), If(i * 4 + j < n, read)))
    (found,) = region(accesses(nest, B), (n + 9,), {})
    assert str(found.extent) == "n"


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
