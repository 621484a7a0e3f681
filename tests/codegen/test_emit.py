"""Statements and modules: loops of every kind, allocations, parallel loops as functions, symbols, refusals."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.codegen.emit import emit, entry_name
from flashsched.codegen.emit_storage import MAX_STACK_BUFFER
from flashsched.codegen.target import host_target
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Block, Break, Buffer, For, If, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.program import Program
from flashsched.te.expr import Binary, Cast, Compare, Const, Expr, Var, const

KINDS = [kind for kind in LoopKind if kind is not LoopKind.TENSORIZE]  # which needs an intrinsic
SERIAL_KINDS = [kind for kind in KINDS if kind is not LoopKind.VECTORIZE]


def index(value: int) -> Const:
    return Const(value, "int64")


def loop(var: Var, extent: int | Expr, body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> For:
    return For(var, index(extent) if isinstance(extent, int) else extent, body, kind)


def text_of(program: Program) -> str:
    return emit(program, host_target())


@pytest.mark.parametrize("kind", SERIAL_KINDS)
@pytest.mark.parametrize("n", [0, 1, 2, 37])
def test_a_loop_of_any_kind_runs_every_turn(run_nest, kind: LoopKind, n: int) -> None:
    out, i, j = Buffer("out", (40, 3), "int64"), Var("i"), Var("j")
    body = loop(i, n, loop(j, 3, Store(out, (i, j), i * 10 + j)), kind)
    (got,) = run_nest(Program("f", (), (out,), body))
    want = np.full((40, 3), 7)
    want[:n] = np.arange(n)[:, None] * 10 + np.arange(3)
    np.testing.assert_array_equal(got, want)


@settings(max_examples=30, deadline=None)
@given(
    extents=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    kinds=st.lists(st.sampled_from(KINDS), min_size=3, max_size=3),
)
def test_nests_of_kinds_visit_each_point_once(run_nest, extents: list[int], kinds: list[LoopKind]) -> None:
    loops = [Var("ijk"[n]) for n in range(len(extents))]
    out = Buffer("out", tuple(extents), "int32")
    body: Stmt = Store(out, tuple(loops), Load(out, tuple(loops)) + 1)
    for var, extent, kind in list(zip(loops, extents, kinds, strict=False))[::-1]:
        body = loop(var, extent, body, kind)
    (got,) = run_nest(Program("f", (), (out,), body))
    np.testing.assert_array_equal(got, np.full(extents, 8))


def test_an_extent_may_depend_on_a_loop_or_on_memory(run_nest) -> None:
    n, out, i, j = Buffer("n", (5,), "int32"), Buffer("out", (5, 9), "int32"), Var("i"), Var("j")
    inner = loop(j, Cast(Load(n, (i,)), "int64") + i, Store(out, (i, j), const(1)))
    (got,) = run_nest(Program("f", (n,), (out,), loop(i, 5, inner)), np.array([0, 2, -4, 3, 1], np.int32))
    want = np.full((5, 9), 7)
    for row, count in enumerate([0, 3, 0, 6, 5]):
        want[row, :count] = 1
    np.testing.assert_array_equal(got, want)


def test_both_sides_of_an_if(run_nest) -> None:
    x, out, i = Buffer("X", (9,), "int32"), Buffer("out", (9,), "int32"), Var("i")
    inside = If(Compare("==", Load(x, (i,)), const(3)), Store(out, (i,), const(30)), Store(out, (i,), const(-1)))
    body = loop(i, 9, If(Compare("<", i, index(6)), inside))
    data = np.arange(9, dtype=np.int32)
    np.testing.assert_array_equal(
        run_nest(Program("f", (x,), (out,), body), data)[0], [-1, -1, -1, 30, -1, -1, 7, 7, 7]
    )


@pytest.mark.parametrize("size", [16, MAX_STACK_BUFFER // 4, MAX_STACK_BUFFER // 4 + 1, 100_000])
@pytest.mark.parametrize("kind", [LoopKind.SERIAL, LoopKind.PARALLEL])
@pytest.mark.parametrize("outside", [True, False])
def test_allocations_inside_and_outside_of_loops(run_nest, size: int, kind: LoopKind, outside: bool) -> None:
    rows = 6
    x, out = Buffer("X", (rows, 4), "float32"), Buffer("out", (rows, 4), "float32")
    shape = (rows, size) if outside else (size,)
    tmp, i, j, k = Buffer("tmp", shape, "float32"), Var("i"), Var("j"), Var("k")

    def at(place: Expr) -> tuple[Expr, ...]:
        return (i, place) if outside else (place,)

    fill = loop(j, 4, Store(tmp, at(j + (size - 4)), Load(x, (i, j)) + 1.0))
    read = loop(k, 4, Store(out, (i, k), Load(tmp, at(k + (size - 4)))))
    inner = Seq((fill, read))
    body = Alloc(tmp, loop(i, rows, inner, kind)) if outside else loop(i, rows, Alloc(tmp, inner), kind)
    program = Program("f", (x,), (out,), body)
    data = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_nest(program, data)[0], data + 1)
    text = text_of(program)
    heap = math.prod(shape) * 4 > MAX_STACK_BUFFER
    assert text.count("call noalias align 64 ptr @aligned_alloc") == text.count("call void @free") == int(heap)


def test_memory_on_the_heap_is_asked_for_outside_of_loops() -> None:
    tmp, out = Buffer("tmp", (100_000,), "float32"), Buffer("out", (4,), "float32")
    i, j = Var("i"), Var("j")
    inner = Alloc(tmp, Seq((Store(tmp, (j,), const(1.0)), Store(out, (j,), Load(tmp, (j,))))))
    lines = text_of(Program("f", (), (out,), loop(i, 3, loop(j, 4, inner)))).split("\n")
    asked = next(n for n, line in enumerate(lines) if "call noalias align 64 ptr @aligned_alloc" in line)
    assert asked < next(n for n, line in enumerate(lines) if "phi" in line)


def test_a_parallel_loop_sees_what_is_around_it(run_nest) -> None:
    x, out, tmp = Buffer("X", (3, 40), "float32"), Buffer("out", (3, 40, 2), "float32"), Buffer("tmp", (3,), "float32")
    o, i, j, t = Var("o"), Var("i"), Var("j"), Var("t")
    value = Load(x, (o, i)) * Load(tmp, (o,)) + Cast(o * 100 + j, "float32")
    inner = loop(o, 3, loop(i, 40, loop(j, 2, Store(out, (o, i, j), value)), LoopKind.PARALLEL))
    body = Alloc(tmp, Seq((loop(t, 3, Store(tmp, (t,), Cast(t + 2, "float32"))), inner)))
    program = Program("f", (x,), (out,), body)
    data = np.random.default_rng(0).integers(0, 9, (3, 40)).astype(np.float32)
    scale = np.arange(2, 5)[:, None, None]
    want = data[:, :, None] * scale + np.arange(3)[:, None, None] * 100 + np.arange(2)
    np.testing.assert_array_equal(run_nest(program, data)[0], want)


def test_parallel_bodies_keep_what_is_known_of_their_buffers() -> None:
    x, out, i = Buffer("X", (40,), "float32"), Buffer("out", (40,), "float32"), Var("i")
    text = text_of(Program("f", (x,), (out,), loop(i, 40, Store(out, (i,), Load(x, (i,))), LoopKind.PARALLEL)))
    signature = next(line for line in text.split("\n") if "@f.par0.body(" in line and line.startswith("define"))
    assert "ptr noalias readonly align 4 dereferenceable(160) %X" in signature
    assert "ptr noalias align 4 dereferenceable(160) %out" in signature


def test_only_the_outermost_of_parallel_loops_is_parallel() -> None:
    out, i, j = Buffer("out", (4, 4), "int32"), Var("i"), Var("j")
    inner = loop(j, 4, Store(out, (i, j), const(0)), LoopKind.PARALLEL)
    assert text_of(Program("f", (), (out,), loop(i, 4, inner, LoopKind.PARALLEL))).count("@fs_parallel_for(ptr @") == 1


def test_strided_and_empty_buffers(run_nest) -> None:
    x = Buffer("X", (3, 4), "float32", strides=(1, 3))  # column-major
    out, i, j = Buffer("out", (3, 4), "float32"), Var("i"), Var("j")
    body = loop(i, 3, loop(j, 4, Store(out, (i, j), Load(x, (i, j))), LoopKind.VECTORIZE))
    data = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.testing.assert_array_equal(run_nest(Program("f", (x,), (out,), body), data)[0], data)
    nothing, r = Buffer("nothing", (0, 3), "float32"), Var("r")
    (got,) = run_nest(Program("g", (), (nothing,), loop(r, 0, Store(nothing, (r, r), const(0.0)))))
    assert got.shape == (0, 3)


@pytest.mark.parametrize("name", ["matmul", "my kernel", "exp", "sinf", "2d", "a.b", "größe", "free", "fs_go"])
def test_any_name_makes_a_symbol(run_nest, name: str) -> None:
    out, i = Buffer("out: ü", (3,), "float32"), Var("i j")
    body = loop(i, 3, Store(out, (i,), Cast(i, "float32")), LoopKind.PARALLEL)
    np.testing.assert_array_equal(run_nest(Program(name, (), (out,), body))[0], [0, 1, 2])
    assert entry_name("matmul") == "matmul"


def test_loops_are_named_for_people_and_left_alone_by_llvm() -> None:
    out, i = Buffer("out", (8,), "int64"), Var("i.o")
    text = text_of(Program("f", (), (out,), loop(i, 8, Store(out, (i,), i))))
    assert "; for i.o in range(8)" in text
    assert re.search(r"%i\.o\.\d+ = phi i64", text)
    assert "!llvm.loop !2" in text
    assert "!2 = distinct !{!2, !0, !1}" in text


def test_inputs_that_are_written_are_not_called_readonly() -> None:
    x, i = Buffer("X", (8,), "int64"), Var("i")
    text = text_of(Program("f", (x,), (), loop(i, 8, Store(x, (i,), i))))
    assert "readonly" not in text


def refused(body: Stmt, *buffers: Buffer) -> Program:
    return Program("f", (), buffers, body)


OUT = Buffer("out", (4,), "int32")
OTHER = Buffer("other", (4,), "int32")


@pytest.mark.parametrize(("program", "says"), [
    (refused(Block("S", (), ()), OUT), "Block has no code: a nest must be lowered"),
    (refused(Break(), OUT), "a break stands in no loop"),
    (refused(Store(OTHER, (index(0),), const(1)), OUT), "buffer 'other' is used, but it is neither"),
    (refused(Store(OUT, (index(0),), const(1)), OUT, OUT), "takes a buffer twice: out, out"),
    (refused(Store(OUT, (Var("q"),), const(1)), OUT), "variable 'q' is used outside the loop"),
    (refused(Alloc(Buffer("t", (4,), "int8", strides=(-1,)), Seq(())), OUT), "'t' is allocated with negative strides"),
])  # fmt: skip
def test_refusals(program: Program, says: str) -> None:
    with pytest.raises(LoweringError, match=says):
        text_of(program)


def test_a_bottomless_expression_is_refused() -> None:
    value: Expr = const(1)
    for _ in range(20_000):
        value = Binary("+", value, const(1))
    with pytest.raises(LoweringError, match="nested too deeply"):
        text_of(Program("f", (), (OUT,), Store(OUT, (index(0),), value)))


def test_conditions_of_several_parts(run_nest) -> None:
    out, i = Buffer("out", (20,), "bool"), Var("i")
    low, high = Compare(">=", i, index(3)), Compare("<", i, index(11))
    body = loop(i, 20, Store(out, (i,), Binary("and", low, high)))
    np.testing.assert_array_equal(
        run_nest(Program("f", (), (out,), body))[0], (np.arange(20) >= 3) & (np.arange(20) < 11)
    )
