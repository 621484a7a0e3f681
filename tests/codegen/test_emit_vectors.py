"""Vectorized loops: which access an index becomes, masks, memory of each lane, and the assembly of a tile."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.codegen import llvm
from flashsched.codegen.emit import emit
from flashsched.codegen.target import host_target
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Buffer, For, If, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Cast, Compare, Const, Expr, Select, Var, const

VECTOR = LoopKind.VECTORIZE


def index(value: int) -> Const:
    return Const(value, "int64")


def loop(var: Var, extent: int, body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> For:
    return For(var, index(extent), body, kind)


def text_of(program: Program) -> str:
    return emit(program, host_target())


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 70),
    stride=st.integers(-3, 5),
    into=st.sampled_from([-2, -1, 1, 2, 3]),
    limit=st.one_of(st.none(), st.integers(-3, 75)),
    dtype=st.sampled_from(dtypes.DTYPES),
)
def test_every_stride_masked_or_not(run_nest, n: int, stride: int, into: int, limit: int | None, dtype: str) -> None:
    size = abs(stride) * (n - 1) + 1
    x, out = Buffer("X", (size,), dtype), Buffer("out", (abs(into) * (n - 1) + 1,), dtype)
    i = Var("i")
    read: Expr = i * stride + (size - 1 if stride < 0 else 0)
    written: Expr = i * into + (-into * (n - 1) if into < 0 else 0)
    body: Stmt = Store(out, (written,), Load(x, (read,)))
    if limit is not None:
        body = If(Compare("<", i, index(limit)), body)
    data = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, size)
    data = data.astype(dtypes.numpy_dtype(dtype))
    (got,) = run_nest(Program("copy", (x,), (out,), loop(i, n, body, VECTOR)), data)
    want = np.full(out.shape, 7, dtypes.numpy_dtype(dtype))
    for k in range(n if limit is None else max(0, min(n, limit))):
        want[k * into + (-into * (n - 1) if into < 0 else 0)] = data[k * stride + (size - 1 if stride < 0 else 0)]
    np.testing.assert_array_equal(got, want)


@settings(max_examples=60, deadline=None)
@given(
    op=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    a=st.integers(-2, 2),
    b=st.integers(-2, 2),
    shift=st.integers(-60, 60),
    n=st.sampled_from([5, 16, 45]),
)
def test_conditions_on_lanes(run_nest, op: str, a: int, b: int, shift: int, n: int) -> None:
    out, i, outer = Buffer("out", (4, n), "int32"), Var("i"), Var("outer")
    condition = Compare(op, i * a + outer * 7 + 0, i * b + shift)
    value = Select(condition, const(1), const(0))
    body = loop(outer, 4, loop(i, n, Store(out, (outer, i), value), VECTOR))
    lanes, turns = np.arange(n), np.arange(4)[:, None]
    orders = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal,
              "!=": np.not_equal}  # fmt: skip
    want = orders[op](lanes * a + turns * 7, lanes * b + shift)
    np.testing.assert_array_equal(run_nest(Program("mask", (), (out,), body))[0], want)


def test_indices_read_from_memory_are_gathered(run_nest) -> None:
    n = 37
    x, at, out, i = Buffer("X", (50,), "float32"), Buffer("at", (n,), "int32"), Buffer("out", (n,), "float32"), Var("i")
    value = Load(x, (Cast(Load(at, (i,)), "int64"),))
    rng = np.random.default_rng(0)
    data, places = rng.normal(size=50).astype(np.float32), rng.integers(0, 50, n).astype(np.int32)
    program = Program("take", (x, at), (out,), loop(i, n, Store(out, (i,), value), VECTOR))
    np.testing.assert_array_equal(run_nest(program, data, places)[0], data[places])


def test_quotients_and_remainders_of_lanes(run_nest) -> None:
    x, out, i = Buffer("X", (5, 7), "int32"), Buffer("out", (35,), "int32"), Var("i")
    value = Load(x, (i // 7, i % 7))
    data = np.arange(35, dtype=np.int32).reshape(5, 7)
    program = Program("flat", (x,), (out,), loop(i, 35, Store(out, (i,), value), VECTOR))
    np.testing.assert_array_equal(run_nest(program, data)[0], data.ravel())


def test_what_the_lanes_share_stays_scalar() -> None:
    """A broadcast never becomes a gather, and stride 1 never anything but a vector access."""
    x, y, out = (Buffer(name, (32, 32), "float32") for name in ("X", "Y", "out"))
    i, j = Var("i"), Var("j")
    value = Binary("*", Load(x, (i, index(0))), Load(y, (i, j)))
    text = text_of(Program("f", (x, y), (out,), loop(i, 32, loop(j, 32, Store(out, (i, j), value), VECTOR))))
    assert "gather" not in text
    assert "masked" not in text
    assert re.search(r"%X\.\d+ = load float,", text)
    assert re.search(r"%Y\.\d+ = load <\d+ x float>,", text)


@pytest.mark.parametrize("stride", [-1, 2])
def test_every_second_element_and_backwards_are_whole_vectors(stride: int) -> None:
    """Under a mask as well, where they load what the active lanes ask for and nothing else."""
    x, out, i = Buffer("X", (64,), "float32"), Buffer("out", (32,), "float32"), Var("i")
    read = Store(out, (i,), Load(x, (i * stride + (31 if stride < 0 else 0),)))
    for body in (read, If(Compare("<", i, index(21)), read)):
        text = text_of(Program("f", (x,), (out,), loop(i, 32, body, VECTOR)))
        assert "gather" not in text
        assert "shufflevector" in text


def test_a_split_index_that_is_whole_again_is_stride_one() -> None:
    x, out, o, i = Buffer("X", (64,), "float32"), Buffer("out", (64,), "float32"), Var("o"), Var("i")
    at = (o * 16 + i) // 4 * 4 + (o * 16 + i) % 4
    text = text_of(
        Program("f", (x,), (out,), loop(o, 4, loop(i, 16, Store(out, (o * 16 + i,), Load(x, (at,))), VECTOR)))
    )
    assert "gather" not in text


def test_comparisons_fill_vectors_of_what_they_compare(run_nest) -> None:
    x, out, i = Buffer("X", (200,), "float32"), Buffer("out", (200,), "bool"), Var("i")
    program = Program(
        "f", (x,), (out,), loop(i, 200, Store(out, (i,), Compare(">", Load(x, (i,)), const(0.5))), VECTOR)
    )
    data = np.random.default_rng(0).random(200).astype(np.float32)
    np.testing.assert_array_equal(run_nest(program, data)[0], data > 0.5)
    assert f"<{host_target().vector_bits // 8} x float>" in text_of(program)


def test_whole_vectors_before_a_border_need_no_mask() -> None:
    x, out, i = Buffer("X", (64,), "float32"), Buffer("out", (64,), "float32"), Var("i")
    lanes = host_target().vector_bits // 32
    value = Select(Compare("<", i, index(lanes)), Load(x, (i,)), const(0.0))
    text = text_of(Program("f", (x,), (out,), loop(i, 64, Store(out, (i,), value), VECTOR)))
    assert text.count("= load") == 1
    assert "icmp" not in text


def test_a_ragged_tail_is_masked_and_touches_nothing_else(run_nest) -> None:
    n, total = 16, 45
    x, out, o, i = Buffer("X", (total,), "float32"), Buffer("out", (total,), "float32"), Var("o"), Var("i")
    at = o * n + i
    guarded = If(Compare("<", at, index(total)), Store(out, (at,), Load(x, (at,)) * 2.0))
    program = Program("tail", (x,), (out,), loop(o, 3, loop(i, n, guarded, VECTOR)))
    data = np.arange(total, dtype=np.float32)
    np.testing.assert_array_equal(run_nest(program, data)[0], data * 2)
    if host_target().vector_bits == 512:
        assert "masked.load" in text_of(program)
        assert "icmp ult <16 x i32>" in text_of(program)


def test_both_sides_of_a_condition_on_lanes(run_nest) -> None:
    out, i = Buffer("out", (40,), "int32"), Var("i")
    body = If(Compare("==", i % 3, index(0)), Store(out, (i,), const(1)), Store(out, (i,), const(2)))
    (got,) = run_nest(Program("f", (), (out,), loop(i, 40, body, VECTOR)))
    np.testing.assert_array_equal(got, np.where(np.arange(40) % 3 == 0, 1, 2))


def test_a_scalar_element_under_a_mask_is_read_only_if_a_lane_asks(run_nest) -> None:
    x, out, i, o = Buffer("X", (2,), "float32"), Buffer("out", (3, 16), "float32"), Var("i"), Var("o")
    shared = Load(x, (o * 1_000_000_000,))
    body = If(Compare("<", i + o * 16, index(9)), Store(out, (o, i), shared))
    (got,) = run_nest(Program("f", (x,), (out,), loop(o, 3, loop(i, 16, body, VECTOR))), np.array([3, 4], np.float32))
    want = np.full((3, 16), 7)
    want[0, :9] = 3
    np.testing.assert_array_equal(got, want)


def test_the_last_lane_stays_where_all_write_one_element(run_nest) -> None:
    out, i = Buffer("out", (2,), "int64"), Var("i")
    body = Seq((Store(out, (index(0),), i), If(Compare("<", i, index(5)), Store(out, (index(1),), i))))
    np.testing.assert_array_equal(run_nest(Program("f", (), (out,), loop(i, 16, body, VECTOR)))[0], [15, 4])


@pytest.mark.parametrize("n", [1, 8, 45])
def test_memory_allocated_inside_exists_once_a_lane(run_nest, n: int) -> None:
    x, out, tmp = Buffer("X", (n, 3), "float32"), Buffer("out", (n,), "float32"), Buffer("tmp", (3,), "float32")
    i, j, k = Var("i"), Var("j"), Var("k")
    fill = loop(j, 3, Store(tmp, (j,), Load(x, (i, j)) * 2.0))
    total = loop(k, 3, Store(out, (i,), Load(out, (i,)) + Load(tmp, (k,))))
    picked = Store(out, (i,), Load(out, (i,)) + Load(tmp, (i % 3,)))
    body = Alloc(tmp, Seq((Store(out, (i,), const(0.0)), fill, total, picked)))
    data = np.random.default_rng(0).integers(-9, 9, (n, 3)).astype(np.float32)
    (got,) = run_nest(Program("f", (x,), (out,), loop(i, n, body, VECTOR)), data)
    np.testing.assert_array_equal(got, 2 * (data.sum(axis=1) + data[np.arange(n), np.arange(n) % 3]))


def test_loops_inside_keep_the_lanes(run_nest) -> None:
    n, k = 70, 9
    x, y, out = Buffer("X", (k, n), "float32"), Buffer("Y", (k,), "float32"), Buffer("out", (n,), "float32")
    acc, i, r = Buffer("acc", (1,), "float32", "local"), Var("i"), Var("r")
    zero = index(0)
    step = Store(acc, (zero,), Load(acc, (zero,)) + Load(x, (r, i)) * Load(y, (r,)))
    body = Alloc(acc, Seq((Store(acc, (zero,), const(0.0)), loop(r, k, step), Store(out, (i,), Load(acc, (zero,))))))
    rng = np.random.default_rng(0)
    a, b = rng.integers(-5, 5, (k, n)).astype(np.float32), rng.integers(-5, 5, k).astype(np.float32)
    (got,) = run_nest(Program("f", (x, y), (out,), loop(i, n, body, VECTOR)), a, b)
    np.testing.assert_array_equal(got, b @ a)


def test_a_long_vector_loop_becomes_a_loop_over_vectors(run_nest) -> None:
    x, out, i = Buffer("X", (1003,), "float32"), Buffer("out", (1003,), "float32"), Var("i")
    program = Program("f", (x,), (out,), loop(i, 1003, Store(out, (i,), Load(x, (i,)) + 1.0), VECTOR))
    assert text_of(program).count("fadd") <= 3
    data = np.arange(1003, dtype=np.float32)
    np.testing.assert_array_equal(run_nest(program, data)[0], data + 1)


@pytest.mark.parametrize(("nest", "says"), [
    (lambda i, j, out: For(i, Load(out, (index(0),)), Store(out, (i,), i), VECTOR), "'i' is vectorized, and its ext"),
    (lambda i, j, out: loop(i, 8, For(j, i, Store(out, (j,), j)), VECTOR), "'j' has another extent in each vector"),
])  # fmt: skip
def test_refusals(nest, says: str) -> None:
    out, i, j = Buffer("out", (8,), "int64"), Var("i"), Var("j")
    with pytest.raises(LoweringError, match=says):
        text_of(Program("f", (), (out,), nest(i, j, out)))


def tile(rows: int, columns: int, depth: int) -> Program:
    """The inner kernel of a matrix product: packed panels, and a tile of sums in registers."""
    a, b, c = Buffer("A", (depth, rows), "float32"), Buffer("B", (depth, columns), "float32"), Buffer(
        "C", (rows, columns), "float32")  # fmt: skip
    acc, k = Buffer("acc", (rows, columns), "float32", "local"), Var("k")

    def each_row(make) -> Stmt:
        lanes = [Var("j") for _ in range(rows)]
        return Seq(tuple(loop(j, columns, make(index(i), j), VECTOR) for i, j in enumerate(lanes)))

    clear = each_row(lambda i, j: Store(acc, (i, j), const(0.0)))
    step = each_row(lambda i, j: Store(acc, (i, j), Load(acc, (i, j)) + Load(a, (k, i)) * Load(b, (k, j))))
    out = each_row(lambda i, j: Store(c, (i, j), Load(acc, (i, j))))
    return Program("tile", (a, b), (c,), Alloc(acc, Seq((clear, loop(k, depth, step), out))))


@pytest.mark.parametrize(("rows", "vectors"), [(6, 2), (8, 2), (12, 2), (13, 2), (14, 2), (4, 6)])
def test_a_register_tile_stays_in_registers(run_nest, rows: int, vectors: int) -> None:
    target = host_target()
    lanes = target.vector_bits // 32
    if target.vector_bits != 512:
        rows = min(rows, 6)  # 16 registers rather than 32
        vectors = min(vectors, 2)
    program = tile(rows, vectors * lanes, 64)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (64, n)).astype(np.float32) for n in (rows, vectors * lanes))
    np.testing.assert_array_equal(run_nest(program, a, b)[0], a.T @ b)
    if target.arch != "x86_64" or target.vector_bits < 256:
        return
    assembly = llvm.emit_assembly(llvm.optimize(emit(program, target), target), target)
    inner = next(part for part in re.split(r"^\.?LBB\d+_\d+:", assembly, flags=re.MULTILINE) if "vfmadd" in part)
    body = inner[: inner.index("\tj")]
    assert "(%rsp)" not in body
    assert body.count("vfmadd") == rows * vectors
    assert body.count("vmovups") + body.count("vmovaps") <= vectors


def test_a_dot_product_of_registers_uses_fused_multiply_adds() -> None:
    text = text_of(tile(2, 16, 8))
    assert "fmul contract" in text
    assert "fadd contract" in text
    assert not re.search(r"\b(fast|reassoc|nnan|ninf|nsz|arcp|afn)\b", text)


def _reduced(value: Expr, rows: Buffer, out: Buffer, i: Var, k: Var) -> Program:
    """``out[i] = value`` for each row k; that ``rows[k, i]`` exists is more than its bounds tell."""
    return Program("reduce", (rows,), (out,), loop(k, 100, loop(i, 16, Store(out, (i,), value), VECTOR)))


@pytest.mark.skipif(not host_target().has("avx512f"), reason="the instructions are those of AVX-512")
@pytest.mark.parametrize(("op", "instruction"), [("min", "vminps"), ("max", "vmaxps")])
def test_a_minimum_that_hands_a_nan_on_is_three_instructions(op: str, instruction: str) -> None:
    i, k = Var("i"), Var("k")
    rows, out = Buffer("X", (10, 16), "float32"), Buffer("out", (16,), "float32")
    program = _reduced(Binary(op, Load(out, (i,)), Load(rows, (k, i))), rows, out, i, k)
    target = host_target()
    assembly = llvm.emit_assembly(llvm.optimize(emit(program, target), target), target)
    assert instruction in assembly
    assert "korw" not in assembly


@pytest.mark.skipif(not host_target().has("avx512f"), reason="the instructions are those of AVX-512")
def test_what_is_compared_and_chosen_is_loaded_once() -> None:
    i, k = Var("i"), Var("k")
    rows, out = Buffer("X", (10, 16), "float32"), Buffer("out", (16,), "float32")
    new, old = Load(rows, (k, i)), Load(out, (i,))
    text = text_of(_reduced(Select(Compare("<", new, old), new, old), rows, out, i, k))
    assert text.count("load <16 x float>") == 2
    assert "select" in text
