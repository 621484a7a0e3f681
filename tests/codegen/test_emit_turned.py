"""Columns of a tile in memory of our own: vector loads and shuffles, made once, never from what was there before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.codegen.emit import emit
from flashsched.codegen.emit_code import Code, Module, Value
from flashsched.codegen.emit_turned import turned
from flashsched.codegen.target import host_target
from flashsched.schedule.ir import Alloc, Buffer, For, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var

VECTOR, SERIAL, UNROLLED = LoopKind.VECTORIZE, LoopKind.SERIAL, LoopKind.UNROLL


def index(value: int) -> Const:
    return Const(value, "int64")


def loop(name: str, extent: int, body, kind: LoopKind = SERIAL) -> Stmt:
    var = Var(name)
    return For(var, index(extent), body(var), kind)


def each(extent: int, body) -> Stmt:
    """A loop that is written out."""
    return Seq(tuple(body(index(i)) for i in range(extent)))


def turning(rows: int, columns: int, pitch: int, dtype: str, between=None, times: int = 1) -> Program:
    """``out[t, j, i] = tile[i, j]`` in vectors over i, the tile having been filled from X[t]; *between* the columns."""
    x = Buffer("X", (times, rows, columns), dtype)
    tile, out = Buffer("tile", (rows, pitch), dtype), Buffer("out", (times, columns, rows), dtype)

    def once(t: Expr) -> Stmt:
        fill = each(rows, lambda i: loop("j", columns, lambda j: Store(tile, (i, j), Load(x, (t, i, j))), VECTOR))

        def column(j: Const) -> Stmt:
            copy = loop("i", rows, lambda i: Store(out, (t, j, i), Load(tile, (i, j))), VECTOR)
            return copy if between is None else Seq((copy, between(tile)))

        return Seq((fill, each(columns, column)))

    return Program("turn", (x,), (out,), Alloc(tile, loop("t", times, once)))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 16),
    columns=st.integers(1, 40),
    dtype=st.sampled_from(dtypes.DTYPES),
    times=st.integers(1, 3),
    gap=st.integers(0, 9),
)
def test_columns_are_what_the_rows_hold(run_nest, rows: int, columns: int, dtype: str, times: int, gap: int) -> None:
    pitch = -(-columns // 16) * 16 + (gap if gap % 3 == 0 else 0)  # a multiple of the vector, or none
    data = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (times, rows, columns))
    data = data.astype(dtypes.numpy_dtype(dtype))
    (got,) = run_nest(turning(rows, columns, pitch, dtype, times=times), data)
    np.testing.assert_array_equal(got, data.swapaxes(1, 2))


@pytest.mark.parametrize("rows", [2, 7, 8, 14, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_no_element_is_gathered_and_each_row_is_read_once(rows: int, dtype: str) -> None:
    lanes = host_target().vector_bits // dtypes.bits(dtype)
    rows = min(rows, lanes)
    text = emit(turning(rows, lanes, lanes, dtype), host_target())
    assert "gather" not in text
    body = text[text.index("define") :]
    assert sum(f"load <{lanes} x" in line and "%tile" in line.split("load")[0] for line in body.splitlines()) == rows


def test_a_store_in_between_is_seen(run_nest) -> None:
    def bump(tile: Buffer) -> Stmt:
        return loop("k", 16, lambda k: Store(tile, (index(1), k), Load(tile, (index(1), k)) + 1.0), VECTOR)

    data = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    want = data.swapaxes(1, 2).copy()
    want[0, :, 1] += np.arange(16)  # column j is read after j of them
    (got,) = run_nest(turning(16, 16, 16, "float32", bump), data)
    np.testing.assert_array_equal(got, want)


def test_what_a_loop_changes_is_seen_in_its_next_turn(run_nest) -> None:
    """The read before the loop, and that in the loop's turn before, are of other values."""
    x, out = Buffer("X", (16, 16), "float32"), Buffer("out", (4, 16), "float32")
    tile = Buffer("tile", (16, 16), "float32")

    def column(t: Expr) -> Stmt:
        return loop("i", 16, lambda i: Store(out, (t, i), Load(tile, (i, index(3)))), VECTOR)

    fill = each(16, lambda i: loop("j", 16, lambda j: Store(tile, (i, j), Load(x, (i, j))), VECTOR))
    double = each(16, lambda i: loop("j", 16, lambda j: Store(tile, (i, j), Load(tile, (i, j)) * 2.0), VECTOR))
    turns = loop("t", 3, lambda t: Seq((column(t), double)))
    program = Program("again", (x,), (out,), Alloc(tile, Seq((fill, column(index(3)), turns, column(index(3))))))
    data = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    (got,) = run_nest(program, data)
    np.testing.assert_array_equal(got, data[:, 3] * np.array([[1], [2], [4], [8]], np.float32))


@pytest.mark.parametrize(("lanes", "kind"), [(2, "double"), (4, "float"), (8, "double"), (16, "float"), (16, "i8")])
def test_the_network_is_a_transposition(lanes: int, kind: str) -> None:
    """Its shuffles, done in Python on names of elements."""
    code = Code(Module(host_target()))
    rows = [Value(f"%r{n}", kind, lanes) for n in range(lanes)]
    held = {f"%r{n}": [(n, k) for k in range(lanes)] for n in range(lanes)}
    columns = turned(code, rows)
    steps = 0
    for line in code.body().splitlines():
        if "shufflevector" in line:
            name, _, rest = line.strip().partition(" = ")
            a, b = (part.split("> ")[1].strip() for part in rest.split(", <")[0:2])
            picks = [int(part.split()[1].rstrip(">")) for part in rest[rest.rindex("<") + 1 :].split(", ")]
            both = held[a.split(",")[0]] + held[b.split(",")[0]]
            held[name] = [both[p] for p in picks]
            steps += 1
    assert [held[column.text] for column in columns] == [[(n, k) for n in range(lanes)] for k in range(lanes)]
    assert steps == lanes * (lanes - 1).bit_length()
