"""rest_unread: what nobody is going to read is not computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.interpreter import interpret_nest
from flashsched.codegen.lower import lower
from flashsched.codegen.passes.rest_unread import rest_unread
from flashsched.schedule import create_schedule
from flashsched.schedule.ir import Alloc, Buffer, For, If, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Expr, Var, const
from flashsched.testing.checks import check_meaning

C, X, P = Buffer("C", (8,), "float32"), Buffer("X", (8,), "float32"), Buffer("P", (8,), "float32")
c, i, j = Var("c"), Var("i"), Var("j")


def loop(var: Var, turns: int, body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> For:
    return For(var, const(turns, "int64"), body, kind)


def nest(condition: Expr | None, also: tuple[Stmt, ...] = (), kind: LoopKind = LoopKind.SERIAL) -> Stmt:
    """P is computed for each c, and read by 8 turns of i where *condition* holds."""
    fill = loop(j, 8, Store(P, (j,), Load(X, (j,)) + 1.0))
    use: Stmt = Store(C, (i,), Load(C, (i,)) + Load(P, (i,)))
    read = loop(i, 8, use if condition is None else If(condition, use))
    return loop(c, 4, Alloc(P, Seq((fill, *also, read))), kind)


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        (c * 3 <= i, "c * 3 < 8"),  # the last i is the easiest to satisfy
        (i <= c * 3, None),  # the first i always does
        (i < c * 3, "c * 3 >= 1"),
        (c < 2, "c < 2"),
        ((c < 2) & (c + i > 8), "c < 2 and c >= 2"),
        ((c * 3 <= i) & (i % 2 < 1), "c * 3 < 8"),
    ],
)
def test_a_condition_is_asked_before(condition: Expr, asked: str | None) -> None:
    lines = nest_text(rest_unread(nest(condition))).split("\n")
    assert (lines[1].strip() == f"if {asked}:") if asked else "alloc" in lines[1]
    for values in (np.zeros(8), np.arange(8)):
        feeds = {X: values.astype("float32"), C: np.ones(8, "float32")}
        before, after = (interpret_nest(n, feeds, [C]) for n in (nest(condition), rest_unread(nest(condition))))
        np.testing.assert_array_equal(before[0], after[0])


@pytest.mark.parametrize(
    "whole",
    [
        nest(None),
        nest(Load(X, (i,)) > 0.0),  # what memory says then need not hold now
        nest(c < 2, also=(Store(C, (c,), const(5.0)),)),  # something else happens too
        nest(c // 2 * i < 2),  # no order that is linear in i
        nest(c < 2, kind=LoopKind.THREAD_X),  # threads meet at barriers
        loop(c, 4, If(c < 2, Alloc(P, Seq((Store(P, (c,), const(1.0)), If(c < 2, Store(C, (c,), Load(P, (c,)))))))),
             LoopKind.SERIAL),  # it is asked already
    ],
)  # fmt: skip
def test_what_must_happen_does(whole: Stmt) -> None:
    assert nest_text(rest_unread(whole)) == nest_text(whole)


def triangle(n: int, block: int):
    """Sums over blocks of columns up to the diagonal, each block's part computed apart."""
    A = te.placeholder((n, n), name="A")
    count = -(-n // block)
    j, b = te.reduce_axis((0, block), name="j"), te.reduce_axis((0, count), name="b")
    part = te.compute(
        (count, n),
        lambda b, i: te.sum(A[i, te.minimum(b * block + j, n - 1)], axis=j, where=b * block + j <= i),
        name="part",
    )
    return te.compute((n,), lambda i: te.sum(part[b, i], axis=b, where=b * block <= i), name="C")


@settings(max_examples=15, deadline=None)
@given(n=st.sampled_from([1, 2, 7, 16, 29]), block=st.sampled_from([1, 4, 8]), tile=st.sampled_from([1, 4, 8]))
def test_half_of_a_triangle_rests(n: int, block: int, tile: int) -> None:
    C = triangle(n, block)
    s = create_schedule(C)
    outer, inner = s[C].split("i", factor=tile, tail="cut")
    s[C].reorder(outer, "b", inner)
    s[C].vectorize(inner)
    s["part"].compute_at(s[C], "b")
    check_meaning(s, compiled=True)


def test_the_condition_of_a_reduction_reaches_its_loops() -> None:
    C = triangle(16, 4)
    s = create_schedule(C)
    outer, inner = s[C].split("i", factor=4)
    s[C].reorder(outer, "b", inner)
    s["part"].compute_at(s[C], "b")
    text = str(lower(s))
    assert "for b in range(4):\n      if b * 4 < i.o * 4 + 4:\n        part = alloc(" in text
