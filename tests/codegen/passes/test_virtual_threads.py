"""virtual_threads: loops over virtual threads are moved inwards, and written out there."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.codegen.interpreter import interpret
from flashsched.codegen.passes.virtual_threads import virtual_threads
from flashsched.schedule.ir import Alloc, Buffer, For, If, Load, LoopKind, Stmt, Store, seq
from flashsched.schedule.printer import nest_text
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, const

A = Buffer("A", (3, 4), "float32")
C = Buffer("C", (3, 4), "float32")
L = Buffer("L", (4,), "float32")


def loop(var: Var, extent: int | Expr, body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> For:
    return For(var, Const(extent, dtypes.INDEX) if isinstance(extent, int) else extent, body, kind)


def copies(extent: int | Expr, guard: Expr | None = None, v: Var | None = None) -> Stmt:
    """Each of three virtual threads copies a row through memory of its own."""
    v = Var("v") if v is None else v
    i, j = Var("i"), Var("j")
    fill = loop(i, extent, Store(L, (i,), Load(A, (v, i)) + const(1, "float32")))
    use: Stmt = Store(C, (v, j), Load(L, (j,)))
    body = Alloc(
        L, seq([fill, loop(j, extent, use if guard is None else If(guard, use, Store(C, (v, j), Load(L, (j,)))))])
    )
    return loop(v, 3, body, LoopKind.VTHREAD)


def run(body: Stmt) -> np.ndarray:
    (found,) = interpret(Program("copies", (A, C), (C,), body), [np.arange(12, dtype="float32").reshape(3, 4)])
    return found


def test_statements_are_interleaved_and_memory_is_each_threads_own() -> None:
    done = virtual_threads(copies(4))
    assert nest_text(done).splitlines() == [
        "L = alloc(float32[3, 4], 'global')",
        "for i in range(4):",
        "  for v in range(3):  # unroll",
        "    L[v, i] = A[v, i] + 1.0",
        "for j in range(4):",
        "  for v in range(3):  # unroll",
        "    C[v, j] = L[v, j]",
    ]
    assert (run(done) == run(copies(4))).all()


def test_a_condition_that_differs_between_them_stays_whole() -> None:
    v = Var("v")
    body = copies(4, v < 2, v)
    text = nest_text(virtual_threads(body))
    assert "  for v in range(3):  # unroll\n    if v < 2:" in text
    assert (run(virtual_threads(body)) == run(body)).all()


def test_a_loop_whose_length_differs_stays_whole() -> None:
    v, i = Var("v"), Var("i")
    body = loop(v, 3, loop(i, v + 2, Store(C, (v, i), Load(A, (v, i)))), LoopKind.VTHREAD)
    assert nest_text(virtual_threads(body)).startswith("for v in range(3):  # unroll\n  for i in range(v + 2):")


def test_a_loop_with_a_pragma_is_written_out_where_it_stands() -> None:
    body = copies(4)
    assert isinstance(body, For)
    noted = For(body.var, body.extent, body.body, body.kind, {"unroll_explicit": False})
    done = virtual_threads(noted)
    assert isinstance(done, For)
    assert done.kind is LoopKind.UNROLL
    assert done.body is body.body


def test_a_nest_without_virtual_threads_is_left_alone() -> None:
    body = loop(Var("i"), 2, Store(C, (const(0, "int64"), const(0, "int64")), const(0, "float32")))
    assert virtual_threads(body) is body


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([LoopKind.SERIAL, LoopKind.PARALLEL, LoopKind.VECTORIZE]))
def test_any_nest_of_virtual_threads_means_the_same(rows: int, columns: int, kind: LoopKind) -> None:
    v, w, k = Var("v"), Var("w"), Var("k")
    out = Buffer("out", (rows, columns), "float32")
    one = const(1, "float32")
    zero = Store(out, (v, w), const(0, "float32"))
    added = loop(k, 3, Store(L, (k,), one + one), kind)
    read = Store(out, (v, w), Load(out, (v, w)) + Load(L, (const(2, "int64"),)))
    inner = loop(w, columns, Alloc(L, seq([zero, added, read])), LoopKind.VTHREAD)
    body = loop(v, rows, inner, LoopKind.VTHREAD)
    for nest in (body, virtual_threads(body)):
        (found,) = interpret(Program("sums", (out,), (out,), nest), [])
        assert (found == 2).all()
